"""A response as server-sent events while it is written.

Source: OpenAI, API reference, "Responses: streaming events".
"""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from schemas.errors import DevSkyyError
from schemas.problem import Problem
from schemas.task import Task, TaskRequest
from serve import sse
from serve.openai.chunks import event
from serve.openai.live import End, Live, Text
from serve.openai.reply import contradiction
from serve.openai.response import call_of, message_of, part_of, response_of
from serve.openai.wished import Wish


async def response_events(live: Live, wanted: TaskRequest, accepted: Task) -> AsyncGenerator[bytes, None]:
    """What is sent while a task is followed. What a team does meanwhile is not told here."""
    told = _Events(wanted, accepted)
    try:
        for each in told.begin():
            yield each
        while True:
            match await live.next(sse.HEARTBEAT_S):
                case None:
                    yield sse.HEARTBEAT
                case Text(text):
                    for each in told.text(text):
                        yield each
                case Wish() as wish:
                    for each in told.wish(wish):
                        yield each
                case End() as end:
                    for each in told.end(end):
                        yield each
                    return
    except DevSkyyError as error:
        yield told.failure(Problem.of(error))


class _Events:
    def __init__(self, wanted: TaskRequest, accepted: Task) -> None:
        self._wanted, self._task = wanted, accepted
        self._number = 0
        self._places: dict[str, int] = {}
        """The items that were told, by id, and their places: an answer's text is one, and each wish."""

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)

    def begin(self) -> Iterator[bytes]:
        """It has begun; nothing of it is there."""
        response = {**response_of(self._task, self._wanted), "status": "in_progress", "output": [], "usage": None}
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    def text(self, text: str) -> Iterator[bytes]:
        """A further piece of the answer."""
        item = message_of(self._task.task_id, None, "in_progress")
        if item["id"] not in self._places:
            yield self._added(item)
            yield self._event("response.content_part.added", **self._at(item), content_index=0, part=part_of(""))
        yield self._event("response.output_text.delta", **self._at(item), content_index=0, delta=text, logprobs=[])

    def wish(self, wish: Wish) -> Iterator[bytes]:
        """A further piece of a wish for a function."""
        item = call_of(self._task.task_id, wish.place, wish, begun=True)
        if wish.begins:
            yield self._added(item)
        if wish.arguments:
            yield self._event("response.function_call_arguments.delta", **self._at(item), delta=wish.arguments)

    def _added(self, item: dict[str, Any]) -> bytes:
        place = self._places[item["id"]] = len(self._places)
        return self._event("response.output_item.added", output_index=place, item=item)

    def _at(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"item_id": item["id"], "output_index": self._places[item["id"]]}

    def end(self, end: End) -> Iterator[bytes]:
        """How it ended."""
        task = end.task
        response = response_of(task, self._wanted)
        if task.status != "completed":
            yield self._event("response.failed", response=response)
            return
        if end.rest is None:
            yield self.failure(contradiction(task))
            return
        if end.rest:
            yield from self.text(end.rest)
        for wish in end.wishes:
            yield from self.wish(wish)
        for item in response["output"]:
            yield from self._done(item)
        yield self._event(f"response.{response['status']}", response=response)

    def _done(self, item: dict[str, Any]) -> Iterator[bytes]:
        """An item that was told is whole."""
        if item["id"] not in self._places:
            return  # an empty text
        place = self._at(item)
        if item["type"] == "message":
            (part,) = item["content"]
            yield self._event("response.output_text.done", **place, content_index=0, text=part["text"], logprobs=[])
            yield self._event("response.content_part.done", **place, content_index=0, part=part)
        else:
            said = {"name": item["name"], "arguments": item["arguments"]}
            yield self._event("response.function_call_arguments.done", **place, **said)
        yield self._event("response.output_item.done", output_index=place["output_index"], item=item)

    def failure(self, problem: Problem) -> bytes:
        """It cannot be told to its end; the last event."""
        return self._event("error", code=problem.code, message=problem.detail, param=None)

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
                case End(task, rest):
                    for each in told.end(task, rest):
                        yield each
                    return
    except DevSkyyError as error:
        yield told.failure(Problem.of(error))


class _Events:
    def __init__(self, wanted: TaskRequest, accepted: Task) -> None:
        self._wanted, self._task = wanted, accepted
        self._number = 0
        self._item = {"item_id": f"msg_{accepted.task_id}", "output_index": 0}
        self._begun = False
        """Whether the item of the answer was told."""

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
        if not self._begun:
            self._begun = True
            item = message_of(self._task.task_id, None, "in_progress")
            yield self._event("response.output_item.added", output_index=0, item=item)
            yield self._event("response.content_part.added", **self._item, content_index=0, part=part_of(""))
        yield self._event("response.output_text.delta", **self._item, content_index=0, delta=text, logprobs=[])

    def end(self, task: Task, rest: str | None) -> Iterator[bytes]:
        """How it ended."""
        response = response_of(task, self._wanted)
        if task.status != "completed":
            yield self._event("response.failed", response=response)
            return
        if rest is None:
            yield self.failure(contradiction(task))
            return
        if rest:
            yield from self.text(rest)
        items = response["output"]
        if self._begun and task.answer is not None:
            place = {**self._item, "content_index": 0}
            yield self._event("response.output_text.done", **place, text=task.answer, logprobs=[])
            yield self._event("response.content_part.done", **place, part=part_of(task.answer))
            yield self._event("response.output_item.done", output_index=0, item=items[0])
        for number, wish in enumerate(task.tool_calls):
            item = items[number - len(task.tool_calls)]
            index = len(items) - len(task.tool_calls) + number
            place = {"item_id": item["id"], "output_index": index}
            begun = call_of(task, number, begun=True)
            yield self._event("response.output_item.added", output_index=index, item=begun)
            yield self._event("response.function_call_arguments.delta", **place, delta=wish.arguments)
            yield self._event(
                "response.function_call_arguments.done", **place, name=wish.name, arguments=wish.arguments
            )
            yield self._event("response.output_item.done", output_index=index, item=item)
        yield self._event(f"response.{response['status']}", response=response)

    def failure(self, problem: Problem) -> bytes:
        """It cannot be told to its end; the last event."""
        return self._event("error", code=problem.code, message=problem.detail, param=None)

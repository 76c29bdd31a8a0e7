"""A message as server-sent events while it is written.

Source: Anthropic, "Streaming messages".
"""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from schemas.errors import DevSkyyError
from schemas.problem import Problem
from schemas.task import Task
from serve import sse
from serve.anthropic.reply import begun, read, stop_reason, tool_use, usage_of
from serve.openai.chunks import event
from serve.openai.live import End, Live, Text
from serve.openai.reply import contradiction, problem_of, receipt_of
from serve.openai.wished import Wish
from serve.problems import as_anthropic


async def events(live: Live, model: str, accepted: Task) -> AsyncGenerator[bytes, None]:
    """What is sent while a task is followed. What a team does meanwhile is not told here."""
    told = _Events()
    try:
        yield _event("message_start", message=begun(accepted, model))
        yield _event("ping")
        while True:
            match await live.next(sse.HEARTBEAT_S):
                case None:
                    yield _event("ping")
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
        yield failure(Problem.of(error))


def failure(problem: Problem, task: Task | None = None) -> bytes:
    """An error in a stream; it is the last event."""
    said = as_anthropic(problem).model_dump(mode="json")
    return event(said if task is None else {**said, "devskyy": receipt_of(task)}, "error")


def _event(kind: str, **fields: Any) -> bytes:
    return event({"type": kind, **fields}, kind)


class _Events:
    def __init__(self) -> None:
        self._index = -1
        """Of the newest block."""
        self._open: str | None = None
        """What that is, while it is open."""
        self._waiting = ""
        """Text that came while a wish was being told: the block of that, once stopped, does not open again."""

    def text(self, text: str) -> Iterator[bytes]:
        """A further piece of the answer."""
        if self._open == "tool_use":
            self._waiting += text
            return
        if self._open != "text":
            yield from self._begin({"type": "text", "text": ""})
        yield _event("content_block_delta", index=self._index, delta={"type": "text_delta", "text": text})

    def wish(self, wish: Wish) -> Iterator[bytes]:
        """A further piece of a wish for a tool."""
        if wish.begins:
            yield from self._told_meanwhile()
            yield from self._begin(tool_use(wish.id, wish.name, {}))
        if wish.arguments:
            delta = {"type": "input_json_delta", "partial_json": wish.arguments}
            yield _event("content_block_delta", index=self._index, delta=delta)

    def _told_meanwhile(self) -> Iterator[bytes]:
        """The text that waited for the end of a wish."""
        if self._waiting:
            if self._open == "tool_use":
                yield from self._stop()
            waiting, self._waiting = self._waiting, ""
            yield from self.text(waiting)

    def _begin(self, block: dict[str, Any]) -> Iterator[bytes]:
        yield from self._stop()
        self._index, self._open = self._index + 1, block["type"]
        yield _event("content_block_start", index=self._index, content_block=block)

    def _stop(self) -> Iterator[bytes]:
        if self._open is not None:
            self._open = None
            yield _event("content_block_stop", index=self._index)

    def end(self, end: End) -> Iterator[bytes]:
        """How it ended.

        Raises:
            UnreadableWish: see there.
        """
        task = end.task
        if (problem := problem_of(task)) is not None:
            yield failure(problem, task)
            return
        if end.rest is None:
            yield failure(contradiction(task), task)
            return
        for call in task.tool_calls:
            read(call)
        # A wish that has begun is told to its end first: its block does not open again.
        for wish in (wish for wish in end.wishes if not wish.begins):
            yield from self.wish(wish)
        self._waiting += end.rest
        yield from self._told_meanwhile()
        for wish in (wish for wish in end.wishes if wish.begins):
            yield from self.wish(wish)
        yield from self._stop()
        ending = {"stop_reason": stop_reason(task), "stop_sequence": None}
        yield _event("message_delta", delta=ending, usage=usage_of(task), devskyy=receipt_of(task))
        yield _event("message_stop")

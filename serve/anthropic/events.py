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
                case End(task, rest):
                    for each in told.end(task, rest):
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
        self._blocks = 0
        self._open = False
        """Whether the block of the text has begun."""

    def text(self, text: str) -> Iterator[bytes]:
        """A further piece of the answer."""
        if not self._open:
            self._open = True
            yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            self._blocks = 1
        yield _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def end(self, task: Task, rest: str | None) -> Iterator[bytes]:
        """How it ended.

        Raises:
            UnreadableWish: see there.
        """
        if (problem := problem_of(task)) is not None:
            yield failure(problem, task)
            return
        if rest is None:
            yield failure(contradiction(task), task)
            return
        if rest:
            yield from self.text(rest)
        if self._open:
            yield _event("content_block_stop", index=0)
        for wish in task.tool_calls:
            read(wish)
            index, self._blocks = self._blocks, self._blocks + 1
            yield _event("content_block_start", index=index, content_block=tool_use(wish, {}))
            delta = {"type": "input_json_delta", "partial_json": wish.arguments or "{}"}
            yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        ending = {"stop_reason": stop_reason(task), "stop_sequence": None}
        yield _event("message_delta", delta=ending, usage=usage_of(task), devskyy=receipt_of(task))
        yield _event("message_stop")

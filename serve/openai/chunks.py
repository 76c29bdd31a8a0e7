"""A chat completion in chunks, as server-sent events.

Source: OpenAI, API reference, "Chat completion chunk"; `reasoning_content` as DeepSeek's and others' servers say it.
"""

import json
from collections.abc import AsyncGenerator
from typing import Any

from schemas.errors import DevSkyyError
from schemas.problem import Problem
from schemas.task import Task
from serve import sse
from serve.openai.chat_wire import ChatRequest
from serve.openai.live import End, Live, Text, Thought
from serve.openai.reply import contradiction, problem_of, receipt_of, tokens_of
from serve.openai.wished import Wish
from serve.problems import as_openai

DONE = b"data: [DONE]\n\n"


async def chunks(live: Live, chat: ChatRequest, accepted: Task) -> AsyncGenerator[bytes, None]:
    """What is sent while a task is followed."""
    written = _Chunks(chat, accepted)
    try:
        yield written.chunk({"role": "assistant", "content": None})
        while True:
            match await live.next(sse.HEARTBEAT_S):
                case None:
                    yield sse.HEARTBEAT
                case Text(text):
                    yield written.chunk({"content": text})
                case Wish() as wish:
                    yield written.wish(wish)
                case Thought(line):
                    yield written.chunk({"reasoning_content": line + "\n"})
                case End() as end:
                    for each in written.end(end):
                        yield each
                    return
    except DevSkyyError as error:
        yield failure(Problem.of(error))


def failure(problem: Problem, task: Task | None = None) -> bytes:
    """An error in a stream, on which OpenAI's clients raise; it is the last event."""
    said = as_openai(problem).model_dump(mode="json")
    return event(said if task is None else {**said, "devskyy": receipt_of(task)})


def event(data: dict[str, Any], name: str | None = None) -> bytes:
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class _Chunks:
    def __init__(self, chat: ChatRequest, accepted: Task) -> None:
        self._usage = chat.stream_options is not None and bool(chat.stream_options.include_usage)
        self._head = {
            "id": f"chatcmpl-{accepted.task_id}",
            "object": "chat.completion.chunk",
            "created": int(accepted.created_at.timestamp()),
            "model": chat.model,
        }

    def chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if self._usage else {}
        return event({**self._head, "choices": [choice], **usage, **more})

    def wish(self, wish: Wish) -> bytes:
        """A further piece of a wish for a tool; the first says which tool it is."""
        call: dict[str, Any] = {"index": wish.place, "function": {"arguments": wish.arguments}}
        if wish.begins:
            function = {"name": wish.name, "arguments": wish.arguments}
            call = {"index": wish.place, "id": wish.id, "type": "function", "function": function}
        return self.chunk({"tool_calls": [call]})

    def end(self, end: End) -> list[bytes]:
        """The last chunks."""
        task = end.task
        if (problem := problem_of(task)) is not None:
            return [failure(problem, task)]
        if end.rest is None:
            return [failure(contradiction(task), task)]
        last = [self.chunk({"content": end.rest})] if end.rest else []
        last += [self.wish(wish) for wish in end.wishes]
        receipt = {"devskyy": receipt_of(task)}
        if not self._usage:
            return [*last, self.chunk({}, finish_of(task), **receipt), DONE]
        closing = event({**self._head, "choices": [], "usage": usage_of(task), **receipt})
        return [*last, self.chunk({}, finish_of(task)), closing, DONE]


def finish_of(task: Task) -> str | None:
    """Why the answer ends where it does, in OpenAI's words where it is a wish for tools, else in its provider's."""
    return "tool_calls" if task.tool_calls else task.finish_reason


def usage_of(task: Task) -> dict[str, int] | None:
    tokens = tokens_of(task)
    if tokens is None:
        return None
    prompt, completion = tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

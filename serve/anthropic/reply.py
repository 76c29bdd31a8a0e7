"""A task as Anthropic's clients know it."""

import json
from typing import Any

from schemas.completion import ToolCall
from schemas.errors import DevSkyyError
from schemas.task import Task
from serve.openai.reply import headers_of, receipt_of

STOPPED = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
"""Why a model stopped: in Anthropic's words what providers say in OpenAI's."""


class UnreadableWish(DevSkyyError):
    """A model wished for a tool with arguments that are no JSON object, which Anthropic's messages cannot say."""

    code = "unreadable_tool_call"
    title = "A model's wish for a tool cannot be read"
    http_status = 502

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"the model wished for {self.name!r} with arguments that are no JSON object"


def message_of(task: Task, model: str) -> dict[str, Any]:
    """
    Args:
        model: as its caller named it; who served stands in the receipt.

    Raises:
        UnreadableWish: see there.
    """
    text = [{"type": "text", "text": task.answer}] if task.answer else []
    return {
        **begun(task, model),
        "content": [*text, *(tool_use(wish.id, wish.name, read(wish)) for wish in task.tool_calls)],
        "stop_reason": stop_reason(task),
        "usage": usage_of(task),
        "devskyy": receipt_of(task),
    }


def begun(task: Task, model: str) -> dict[str, Any]:
    """A message of which nothing is there. Its tokens count up from 0."""
    return {
        "id": f"msg_{task.task_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def stop_reason(task: Task) -> str:
    """Anthropic's messages always have one; a provider's own word that it has none for is the end of a turn."""
    return "tool_use" if task.tool_calls else STOPPED.get(task.finish_reason or "stop", "end_turn")


def usage_of(task: Task) -> dict[str, int | None]:
    """As the receipt has it; null where that does not know."""
    receipt = task.receipt
    return {
        "input_tokens": receipt.prompt_tokens if receipt else None,
        "output_tokens": receipt.completion_tokens if receipt else None,
    }


def tool_use(id_: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": arguments}


def read(wish: ToolCall) -> dict[str, Any]:
    """A wish's arguments.

    Raises:
        UnreadableWish: they are no JSON object.
    """
    try:
        arguments = json.loads(wish.arguments or "{}")
    except (ValueError, RecursionError):
        raise UnreadableWish(wish.name) from None
    if not isinstance(arguments, dict):
        raise UnreadableWish(wish.name)
    return arguments


def headers(task: Task) -> dict[str, str]:
    return {**headers_of(task), "request-id": f"req_{task.task_id}"}

"""A task as OpenAI's response object."""

from datetime import datetime
from typing import Any

from schemas.completion import ToolCall
from schemas.task import Status, Task, TaskRequest
from serve.openai.models import AGENT, AUTO, SERVICE, TIER
from serve.openai.reply import receipt_of, tokens_of
from serve.openai.wished import Wish

PREFIX = "resp_"
STATUS: dict[Status, str] = {
    "accepted": "queued",
    "running": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


def response_of(task: Task, request: TaskRequest | None) -> dict[str, Any]:
    """
    Args:
        request: what was asked; None where that is kept no more, and what it said is then null.
    """
    cut = task.status == "completed" and task.finish_reason == "length"
    error = None if task.error is None else {"code": task.error.code, "message": task.error.detail}
    asked = _asked(request) if request is not None else dict.fromkeys(_asked(TaskRequest(prompt="-")))
    return {
        "id": PREFIX + task.task_id,
        "object": "response",
        "created_at": _seconds(task.created_at),
        "completed_at": _seconds(task.finished_at) if task.status == "completed" else None,
        "status": "incomplete" if cut else STATUS[task.status],
        "error": error,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        **asked,
        "output": output_of(task),
        "store": True,
        "truncation": "disabled",
        "usage": usage_of(task),
        "metadata": task.metadata,
        "devskyy": receipt_of(task),
    }


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _asked(request: TaskRequest) -> dict[str, Any]:
    """What a response says again of its request."""
    door = request.door
    instructions = request.history[0].content if door is not None and door.instructed else None
    previous = None if door is None or door.previous is None else PREFIX + door.previous
    form = {"type": "text"} if request.json_schema is None else {"type": "json_schema", "schema": request.json_schema}
    choice = request.tool_choice
    if isinstance(choice, dict):
        choice = {"type": "function", "name": choice["function"]["name"]}
    return {
        "model": model_of(request),
        "instructions": instructions,
        "previous_response_id": previous,
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": None if request.sampling is None else request.sampling.top_p,
        "text": {"format": form},
        "tools": [{"type": "function", **tool["function"]} for tool in request.tools],
        "tool_choice": choice or "auto",
        "parallel_tool_calls": request.parallel_tool_calls is not False,
    }


def model_of(request: TaskRequest) -> str:
    """The model, as its caller named it, or as this door would."""
    if request.door is not None:
        return request.door.model
    if request.service is not None:
        return SERVICE + request.service
    if request.agent is not None:
        return AGENT + request.agent
    return AUTO if request.tier is None else TIER + request.tier


def message_of(task_id: str, text: str | None, status: str) -> dict[str, Any]:
    """The item of an answer; without a text yet, it has no part."""
    content = [] if text is None else [part_of(text)]
    return {"id": f"msg_{task_id}", "type": "message", "role": "assistant", "status": status, "content": content}


def part_of(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_of(task_id: str, number: int, wish: ToolCall | Wish, *, begun: bool = False) -> dict[str, Any]:
    """The item of a wish for a function; `begun`: before its arguments are there."""
    return {
        "id": f"fc_{task_id}_{number}",
        "type": "function_call",
        "call_id": wish.id,
        "name": wish.name,
        "arguments": "" if begun else wish.arguments,
        "status": "in_progress" if begun else "completed",
    }


def output_of(task: Task) -> list[dict[str, Any]]:
    if task.status != "completed":
        return []
    status = "incomplete" if task.finish_reason == "length" else "completed"
    said = [] if task.answer is None else [message_of(task.task_id, task.answer, status)]
    return said + [call_of(task.task_id, number, wish) for number, wish in enumerate(task.tool_calls)]


def usage_of(task: Task) -> dict[str, Any] | None:
    """As the receipt has it. How much of it was cached or thought by a provider, it does not say."""
    tokens = tokens_of(task)
    if tokens is None:
        return None
    return {
        "input_tokens": tokens[0],
        "input_tokens_details": {"cached_tokens": None},
        "output_tokens": tokens[1],
        "output_tokens_details": {"reasoning_tokens": None},
        "total_tokens": sum(tokens),
    }

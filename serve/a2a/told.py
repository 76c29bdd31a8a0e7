"""A task as A2A's clients know it, and what happens to it."""

from typing import Any

from schemas.message import now
from schemas.task import Status, Task
from serve.a2a.asked import MARK
from serve.openai.reply import receipt_of

STATES: dict[Status, str] = {
    "accepted": "submitted",
    "running": "working",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "canceled",
}
ARTIFACT = "answer"


def task_of(task: Task, history_length: int | None = None) -> dict[str, Any]:
    """A2A's `Task`. One that came through another door is its own context.

    Args:
        history_length: messages of its history that are wanted; left out or 0: all.
    """
    asked = {
        "kind": "message",
        "role": "user",
        "messageId": str(_mark(task).get("messageId", task.task_id)),
        "parts": [{"kind": "text", "text": task.prompt}],
        **_of(task),
    }
    history = [asked][-history_length:] if history_length else [asked]
    artifacts = [] if task.answer is None or task.status != "completed" else [artifact(task.answer)]
    return {
        "kind": "task",
        "id": task.task_id,
        "contextId": context_of(task),
        "status": status_of(task),
        "history": history,
        "artifacts": artifacts,
        "metadata": {"devskyy": receipt_of(task)},
    }


def context_of(task: Task) -> str:
    return str(_mark(task).get("contextId", task.task_id))


def _mark(task: Task) -> dict[str, Any]:
    mark = task.metadata.get(MARK)
    return mark if isinstance(mark, dict) else {}


def _of(task: Task) -> dict[str, str]:
    return {"taskId": task.task_id, "contextId": context_of(task)}


def artifact(text: str) -> dict[str, Any]:
    return {"artifactId": ARTIFACT, "name": ARTIFACT, "parts": [{"kind": "text", "text": text}]}


def status_of(task: Task, said: str | None = None) -> dict[str, Any]:
    """How a task stands; why, where it failed.

    Args:
        said: a line about what goes on.
    """
    at = task.finished_at or now()
    status: dict[str, Any] = {"state": STATES[task.status], "timestamp": at.isoformat().replace("+00:00", "Z")}
    text = said or (task.error.detail if task.error is not None else None)
    if text:
        name = f"{task.task_id}-{STATES[task.status]}" if said is None else f"{task.task_id}-{at.timestamp():.6f}"
        parts = [{"kind": "text", "text": text}]
        message: dict[str, Any] = {"kind": "message", "role": "agent", "messageId": name, "parts": parts}
        if said is None and task.error is not None:
            message["metadata"] = {"problem": task.error.model_dump(mode="json", exclude_none=True)}
        status["message"] = {**message, **_of(task)}
    return status


def status_update(task: Task, said: str | None = None) -> dict[str, Any]:
    metadata = {"metadata": {"devskyy": receipt_of(task)}} if task.ended else {}
    return {"kind": "status-update", **_of(task), "status": status_of(task, said), "final": task.ended, **metadata}


def artifact_update(task: Task, text: str, *, append: bool, last: bool) -> dict[str, Any]:
    """
    Args:
        append: whether the text goes on from what was told; else it takes its place.
    """
    return {
        "kind": "artifact-update",
        **_of(task),
        "artifact": artifact(text),
        "append": append,
        "lastChunk": last,
    }

"""A task as its events tell it: a pure function, the same for every door, for SQL and for recovery."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.event import Accepted, Claimed, Ended, TaskEvent
from schemas.task import Task


def project(events: Sequence[TaskEvent]) -> Task:
    """The task after these events, oldest first.

    The event that ended it carries the whole task, so it suffices when earlier ones are gone.

    Raises:
        ValueError: there are none, or the first is not `accepted` and the task has not ended.
    """
    for event in events:
        if isinstance(event, Ended):
            return event.task
    if not events or not isinstance(events[0], Accepted):
        raise ValueError("a task's first event is 'accepted'")
    first = events[0]
    task = Task(
        task_id=first.task_id,
        status="accepted",
        prompt=first.request.prompt,
        created_at=first.at,
        deadline_at=first.deadline_at,
        metadata=first.request.metadata,
        key=first.key,
    )
    for event in events[1:]:
        if isinstance(event, Claimed):
            task = task.model_copy(
                update={
                    "status": "running",
                    "tier": event.tier,
                    "shape": event.shape,
                    "started_at": task.started_at or event.at,
                    "reasons": event.reasons,
                    "profile": profile_of(event.features) or task.profile,
                }
            )
    return task


def profile_of(features: Mapping[str, Any]) -> str | None:
    """The kind of work that a claim took its task for, where it says so: itself, or as services were chosen by it."""
    chosen = features.get("selection")
    for said in (features.get("profile"), chosen.get("profile") if isinstance(chosen, Mapping) else None):
        if isinstance(said, str) and said:
            return said
    return None

"""A task as its events tell it: a pure function, the same for every door, for SQL and for recovery."""

from collections.abc import Sequence

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
                }
            )
    return task

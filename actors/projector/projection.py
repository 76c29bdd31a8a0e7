"""Events into rows: one per task, and one per call of a task that has ended."""

from collections.abc import Awaitable, Callable

from schemas.event import Accepted, Claimed, TaskEvent
from schemas.projection import project
from storage.tasks import TaskRepository

ReadHistory = Callable[[str, str], Awaitable[list[TaskEvent]]]
"""A task's events so far, oldest first, by tenant and task id."""


class TaskProjection:
    """Repeated and out of order, the same events make the same rows."""

    def __init__(self, tasks: TaskRepository, read: ReadHistory) -> None:
        self._tasks, self._read = tasks, read

    async def apply(self, event: TaskEvent) -> None:
        """Bring the task's row up to this event. A terminal one enters the task's calls in the ledger with it.

        Raises:
            Unavailable: the database or the history cannot be read at the moment; bring the event again.
        """
        match event:
            case Accepted():
                await self._tasks.upsert(event.tenant, project([event]), event.seq)
            case Claimed():
                if not await self._tasks.claim(
                    event.tenant, event.task_id, event.seq, tier=event.tier, shape=event.shape, at=event.at
                ):
                    history = await self._read(event.tenant, event.task_id)
                    await self._tasks.upsert(event.tenant, project(history), history[-1].seq)
            case _:
                await self._tasks.upsert(event.tenant, event.task, event.seq)

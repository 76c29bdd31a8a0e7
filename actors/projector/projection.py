"""Events into rows: one per task, and of a task that has ended one per call and per answer that was measured."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from actors.projector import measured
from schemas.errors import NotFound
from schemas.event import Accepted, Answered, Claimed, Decided, Dispatched, Ended, TaskEvent
from schemas.projection import project
from storage.qualities import Measured
from storage.tasks import Claim, TaskRepository

ReadHistory = Callable[[str, str], Awaitable[list[TaskEvent]]]
"""A task's events so far, oldest first, by tenant and task id."""


class TaskProjection:
    """Repeated and out of order, the same events make the same rows."""

    def __init__(self, tasks: TaskRepository, read: ReadHistory) -> None:
        self._tasks, self._read = tasks, read

    async def apply(self, event: TaskEvent) -> None:
        """Bring the task's row up to this event. With a terminal one, the task's calls enter the ledger, and what was
        measured of its answers the history of quality.

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
            case Dispatched() | Answered() | Decided():
                pass  # a team's talk is read from its events; the row of a task that goes on says nothing of it
            case _:
                await self._tasks.upsert(event.tenant, event.task, event.seq, await self._measured(event))

    async def apply_all(self, events: Iterable[TaskEvent]) -> None:
        """Bring the rows of all these events' tasks up to them, in one transaction as far as the events suffice.

        Raises:
            Unavailable: see `apply`; some rows may be up to date then.
        """
        by_task: dict[tuple[str, str], list[TaskEvent]] = defaultdict(list)
        for event in events:
            by_task[event.tenant, event.task_id].append(event)
        whole, partial, found = [], [], list[Measured]()
        for (tenant, _), theirs in by_task.items():
            theirs.sort(key=lambda event: event.seq)
            if isinstance(theirs[-1], Ended) or (isinstance(theirs[0], Accepted) and _without_gaps(theirs)):
                whole.append((tenant, project(theirs), theirs[-1].seq))
                if isinstance(theirs[-1], Ended):
                    found += await self._measured(theirs[-1])
            else:
                partial += theirs
        await self._tasks.upsert_all(whole, found)
        behind = await self._tasks.claim_all([_claim(event) for event in partial if isinstance(event, Claimed)])
        for event in partial:
            if not isinstance(event, Claimed) or _claim(event) in behind:
                await self.apply(event)

    async def _measured(self, ended: Ended) -> list[Measured]:
        """A team's answers are told by its events alone; what the stream has forgotten nobody knows any more."""
        if not measured.of_a_team(ended.task):
            return measured.of_one(ended)
        try:
            return measured.of_each(await self._read(ended.tenant, ended.task_id), ended)
        except NotFound:
            return []


def _claim(event: Claimed) -> Claim:
    return Claim(event.tenant, event.task_id, event.seq, event.tier, event.shape, event.at)


def _without_gaps(events: list[TaskEvent]) -> bool:
    return [event.seq for event in events] == list(range(1, len(events) + 1))

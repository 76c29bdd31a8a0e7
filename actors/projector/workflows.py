"""Events of workflows into rows: one per workflow, with the whole of it once it has ended."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from schemas.errors import NotFound, Unavailable
from schemas.workflow import ENDED, Workflow
from schemas.workflow_event import Created, Started, WorkflowEvent
from storage.workflows import News, Place, WorkflowRepository

AT_ONCE = 16
"""Workflows that have ended and are read at once."""

ReadCreated = Callable[[str, str], Awaitable[Created]]
"""A workflow's first event, by tenant and id."""
ReadWhole = Callable[[str, str], Awaitable[Workflow]]
"""A workflow as it stands, by tenant and id."""


class WorkflowProjection:
    """Repeated and out of order, the same events make the same rows."""

    def __init__(self, workflows: WorkflowRepository, created: ReadCreated, whole: ReadWhole) -> None:
        self._workflows, self._created, self._whole = workflows, created, whole

    async def apply(self, events: Iterable[WorkflowEvent]) -> None:
        """Bring rows up to these events. Of each workflow its first and last suffice, and that which started it.

        Raises:
            Unavailable: the database or the events cannot be read at the moment; bring them again.
        """
        events = list(events)
        last: dict[Place, WorkflowEvent] = {}
        for event in sorted(events, key=lambda each: each.seq):
            last[event.tenant, event.workflow_id] = event
        wholes = await self._wholes({place: event.seq for place, event in last.items() if event.event in ENDED})
        moved = [e for place, e in last.items() if not isinstance(e, Created) and place not in wholes]
        news = News(
            created=[event for event in events if isinstance(event, Created)],
            moved=moved,
            # Of one that has gone on since, the later events tell the rest.
            ended=[(tenant, whole) for (tenant, _), whole in wholes.items() if whole.ended],
            started=[((event.tenant, event.workflow_id), event.at) for event in events if isinstance(event, Started)],
        )
        missing = await self._workflows.take(news)
        if missing:
            firsts = await asyncio.gather(*(self._first(place) for place in missing))
            told = [first for first in firsts if first is not None]
            await self._workflows.take(News(told, moved, news.started))

    async def _first(self, place: Place) -> Created | None:
        """None: the workflow is not kept any more."""
        try:
            return await self._created(*place)
        except NotFound:
            return None

    async def _wholes(self, seqs: Mapping[Place, int]) -> dict[Place, Workflow]:
        """Workflows after these events or later ones, as far as they are kept still.

        Raises:
            Unavailable: whoever was asked knows less.
        """
        room = asyncio.Semaphore(AT_ONCE)

        async def read(place: Place, seq: int) -> Workflow | None:
            async with room:
                try:
                    whole = await self._whole(*place)
                except NotFound:
                    return None
            if whole.seq < seq:
                raise Unavailable(f"workflow {place[1]} was read up to its event {whole.seq}, and it has {seq}")
            return whole

        found = await asyncio.gather(*(read(place, seq) for place, seq in seqs.items()))
        return {place: whole for place, whole in zip(seqs, found, strict=True) if whole is not None}

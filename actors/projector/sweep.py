"""Removes the events of workflows that ended long ago, of which SQL keeps how they ended; and, where it is to keep that
for so long only, rows of tasks and workflows."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from schemas.errors import Unavailable
from schemas.message import now
from schemas.settings import DAY_S, Settings
from storage.erasure import Erasure
from storage.workflows import WorkflowRepository

EVERY_S = 3600.0
BATCH = 200

Forget = Callable[[str, str], Awaitable[None]]
"""Removes what streams keep of a workflow, by tenant and id."""

log = structlog.get_logger()


class Sweep:
    """Repeated, it does no harm: nothing can go on with a workflow that is so old, and nothing is left in streams of a
    task whose row goes."""

    def __init__(self, workflows: WorkflowRepository, erasure: Erasure, forget: Forget, settings: Settings) -> None:
        self._workflows, self._erasure, self._forget = workflows, erasure, forget
        self._keep, self._keep_rows = timedelta(seconds=settings.keep_s), settings.keep_rows_days

    async def run(self) -> None:
        """Every hour, for good."""
        while True:
            try:
                while await self.events() == BATCH:
                    pass
                while any(count >= BATCH for count in (await self.rows()).values()):
                    pass
            except Unavailable as error:
                log.info("what is old is swept later", error=str(error))
            await asyncio.sleep(EVERY_S)

    async def events(self) -> int:
        """Remove the events of one batch of workflows, and return how many these were.

        Raises:
            Unavailable: the database or the streams cannot be used; some may be swept.
        """
        places = await self._workflows.outlived(now() - self._keep, BATCH)
        for place in places:
            await self._forget(*place)
        await self._workflows.lose_events(places)
        return len(places)

    async def rows(self) -> Counter[str]:
        """Erase one batch of rows, as a deletion does, and return how many went, by table.

        Raises:
            Unavailable: the database cannot be used; nothing was erased.
        """
        if self._keep_rows is None:
            return Counter()
        # A day later than the streams forget them, so that no event of theirs comes after.
        return await self._erasure.outlived(now() - timedelta(seconds=(self._keep_rows + 1) * DAY_S), BATCH)

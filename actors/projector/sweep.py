"""Removes the events of workflows that ended long ago; SQL keeps how they ended."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from schemas.errors import Unavailable
from schemas.message import now
from schemas.workflow import KEEP_ENDED_S
from storage.workflows import WorkflowRepository

EVERY_S = 3600.0
BATCH = 200

Forget = Callable[[str, str], Awaitable[None]]
"""Removes what streams keep of a workflow, by tenant and id."""

log = structlog.get_logger()


class Sweep:
    """Repeated, it does no harm: nothing can go on with a workflow that is so old."""

    def __init__(self, workflows: WorkflowRepository, forget: Forget) -> None:
        self._workflows, self._forget = workflows, forget

    async def run(self) -> None:
        """Every hour, for good."""
        while True:
            try:
                while await self.once() == BATCH:
                    pass
            except Unavailable as error:
                log.info("old workflows are swept later", error=str(error))
            await asyncio.sleep(EVERY_S)

    async def once(self) -> int:
        """Sweep one batch, and return how many these were.

        Raises:
            Unavailable: the database or the streams cannot be used; some may be swept.
        """
        places = await self._workflows.outlived(now() - timedelta(seconds=KEEP_ENDED_S), BATCH)
        for place in places:
            await self._forget(*place)
        await self._workflows.lose_events(places)
        return len(places)

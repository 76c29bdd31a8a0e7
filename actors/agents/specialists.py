"""The host of specialists: one actor behind the subjects of them all."""

import dataclasses
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from actors.agents.actor import endpoint_for
from actors.base import Actor
from actors.catalogue import load
from bus.client import Endpoint


class SpecialistsActor(Actor):
    """Every specialist of the catalogue; several hosts share their work, and any of them does for any seat."""

    kind = "specialists"

    async def begin(self) -> list[Endpoint]:
        catalogue = load(self.settings.config)
        self._asked_at = time.monotonic()
        endpoints = [endpoint_for(name, name, catalogue, self.bus) for name in catalogue.specialists]
        return [dataclasses.replace(each, handler=self._noting(each.handler)) for each in endpoints]

    def _noting(self, handler: Callable[[Any], Awaitable[BaseModel]]) -> Callable[[Any], Awaitable[BaseModel]]:
        async def handle(ask: Any) -> BaseModel:
            try:
                return await handler(ask)
            finally:
                self._asked_at = time.monotonic()

        return handle

    async def idle_s(self) -> float:
        """Seconds for which nobody has asked anything. Called by the fleet, through Ray."""
        await self._ready.wait()
        return 0.0 if self.bus.in_flight else time.monotonic() - self._asked_at

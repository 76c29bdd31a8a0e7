"""The host of specialists: one actor behind the subjects of them all."""

import dataclasses
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel

from actors.agents.actor import endpoint_for
from actors.base import Actor
from actors.catalogue import Catalogue, load, unavailable_because
from actors.catalogue.availability import EMBEDDED
from actors.catalogue.endpoints import provider_of
from bus.desk import Endpoint
from schemas.agent import AgentSpec

EMBEDDED_TOKENS = 120
"""Of a finding where the embedded model alone can serve. It writes some 150 a second for everybody, does not reason
before it answers, and goes on to the end of what it may: 24 specialists took over two minutes at 400."""


class SpecialistsActor(Actor):
    """Every specialist of the catalogue; several hosts share their work, and any of them does for any seat."""

    kind = "specialists"
    jetstream = False

    async def begin(self) -> list[Endpoint]:
        catalogue = brief(load(self.settings.config), os.environ)
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


def brief(catalogue: Catalogue, environ: Mapping[str, str]) -> Catalogue:
    """The catalogue with less room for what specialists write, where the embedded model alone can serve them."""

    def shorter(name: str, spec: AgentSpec) -> AgentSpec:
        able = (
            catalogue.services[service]
            for service in catalogue.order_for(name)
            if unavailable_because(service, catalogue.services[service], environ, catalogue.services) is None
        )
        if any(provider_of(service) != EMBEDDED for service in able):
            return spec
        return spec.model_copy(update={"max_tokens": min(spec.max_tokens, EMBEDDED_TOKENS)})

    return dataclasses.replace(
        catalogue,
        agents=catalogue.agents | {name: shorter(name, spec) for name, spec in catalogue.specialists.items()},
    )

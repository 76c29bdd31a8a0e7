"""Who is there and what can serve, as service discovery and the catalogue tell it."""

import contextlib
import os
import time
from typing import Any

from nats.aio.msg import Msg

from actors.agents.actor import PREFIX
from actors.catalogue import Catalogue, context_of, price_of, supports_images, unavailable_because
from actors.catalogue.availability import EMBEDDED
from actors.catalogue.endpoints import provider_of
from actors.fleet import roster
from actors.selection import LatestFigures
from bus.client import Bus
from bus.codec import decode
from bus.subjects import GatewayFigures
from schemas.agent import AgentStatus
from schemas.errors import BusUnavailable, DecodeError
from schemas.figures import Figures, ServiceFigures
from schemas.health import Check, Health
from schemas.service import ServiceStatus
from schemas.settings import Settings

FRESH_S = 0.5
"""Discovery asks every actor; answers this young serve the next caller too."""


class Directory:
    """Looks at the fleet over the bus."""

    def __init__(self, bus: Bus, settings: Settings, catalogue: Catalogue) -> None:
        self._bus, self._catalogue = bus, catalogue
        self.expected = {post.name for post in roster(settings, catalogue)}
        self._embedded = {
            name: "its actor does not answer"
            for name, spec in catalogue.services.items()
            if provider_of(spec) == EMBEDDED and spec.kind in ("chat", "embeddings")
        }
        self.figures = LatestFigures()
        """How the services are doing, as the gateways say every second."""
        self._seen: tuple[float, dict[str, dict[str, Any]]] = (float("-inf"), {})

    async def listen(self) -> None:
        """Hear from now on what the gateways say."""

        async def on_figures(msg: Msg) -> None:
            with contextlib.suppress(DecodeError):
                self.figures.heard(decode(msg.data, Figures))

        await self._bus.client.subscribe(GatewayFigures.pattern(), cb=on_figures)

    async def actors(self) -> dict[str, dict[str, Any]]:
        """Statistics of every actor that answers, by name; empty while the bus is away."""
        at, found = self._seen
        if time.monotonic() - at > FRESH_S:
            try:
                found = await self._bus.discover(self.expected)
            except BusUnavailable:
                found = {}
            self._seen = (time.monotonic(), found)
        return found

    async def health(self) -> Health:
        found = await self.actors()
        bus = Check(name="nats", ok=self._bus.healthy, detail=None if self._bus.healthy else "not connected")
        actors = tuple(
            Check(name=name, ok=name in found, detail=None if name in found else "does not answer; Ray restarts it")
            for name in sorted(self.expected)
        )
        checks = (bus, *actors)
        return Health(status="ready" if all(c.ok for c in checks) else "not_ready", checks=checks)

    async def services(self) -> tuple[ServiceStatus, ...]:
        models_up = "models" in await self.actors()
        figures = self.figures.now()
        return tuple(self._service(name, models_up, figures.get(name)) for name in self._catalogue.services)

    def _service(self, name: str, models_up: bool, figures: ServiceFigures | None) -> ServiceStatus:
        spec = self._catalogue.services[name]
        reason = self._unavailable(name, models_up)
        price, unknown = price_of(name, spec)
        return ServiceStatus(
            name=name,
            kind=spec.kind,
            model=spec.model,
            state="unavailable" if reason else "available",
            reason=reason,
            region=spec.region,
            capabilities=spec.capabilities,
            context_tokens=context_of(spec),
            images=supports_images(spec),
            price=price,
            price_unknown_reason=unknown,
            limits=spec.limits,
            depends_on=spec.depends_on,
            breaker=figures.breaker if figures else None,
            figures=figures,
        )

    def _unavailable(self, name: str, models_up: bool) -> str | None:
        services = self._catalogue.services
        down = {} if models_up else self._embedded
        return unavailable_because(name, services[name], os.environ, services, down)

    async def agents(self) -> tuple[AgentStatus, ...]:
        found = await self.actors()
        return tuple(self._agent(name, found) for name in self._catalogue.agents)

    def _agent(self, name: str, found: dict[str, dict[str, Any]]) -> AgentStatus:
        spec = self._catalogue.agents[name]
        order = self._catalogue.order_for(name)
        serves = next((s for s in order if self._unavailable(s, "models" in found) is None), None)
        stats = found.get(PREFIX + name)
        load = _load(stats)
        reason = None
        if stats is None:
            reason = "does not answer; Ray restarts it"
        elif serves is None:
            reason = "none of its services is available"
        return AgentStatus(
            name=name,
            role=spec.role,
            state="down" if stats is None else "up" if serves else "degraded",
            reason=reason,
            services=order,
            serves_now=serves,
            capabilities=spec.capabilities,
            requests=load.get("answered"),
            errors=load.get("errors"),
            in_flight=load.get("in_flight"),
        )


def _load(stats: dict[str, Any] | None) -> dict[str, int]:
    for endpoint in (stats or {}).get("endpoints") or []:
        if endpoint["name"] == "ask":
            return dict(endpoint.get("data") or {})
    return {}

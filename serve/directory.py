"""Who is there and what can serve, as service discovery and the catalogue tell it."""

import contextlib
import os
import time
from collections import Counter
from typing import Any

from nats.aio.msg import Msg

from actors.agents.actor import PREFIX
from actors.agents.hosting import PREFIX as HOST
from actors.agents.hosting import name_of
from actors.catalogue import Catalogue, context_of, price_of, supports_images, unavailable_because
from actors.catalogue.availability import EMBEDDED
from actors.catalogue.endpoints import provider_of
from actors.fleet import roster
from actors.selection import LatestFigures
from bus.client import Bus
from bus.codec import decode
from bus.subjects import FleetScale, GatewayFigures
from schemas.agent import AgentStatus, State
from schemas.errors import BusUnavailable, DecodeError, DevSkyyError
from schemas.figures import Figures, ServiceFigures
from schemas.fleet import Scale, Scaled
from schemas.health import Check, Health
from schemas.service import ServiceStatus
from schemas.settings import Settings

FRESH_S = 0.5
"""Discovery asks every actor; answers this young serve the next caller too."""
FLEET_S = 1.0
"""For as long the fleet may take to say how many hosts of specialists there are."""

Found = dict[str, dict[str, Any]]
"""Statistics of actors by name."""


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
        self._seen: tuple[float, Found] = (float("-inf"), {})
        self._counted: tuple[float, Found, int | None] = (float("-inf"), {}, None)

    async def listen(self) -> None:
        """Hear from now on what the gateways say."""

        async def on_figures(msg: Msg) -> None:
            with contextlib.suppress(DecodeError):
                self.figures.heard(decode(msg.data, Figures))

        await self._bus.client.subscribe(GatewayFigures.pattern(), cb=on_figures)

    async def actors(self) -> Found:
        """Statistics of every actor that is to be there, as far as it answers; empty while the bus is away."""
        at, found = self._seen
        if time.monotonic() - at > FRESH_S:
            found = await self._look(self.expected)
        return found

    async def everybody(self) -> tuple[Found, int | None]:
        """As `actors`, with the hosts of specialists, and how many of those there are; None: nobody can say."""
        at, found, hosts = self._counted
        if time.monotonic() - at <= FRESH_S:
            return found, hosts
        try:
            hosts = (await self._bus.request(FleetScale(), Scale(seats=0), Scaled, timeout_s=FLEET_S)).actors
        except DevSkyyError:
            hosts = None
        found = await self._look(self.expected.union(map(name_of, range(hosts or 0))))
        self._counted = (time.monotonic(), found, hosts)
        return found, hosts

    async def _look(self, expected: set[str]) -> Found:
        try:
            found = await self._bus.discover(expected)
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
        found, hosts = await self.everybody()
        return tuple(self._agent(name, found, hosts) for name in self._catalogue.agents)

    def _agent(self, name: str, found: Found, hosts: int | None) -> AgentStatus:
        spec = self._catalogue.agents[name]
        order = self._catalogue.order_for(name)
        serves = next((s for s in order if self._unavailable(s, "models" in found) is None), None)
        state: State
        if spec.kind == "specialist":
            there = [stats for actor, stats in found.items() if actor.startswith(HOST)]
            endpoint, (state, reason) = name, ("up", None) if there else _no_host(hosts)
        else:
            there = [found[PREFIX + name]] if PREFIX + name in found else []
            endpoint, (state, reason) = "ask", ("up", None) if there else ("down", "does not answer; Ray restarts it")
        if state in ("up", "standby") and serves is None:
            state, reason = "degraded", "none of its services is available"
        load = _load(there, endpoint)
        return AgentStatus(
            name=name,
            role=spec.role,
            kind=spec.kind,
            state=state,
            reason=reason,
            services=order,
            serves_now=serves,
            capabilities=spec.capabilities,
            requests=load.get("answered"),
            errors=load.get("errors"),
            in_flight=load.get("in_flight"),
        )


def _no_host(hosts: int | None) -> tuple[State, str]:
    """Why no host of specialists answers, of so many that there are."""
    if hosts is None:
        return "down", "the fleet, which starts it, does not answer; the supervisor restarts that"
    return ("down", "its host does not answer; Ray restarts it") if hosts else ("standby", "starts when it is needed")


def _load(actors: list[dict[str, Any]], endpoint: str) -> Counter[str]:
    """What an endpoint does and has done, over all actors that answer it; empty where none does."""
    load: Counter[str] = Counter()
    for stats in actors:
        for each in stats.get("endpoints") or []:
            if each["name"] == endpoint:
                load.update(each.get("data") or {})
    return load

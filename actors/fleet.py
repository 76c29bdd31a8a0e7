"""The fleet: which actors there are, started and named and placed from data, and kept alive by Ray."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import structlog

from actors.agents.actor import PREFIX
from actors.catalogue import Catalogue
from bus import permissions
from bus.logins import Logins
from schemas.settings import Settings

NAMESPACE = "devskyy"

log = structlog.get_logger()


@dataclass(frozen=True)
class Post:
    """One actor of the fleet: its name, where its class lives, and what it needs of a node."""

    name: str
    kind: str
    """Names the module `actors.<room>.actor` and the class in it."""
    resources: dict[str, float] = field(default_factory=dict)
    """Custom Ray resources that place it, for example on a GPU node."""
    inside: str | None = None
    """The process that it shares with others; None: one of its own, of its name."""


CORE = "coordinator-0+gateway-0"
"""A process of which both are a part."""

_CLASSES = {
    CORE: ("actors.core.actor", "CoordinatorActorWithGateway"),
    "models": ("actors.models.actor", "ModelsActor"),
    "gateway": ("actors.gateway.actor", "GatewayActor"),
    "agent": ("actors.agents.actor", "AgentActor"),
    "specialists": ("actors.agents.specialists", "SpecialistsActor"),
    "coordinator": ("actors.coordinator.actor", "CoordinatorActor"),
    "engine": ("actors.workflow.actor", "EngineActor"),
    "intake": ("actors.intake.actor", "IntakeActor"),
    "projector": ("actors.projector.actor", "ProjectorActor"),
}


def roster(settings: Settings, catalogue: Catalogue) -> tuple[Post, ...]:
    """Every actor that a platform of these settings has from its start, slowest to start first.

    Hosts of specialists come and go: see `actors.agents.hosting`.
    """
    core = CORE if settings.coordinators == settings.gateways == 1 else None
    return (
        Post("models", "models"),
        Post("projector", "projector"),
        *(Post(f"gateway-{i}", "gateway", inside=core) for i in range(settings.gateways)),
        *(Post(f"coordinator-{i}", "coordinator", inside=core) for i in range(settings.coordinators)),
        *(Post(PREFIX + name, "agent") for name in catalogue.carriers),
        *(Post(f"engine-{i}", "engine") for i in range(settings.engines)),
        Post("intake", "intake"),
    )


class Fleet:
    """Starts the roster on a Ray that this process is connected to, and finds again what already lives there."""

    def __init__(self, settings: Settings, catalogue: Catalogue, logins: Logins) -> None:
        self._settings, self._logins, self._posts = settings, logins, roster(settings, catalogue)
        self._handles: dict[str, Any] = {}

    def start(self, kind: str | None = None) -> None:
        """Create every actor (of one kind) that is not there yet, each in its process."""
        for post in self._posts:
            process = post.inside or post.name
            if process in self._handles or kind not in (None, post.kind):
                continue
            if not self._logins.know(*users_of(post)):
                log.warning(
                    "it was added since the platform was started, and is there from its next start", actor=process
                )
                continue
            self._handles[process] = create(post, self._settings, self._logins)

    async def ready(self, timeout_s: float) -> list[str]:
        """Wait for every actor to answer; the names of the processes that did not in time."""
        waiting = {name: asyncio.ensure_future(_ready(handle)) for name, handle in self._handles.items()}
        await asyncio.wait(waiting.values(), timeout=timeout_s)
        late = [name for name, task in waiting.items() if not task.done() or task.exception() is not None]
        for task in waiting.values():
            task.cancel()
        return late

    async def drain(self, grace_s: float) -> None:
        """Let every actor finish what is under way, then end it."""
        await asyncio.gather(*(drained(handle, grace_s) for handle in self._handles.values()))


def users_of(post: Post) -> tuple[str, ...]:
    """The broker's users that the parts of its process connect as."""
    if post.inside == CORE:
        return permissions.COORDINATOR, permissions.GATEWAY
    return (post.name if post.kind == "agent" else post.kind,)


def create(post: Post, settings: Settings, logins: Logins) -> Any:
    """The actor's handle. One of that name that lives is left as it is, so that this may be done again.

    It is told its own credentials, and nobody else's.
    """
    import importlib

    import ray

    module, name = _CLASSES[post.inside or post.kind]
    actor_class = getattr(importlib.import_module(module), name)
    return (
        ray.remote(actor_class)
        .options(
            name=post.inside or post.name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            # A model call waits, it does not compute: actors share the CPUs that there are.
            num_cpus=0,
            resources=post.resources,
            max_restarts=-1,
            max_concurrency=64,
        )
        .remote(post.inside or post.name, *(logins.settings_of(user, settings).dump() for user in users_of(post)))
    )


async def drained(handle: Any, grace_s: float) -> None:
    """Let an actor finish what is under way, then end it for good."""
    import ray

    await asyncio.wait([asyncio.ensure_future(_drain(handle, grace_s))], timeout=grace_s + 2)
    ray.kill(handle, no_restart=True)


async def _ready(handle: Any) -> None:
    await handle.ready.remote()


async def _drain(handle: Any, grace_s: float) -> None:
    await handle.drain.remote(grace_s)

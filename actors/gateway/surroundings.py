"""What a gateway works with; each can be another one in a test."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from actors.catalogue import Catalogue
from actors.gateway.providers import Provider
from actors.gateway.purse import Purse
from actors.gateway.service import Told
from actors.gateway.steadiness import Steadiness
from bus.cache import Cached
from bus.journal import JournalStore
from schemas.completion import Complete, Completion
from schemas.service import ServiceSpec


class Cache(Protocol):
    async def get(self, tenant: str, service: str, model: str, question: str, max_age_s: float) -> Cached | None: ...

    async def put(
        self, tenant: str, service: str, model: str, question: str, cached: Cached, keep_s: float
    ) -> None: ...


class Recordings(Protocol):
    async def answer(self, ask: Complete, question: str | None = None) -> Completion: ...


class Vectors(Protocol):
    async def put(self, packed: bytes) -> str | None: ...

    async def get(self, name: str) -> bytes | None: ...


@dataclass(frozen=True)
class Surroundings:
    """What a gateway works with."""

    catalogue: Catalogue
    environ: Mapping[str, str]
    journal: JournalStore
    provider_of: Callable[[ServiceSpec], Provider]
    works: Callable[[str, str], Awaitable[bool]]
    """Whether the gateway of that instance name lives and works on the call of that journal key."""
    purse: Purse
    steadiness: Steadiness
    cache: Cache
    recordings: Recordings
    vectors: Vectors
    told: Told = lambda *_: None
    """Told of streamed text, piece by piece."""
    keep: Callable[[asyncio.Task[None]], None] = lambda _: None
    """Sees to it that a task is finished before this process ends."""

"""Where requests are worked on: endpoints, what they have under way, and the word that somebody still works."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

HEARTBEAT_S = 1.5
"""How often whoever works on a request says so."""


@dataclass(frozen=True)
class Endpoint:
    """One subject that a service answers."""

    name: str
    subject: str
    request: type[BaseModel]
    handler: Callable[[Any], Awaitable[BaseModel]]
    concurrency: int = 256
    """Requests worked on at once; as many again may wait, the rest are refused as busy."""


@dataclass
class Load:
    """What an endpoint does now and has done; shown by `$SRV.STATS` under `data`."""

    in_flight: int = 0
    answered: int = 0
    errors: int = 0


@dataclass(frozen=True)
class Desk:
    """Where requests to one endpoint are worked on."""

    endpoint: Endpoint
    room: asyncio.Semaphore
    load: Load

    def answers(self, subject: str) -> bool:
        ours, theirs = self.endpoint.subject.split("."), subject.split(".")
        return len(ours) == len(theirs) and all(our in ("*", their) for our, their in zip(ours, theirs, strict=True))


@dataclass
class InFlight:
    """Requests being worked on here, by request id and by the work that they belong to."""

    tasks: dict[str, set[asyncio.Task[Any]]] = field(default_factory=dict)

    def add(self, keys: list[str], task: asyncio.Task[Any]) -> None:
        for key in keys:
            self.tasks.setdefault(key, set()).add(task)

    def remove(self, keys: list[str], task: asyncio.Task[Any]) -> None:
        for key in keys:
            group = self.tasks.get(key, set())
            group.discard(task)
            if not group:
                self.tasks.pop(key, None)

    def abort(self, key: str) -> int:
        group = list(self.tasks.get(key, ()))
        for task in group:
            task.cancel()
        return len(group)


class Beating:
    """Heartbeats once a request has taken a while. Most never do, so it begins with a timer, cheaper than a task."""

    __slots__ = ("_task", "_timer")

    def __init__(self, beat: Callable[[str], Coroutine[None, None, None]], reply: str) -> None:
        self._task: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HEARTBEAT_S, self._begin, loop, beat, reply) if reply else None

    def _begin(
        self, loop: asyncio.AbstractEventLoop, beat: Callable[[str], Coroutine[None, None, None]], reply: str
    ) -> None:
        self._task = loop.create_task(beat(reply))

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

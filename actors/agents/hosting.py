"""How many hosts of specialists there are: as many as seats need, started when they are needed, stopped when idle."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from schemas.errors import Unavailable
from schemas.fleet import Scale, Scaled

PREFIX = "specialists-"
"""A host's actor and micro service are called `specialists-<number>`."""

log = structlog.get_logger()


def name_of(number: int) -> str:
    """The host of that number, counted from 0."""
    return f"{PREFIX}{number}"


class Hosts(Protocol):
    """Where hosts live. Nothing is remembered here: whoever starts anew finds the hosts that are there."""

    async def alive(self) -> set[str]:
        """Names of the hosts that there are, those being started anew among them."""

    async def start(self, name: str) -> None:
        """Until this host answers; one that is there already is left as it is.

        Raises:
            DevSkyyError: it does not.
        """

    async def idle_s(self, name: str) -> float:
        """Seconds for which nobody has asked this host anything."""

    async def stop(self, name: str) -> None:
        """Let it finish, and end it for good."""


class Hosting:
    """Knows neither Ray nor NATS. Hosts are alike, so what counts is how many there are."""

    def __init__(
        self,
        hosts: Hosts,
        seats_per_host: int,
        most: int,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            most: hosts at most; beyond that each carries more seats.
            idle_s: after so long without a question all hosts are stopped; 0: never.
        """
        self._hosts, self._seats_per_host, self._most = hosts, seats_per_host, most
        self._idle_s, self._clock = idle_s, clock
        self._asked_at = clock()
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._stopping: asyncio.Task[None] | None = None

    def needed(self, seats: int) -> int:
        """Hosts for so many seats."""
        return min(-(-seats // self._seats_per_host), self._most)

    async def scale(self, ask: Scale) -> Scaled:
        """Return once the hosts that the seats need answer. Whoever asks meanwhile waits for the same start.

        Raises:
            Unavailable: none of them could be started.
        """
        if ask.seats:  # whoever only looks keeps no host from being idle
            self._asked_at = self._clock()
        if self._stopping is not None:
            await asyncio.wait([self._stopping])
        there = await self._hosts.alive()
        wanted = [name_of(number) for number in range(self.needed(ask.seats))]
        # Shielded: whoever gives up waiting does not end a start that others wait for.
        starts = (asyncio.shield(self._start(name)) for name in wanted)
        failed = {
            name: outcome
            for name, outcome in zip(wanted, await asyncio.gather(*starts, return_exceptions=True), strict=True)
            if isinstance(outcome, BaseException)
        }
        if failed and len(failed) == len(wanted):
            raise Unavailable(f"no host of specialists could be started: {next(iter(failed.values()))}")
        answering = (there | set(wanted)) - failed.keys()
        return Scaled(actors=len(answering), started=len(answering - there))

    def _start(self, name: str) -> asyncio.Task[None]:
        if (task := self._starting.get(name)) is None:
            task = self._starting[name] = asyncio.create_task(self._hosts.start(name), name=name)
            task.add_done_callback(self._started)
        return task

    def _started(self, task: asyncio.Task[None]) -> None:
        del self._starting[task.get_name()]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a host of specialists could not be started", host=task.get_name(), error=repr(error))

    async def close(self) -> None:
        """Start no more hosts."""
        if starting := list(self._starting.values()):
            for task in starting:
                task.cancel()
            await asyncio.wait(starting)

    async def watch(self) -> None:
        """Stop the hosts whenever all have been idle for long. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(max(1.0, self._idle_s / 10))
            try:
                await self.stop_idle()
            except Exception as error:
                log.warning("idle hosts are looked at again later", error=repr(error))

    async def stop_idle(self) -> None:
        """Stop all hosts if nobody asked for or of any of them for long; work is spread, so they are idle together."""
        names = await self._hosts.alive() if self._unasked() else set()
        if not names or min(await asyncio.gather(*map(self._hosts.idle_s, names))) < self._idle_s:
            return
        if self._unasked():  # still, after having looked
            log.info("stopping idle hosts of specialists", hosts=sorted(names))
            self._stopping = asyncio.create_task(self._stop(names))
            await asyncio.shield(self._stopping)

    def _unasked(self) -> bool:
        return self._idle_s > 0 and not self._starting and self._clock() - self._asked_at >= self._idle_s

    async def _stop(self, names: set[str]) -> None:
        try:
            await asyncio.gather(*map(self._hosts.stop, names))
        finally:
            self._stopping = None

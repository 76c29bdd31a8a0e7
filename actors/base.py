"""What every actor has: a name, a connection, a service that is found by name, health, logs, and a graceful end."""

import asyncio
import gc
import os
from typing import Any, ClassVar

import structlog

from bus import logs
from bus.client import Bus
from bus.desk import Endpoint
from bus.tls import Trust
from schemas.errors import DevSkyyError
from schemas.settings import Settings

log = structlog.get_logger()


YOUNG = 10_000
"""New objects between two looks at the youngest; after 700, as is usual, a workflow's step costs 7 % more."""


def keep_for_good() -> None:
    """Take what there is now for what stays until the process ends, and leave it out of garbage collection.

    Modules, models and the catalogue are 150,000 objects. Going through them takes 50 to 90 ms in which nothing else
    runs, and asking a thousand agents brings that about every other time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


class Actor:
    """The thin shell around a trade: subjects in, subjects out.

    A subclass says in `begin` which endpoints it answers and starts what it needs; the shell connects, registers the
    NATS micro service, and ends the process when the connection is gone for good, so that Ray starts it anew.
    Nobody has to call anything after construction: an actor that Ray restarted subscribes by itself.
    """

    kind: ClassVar[str] = "actor"
    jetstream: ClassVar[bool] = True
    """Whether its user may ask JetStream: see `bus.pieces`."""

    def __init__(self, name: str, settings: str) -> None:
        """`settings` is `Settings.dump()`, `nats_url` included. Must run inside an event loop, as Ray sees to."""
        self.name = name
        self.settings = Settings.load(settings)
        logs.configure(self.settings.home / "logs", name, self.settings.log_level)
        assert self.settings.nats_url is not None
        self.bus = Bus(self.settings.nats_url, name, jetstream=self.jetstream, trust=Trust.of(self.settings))
        self.background: set[asyncio.Task[Any]] = set()
        self._ready = asyncio.Event()
        self._life = asyncio.get_running_loop().create_task(self._live(), name=name)

    async def begin(self) -> list[Endpoint]:
        """Start what this actor needs, and say what it answers."""
        raise NotImplementedError

    async def end(self, grace_s: float) -> None:
        """Take no more work from streams, and wait for what is under way."""

    async def release(self) -> None:
        """Let go of what the endpoints needed; they have answered, or had their time."""

    def metadata(self) -> dict[str, str]:
        """Shown by service discovery beside the name."""
        return {}

    def spawn(self, work: Any) -> None:
        """Run a coroutine beside the endpoints; its failure ends the actor, which Ray then starts anew."""
        task = asyncio.get_running_loop().create_task(work)
        self.background.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[Any]) -> None:
        self.background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed; the actor starts anew", error=repr(error), exc_info=error)
            self._die()

    async def _live(self) -> None:
        try:
            await self.bus.connect(patience_s=3600)
            endpoints = await self.begin()
            metadata = {"kind": self.kind, "pid": str(os.getpid()), **self.metadata()}
            await self.bus.serve(
                self.name, endpoints, description=(self.__doc__ or "").split("\n")[0], metadata=metadata
            )
            keep_for_good()
            self._ready.set()
            log.info("ready")
            await self.bus.closed.wait()
        except asyncio.CancelledError:
            raise
        except (DevSkyyError, Exception):
            log.exception("the actor cannot go on and starts anew")
            await asyncio.sleep(1)
        self._die()

    def _die(self) -> None:
        # Ray restarts a process that ended; a raised exception would only fail one call.
        os._exit(1)

    # -- what the fleet calls through Ray: life and death, never work -------------------------------------------

    async def ready(self) -> int:
        """This process's id, once the actor answers."""
        await self._ready.wait()
        return os.getpid()

    async def drain(self, grace_s: float) -> None:
        """Take no more work, finish what is under way within `grace_s`, and disconnect."""
        self._life.cancel()
        await self.end(grace_s)
        await self.bus.close(grace_s)
        await self.release()

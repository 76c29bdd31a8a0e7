"""An actor that does what workflows ask of it, keeps count of its effects, and fails as its script says.

It stands in the test's process, on a connection of its own, and honours keys as an actor of the platform does.
"""

import asyncio
import threading
from collections import Counter, defaultdict
from concurrent.futures import Future
from typing import Any, Self

from bus.client import Bus
from bus.desk import Endpoint
from bus.subjects import ActorJob
from schemas.errors import InvalidRequest, Unavailable
from schemas.workflow import Done, Job

NAME = "counter"
Work = tuple[str, str, int | None]
"""A workflow, its task, the item."""


class Counting:
    """Answers `jobs.counter.do` and `jobs.counter.undo` until the block ends."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: Future[None] = Future()
        self._over = asyncio.Event()
        self.done: dict[str, Any] = {}
        """What was answered, by key."""
        self.effects: Counter[Work] = Counter()
        self.undone: Counter[Work] = Counter()
        self.tries: Counter[Work] = Counter()
        self.keys: dict[Work, set[str]] = defaultdict(set)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        bus = await Bus(self._url, NAME).connect()
        endpoints = [
            Endpoint(verb, str(ActorJob(NAME, verb)), Job, handler, concurrency=1000)
            for verb, handler in (("do", self._do), ("undo", self._undo))
        ]
        await bus.serve(NAME, endpoints, description="counts", metadata={})
        self._ready.set_result(None)
        await self._over.wait()
        await bus.close(grace_s=1)

    async def _do(self, job: Job) -> Done:
        work = (job.workflow_id, job.task, job.item)
        if job.key in self.done:
            return Done(output=self.done[job.key], once=True)
        self.tries[work] += 1
        self.keys[work].add(job.key)
        if job.inputs.get("refuses"):
            raise InvalidRequest("refuses", "is set")
        if self.tries[work] <= job.inputs.get("fails", 0):
            raise Unavailable("it fails a few times")
        self.effects[work] += 1
        self.done[job.key] = {"number": sum(self.effects.values())}
        if job.inputs.get("is_lost"):
            await self._over.wait()  # it is done, and nobody hears of it
        return Done(output=self.done[job.key], once=True)

    async def _undo(self, job: Job) -> Done:
        if job.key not in self.done:
            self.undone[job.workflow_id, job.task, job.item] += 1
            self.done[job.key] = None
        return Done(once=True)

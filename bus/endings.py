"""How tasks end, heard once for all who wait in this process: a subscription each would cost more than the task."""

import asyncio
import contextlib
from collections.abc import Iterator

from nats.aio.msg import Msg

from bus.client import Bus
from bus.subjects import TaskEvents
from schemas.event import TERMINAL


class Endings:
    """Tells each who waits of the event that ended its task.

    It hears what is published while the connection stands. What came before, or while it did not, is to be read.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[str, set[asyncio.Future[Msg]]] = {}
        self._listening: asyncio.Future[None] | None = None
        self._unheard = sorted(TERMINAL)

    async def listen(self) -> None:
        """Return once every ending from now on is heard.

        Raises:
            BusUnavailable: the server does not answer.
        """
        if self._listening is None:
            self._listening = asyncio.ensure_future(self._listen())
        try:
            await asyncio.shield(self._listening)
        except Exception:
            self._listening = None
            raise

    async def _listen(self) -> None:
        while self._unheard:
            await self._bus.client.subscribe(TaskEvents.pattern(event=self._unheard[-1]), cb=self._on_ending)
            self._unheard.pop()
        await self._bus.settle()

    @contextlib.contextmanager
    def expect(self, tenant: str, task_id: str) -> Iterator[asyncio.Future[Msg]]:
        """A future of the event that ends the task, should it come while this stands."""
        key = TaskEvents.of_task(tenant, task_id).removesuffix(".>")
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(future)
        try:
            yield future
        finally:
            future.cancel()
            group = self._waiting[key]
            group.discard(future)
            if not group:
                del self._waiting[key]

    async def _on_ending(self, msg: Msg) -> None:
        for future in self._waiting.get(msg.subject.rpartition(".")[0], ()):
            if not future.done():
                future.set_result(msg)

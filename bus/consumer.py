"""Work from a durable pull consumer: bounded concurrency, heartbeats, bounded deliveries, dead letters."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError

from bus.client import Bus
from bus.streams import Consumer
from schemas.errors import DecodeError, DevSkyyError, Fenced, Unavailable

FETCH_S = 2.0
"""How long one fetch waits; one that was under way when the broker was started anew is lost for as long."""

Handle = Callable[[Msg], Awaitable[None]]

log = structlog.get_logger()


class Puller:
    """Hands each message to `handle` in a task of its own and acknowledges it when that returns.

    - While it works, the server is told so; a message whose worker died comes again after the consumer's ack wait.
    - `Fenced` leaves the message alone: its newer owner has a delivery of its own.
    - Bytes that mean nothing go to the dead letters with the reason.
    - Any other failure brings the message again later; after `max_deliveries` it goes to `give_up`, and from there
      to the dead letters with an alert. With `outlasts_outages`, it is tried beyond that for as long as it fails
      because something is `Unavailable`.
    """

    def __init__(
        self,
        bus: Bus,
        consumer: Consumer,
        handle: Handle,
        *,
        concurrency: int,
        max_deliveries: int = 20,
        give_up: Handle | None = None,
        outlasts_outages: bool = False,
    ) -> None:
        self._bus, self._consumer, self._handle = bus, consumer, handle
        self._room = asyncio.Semaphore(concurrency)
        self._concurrency = concurrency
        self._max_deliveries, self._give_up, self._outlasts_outages = max_deliveries, give_up, outlasts_outages
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def in_flight(self) -> int:
        return len(self._running)

    async def run(self) -> None:
        """Pull until `stop`; whatever the connection does, it goes on."""
        while not self._stopping:
            subscription: JetStreamContext.PullSubscription | None = None
            try:
                subscription = await self._bus.js.pull_subscribe_bind(
                    durable=self._consumer.name, stream=self._consumer.stream
                )
                while not self._stopping:
                    await self._pull(subscription)
            except (nats.errors.Error, APIError, TimeoutError) as error:
                log.warning("pulling failed; trying again", consumer=self._consumer.name, error=repr(error))
                await asyncio.sleep(0.3)
            finally:
                if subscription is not None:
                    with contextlib.suppress(Exception):
                        await subscription.unsubscribe()

    async def stop(self, grace_s: float) -> None:
        """Take nothing more, and wait for what is under way; the rest comes again elsewhere."""
        self._stopping = True
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)

    async def _pull(self, subscription: JetStreamContext.PullSubscription) -> None:
        async with self._room:
            pass  # wait until there is room for one at least
        free = max(1, self._concurrency - len(self._running))
        try:
            batch = await subscription.fetch(min(free, 64), timeout=FETCH_S)
        except (nats.errors.TimeoutError, TimeoutError):
            return
        for msg in batch:
            if self._stopping:
                await msg.nak()  # it came while `stop` was called; somebody else takes it at once
                continue
            await self._room.acquire()
            task = asyncio.create_task(self._work(msg), name=f"{self._consumer.name} {msg.subject}")
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._room.release()

    async def _work(self, msg: Msg) -> None:
        beating = asyncio.create_task(self._beat(msg))
        try:
            await self._attempt(msg)
            await msg.ack()
        except Fenced as error:
            log.info("fenced", error=str(error))
        except DecodeError as error:
            with contextlib.suppress(DevSkyyError, nats.errors.Error):
                await self._bus.dead_letter(self._consumer.name, msg, str(error))
                await msg.ack()
        except DevSkyyError as error:
            log.warning("will try again", subject=msg.subject, error=str(error), code=error.code)
            await self._again(msg)
        except nats.errors.Error as error:
            log.warning("not acknowledged", subject=msg.subject, error=repr(error))
        except Exception:
            log.exception("handling failed; will try again", subject=msg.subject)
            await self._again(msg)
        finally:
            beating.cancel()

    async def _attempt(self, msg: Msg) -> None:
        if msg.metadata.num_delivered <= self._max_deliveries:
            await self._handle(msg)
            return
        if self._outlasts_outages:
            try:
                await self._handle(msg)
                return
            except (Unavailable, Fenced, DecodeError, nats.errors.Error):
                raise
            except Exception:
                log.exception("handling failed for the last time", subject=msg.subject)
        await self._exhausted(msg)

    async def _exhausted(self, msg: Msg) -> None:
        reason = f"given up after {self._max_deliveries} deliveries"
        if self._give_up is not None:
            await self._give_up(msg)
        await self._bus.dead_letter(self._consumer.name, msg, reason)
        await self._bus.alert(3, "a message was given up", f"{msg.subject}: {reason}")

    async def _again(self, msg: Msg) -> None:
        delay_s = min(30.0, 0.25 * 2 ** min(msg.metadata.num_delivered - 1, 10))
        with contextlib.suppress(nats.errors.Error):
            await msg.nak(delay=delay_s)

    async def _beat(self, msg: Msg) -> None:
        while True:
            await asyncio.sleep(self._consumer.ack_wait_s / 3)
            with contextlib.suppress(nats.errors.Error):
                await msg.in_progress()

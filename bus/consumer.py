"""Work from a durable pull consumer: bounded concurrency, heartbeats, bounded deliveries, dead letters.

Messages are asked for ahead, as many as there is room for, so that the next one is on its way while others are worked
on; nats-py's `fetch` asks twice for each batch, and only once the last has been taken. Where they may be late, they are
asked for in batches instead, which costs the broker and the reader a fraction of it.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bus.client import Bus
from bus.streams import Consumer
from schemas.errors import DecodeError, DevSkyyError, Fenced, Unavailable

ASK_S = 2.0
"""How long the server keeps what was asked of it."""
LEAVE_S = 1.0
"""For what is on its way when nothing more is asked for."""
AHEAD = 64
"""Messages asked for ahead at most, where each is handled by itself."""
TOGETHER = 512
"""Messages of one batch, at most."""
BATCH_S = 1.0
"""How long a batch that the server has begun to send may take."""

Handle = Callable[[Msg], Awaitable[None]]
HandleAll = Callable[[list[Msg]], Awaitable[None]]

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
        together: HandleAll | None = None,
        gather_s: float = 0.0,
    ) -> None:
        """With `together`, what there is every `gather_s` seconds is handled as one batch, in the order it came in.
        Where that fails, or a message comes again, each is handled by itself."""
        self._bus, self._consumer, self._handle = bus, consumer, handle
        self._room = asyncio.Semaphore(concurrency)
        self._concurrency = concurrency
        self._max_deliveries, self._give_up, self._outlasts_outages = max_deliveries, give_up, outlasts_outages
        self._together, self._gather_s = together, gather_s
        self._running: set[asyncio.Task[None]] = set()
        self._asked = 0
        """Messages that the server still owes."""
        self._heard_at = 0.0
        self._coming: asyncio.Queue[Msg | None] = asyncio.Queue()
        """Of batches; None: ask again."""
        self._wake = asyncio.Event()
        self._stopping = False
        bus.when_reconnected(self._ask_again)

    @property
    def in_flight(self) -> int:
        return len(self._running)

    async def run(self) -> None:
        """Pull until `stop`; whatever the connection does, it goes on."""
        while not self._stopping:
            try:
                await (self._flow() if self._together is None else self._batches(self._together))
            except (nats.errors.Error, TimeoutError) as error:
                log.warning("pulling failed; trying again", consumer=self._consumer.name, error=repr(error))
                await asyncio.sleep(0.3)

    async def stop(self, grace_s: float) -> None:
        """Take nothing more, and wait for what is under way; the rest comes again elsewhere."""
        self._stopping = True
        self._wake.set()
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)

    async def _ask_again(self) -> None:
        """The server that was asked may be gone, and another owes nothing."""
        self._asked = 0
        self._wake.set()
        if self._together is not None:
            self._coming.put_nowait(None)

    async def _flow(self) -> None:
        """Ask for more whenever half of what may be asked for ahead has come."""
        client, loop = self._bus.client, asyncio.get_running_loop()
        inbox = client.new_inbox()
        self._asked, self._heard_at = 0, loop.time()
        subscription = await client.subscribe(inbox, cb=self._on_message)
        try:
            while not self._stopping:
                free = min(AHEAD, self._concurrency - len(self._running)) - self._asked
                if free > 0 and self._asked <= AHEAD // 2:
                    self._asked += free
                    await self._ask(inbox, batch=free, expires=int(ASK_S * 1e9))
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), ASK_S)
                if self._asked and loop.time() - self._heard_at > 2 * ASK_S:
                    self._asked = 0  # whoever was asked is no more: not even the end of the time came
        finally:
            await self._leave(subscription)

    async def _leave(self, subscription: Subscription) -> None:
        """Ask for nothing more. What is on its way is still taken: dropped, it would come again much later."""
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(LEAVE_S):
                    await subscription.drain()
        finally:
            # A drain that was broken off leaves it behind.
            subscription._stop_processing()
            self._bus.client._remove_sub(subscription._id)

    async def _on_message(self, msg: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if (status := _status(msg)) is not None:
            await self._on_status(status, msg)
            return
        self._asked = max(0, self._asked - 1)
        if self._stopping:
            await msg.nak()  # it came while `stop` was called; somebody else takes it at once
            return
        self._spawn(self._work(msg))
        if self._asked <= AHEAD // 2:
            self._wake.set()

    async def _on_status(self, status: str, msg: Msg) -> None:
        """The end of something that was asked for: its time is over, or it cannot be had."""
        if status == "100":
            return
        left = (msg.headers or {}).get("Nats-Pending-Messages")
        self._asked = max(0, self._asked - int(left)) if left is not None else 0
        if status not in ("404", "408"):
            log.warning("pulling was refused", consumer=self._consumer.name, headers=msg.headers)
            await asyncio.sleep(0.3)
        self._wake.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=self._consumer.name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._asked <= AHEAD // 2:
            self._wake.set()

    async def _ask(self, inbox: str, **wanted: int | bool) -> None:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.name}"
        await self._bus.client.publish(subject, json.dumps(wanted).encode(), reply=inbox)

    # -- batches -----------------------------------------------------------------------------------------------

    async def _batches(self, together: HandleAll) -> None:
        """Wait for a first message; from then on take what there is every `gather_s` seconds, till there is nothing."""
        client = self._bus.client
        inbox, coming = client.new_inbox(), asyncio.Queue[Msg | None]()
        self._coming = coming
        subscription = await client.subscribe(inbox, cb=coming.put)
        try:
            while not self._stopping:
                await self._ask(inbox, batch=1, expires=int(ASK_S * 1e9))
                batch = await self._batch(coming, 1, 2 * ASK_S)
                while batch:
                    if self._stopping:
                        for msg in batch:
                            await msg.nak()  # it came while `stop` was called; somebody else takes it at once
                        break
                    await asyncio.shield(self._spawn(self._work_together(together, batch)))
                    await asyncio.sleep(self._gather_s)
                    await self._room_for_more()
                    await self._ask(inbox, batch=TOGETHER, no_wait=True)
                    batch = await self._batch(coming, TOGETHER, BATCH_S)
        finally:
            await self._leave(subscription)
            while not coming.empty():
                if (msg := coming.get_nowait()) is not None and _status(msg) is None:
                    with contextlib.suppress(nats.errors.Error):
                        await msg.nak()

    async def _room_for_more(self) -> None:
        """Where many are handled by themselves, because a batch failed, further ones would only pile up."""
        while len(self._running) >= self._concurrency and not self._stopping:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), ASK_S)

    async def _batch(self, coming: "asyncio.Queue[Msg | None]", size: int, patience_s: float) -> list[Msg]:
        """What the server sends for one request: so many, or all that it has and then the word that this was all."""
        batch: list[Msg] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while len(batch) < size:
                    msg = await coming.get()
                    if msg is None:
                        break
                    if (status := _status(msg)) is None:
                        batch.append(msg)
                    elif status != "100":
                        if status not in ("404", "408"):
                            log.warning("pulling was refused", consumer=self._consumer.name, headers=msg.headers)
                            await asyncio.sleep(0.3)
                        break
        return batch

    async def _work_together(self, together: HandleAll, batch: list[Msg]) -> None:
        """Handle messages as one batch; that failing, each by itself, and so what was delivered before."""
        fresh = [msg for msg in batch if msg.metadata.num_delivered == 1]
        for msg in batch:
            if msg.metadata.num_delivered > 1:
                self._spawn(self._work(msg))
        if not fresh:
            return
        beating = asyncio.create_task(self._beat(*fresh))
        try:
            await together(fresh)
        except Exception as error:
            log.info("a batch failed; handling each by itself", consumer=self._consumer.name, error=repr(error))
            for msg in fresh:
                self._spawn(self._work(msg))
            return
        finally:
            beating.cancel()
        for msg in fresh:
            with contextlib.suppress(nats.errors.Error):
                await msg.ack()

    # -- one message -------------------------------------------------------------------------------------------

    async def _work(self, msg: Msg) -> None:
        # It beats while it waits for room too: else it would come again and wait a second time.
        beating = asyncio.create_task(self._beat(msg))
        try:
            async with self._room:
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

    async def _beat(self, *batch: Msg) -> None:
        while True:
            await asyncio.sleep(self._consumer.ack_wait_s / 3)
            for msg in batch:
                with contextlib.suppress(nats.errors.Error):
                    await msg.in_progress()


def _status(msg: Msg) -> str | None:
    """The server's word on what was asked for. What is to be acknowledged is a message, whatever its sender wrote into
    its headers."""
    return None if msg.reply else (msg.headers or {}).get("Status")

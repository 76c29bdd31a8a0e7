"""Sends what is due: each webhook in a lane of its own, so that one which is slow or dead holds up no other."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from actors.webhooks import signature
from actors.webhooks.schedule import DISABLED_AFTER_S, SCHEDULE_S, Outcome, wait_s
from schemas.errors import DevSkyyError, Unavailable
from schemas.message import now
from schemas.webhook import DeliveryState
from storage.deliveries import Attempt, DeliveryRepository
from storage.webhooks import KeptWebhook, WebhookRepository

POLL_S = 2.0
"""How late a delivery may be whose time has come, or that another process has entered."""
AT_ONCE = 4
"""Attempts for one webhook; one for one that fails."""
LANES_AT_ONCE = 128
LEASE_S = 60.0
"""An attempt of which nothing was heard for so long is made again."""
OUTAGE_S = 15.0
"""What could not be read is asked for again after so long."""
KEEP_S = 30 * 86_400.0
SWEEP_S = 3600.0
ALERT_EVERY_S = 3600.0
"""One alert in so long for deliveries to one webhook that are given up."""

UNREADABLE = "what happened could not be read; the platform's log says why"

Compose = Callable[[Attempt, str], Awaitable[bytes | None]]
"""The body of an attempt for a webhook of that id; None: what it would tell of is not there any more."""
Send = Callable[[str, bool, dict[str, str], bytes], Awaitable[Outcome]]
"""Posts a body: see `sender.Sender.send`."""
Alert = Callable[[int, str, str], Awaitable[None]]

log = structlog.get_logger()


@dataclass(frozen=True)
class Rules:
    """What tests set shorter."""

    schedule_s: Sequence[float] = SCHEDULE_S
    disabled_after_s: float = DISABLED_AFTER_S
    poll_s: float = POLL_S


class Courier:
    """`run` it, `stop` last. Several may share one database; an attempt is then made by one of them."""

    def __init__(
        self,
        webhooks: WebhookRepository,
        deliveries: DeliveryRepository,
        compose: Compose,
        send: Send,
        alert: Alert,
        private: bool | None,
        rules: Rules | None = None,
    ) -> None:
        """
        Args:
            private: whether private addresses may be told; None: those of whoever runs the platform.
        """
        self._webhooks, self._deliveries = webhooks, deliveries
        self._compose, self._send, self._alert = compose, send, alert
        self._private, self._rules = private, rules or Rules()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(LANES_AT_ONCE)
        self._loops: set[asyncio.Task[Any]] = set()
        self._news, self._over = asyncio.Event(), asyncio.Event()
        self._alerted: dict[str, float] = {}
        self._stopping = False

    def look(self) -> None:
        """There is something new."""
        self._news.set()

    async def run(self) -> None:
        """Until `stop`."""
        away = False
        with self._loop():
            while not self._stopping:
                self._news.clear()
                try:
                    for webhook_id in await self._deliveries.due(now()):
                        if webhook_id not in self._lanes and not self._stopping:
                            lane = asyncio.create_task(self._lane(webhook_id), name=webhook_id)
                            lane.add_done_callback(self._ended)
                            self._lanes[webhook_id] = lane
                    away = False
                except Unavailable as error:
                    if not away:
                        log.warning("webhooks are told later", error=str(error))
                    away = True
                await self._wait(self._news, self._rules.poll_s)

    async def sweep(self) -> None:
        """Forget old deliveries every hour, until `stop`."""
        with self._loop():
            while not self._stopping:
                try:
                    await self._deliveries.forget(now() - timedelta(seconds=KEEP_S))
                except Unavailable as error:
                    log.info("old deliveries are swept later", error=str(error))
                await self._wait(self._over, SWEEP_S)

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more, and wait for what is under way; the rest comes again later."""
        self._stopping = True
        self._news.set()
        self._over.set()
        if working := [*self._loops, *self._lanes.values()]:
            await asyncio.wait(working, timeout=grace_s)
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    @contextlib.contextmanager
    def _loop(self) -> Iterator[None]:
        """What `stop` waits for: whoever is in the midst of asking the database is not to be cancelled."""
        task = asyncio.current_task()
        assert task is not None
        self._loops.add(task)
        try:
            yield
        finally:
            self._loops.discard(task)

    async def _wait(self, event: asyncio.Event, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), timeout_s)

    def _ended(self, lane: asyncio.Task[None]) -> None:
        del self._lanes[lane.get_name()]

    async def _lane(self, webhook_id: str) -> None:
        """Until nothing is due for this webhook."""
        try:
            while not self._stopping:
                async with self._room:
                    kept = await self._webhooks.kept(webhook_id)
                    if kept is None or not kept.webhook.enabled:
                        return
                    at_once = 1 if kept.webhook.failing_since else AT_ONCE
                    attempts = await self._deliveries.claim(webhook_id, at_once, LEASE_S)
                    if not attempts:
                        return
                    # None is left running when another fails, or a second lane would begin beside it.
                    made = await asyncio.gather(
                        *(self._make(kept, attempt) for attempt in attempts), return_exceptions=True
                    )
                    for error in made:
                        if error is not None:
                            raise error
        except Unavailable as error:
            log.info("a webhook is told later", webhook=webhook_id, error=str(error))
        except Exception:  # the attempts come again when their lease is over, and are counted
            log.exception("telling a webhook failed", webhook=webhook_id)

    async def _make(self, kept: KeptWebhook, attempt: Attempt) -> None:
        if attempt.number > len(self._rules.schedule_s) + 1:  # whoever made the last died over it
            await self._deliveries.settle(attempt.id, "given_up", None, "its last attempt was broken off", now())
            await self._tell_of_loss(kept, attempt)
            return
        try:
            body = await self._compose(attempt, kept.webhook.id)
        except Unavailable as error:
            log.info("what happened cannot be read now", delivery=attempt.id, error=str(error))
            await self._deliveries.put_back(attempt.id, now() + timedelta(seconds=OUTAGE_S))
            return
        except DevSkyyError as error:
            log.warning("what happened cannot be read", delivery=attempt.id, error=str(error))
            await self._again(kept, attempt, Outcome(error=UNREADABLE), now())
            return
        if body is None:
            await self._deliveries.drop(attempt.id)
            return
        at = now()
        private = kept.webhook.private if self._private is None else self._private
        headers = signature.headers(attempt.id, at, body, kept.secrets)
        outcome = await self._send(kept.webhook.url, private, headers, body)
        if outcome.succeeded:
            await self._deliveries.settle(attempt.id, "delivered", outcome.status, None, at)
            if kept.webhook.failing_since is not None:
                await self._webhooks.succeeded(kept.webhook.id)
        else:
            log.info("a webhook was not told", webhook=kept.webhook.id, delivery=attempt.id, reason=outcome.reason)
            await self._failed(kept, attempt, outcome, at)

    async def _failed(self, kept: KeptWebhook, attempt: Attempt, outcome: Outcome, at: datetime) -> None:
        if outcome.gone:
            await self._deliveries.settle(attempt.id, "given_up", outcome.status, outcome.reason, at)
            await self._disable(kept, "it answered 410: it wants nothing more")
            return
        await self._webhooks.failed(kept.webhook.id, at)
        await self._again(kept, attempt, outcome, at)
        if (at - (kept.webhook.failing_since or at)).total_seconds() >= self._rules.disabled_after_s:
            days = self._rules.disabled_after_s / 86_400
            await self._disable(kept, f"nothing could be delivered for {days:g} days; the last time {outcome.reason}")

    async def _again(self, kept: KeptWebhook, attempt: Attempt, outcome: Outcome, at: datetime) -> None:
        """At its time; or never, after the last attempt."""
        after_s = wait_s(attempt.number, outcome, self._rules.schedule_s)
        state: DeliveryState = "given_up" if after_s is None else "pending"
        due_at = None if after_s is None else now() + timedelta(seconds=after_s)
        await self._deliveries.settle(attempt.id, state, outcome.status, outcome.reason, at, due_at)
        if after_s is None:
            await self._tell_of_loss(kept, attempt)

    async def _disable(self, kept: KeptWebhook, why: str) -> None:
        if await self._webhooks.disable(kept.webhook.id, why):
            await self._alert(2, "a webhook was disabled", f"{_named(kept)}: {why}")

    async def _tell_of_loss(self, kept: KeptWebhook, attempt: Attempt) -> None:
        at = asyncio.get_running_loop().time()
        if at - self._alerted.get(kept.webhook.id, float("-inf")) < ALERT_EVERY_S:
            return
        self._alerted[kept.webhook.id] = at
        tried = f"after {attempt.number} attempts"
        await self._alert(2, "a delivery was given up", f"{_named(kept)}: {attempt.event} {attempt.id}, {tried}")


def _named(kept: KeptWebhook) -> str:
    return f"webhook {kept.webhook.id} of {kept.webhook.tenant}"

"""Telling what is due, to real receivers: tried again, given up, and each webhook by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.webhooks import courier as couriers
from actors.webhooks.courier import Courier, Rules
from actors.webhooks.sender import Sender
from schemas.errors import DecodeError, Unavailable
from schemas.message import now
from schemas.webhook import Delivery, NewWebhook, Webhook, WebhookChange
from storage import Database, DeliveryRepository, WebhookRepository
from storage.deliveries import Attempt, Happened
from tests.broker import until
from tests.webhooks.receiver import LONG_S, Answer, Receiver

SOON = Rules(schedule_s=(0.0,) * 9, poll_s=0.02)


class Office:
    """A courier's surroundings; the body of a delivery is the id of what it tells of."""

    def __init__(self, database: Database, rules: Rules, private: bool | None) -> None:
        self.webhooks, self.deliveries = WebhookRepository(database), DeliveryRepository(database)
        self.sender = Sender(timeout_s=5)
        self.alerts: list[str] = []
        self.gone: set[str] = set()
        """What was deleted."""
        self.broken: set[str] = set()
        """What nobody can read."""
        self.unreadable = 0
        """How often what happened cannot be read."""
        self._places = 0
        self.courier = Courier(
            self.webhooks, self.deliveries, self.compose, self.sender.send, self.alert, private, rules
        )

    async def compose(self, attempt: Attempt, webhook_id: str) -> bytes | None:
        if attempt.target in self.broken:
            raise DecodeError("task event", "it is of another version", b"")
        if self.unreadable:
            self.unreadable -= 1
            raise Unavailable("the stream does not answer")
        return None if attempt.target in self.gone else str(attempt.target).encode()

    async def alert(self, level: int, title: str, detail: str) -> None:
        self.alerts.append(f"{title}: {detail}")

    async def webhook(self, receiver: Receiver, private: bool = True) -> Webhook:
        return (await self.webhooks.add(NewWebhook(url=receiver.url), "acme", private)).webhook

    async def happen(self, webhook: Webhook, *targets: str) -> None:
        await self.deliveries.enter(
            [Happened(webhook.id, webhook.tenant, "task.completed", each, self._place()) for each in targets]
        )
        self.courier.look()

    def _place(self) -> int:
        self._places += 1
        return self._places

    async def until(self, webhook: Webhook, holds: Callable[[tuple[Delivery, ...]], bool]) -> tuple[Delivery, ...]:
        """Its deliveries, newest first, once something holds of them."""
        async with asyncio.timeout(LONG_S):
            while not holds(found := (await self.deliveries.list(webhook.id, 200)).deliveries):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return found

    async def over(self, webhook: Webhook) -> Delivery:
        """Its last delivery, once it is over."""
        return (await self.until(webhook, lambda found: all(each.state != "pending" for each in found)))[0]


@asynccontextmanager
async def office(database: Database, rules: Rules = SOON, private: bool | None = None) -> AsyncIterator[Office]:
    made = Office(database, rules, private)
    running = asyncio.create_task(made.courier.run())
    yield made
    await made.courier.stop(grace_s=1)
    await running
    await made.sender.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'devskyy.db'}")
    await database.migrate()
    yield database
    await database.close()


async def test_what_failed_is_told_again_under_the_same_id_until_it_is_taken(
    database: Database, receiver: Receiver
) -> None:
    receiver.answers += [Answer(500), Answer(500), Answer(200)]
    async with office(database) as here:
        # Given a receiver that fails twice, When something has happened
        webhook = await here.webhook(receiver)
        await here.happen(webhook, "t1")
        delivery = await here.over(webhook)
        # Then it was told three times, each as the same
        assert [told.body for told in receiver.seen] == [b"t1"] * 3
        assert {told.id for told in receiver.seen} == {delivery.id}
        assert (delivery.state, delivery.attempts, delivery.status, delivery.error) == ("delivered", 3, 200, None)
        # And it does not count as failing any more
        await here.courier.stop(grace_s=1)
        assert (await here.webhooks.get("acme", webhook.id)).failing_since is None
        assert here.alerts == []


async def test_after_the_last_attempt_it_is_given_up_with_an_alert(sqlite: Database, receiver: Receiver) -> None:
    receiver.answers += [Answer(500)] * 20
    async with office(sqlite) as here:
        webhook = await here.webhook(receiver)
        await here.happen(webhook, "t1")
        delivery = await here.over(webhook)
        assert (delivery.state, delivery.attempts, delivery.error) == ("given_up", 10, "it answered 500")
        assert len(receiver.seen) == 10
        assert here.alerts == [
            f"a delivery was given up: webhook {webhook.id} of acme: task.completed {delivery.id}, after 10 attempts"
        ]
        # And of the next that is given up there is no alert so soon
        await here.happen(webhook, "t2")
        await here.over(webhook)
        assert len(here.alerts) == 1
        assert (await here.webhooks.get("acme", webhook.id)).enabled


async def test_one_that_answers_410_is_disabled_and_told_nothing_more(sqlite: Database, receiver: Receiver) -> None:
    receiver.answers.append(Answer(410))
    async with office(sqlite) as here:
        webhook = await here.webhook(receiver)
        await here.happen(webhook, "t1")
        delivery = await here.over(webhook)
        assert (delivery.state, delivery.status) == ("given_up", 410)
        await until(lambda: bool(here.alerts))
        found = await here.webhooks.get("acme", webhook.id)
        assert (found.enabled, found.disabled_because) == (False, "it answered 410: it wants nothing more")
        assert here.alerts[0].startswith("a webhook was disabled")


async def test_one_to_which_nothing_could_be_delivered_for_long_is_disabled(
    sqlite: Database, receiver: Receiver
) -> None:
    receiver.answers += [Answer(500)] * 20
    rules = Rules(schedule_s=(0.0, 0.0, 3600.0), disabled_after_s=0.01, poll_s=0.02)
    async with office(sqlite, rules) as here:
        webhook = await here.webhook(receiver)
        await here.happen(webhook, "t1")
        await until(lambda: bool(here.alerts))
        found = await here.webhooks.get("acme", webhook.id)
        assert not found.enabled
        assert "the last time it answered 500" in str(found.disabled_because)


async def test_what_a_busy_receiver_asks_for_is_kept_to(sqlite: Database, receiver: Receiver) -> None:
    receiver.answers.append(Answer(429, {"Retry-After": "600"}))
    async with office(sqlite) as here:
        webhook = await here.webhook(receiver)
        await here.happen(webhook, "t1")
        (delivery,) = await here.until(webhook, lambda found: found[0].status == 429)
        assert delivery.next_attempt_at is not None
        assert 590 < (delivery.next_attempt_at - now()).total_seconds() <= 660


async def test_one_that_says_nothing_holds_up_no_other(sqlite: Database, receiver: Receiver) -> None:
    # Given a receiver that hangs, with much to be told
    receiver.answers += [Answer(hangs=True)] * 50
    async with Receiver() as good, office(sqlite) as here:
        slow, quick = await here.webhook(receiver), await here.webhook(good)
        await here.happen(slow, *(f"s{number}" for number in range(50)))
        await receiver.told(1)
        # When another is told something, Then it arrives meanwhile
        await here.happen(quick, *(f"q{number}" for number in range(20)))
        await good.told(20)
        assert len(receiver.seen) <= couriers.AT_ONCE
        # And no receiver is told more at once than it may be
        receiver.answers.clear()
        receiver.go_on()
        await receiver.told(50)
        assert max(good.most_at_once, receiver.most_at_once) <= couriers.AT_ONCE


async def test_one_that_fails_is_told_one_at_a_time(sqlite: Database, receiver: Receiver) -> None:
    receiver.answers += [Answer(500, delay_s=0.01)] * 1000
    async with office(sqlite, Rules(schedule_s=(0.0,) * 2, poll_s=0.02)) as here:
        # Given a webhook that has failed
        webhook = await here.webhook(receiver)
        await here.happen(webhook, "t0")
        await here.until(webhook, lambda found: found[0].status == 500)
        # When much is to be told there
        await here.happen(webhook, *(f"t{number}" for number in range(1, 9)))
        await here.over(webhook)
        # Then it is asked for one answer at a time
        assert (len(receiver.seen), receiver.most_at_once) == (27, 1)


async def test_what_was_deleted_is_not_told(sqlite: Database, receiver: Receiver) -> None:
    receiver.answers.append(Answer(500))
    rules = Rules(schedule_s=(0.2, 0.0), poll_s=0.02)
    async with office(sqlite, rules) as here:
        # Given something that was told in vain
        webhook = await here.webhook(receiver)
        await here.happen(webhook, "t1")
        await receiver.told(1)
        # When it is deleted before the next attempt
        here.gone.add("t1")
        # Then nothing is left to be told
        assert await here.until(webhook, lambda found: not found) == ()
        assert len(receiver.seen) == 1


async def test_what_cannot_be_read_now_is_read_later_and_counts_for_no_attempt(
    sqlite: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "OUTAGE_S", 0.0)
    async with office(sqlite) as here:
        webhook = await here.webhook(receiver)
        here.unreadable = 3
        await here.happen(webhook, "t1")
        delivery = await here.over(webhook)
        assert (delivery.state, delivery.attempts, len(receiver.seen)) == ("delivered", 1, 1)


async def test_what_nobody_can_read_is_given_up_and_its_webhook_is_not_to_blame(
    sqlite: Database, receiver: Receiver
) -> None:
    async with office(sqlite) as here:
        webhook = await here.webhook(receiver)
        here.broken.add("t1")
        await here.happen(webhook, "t1", "t2")
        found = await here.until(webhook, lambda found: all(each.state != "pending" for each in found))
        assert {each.target: (each.state, each.attempts) for each in found} == {
            "t1": ("given_up", 10),
            "t2": ("delivered", 1),
        }
        assert (await here.webhooks.get("acme", webhook.id)).failing_since is None
        assert [told.body for told in receiver.seen] == [b"t2"]


async def test_a_courier_that_dies_leaves_its_attempts_to_the_next(
    database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "LEASE_S", 0.3)
    receiver.answers.append(Answer(hangs=True))
    # Given a courier that is killed while it waits for an answer
    dead = Office(database, Rules(poll_s=LONG_S), None)
    webhook = await dead.webhook(receiver)
    await dead.happen(webhook, "t1")
    running = asyncio.create_task(dead.courier.run())
    await receiver.told(1)
    before = list(dead.courier._lanes.values())
    for task in (running, *before):
        task.cancel()
    await asyncio.gather(running, *before, return_exceptions=True)
    # When there is another
    async with office(database) as here:
        delivery = await here.over(webhook)
    # Then it was told again, as the same
    assert (delivery.state, delivery.attempts) == ("delivered", 2)
    assert {told.id for told in receiver.seen} == {delivery.id}
    await dead.sender.close()


async def test_one_that_always_dies_over_its_courier_is_given_up(
    sqlite: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a delivery of which every attempt was taken and never settled
    async with office(sqlite) as here:
        webhook = await here.webhook(receiver)
        await here.courier.stop(grace_s=1)
        await here.happen(webhook, "t1")
        for _ in range(10):
            assert await here.deliveries.claim(webhook.id, 1, 0)
        # When it comes once more, Then nobody dies of it again
        second = Courier(*(here.webhooks, here.deliveries, here.compose, here.sender.send, here.alert, None, SOON))
        running = asyncio.create_task(second.run())
        delivery = await here.over(webhook)
        await second.stop(1)
        await running
    assert (delivery.state, delivery.error, receiver.seen) == ("given_up", "its last attempt was broken off", [])
    assert len(here.alerts) == 1


@pytest.mark.parametrize(
    ("setting", "own", "reached"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
async def test_private_addresses_are_for_who_runs_the_platform_unless_a_setting_says_otherwise(
    sqlite: Database, receiver: Receiver, setting: bool | None, own: bool, reached: bool
) -> None:
    async with office(sqlite, Rules(schedule_s=(), poll_s=0.02), setting) as here:
        webhook = await here.webhook(receiver, private=own)
        await here.happen(webhook, "t1")
        delivery = await here.over(webhook)
        assert (delivery.state == "delivered", bool(receiver.seen)) == (reached, reached)


async def test_a_webhook_that_is_changed_meanwhile_is_told_at_its_new_address(
    sqlite: Database, receiver: Receiver
) -> None:
    receiver.answers += [Answer(500)] * 1000
    async with Receiver() as moved, office(sqlite, Rules(schedule_s=(0.05,) * 9, poll_s=0.02)) as here:
        webhook = await here.webhook(receiver)
        await here.happen(webhook, "t1")
        await receiver.told(1)
        await here.webhooks.change("acme", webhook.id, WebhookChange(url=moved.url), private=True)
        assert (await moved.told(1))[0].body == b"t1"
        assert (await here.over(webhook)).state == "delivered"


async def test_a_database_that_is_away_only_delays(
    sqlite: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(sqlite) as here:
        webhook = await here.webhook(receiver)
        asked = 0
        due = here.deliveries.due

        async def fails_twice(at: object) -> object:
            nonlocal asked
            asked += 1
            if asked <= 2:
                raise Unavailable("the database is away")
            return await due(now())

        monkeypatch.setattr(here.deliveries, "due", fails_twice)
        await here.happen(webhook, "t1")
        assert (await here.over(webhook)).state == "delivered"
        assert asked > 2

"""Webhooks and what they are to be told, in SQL, on SQLite and PostgreSQL."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import update

from schemas.errors import Conflict, InvalidRequest, NotFound
from schemas.message import now
from schemas.webhook import MAX_WEBHOOKS, NewWebhook, Webhook, WebhookChange
from storage import Database, DeliveryRepository, Erasure, WebhookRepository
from storage.deliveries import Happened
from storage.tables import DELIVERIES, WEBHOOKS

HOOK = NewWebhook(url="https://a.example/hook", events=("workflow.failed", "task.failed"), description="For Ann")


@pytest.fixture
def webhooks(database: Database) -> WebhookRepository:
    return WebhookRepository(database)


@pytest.fixture
def deliveries(database: Database) -> DeliveryRepository:
    return DeliveryRepository(database)


async def made(webhooks: WebhookRepository, tenant: str = "acme") -> Webhook:
    return (await webhooks.add(HOOK, tenant, private=False)).webhook


def ended(webhook: Webhook, target: str = "t1", place: int = 7) -> Happened:
    return Happened(webhook.id, webhook.tenant, "task.completed", target, place)


# -- webhooks --------------------------------------------------------------------------------------------------------


async def test_a_webhook_comes_back_as_it_was_made_and_its_secret_does_not(webhooks: WebhookRepository) -> None:
    made = await webhooks.add(HOOK, "acme", private=True)
    found = await webhooks.get("acme", made.webhook.id)
    assert found == made.webhook == (await webhooks.list("acme"))[0]
    assert (found.url, found.events, found.enabled, found.private) == (
        HOOK.url,
        ("task.failed", "workflow.failed"),
        True,
        True,
    )
    assert made.secret not in repr(made) and made.secret not in found.model_dump_json()


async def test_what_signs_is_the_secret_and_for_a_day_the_one_before(
    webhooks: WebhookRepository, database: Database
) -> None:
    # Given a webhook whose secret was replaced twice
    first = await webhooks.add(HOOK, "acme", private=False)
    name = first.webhook.id
    second, third = await webhooks.rotate("acme", name), await webhooks.rotate("acme", name)
    assert second.webhook.old_secret_until is not None
    assert timedelta(hours=23) < second.webhook.old_secret_until - now() <= timedelta(hours=24)
    # Then the last two sign
    kept = await webhooks.kept(name)
    assert kept is not None
    assert kept.secrets == (third.secret, second.secret)
    assert third.secret not in repr(kept)
    # And when the day is over, the last alone
    async with database.begin() as connection:
        await connection.execute(update(WEBHOOKS).values(old_secret_until=now() - timedelta(seconds=1)))
    kept = await webhooks.kept(name)
    assert kept is not None
    assert (kept.secrets, kept.webhook.old_secret_until) == ((third.secret,), None)


async def test_a_tenant_has_only_its_own_webhooks(webhooks: WebhookRepository) -> None:
    ours, theirs = await made(webhooks, "acme"), await made(webhooks, "other")
    assert await webhooks.list("acme") == (ours,)
    change = WebhookChange(enabled=False)
    for reach in (
        webhooks.get("acme", theirs.id),
        webhooks.change("acme", theirs.id, change, private=True),
        webhooks.rotate("acme", theirs.id),
        webhooks.delete("acme", theirs.id),
    ):
        with pytest.raises(NotFound):
            await reach
    assert await webhooks.get("other", theirs.id) == theirs


async def test_a_tenant_has_so_many_webhooks_and_no_more(webhooks: WebhookRepository) -> None:
    for _ in range(MAX_WEBHOOKS):
        last = await made(webhooks)
    with pytest.raises(Conflict, match="at most 20"):
        await made(webhooks)
    await made(webhooks, "other")
    await webhooks.delete("acme", last.id)
    await made(webhooks)


async def test_those_who_make_webhooks_at_once_make_no_more_than_a_tenant_may_have(webhooks: WebhookRepository) -> None:
    made_at_once = await asyncio.gather(*(made(webhooks) for _ in range(MAX_WEBHOOKS + 5)), return_exceptions=True)
    assert sum(isinstance(each, Conflict) for each in made_at_once) == 5
    assert len(await webhooks.list("acme")) == MAX_WEBHOOKS


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"url": "https://b.example"}, {"url": "https://b.example", "private": True}),
        ({"events": None}, {"events": None}),
        ({"events": ["task.cancelled"]}, {"events": ("task.cancelled",)}),
        ({"description": ""}, {"description": ""}),
        ({"enabled": False}, {"enabled": False}),
    ],
)
async def test_of_a_webhook_only_what_is_named_is_changed(
    webhooks: WebhookRepository, change: dict[str, object], fields: dict[str, object]
) -> None:
    before = await made(webhooks)
    changed = await webhooks.change("acme", before.id, WebhookChange.model_validate(change), private=True)
    assert changed == before.model_copy(update=fields)
    assert await webhooks.get("acme", before.id) == changed


async def test_one_that_failed_is_disabled_once_and_begins_anew_when_enabled(webhooks: WebhookRepository) -> None:
    webhook, at = await made(webhooks), now()
    await webhooks.failed(webhook.id, at)
    await webhooks.failed(webhook.id, at + timedelta(hours=1))
    assert (await webhooks.get("acme", webhook.id)).failing_since == at
    assert [await webhooks.disable(webhook.id, "it answered 410") for _ in range(2)] == [True, False]
    found = await webhooks.get("acme", webhook.id)
    assert (found.enabled, found.disabled_because) == (False, "it answered 410")
    assert await webhooks.enabled(["acme"]) == ()
    assert await webhooks.change("acme", webhook.id, WebhookChange(enabled=True), private=False) == webhook
    await webhooks.failed(webhook.id, at)
    await webhooks.succeeded(webhook.id)
    assert await webhooks.enabled(["acme", "other"]) == (webhook,)


# -- deliveries ------------------------------------------------------------------------------------------------------


async def test_what_is_entered_twice_is_told_once(webhooks: WebhookRepository, deliveries: DeliveryRepository) -> None:
    webhook = await made(webhooks)
    for _ in range(2):
        await deliveries.enter([ended(webhook), ended(webhook, "t2", 8)])
    found = (await deliveries.list(webhook.id, 10)).deliveries
    assert sorted((each.target, each.state, each.attempts) for each in found) == [
        ("t1", "pending", 0),
        ("t2", "pending", 0),
    ]


async def test_an_attempt_is_taken_by_one_and_comes_again_when_it_dies(
    webhooks: WebhookRepository, deliveries: DeliveryRepository
) -> None:
    # Given something that is due, and several who look for it
    webhook = await made(webhooks)
    await deliveries.enter([ended(webhook)])
    assert await deliveries.due(now()) == (webhook.id,)
    # When all take it
    taken = await asyncio.gather(*(deliveries.claim(webhook.id, 4, 60) for _ in range(4)))
    # Then one has it
    (attempt,) = [each for some in taken for each in some]
    assert (attempt.number, attempt.target, attempt.place) == (1, "t1", 7)
    assert await deliveries.due(now()) == ()
    # And its lease being over, it is due again, and counts
    assert await deliveries.due(now() + timedelta(seconds=61)) == (webhook.id,)
    await deliveries.put_back(attempt.id, now())
    (again,) = await deliveries.claim(webhook.id, 4, 0)
    (third,) = await deliveries.claim(webhook.id, 4, 60)
    assert (again.number, third.number) == (1, 2)


async def test_the_longest_due_is_taken_first_and_no_more_than_wanted(
    webhooks: WebhookRepository, deliveries: DeliveryRepository
) -> None:
    webhook = await made(webhooks)
    for number in range(3):
        await deliveries.enter([ended(webhook, f"t{number}", number)])
    assert {each.target for each in await deliveries.claim(webhook.id, 2, 60)} == {"t0", "t1"}


async def test_one_that_is_disabled_is_due_when_it_is_enabled(
    webhooks: WebhookRepository, deliveries: DeliveryRepository
) -> None:
    webhook = await made(webhooks)
    await deliveries.enter([ended(webhook)])
    await webhooks.disable(webhook.id, "gone")
    assert await deliveries.due(now()) == ()
    await webhooks.change("acme", webhook.id, WebhookChange(enabled=True), private=False)
    assert await deliveries.due(now()) == (webhook.id,)


async def test_what_came_of_attempts_is_listed_newest_first_by_pages(
    webhooks: WebhookRepository, deliveries: DeliveryRepository
) -> None:
    webhook, other = await made(webhooks), await made(webhooks)
    for number in range(3):
        await deliveries.enter([ended(webhook, f"t{number}", number)])
    await deliveries.enter([ended(other)])
    at, name = now(), ended(webhook, "t2", 2).id
    await deliveries.settle(name, "pending", 500, "it answered 500", at, at + timedelta(seconds=5))
    first = await deliveries.list(webhook.id, 2)
    assert [each.target for each in first.deliveries] == ["t2", "t1"]
    newest = first.deliveries[0]
    assert (newest.status, newest.error, newest.attempted_at) == (500, "it answered 500", at)
    assert newest.next_attempt_at == at + timedelta(seconds=5)
    rest = await deliveries.list(webhook.id, 2, first.next)
    assert ([each.target for each in rest.deliveries], rest.next) == (["t0"], None)
    with pytest.raises(InvalidRequest, match="cursor"):
        await deliveries.list(webhook.id, 2, "nonsense")
    await deliveries.settle(name, "delivered", 200, None, at)
    assert (await deliveries.list(webhook.id, 1)).deliveries[0].next_attempt_at is None


async def test_a_test_is_for_one_that_is_enabled(webhooks: WebhookRepository, deliveries: DeliveryRepository) -> None:
    webhook = await made(webhooks)
    sent = await deliveries.test(webhook)
    assert (await deliveries.list(webhook.id, 5)).deliveries == (sent,)
    assert (sent.event, sent.target) == ("webhook.test", None)
    with pytest.raises(Conflict, match="disabled"):
        await deliveries.test(webhook.model_copy(update={"enabled": False}))


async def test_old_deliveries_are_forgotten_and_those_of_a_webhook_go_with_it(
    webhooks: WebhookRepository, deliveries: DeliveryRepository, database: Database
) -> None:
    webhook, other = await made(webhooks), await made(webhooks)
    await deliveries.enter([ended(webhook), ended(other)])
    assert await deliveries.forget(now() - timedelta(days=1)) == 0
    await webhooks.delete("acme", webhook.id)
    assert (await deliveries.list(webhook.id, 5)).deliveries == ()
    assert await deliveries.forget(now() + timedelta(days=1)) == 1
    async with database.begin() as connection:
        assert (await connection.execute(DELIVERIES.select())).all() == []


async def test_of_a_webhook_that_is_deleted_while_something_is_entered_for_it_nothing_stays(
    webhooks: WebhookRepository, deliveries: DeliveryRepository, database: Database
) -> None:
    # Given somebody who has just read which webhooks are to be told
    webhook, other = await made(webhooks), await made(webhooks, "other")
    # When one is deleted, and another erased with its tenant, before what they are to be told is entered
    await webhooks.delete("acme", webhook.id)
    await Erasure(database).tenant("other")
    await deliveries.enter([ended(webhook), ended(other)])
    with pytest.raises(NotFound):
        await deliveries.test(webhook)
    # Then no row tells of either
    async with database.begin() as connection:
        assert (await connection.execute(DELIVERIES.select())).all() == []


@pytest.mark.parametrize("erased", [False, True], ids=["deleted", "erased"])
async def test_what_is_being_entered_goes_with_its_webhook(
    webhooks: WebhookRepository, deliveries: DeliveryRepository, database: Database, erased: bool
) -> None:
    # Given webhooks that are deleted while what they are to be told is entered
    hooks = [await made(webhooks) for _ in range(8)]
    await asyncio.gather(
        *(deliveries.enter([ended(hook, f"t{number}") for number in range(20)]) for hook in hooks),
        *([Erasure(database).tenant("acme")] if erased else (webhooks.delete("acme", hook.id) for hook in hooks)),
    )
    # Then whoever came first, nothing is left of them
    async with database.begin() as connection:
        assert (await connection.execute(DELIVERIES.select())).all() == []


@pytest.mark.parametrize("what", ["task", "workflow", "tenant"])
async def test_what_is_erased_is_told_to_nobody(
    webhooks: WebhookRepository, deliveries: DeliveryRepository, database: Database, what: str
) -> None:
    # Given something to be told of what is erased, and of something else
    webhook, other = await made(webhooks), await made(webhooks, "other")
    await deliveries.enter([ended(webhook), ended(other)])
    erasure = Erasure(database)
    # When it is erased
    if what == "task":
        removed = await erasure.task("acme", "t1", with_costs=False)
    elif what == "workflow":
        removed = await erasure.workflow("acme", "t1")
    else:
        removed = await erasure.tenant("acme")
    # Then it is told no more, and the other is
    assert removed["deliveries"] == 1
    assert await deliveries.due(now()) == (other.id,)
    assert len(await webhooks.list("acme")) == (0 if what == "tenant" else 1)

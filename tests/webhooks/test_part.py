"""From the end of a task or workflow to its receiver, over a real broker: nothing that ended is left out, nothing that
was deleted is told, and whoever dies on the way is taken over from."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actors.webhooks import courier as couriers
from actors.webhooks.courier import Rules
from actors.webhooks.part import WebhookPart
from actors.webhooks.payload import of_task
from bus.client import Bus
from bus.erasure import Eraser
from bus.streams import TASK_ENDINGS, WORKFLOW_ENDINGS
from bus.subjects import TaskEvents
from bus.tasklog import TaskLog
from schemas.event import Ended
from schemas.message import now
from schemas.quality import Quality
from schemas.receipt import Call, Receipt
from schemas.task import TaskRequest
from schemas.webhook import MAX_TOLD_BYTES, CreatedWebhook, NewWebhook, WebhookChange
from storage import Database, DeliveryRepository, Erasure, WebhookRepository
from storage.deliveries import Happened
from storage.tables import DELIVERIES
from tests.broker import Broker
from tests.serve.conftest import claim, complete
from tests.webhooks.receiver import LONG_S, Answer, Receiver
from tests.workflow.engines import Engines

TENANT = "default"
SOON = Rules(schedule_s=(0.0,) * 9, poll_s=0.02)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'devskyy.db'}")
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
def webhooks(database: Database) -> WebhookRepository:
    return WebhookRepository(database)


@asynccontextmanager
async def telling(bus: Bus, database: Database, rules: Rules = SOON) -> AsyncIterator[WebhookPart]:
    """The part of the projector, on the test's connection."""
    part = WebhookPart(bus, database, None, rules)
    work = [asyncio.create_task(each) for each in part.work]
    yield part
    await part.stop(grace_s=1)
    await _end(work)


async def _end(work: list[asyncio.Task[Any]]) -> None:
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


async def made(webhooks: WebhookRepository, receiver: Receiver, tenant: str = TENANT, **said: Any) -> CreatedWebhook:
    return await webhooks.add(NewWebhook(url=receiver.url, **said), tenant, private=True)


async def ended(tasks: TaskLog, answer: str = "Hello.", **said: Any) -> str:
    """The id of a task that an agent has done."""
    accepted, _ = await tasks.accept(TaskRequest(prompt="Say hello.", **said), TENANT)
    await complete(await claim(tasks, accepted.task_id), answer)
    return accepted.task_id


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG_S):
        while not await holds():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)


async def taken(bus: Bus) -> None:
    """Return once nobody is left to be told of what has ended."""

    async def all_of_it() -> bool:
        for each in (TASK_ENDINGS, WORKFLOW_ENDINGS):
            info = await bus.js.consumer_info(each.stream, each.name)
            if info.num_pending or info.num_ack_pending:
                return False
        return True

    await until(all_of_it)


# -- what is told ----------------------------------------------------------------------------------------------------


async def test_a_task_that_ends_is_told_signed_with_what_a_receiver_needs(
    bus: Bus, tasks: TaskLog, database: Database, webhooks: WebhookRepository, receiver: Receiver
) -> None:
    hook = await made(webhooks, receiver)
    async with telling(bus, database):
        # When a task ends
        task_id = await ended(tasks, metadata={"order": 7})
        (told,) = await receiver.told(1)
    # Then its receiver is told, signed, as the specification's own library finds
    said = told.verified(hook.secret)
    data = said["data"]
    assert (said["type"], data["task_id"], data["status"], data["tenant"]) == (
        *("task.completed", task_id, "completed", TENANT),
    )
    assert (data["answer"], data["answer_bytes"], data["metadata"]) == ("Hello.", None, {"order": 7})
    assert (data["cost_usd"], data["quality"], data["error"]) == (None, None, None)
    assert data["links"] == {"self": f"/api/v1/tasks/{task_id}", "events": f"/api/v1/tasks/{task_id}/events"}
    assert said["timestamp"] == data["finished_at"]


async def test_an_answer_that_is_too_large_is_left_to_its_link(
    bus: Bus, tasks: TaskLog, database: Database, webhooks: WebhookRepository, receiver: Receiver
) -> None:
    hook = await made(webhooks, receiver)
    answer = "é" * MAX_TOLD_BYTES
    async with telling(bus, database):
        await ended(tasks, answer)
        (told,) = await receiver.told(1)
    data = told.verified(hook.secret)["data"]
    assert (data["answer"], data["answer_bytes"]) == (None, len(answer.encode()))
    assert len(told.body) < 2000


async def test_what_it_cost_and_how_good_it_is_is_told(bus: Bus, tasks: TaskLog) -> None:
    # Given a task with a receipt that was measured
    task_id = await ended(tasks)
    last = (await tasks.read(TENANT, task_id))[-1].event
    assert isinstance(last, Ended)
    call = Call(step="1", agent="writing", service="groq", model="m", cost_usd=0.25)
    known = {"receipt": Receipt.of((call,), 1.0), "quality": Quality(overall=0.8, met=True)}
    whole = last.model_copy(update={"task": last.task.model_copy(update=known)})
    # When that is told, Then its figures are
    data = of_task(whole).model_dump(mode="json")["data"]
    assert (data["cost_usd"], data["quality"], data["quality_met"]) == (0.25, 0.8, True)


async def test_workflows_are_told_with_their_output_or_what_went_wrong(
    bus: Bus, engines: Engines, database: Database, webhooks: WebhookRepository, receiver: Receiver
) -> None:
    hook = await made(webhooks, receiver)

    def fails(inputs: dict[str, Any]) -> str:
        raise ValueError("the till is locked")

    await engines.start({"say": lambda inputs: "hello", "big": lambda inputs: "x" * 100_000, "fails": fails})
    definitions: dict[str, dict[str, Any]] = {
        "says": {"tasks": {"a": {"function": "say"}}, "output": "${tasks.a.output}"},
        "large": {"tasks": {"a": {"function": "big"}}, "output": "${tasks.a.output}"},
        "breaks": {"tasks": {"a": {"function": "fails", "retry": {"attempts": 1}}}},
    }
    async with telling(bus, database):
        ids = {name: await engines.begin({"name": name, **said}) for name, said in definitions.items()}
        told = [each.verified(hook.secret) for each in await receiver.told(3)]
    by_name = {each["data"]["name"]: each for each in told}
    assert {name: each["type"] for name, each in by_name.items()} == {
        "says": "workflow.completed",
        "large": "workflow.completed",
        "breaks": "workflow.failed",
    }
    says, large, breaks = (by_name[name]["data"] for name in ("says", "large", "breaks"))
    assert (says["workflow_id"], says["output"], says["output_bytes"]) == (ids["says"], "hello", None)
    assert (large["output"], large["output_bytes"] > 100_000) == (None, True)
    assert "the till is locked" in breaks["error"]["detail"]
    assert breaks["links"]["self"] == f"/api/v1/workflows/{ids['breaks']}"


async def test_each_is_told_what_it_wants_and_nothing_of_another_tenant_or_from_before(
    bus: Bus, tasks: TaskLog, database: Database, webhooks: WebhookRepository, receiver: Receiver
) -> None:
    # Given a task that ended before there was a webhook, and webhooks of which one wants tasks that ended well
    await ended(tasks)
    wanted = await made(webhooks, receiver, events=("task.completed",))
    await made(webhooks, receiver, events=("task.failed", "workflow.completed"))
    await made(webhooks, receiver, tenant="acme")
    off = await made(webhooks, receiver)
    await webhooks.change(TENANT, off.webhook.id, WebhookChange(enabled=False), private=False)
    async with telling(bus, database):
        # When another ends
        task_id = await ended(tasks)
        await taken(bus)
        await until(lambda: _all_over(database, wanted.webhook.id))
        # Then that one alone is told, and of that alone
        (told,) = receiver.seen
    assert told.verified(wanted.secret)["data"]["task_id"] == task_id


async def _refused(database: Database, webhook_id: str, part: WebhookPart) -> bool:
    """Whether it was told once, in vain, and nobody is about to ask the database for anything."""
    found = (await DeliveryRepository(database).list(webhook_id, 200)).deliveries
    return [each.status for each in found] == [500] and not part._courier._lanes


async def _all_over(database: Database, webhook_id: str) -> bool:
    found = (await DeliveryRepository(database).list(webhook_id, 200)).deliveries
    return bool(found) and all(each.state != "pending" for each in found)


async def test_a_test_is_told_and_while_a_secret_is_replaced_both_sign(
    bus: Bus, database: Database, webhooks: WebhookRepository, receiver: Receiver
) -> None:
    hook = await made(webhooks, receiver)
    rotated = await webhooks.rotate(TENANT, hook.webhook.id)
    async with telling(bus, database):
        sent = await DeliveryRepository(database).test(rotated.webhook)
        (told,) = await receiver.told(1)
    assert told.id == sent.id
    for secret in (hook.secret, rotated.secret):
        said = told.verified(secret)
        assert (said["type"], said["data"]) == ("webhook.test", {"webhook_id": hook.webhook.id, "tenant": TENANT})


# -- what goes wrong on the way --------------------------------------------------------------------------------------


async def test_a_receiver_that_fails_twice_is_told_through_a_killed_broker_and_a_killed_courier(
    broker: Broker, database: Database, webhooks: WebhookRepository, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "OUTAGE_S", 0.05)
    rules = Rules(schedule_s=(0.2,) * 9, poll_s=0.02)
    receiver.answers += [Answer(500), Answer(500), Answer(200)]
    hook = await made(webhooks, receiver)
    # Given a task that has ended, of which a receiver has refused to hear once
    first = await broker.connect()
    task_id = await ended(TaskLog(first))
    part = WebhookPart(first, database, None, Rules(rules.schedule_s, poll_s=LONG_S))
    work = [asyncio.create_task(each) for each in part.work]
    await until(lambda: _refused(database, hook.webhook.id, part))
    # When whoever tells it is killed, and the broker too
    await _end(work)
    broker.kill()
    await first.close(grace_s=0)
    broker.start()
    # Then whoever comes after tells it on, as the same, until it is taken
    second = await broker.connect()
    async with telling(second, database, rules):
        seen = await receiver.told(3)
        await until(lambda: _all_over(database, hook.webhook.id))
    await second.close(grace_s=0)
    assert len({told.id for told in seen}) == 1
    assert [told.verified(hook.secret)["data"]["task_id"] for told in seen] == [task_id] * 3
    (delivery,) = (await DeliveryRepository(database).list(hook.webhook.id, 5)).deliveries
    assert (delivery.state, delivery.status) == ("delivered", 200)


async def test_what_ends_while_nobody_tells_it_is_told_later_and_what_is_heard_twice_is_told_once(
    bus: Bus, tasks: TaskLog, database: Database, webhooks: WebhookRepository, receiver: Receiver
) -> None:
    # Given tasks that end while nobody is there to tell it
    hook = await made(webhooks, receiver)
    ids = [await ended(tasks) for _ in range(20)]
    # When somebody comes, who hears of each twice
    async with telling(bus, database) as part:
        take, heard = part._take, 0

        async def twice(kind: Any, subject: Any, batch: list[Any]) -> None:
            nonlocal heard
            heard += len(batch)
            await take(kind, subject, batch)
            await take(kind, subject, batch)

        part._pullers[0]._together = lambda batch: twice("task", TaskEvents, batch)
        await receiver.told(20)
        await taken(bus)
        await until(lambda: _all_over(database, hook.webhook.id))
    # Then each is told once
    assert heard == 20
    assert sorted(told.verified(hook.secret)["data"]["task_id"] for told in receiver.seen) == sorted(ids)


@pytest.mark.parametrize("how", ["streams alone", "everywhere"])
async def test_what_is_deleted_between_attempts_is_not_told_again(
    bus: Bus, tasks: TaskLog, database: Database, webhooks: WebhookRepository, receiver: Receiver, how: str
) -> None:
    # Given an answer that its receiver has refused once
    receiver.answers.append(Answer(500))
    hook = await made(webhooks, receiver)
    async with telling(bus, database, Rules(schedule_s=(0.3, 0.0), poll_s=0.02)):
        task_id = await ended(tasks, "vermilion")
        await receiver.told(1)
        # When it is deleted
        await Eraser(bus).task(TENANT, task_id)
        if how == "everywhere":
            await Erasure(database).task(TENANT, task_id, with_costs=True)

        # Then it is told no more, and nothing says that it was to be
        async def nothing_left() -> bool:
            return not (await DeliveryRepository(database).list(hook.webhook.id, 5)).deliveries

        await until(nothing_left)
    assert len(receiver.seen) == 1


async def test_another_thing_at_the_same_place_is_not_told(
    bus: Bus, tasks: TaskLog, database: Database, webhooks: WebhookRepository, receiver: Receiver
) -> None:
    # Given a delivery of a tenant that names a place where another's event lies
    task_id = await ended(tasks, "vermilion")
    place = (await tasks.read(TENANT, task_id))[-1].stream_seq
    hook = await made(webhooks, receiver, tenant="acme")
    deliveries = DeliveryRepository(database)
    await deliveries.enter(
        [
            Happened(hook.webhook.id, "acme", "task.completed", task_id, place),
            Happened(hook.webhook.id, "acme", "task.completed", secrets.token_hex(8), place),
            Happened(hook.webhook.id, "acme", "task.completed", task_id, place - 1),
            Happened(hook.webhook.id, "acme", "task.completed", task_id, 10**6),
        ]
    )
    # When they are due, Then none is told
    async with telling(bus, database):

        async def nothing_left() -> bool:
            return not (await deliveries.list(hook.webhook.id, 5)).deliveries

        await until(nothing_left)
    assert receiver.seen == []


async def test_old_deliveries_are_swept(bus: Bus, database: Database, webhooks: WebhookRepository) -> None:
    async with Receiver() as receiver:
        hook = await made(webhooks, receiver)
        deliveries = DeliveryRepository(database)
        await deliveries.test(hook.webhook)
        async with database.begin() as connection:
            old = DELIVERIES.update().values(created_at=now() - timedelta(days=31), due_at=None)
            await connection.execute(old)
        async with telling(bus, database):

            async def nothing_left() -> bool:
                return not (await deliveries.list(hook.webhook.id, 5)).deliveries

            await until(nothing_left)

"""The intake on a real server: one task a submission, and nothing that a client sends ends it."""

import asyncio
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg

from actors.intake.actor import MSG_ID
from bus.client import Bus
from bus.codec import encode, unpack
from bus.streams import INTAKE, TASKS
from bus.subjects import Submit
from schemas.task import TaskRequest
from tests.broker import until
from tests.intake.conftest import Intake

SUBMIT = str(Submit("default"))
HELLO = encode(TaskRequest(prompt="Say hello."))
LONG_S = 30.0


async def all_taken(bus: Bus) -> None:
    async with asyncio.timeout(LONG_S):
        while True:
            info = await bus.js.consumer_info(INTAKE.stream, INTAKE.name)
            if info.delivered.consumer_seq and not info.num_pending and not info.num_ack_pending:
                return


async def test_a_sender_is_answered_with_its_task(bus: Bus, intake: Intake) -> None:
    answer = unpack((await bus.client.request(SUBMIT, HELLO, timeout=LONG_S)).data)
    assert answer["status"] == "accepted"
    assert (await intake._tasks.task("default", answer["task_id"])).prompt == "Say hello."


async def test_an_answer_that_cannot_be_sent_does_not_end_the_actor(
    bus: Bus, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a connection that takes no answer
    failed = 0

    async def refuse(subject: str, *args: Any, **kwargs: Any) -> None:
        nonlocal failed
        failed += 1
        raise nats.errors.MaxPayloadError

    msg = Msg(_client=bus.client, subject=SUBMIT, reply="_INBOX.x", data=b"no msgpack")
    monkeypatch.setattr(bus.client, "publish", refuse)
    # When somebody waits for one
    await intake._heard(msg)
    await until(lambda: failed == 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    monkeypatch.undo()
    # Then the actor goes on
    assert not intake.died
    assert unpack((await bus.client.request(SUBMIT, HELLO, timeout=LONG_S)).data)["task_id"]


async def test_a_submission_that_is_delivered_twice_is_one_task(
    bus: Bus, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an acknowledgement that is lost after the task was accepted
    ack, lost = Msg.ack, 0

    async def lose_one(msg: Msg) -> None:
        nonlocal lost
        if msg.subject == SUBMIT and not lost:
            lost += 1
            await msg.nak()
            return
        await ack(msg)

    monkeypatch.setattr(Msg, "ack", lose_one)
    # When the submission comes again
    await bus.client.publish(SUBMIT, HELLO)
    await all_taken(bus)
    # Then there is still one task
    assert lost == 1
    assert (await bus.js.stream_info(TASKS)).state.messages == 1


async def test_an_id_that_another_tenant_has_used_too_is_no_repeat(bus: Bus, intake: Intake) -> None:
    # When clients of two tenants send with the same id, and wait for no answer
    for tenant in ("acme", "other"):
        await bus.client.publish(str(Submit(tenant)), HELLO, headers={MSG_ID: "order-1"})
    # Then each has a task
    async with asyncio.timeout(LONG_S):
        while (await bus.js.stream_info(TASKS)).state.messages < 2:
            pass


@pytest.mark.parametrize("headers", [None, {MSG_ID: ""}], ids=["no id", "an empty id"])
async def test_equal_submissions_without_an_id_are_a_task_each(
    bus: Bus, intake: Intake, headers: dict[str, str] | None
) -> None:
    answers = await asyncio.gather(
        *(bus.client.request(SUBMIT, HELLO, timeout=LONG_S, headers=headers) for _ in range(3))
    )
    assert len({unpack(answer.data)["task_id"] for answer in answers}) == 3
    assert (await bus.js.stream_info(TASKS)).state.messages == 3


async def test_a_request_that_is_refused_on_its_way_from_the_stream_is_answered_with_the_problem(
    bus: Bus, intake: Intake
) -> None:
    too_large = encode(TaskRequest(prompt="x" * (256 * 1024 + 1)))
    answer = unpack((await bus.client.request(SUBMIT, too_large, timeout=LONG_S)).data)
    assert answer["status"] == 413

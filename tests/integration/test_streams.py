"""A text as it is written, read by a NATS client from outside; a stream that was cut is charged for what arrived."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import nats
import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from tests.integration.providers import WIRES, Providers, Wire
from tests.simulators.base import Behaviour

pytestmark = pytest.mark.platform

TEXT = "Carry it over the shoulder, or by hand where the way is short. Größe: egal."


@pytest.fixture
async def outside(gateways: Providers) -> AsyncIterator[Client]:
    """What `devskyy nats-url` gives, and nothing of ours."""
    client = await nats.connect(gateways.live.state.outside_nats_url)
    yield client
    await client.close()


async def listen(outside: Client, provided: Providers) -> Subscription:
    told = provided.live.json("nats-url")
    assert told["tokens"] == "devskyy.v1.tokens.default.*"
    heard = await outside.subscribe(told["tokens"])
    await outside.flush()
    return heard


async def pieces(heard: Subscription, task: dict[str, Any]) -> list[dict[str, Any]]:
    """The pieces of a task that has ended; they were published before its last event."""
    found = []
    while True:
        try:
            msg = await heard.next_msg(timeout=1.0)
        except nats.errors.TimeoutError:
            return found
        if msg.subject.endswith(f".{task['task_id']}"):
            found.append(msgpack.unpackb(msg.data))


def put_together(parts: list[dict[str, Any]], attempt: int) -> str:
    """The text of an attempt; each piece says where it belongs."""
    text = ""
    for part in parts:
        if part["attempt"] == attempt:
            assert part["offset"] == len(text)
            text += part["text"]
    return text


@pytest.mark.parametrize("wire", WIRES)
async def test_a_streamed_task_publishes_its_text_as_it_is_written(
    wire: Wire, provided: Providers, outside: Client
) -> None:
    # Given somebody outside who listens, and a provider that writes thirty words a second
    heard = await listen(outside, provided)
    provided.sims[wire].behaviour = Behaviour(answer=TEXT, tokens_per_s=30)
    # When a task asks for a stream
    running = asyncio.create_task(asyncio.to_thread(provided.run, f"sim-{wire}", stream=True))
    first = msgpack.unpackb((await heard.next_msg(timeout=20)).data)
    # Then the first piece is there before the task has ended
    assert not running.done()
    task = await running
    assert (task["status"], task["answer"]) == ("completed", TEXT), task["error"]
    # And all pieces together are the answer
    parts = [first, *await pieces(heard, task)]
    assert len(parts) > 5
    assert {part["step"] for part in parts} == {"direct"}
    assert put_together(parts, attempt=1) == TEXT
    assert task["receipt"]["cost_usd"] > 0
    assert task["receipt"]["cost_estimated"] is False


async def test_a_stream_that_was_cut_is_charged_for_what_arrived_and_begun_anew(
    provided: Providers, outside: Client
) -> None:
    # Given a provider that breaks off after a word, once
    heard = await listen(outside, provided)
    provided.openai.behaviour = Behaviour(answer=TEXT, fault="cut", faults_left=1)
    # When a task asks it for a stream
    task = await asyncio.to_thread(provided.run, "sim-openai", stream=True, max_tokens=1000)
    # Then the second attempt serves it, whole
    assert (task["status"], task["answer"]) == ("completed", TEXT), task["error"]
    cut, answered = task["receipt"]["calls"]
    parts = await pieces(heard, task)
    assert put_together(parts, attempt=1) == "Carry"
    assert put_together(parts, attempt=2) == TEXT
    # And the first is charged for the word that arrived: an estimate, far below what was reserved
    assert (cut["outcome"], cut["cost_estimated"], answered["cost_estimated"]) == ("failed", True, False)
    assert cut["completion_tokens"] == 2
    assert 0 < cut["cost_usd"] < answered["cost_usd"] + 0.0001


async def test_a_cancelled_stream_is_charged_for_what_arrived(provided: Providers, outside: Client) -> None:
    # Given a stream under way
    heard = await listen(outside, provided)
    provided.openai.behaviour = Behaviour(answer=TEXT, fault="stall")
    running = asyncio.create_task(asyncio.to_thread(provided.run, "sim-openai", stream=True, max_tokens=1000))
    msg = await heard.next_msg(timeout=20)
    task_id = msg.subject.rpartition(".")[2]
    # When its task is cancelled, by a command from outside
    await outside.publish(f"devskyy.v1.commands.default.{task_id}", msgpack.packb({"kind": "task.cancel"}))
    # Then it ends, and what had arrived is charged as an estimate
    task = await running
    (call,) = task["receipt"]["calls"]
    assert (task["status"], call["outcome"]) == ("cancelled", "cancelled")
    assert (call["completion_tokens"], call["cost_estimated"]) == (2, True)
    assert 0 < call["cost_usd"] < 0.001
    await asyncio.to_thread(provided.openai.wait_until, lambda: provided.openai.open == 0, 10)


async def test_a_task_that_asks_for_no_stream_publishes_no_text(provided: Providers, outside: Client) -> None:
    heard = await listen(outside, provided)
    task = await asyncio.to_thread(provided.run, "sim-openai")
    assert await pieces(heard, task) == []

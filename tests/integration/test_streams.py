"""A text as it is written, read by a NATS client from outside; a stream that was cut is charged for what arrived."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgpack
import nats
import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from tests.broker import settle
from tests.integration.providers import WIRES, Providers, Wire
from tests.simulators.base import Behaviour

pytestmark = pytest.mark.platform

TEXT = "Carry it over the shoulder, or by hand where the way is short. Größe: egal."


@dataclass
class Heard:
    """What somebody outside hears of a task."""

    client: Client
    subscription: Subscription
    pieces: list[dict[str, Any]] = field(default_factory=list)

    async def one(self) -> str:
        """Hear one more piece; returns the task that it is of."""
        msg = await self.subscription.next_msg(timeout=20)
        self.pieces.append(msgpack.unpackb(msg.data))
        return str(msg.subject.rpartition(".")[2])

    def text(self, attempt: int) -> str:
        """What an attempt has written so far; each piece says where it belongs."""
        text = ""
        for piece in self.pieces:
            if piece["attempt"] == attempt:
                assert piece["offset"] == len(text)
                text += piece["text"]
        return text

    async def whole(self, attempt: int) -> None:
        """Hear on until that attempt's text is there; its last pieces may come after the task has ended."""
        while self.text(attempt) != TEXT:
            await self.one()


@pytest.fixture
async def heard(gateways: Providers) -> AsyncIterator[Heard]:
    """Listens to the texts of all tasks from now on, with what `devskyy nats-url` gives and nothing of ours."""
    told = await asyncio.to_thread(gateways.live.json, "nats-url")
    assert told["tokens"] == "devskyy.v1.tokens.default.*"
    client = await nats.connect(told["url"])
    subscription = await client.subscribe(told["tokens"])
    await settle(client)
    yield Heard(client, subscription)
    await client.close()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_streamed_task_publishes_its_text_as_it_is_written(
    wire: Wire, provided: Providers, heard: Heard
) -> None:
    # Given a provider that writes thirty words a second
    provided.sims[wire].behaviour = Behaviour(answer=TEXT, tokens_per_s=30)
    # When a task asks for a stream
    running = asyncio.create_task(asyncio.to_thread(provided.run, f"sim-{wire}", stream=True))
    task_id = await heard.one()
    # Then the first piece is there before the task has ended
    assert not running.done()
    task = await running
    assert (task["task_id"], task["status"], task["answer"]) == (task_id, "completed", TEXT), task["error"]
    # And all pieces together are the answer
    await heard.whole(attempt=1)
    assert len(heard.pieces) > 5
    assert {(piece["step"], piece["attempt"]) for piece in heard.pieces} == {("direct", 1)}
    assert task["receipt"]["cost_usd"] > 0
    assert task["receipt"]["cost_estimated"] is False


async def test_a_stream_that_was_cut_is_charged_for_what_arrived_and_begun_anew(
    provided: Providers, heard: Heard
) -> None:
    # Given a provider that breaks off after a word, once
    provided.openai.behaviour = Behaviour(answer=TEXT, fault="cut", faults_left=1)
    # When a task asks it for a stream
    task = await asyncio.to_thread(provided.run, "sim-openai", stream=True, max_tokens=1000)
    # Then the second attempt serves it, whole
    assert (task["status"], task["answer"]) == ("completed", TEXT), task["error"]
    cut, answered = task["receipt"]["calls"]
    await heard.whole(attempt=2)
    assert heard.text(attempt=1) == "Carry"
    # And the first is charged for the word that arrived: an estimate, far below what was reserved
    assert (cut["outcome"], cut["cost_estimated"], answered["cost_estimated"]) == ("failed", True, False)
    assert cut["completion_tokens"] == 2
    assert 0 < cut["cost_usd"] < answered["cost_usd"] + 0.0001


async def test_a_cancelled_stream_is_charged_for_what_arrived(provided: Providers, heard: Heard) -> None:
    # Given a stream under way
    provided.openai.behaviour = Behaviour(answer=TEXT, fault="stall")
    running = asyncio.create_task(asyncio.to_thread(provided.run, "sim-openai", stream=True, max_tokens=1000))
    task_id = await heard.one()
    # When its task is cancelled, by a command from outside
    await heard.client.publish(f"devskyy.v1.commands.default.{task_id}", msgpack.packb({"kind": "task.cancel"}))
    # Then it ends, and what had arrived is charged as an estimate
    task = await running
    (call,) = task["receipt"]["calls"]
    assert (task["status"], call["outcome"]) == ("cancelled", "cancelled")
    assert (call["completion_tokens"], call["cost_estimated"]) == (2, True)
    assert 0 < call["cost_usd"] < 0.001
    await asyncio.to_thread(provided.openai.wait_until, lambda: provided.openai.open == 0, 10)


async def test_a_task_that_asks_for_no_stream_publishes_no_text(provided: Providers, heard: Heard) -> None:
    # Given a task that asks for no stream, and one after it that asks for one
    provided.openai.behaviour = Behaviour(answer=TEXT)
    await asyncio.to_thread(provided.run, "sim-openai")
    streamed = await asyncio.to_thread(provided.run, "sim-openai", stream=True)
    # When somebody listens, then only the second is heard
    assert await heard.one() == streamed["task_id"]

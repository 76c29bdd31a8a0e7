"""Vectors over a real broker: journalled, kept apart from their entry, taken over from a gateway that died."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from actors.gateway.embedding import Embedding
from actors.gateway.providers import EmbedAttempt, Embedded
from actors.gateway.purse import Purse
from actors.gateway.steadiness import Steadiness
from actors.gateway.surroundings import Surroundings
from bus.cache import Cache
from bus.client import Bus
from bus.journal import Journal, key_of
from bus.purse import PurseStream
from bus.recordings import Recordings
from bus.streams import CALLS
from bus.vectors import Vectors
from schemas.budget import Budgets
from schemas.completion import Embed, Embeddings
from tests.gateway.acts import catalogue_with
from tests.gateway.doubles import LONG_S, Script

WIDE = 1500
TEXTS = tuple(f"text {n}" for n in range(40))
"""Their vectors are half a megabyte, more than travels in a message."""


class Wide(Script):
    """Makes wide vectors, or hangs for ever."""

    def __init__(self, hangs: bool = False) -> None:
        super().__init__()
        self.hangs, self.asked = hangs, 0

    async def embed(self, attempt: EmbedAttempt) -> Embedded:
        self.asked += 1
        self.started.set()
        if self.hangs:
            await asyncio.Event().wait()
        return Embedded(tuple((float(place),) * WIDE for place, _ in enumerate(attempt.texts)), "", 80)


def gateway(bus: Bus, folder: Path, instance: str, script: Script) -> Embedding:
    async def works(other: str, key: str) -> bool:
        return False  # every other one is dead

    return Embedding(
        instance,
        Surroundings(
            catalogue=catalogue_with(folder, cheap={"kind": "embeddings"}, free={"kind": "embeddings"}),
            environ={},
            journal=Journal(bus),
            provider_of=lambda _: script,
            works=works,
            purse=Purse(instance, Budgets(), PurseStream(bus)),
            steadiness=Steadiness(instance),
            cache=Cache(bus),
            recordings=Recordings(bus),
            vectors=Vectors(bus),
            keep=bus.keep,
        ),
    )


def asked(service: str = "cheap", step: str = "embed") -> Embed:
    return Embed(task_id="t1", step=step, service=service, texts=TEXTS)


async def told(one: Embedding, ask: Embed) -> Embeddings:
    """The reply, once its record is written."""
    reply = await asyncio.wait_for(one.embed(ask), LONG_S)
    async with asyncio.timeout(LONG_S):
        while one.works_on(str(key_of(ask))):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)
    return reply


async def test_another_gateway_gives_the_vectors_that_were_paid_for(bus: Bus, tmp_path: Path) -> None:
    # Given vectors of one gateway
    script = Wide()
    first = await told(gateway(bus, tmp_path, "gateway-a", script), asked())
    # When another one is asked the same
    again = await told(gateway(bus, tmp_path, "gateway-b", script), asked())
    # Then they are the same to the last digit, and were made once
    assert again == first
    assert (len(again.vectors), again.vectors[39][0], script.asked) == (40, 39.0, 1)
    # And the journal stays small
    assert (await bus.js.stream_info(CALLS)).state.bytes < 2000


async def test_a_gateway_that_died_leaves_a_call_in_doubt_and_the_next_one_makes_it_again(
    bus: Bus, tmp_path: Path
) -> None:
    # Given a gateway that is gone while its provider works
    hung = Wide(hangs=True)
    lost = asyncio.create_task(gateway(bus, tmp_path, "gateway-a", hung).embed(asked()))
    await hung.started.wait()
    # Then its task's account has the call, under way
    spending = await Journal(bus).spending_of("default", "t1")
    assert (spending.under_way, [call.outcome for call in spending.calls]) == (1, ["in_doubt"])
    # When another one is asked
    reply = await told(gateway(bus, tmp_path, "gateway-b", Wide()), asked())
    # Then there are vectors, and the task pays for both
    assert len(reply.vectors) == 40
    spending = await Journal(bus).spending_of("default", "t1")
    assert spending.under_way == 0
    assert [(call.outcome, call.in_doubt) for call in spending.calls] == [("in_doubt", True), ("answered", False)]
    assert spending.calls == reply.calls
    lost.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await lost


@pytest.mark.parametrize("service", ["cheap", "free"])
async def test_a_tasks_account_has_its_calls_for_vectors(bus: Bus, tmp_path: Path, service: str) -> None:
    reply = await told(gateway(bus, tmp_path, "gateway-a", Wide()), asked(service))
    (call,) = await Journal(bus).calls_of("default", "t1")
    assert (call, call.step, call.service) == (reply.calls[0], "embed", service)

"""Large bodies of those who have no JetStream, through a gateway that has."""

import hashlib
import secrets
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus import pieces
from bus.blobs import TRAVEL_LIMIT
from bus.client import Bus
from bus.desk import Endpoint
from bus.pieces import KEEP, PIECE_BYTES, Keep, Kept
from bus.streams import PAYLOADS, REQUESTS
from bus.subjects import AgentAsk
from schemas.errors import DecodeError, RemoteError
from tests.broker import Broker
from tests.bus.responders import Say, echo

LONG_S = 30.0


@pytest.fixture
async def agent(broker: Broker, bus: Bus) -> AsyncIterator[Bus]:
    """An agent, and a gateway that serves it."""
    await bus.blobs.put(b"", REQUESTS)  # users may make no stores
    gateway = await Bus(broker.url_of("gateway"), "gateway").connect()
    await gateway.serve("gateway", pieces.endpoints(lambda: gateway.blobs), "", {})
    agent = await Bus(broker.url_of("agent-writing"), "agent-writing", jetstream=False).connect()
    yield agent
    await agent.close(grace_s=0)
    await gateway.close(grace_s=0)


async def test_a_large_question_and_its_large_answer_reach_an_agent_without_jetstream(
    broker: Broker, agent: Bus
) -> None:
    # Given an agent that says what it is asked
    await agent.serve("agent-writing", [Endpoint("ask", str(AgentAsk("writing")), Say, echo)], "", {})
    coordinator = await Bus(broker.url_of("coordinator"), "coordinator").connect()
    # When it is asked something that is too large to travel
    question = Say(text=secrets.token_hex(2 * TRAVEL_LIMIT))
    try:
        answer = await coordinator.request(AgentAsk("writing"), question, Say, timeout_s=LONG_S)
    finally:
        await coordinator.close(grace_s=0)
    # Then both came through whole
    assert answer == question


@pytest.mark.parametrize("size", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES])
async def test_bytes_come_back_as_they_were_whoever_reads_them(bus: Bus, agent: Bus, size: int) -> None:
    data = secrets.token_bytes(size)
    name = await agent.bodies.put(data, REQUESTS)
    assert name == f"{REQUESTS}/{hashlib.sha256(data).hexdigest()}"
    assert await agent.bodies.get(name) == data
    assert await bus.blobs.get(name) == data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(data=st.binary(min_size=1, max_size=3 * PIECE_BYTES))
async def test_what_the_platform_stored_is_read_whole(bus: Bus, agent: Bus, data: bytes) -> None:
    assert await agent.bodies.get(await bus.blobs.put(data, REQUESTS)) == data


async def test_only_bodies_of_requests_are_to_be_had(bus: Bus, agent: Bus) -> None:
    # Given a payload of a task, whose name an agent has come to know
    name = await bus.blobs.put(b"somebody's", PAYLOADS)
    with pytest.raises((DecodeError, RemoteError), match="no body of a request"):
        await agent.bodies.get(name)


async def test_what_is_there_cannot_be_replaced_by_something_else(bus: Bus, agent: Bus) -> None:
    # Given a body that somebody refers to
    name = await bus.blobs.put(b"as it was", REQUESTS)
    # When an agent brings other bytes under its name
    digest = name.rpartition("/")[2]
    keep = Keep(upload=secrets.token_hex(16), index=0, data=b"otherwise", name=digest, size=9)
    assert await agent.request(KEEP, keep, Kept, timeout_s=LONG_S) == Kept(name=name)
    # Then it is what it was
    assert await bus.blobs.get(name) == b"as it was"


async def test_bytes_that_are_not_what_their_name_says_are_refused(bus: Bus, agent: Bus) -> None:
    # Given bytes that were brought under the name of others, which nobody has stored yet
    digest = hashlib.sha256(b"awaited").hexdigest()
    keep = Keep(upload=secrets.token_hex(16), index=0, data=b"forged", name=digest, size=6)
    kept = await agent.request(KEEP, keep, Kept, timeout_s=LONG_S)
    assert kept.name is not None
    # When they are read, then whoever reads them notices
    for read in (bus.blobs.get, agent.bodies.get):
        with pytest.raises(DecodeError, match="not what its name says"):
            await read(kept.name)

"""The log under tasks and workflows on a real server: whoever writes to it, and however, it has no gap."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.msg import Msg

from bus.client import Bus
from bus.eventlog import EventLog, WrongLastSequence
from bus.streams import WORKFLOWS
from bus.workflowlog import KIND
from schemas.errors import BusUnavailable, NotFound
from schemas.workflow_event import WorkflowEvent
from tests.broker import Broker
from tests.bus.workflows import TENANT, advanced, created

Events = EventLog[WorkflowEvent]


@pytest.fixture
def events(bus: Bus) -> Events:
    return EventLog(bus, KIND, patience_s=5.0)


# -- writing -------------------------------------------------------------------------------------------------------


class LossyBus(Bus):
    """Its next acknowledgements get lost on the way back."""

    lose = 0

    async def acknowledged(self, *args: Any) -> dict[str, Any]:
        said = await super().acknowledged(*args)
        if self.lose:
            self.lose -= 1
            raise TimeoutError
        return said


class Writer:
    """Believes that it owns a workflow, and may be wrong."""

    def __init__(self, bus: LossyBus, workflow_id: str) -> None:
        self._bus, self._events, self._id = bus, EventLog(bus, KIND, patience_s=5.0), workflow_id
        self._seq, self._place = 0, 0
        self.wrote: list[str] = []

    async def look(self) -> None:
        """Read how far the log goes."""
        try:
            last = (await self._events.read(TENANT, self._id))[-1]
        except NotFound:
            return
        self._seq, self._place = last.event.seq, last.stream_seq

    async def write(self) -> None:
        make = created(self._id) if self._seq == 0 else advanced(self._seq + 1, self._id)
        event = make.model_copy(update={"event_id": uuid4().hex})
        try:
            self._place = await self._events.append(event, self._place)
        except WrongLastSequence:
            return
        self._seq = event.seq
        self.wrote.append(event.event_id)

    async def write_unheard(self) -> None:
        """Write, and hear nothing of it at first."""
        self._bus.lose = 1
        await self.write()
        self._bus.lose = 0


@pytest.fixture
async def lossy(broker: Broker) -> AsyncIterator[list[LossyBus]]:
    buses = [LossyBus(broker.url, f"writer {i}") for i in range(2)]
    for bus in buses:
        await bus.connect()
    yield buses
    for bus in buses:
        await bus.close(grace_s=0)


MOVES = st.sampled_from([Writer.look, Writer.write, Writer.write_unheard])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(MOVES, MOVES, st.booleans()), min_size=1, max_size=12))
async def test_however_two_write_the_log_is_what_was_acknowledged_without_a_gap(
    lossy: list[LossyBus], events: Events, monkeypatch: pytest.MonkeyPatch, moves: list[tuple[Any, Any, bool]]
) -> None:
    monkeypatch.setattr("bus.eventlog.RETRY_S", 0.0)
    # Given two who believe that a workflow is theirs
    workflow_id = uuid4().hex
    one, other = (Writer(bus, workflow_id) for bus in lossy)
    # When each reads and writes, one after the other or both at once, and acknowledgements get lost
    for first, second, at_once in moves:
        if at_once:
            await asyncio.gather(first(one), second(other))
        else:
            await first(one)
            await second(other)
    # Then the log has each event that one of them knows it wrote, once, and no others
    await one.look()
    found = [entry.event for entry in await events.read(TENANT, workflow_id)] if one._seq else []
    assert sorted(event.event_id for event in found) == sorted(one.wrote + other.wrote)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))


# -- reading from a server that is behind --------------------------------------------------------------------------


class BehindBus(Bus):
    """The server of a cluster that answers its next questions has only the first `has` messages yet."""

    has, behind = 0, 0

    @property
    def clustered(self) -> bool:
        return True

    async def ask_many(self, subject: str, body: bytes, timeout_s: float = 5.0) -> AsyncGenerator[Msg, None]:
        held = self.has if self.behind else 10**9
        self.behind = max(0, self.behind - 1)
        async for msg in super().ask_many(subject, body, timeout_s):
            if int((msg.headers or {}).get("Nats-Sequence", 0)) > held:
                yield Msg(_client=self.client, headers={"Status": "204", "Nats-Num-Pending": "0"})
                return
            yield msg


@pytest.fixture
async def behind(broker: Broker) -> AsyncIterator[BehindBus]:
    bus = BehindBus(broker.url, "behind")
    await bus.connect()
    yield bus
    await bus.close(grace_s=0)


async def three(events: Events, workflow_id: str = "w") -> list[WorkflowEvent]:
    """A workflow of three events, the first ones of the stream."""
    made: list[WorkflowEvent] = [created(workflow_id), advanced(2, workflow_id), advanced(3, workflow_id)]
    place = 0
    for event in made:
        place = await events.append(event, place)
    return made


@pytest.mark.parametrize("has", [0, 1, 2])
async def test_what_a_server_does_not_have_yet_is_asked_for_again(events: Events, behind: BehindBus, has: int) -> None:
    made = await three(events)
    behind.has, behind.behind = has, 3
    assert [entry.event for entry in await EventLog(behind, KIND, 5.0).read(TENANT, "w")] == made


async def test_a_server_that_stays_behind_is_said_to_be_so(
    events: Events, behind: BehindBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.history.CATCH_UP_S", 0.1)
    await three(events)
    behind.has, behind.behind = 2, 10**9
    with pytest.raises(BusUnavailable, match="no server has the last messages of WORKFLOWS yet"):
        await EventLog(behind, KIND, 5.0).read(TENANT, "w")


async def test_what_is_removed_while_it_is_waited_for_is_waited_for_no_longer(
    bus: Bus, events: Events, behind: BehindBus
) -> None:
    # Given a reader that waits for a server to have the last of three
    first, second, _ = await three(events)
    behind.has, behind.behind = 2, 10**9
    reading = asyncio.create_task(EventLog(behind, KIND, 60.0).read(TENANT, "w"))
    while behind.behind > 10**9 - 2:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
    # When that is removed
    await bus.js.delete_msg(WORKFLOWS, 3)
    # Then it has what is left
    assert [entry.event for entry in await reading] == [first, second]


async def test_of_nothing_new_no_server_is_asked(events: Events, behind: BehindBus) -> None:
    await three(events)
    behind.has, behind.behind = 0, 1
    with pytest.raises(NotFound):
        await EventLog(behind, KIND, 5.0).read(TENANT, "w", start=4)
    assert behind.behind == 1


async def test_only_events_after_a_number_are_given(events: Events) -> None:
    made = await three(events)
    assert [entry.event for entry in await events.read(TENANT, "w", after=1)] == made[1:]
    assert [entry.event for entry in await events.read(TENANT, "w", start=3)] == made[2:]


async def test_the_last_event_of_a_name_is_read_by_itself(events: Events) -> None:
    made = await three(events)
    assert await events.event_named(TENANT, "w", "created") == made[0]
    assert await events.event_named(TENANT, "w", "advanced") == made[2]
    with pytest.raises(NotFound):
        await events.event_named(TENANT, "w", "completed")

"""The workflow log on a real server: created once, woken once and in time, followed to its end, kept as it stands."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import structlog
from nats.aio.msg import Msg

from bus import streams
from bus.blobs import TRAVEL_LIMIT
from bus.client import Bus
from bus.codec import decode
from bus.consumer import Puller
from bus.eventlog import EVENT_LIMIT, WrongLastSequence
from bus.streams import DEAD, ENGINES, KEEP_S, LASTING, SNAPSHOTS, STATES, TIMEKEEPERS, TIMERS, WAKES, WORKFLOWS
from bus.subjects import DeadLetterSubject, WorkflowSnapshot, WorkflowWake
from bus.workflowlog import Snapshot, WorkflowLog
from schemas.errors import BusUnavailable, KeyReused, NotFound, StorageFull
from schemas.event import DeadLetter
from schemas.message import now
from schemas.workflow_event import Retried, WorkflowCommand, WorkflowEvent
from tests.broker import Broker, until
from tests.bus.workflows import TENANT, advanced, command, created, ended, fields, signalled

LONG_S = 30.0


@pytest.fixture
def flows(bus: Bus) -> WorkflowLog:
    return WorkflowLog(bus)


class Engine:
    """Takes wakes as an engine does, and keeps what it was asked."""

    def __init__(self, bus: Bus) -> None:
        self.heard: list[tuple[str, WorkflowCommand]] = []
        self._flows = WorkflowLog(bus)
        pullers = (Puller(bus, ENGINES, self._handle, concurrency=8), self._flows.timekeeper())
        self._pulling = [(puller, asyncio.create_task(puller.run())) for puller in pullers]

    async def _handle(self, msg: Msg) -> None:
        self.heard.append((WorkflowWake.parse(msg.subject).workflow, await self._flows.command_of(msg)))

    @property
    def commands(self) -> list[str]:
        return [command.command for _, command in self.heard]

    async def hears(self, count: int) -> None:
        await until(lambda: len(self.heard) >= count, LONG_S)

    async def stop(self) -> None:
        for puller, run in self._pulling:
            await puller.stop(grace_s=LONG_S)
            run.cancel()
        await asyncio.gather(*(run for _, run in self._pulling), return_exceptions=True)


@pytest.fixture
async def engine(bus: Bus) -> AsyncIterator[Engine]:
    engine = Engine(bus)
    yield engine
    await engine.stop()


async def held(bus: Bus, stream: str) -> int:
    return (await bus.js.stream_info(stream)).state.messages


async def write(flows: WorkflowLog, *events: WorkflowEvent, place: int = 0) -> int:
    for event in events:
        place = await flows.append(event, place)
    return place


# -- creating ------------------------------------------------------------------------------------------------------


async def test_a_workflow_is_created_once(flows: WorkflowLog) -> None:
    first = created(event_id="mine")
    assert await flows.create(first) == (first, True)
    assert await flows.create(created(event_id="another")) == (first, False)
    assert [entry.event for entry in await flows.read(TENANT, "w")] == [first]


async def test_of_many_who_create_it_at_once_one_does(bus: Bus, flows: WorkflowLog) -> None:
    results = await asyncio.gather(*(flows.create(created(event_id=str(i))) for i in range(30)))
    assert sum(new for _, new in results) == 1
    assert len({first.event_id for first, _ in results}) == 1
    assert await held(bus, WORKFLOWS) == 1


async def test_who_creates_it_again_gets_its_beginning_however_far_it_has_gone(flows: WorkflowLog) -> None:
    first = created()
    await write(flows, first, advanced(2), ended(3))
    assert await flows.create(created(event_id="again")) == (first, False)


async def test_another_body_for_the_same_workflow_is_refused(flows: WorkflowLog) -> None:
    await flows.create(created())
    with pytest.raises(KeyReused):
        await flows.create(created(event_id="another", body_sha256="f" * 64))


async def test_a_workflow_belongs_to_its_tenant(flows: WorkflowLog) -> None:
    mine, theirs = created(), created(tenant="other", body_sha256="f" * 64)
    assert [new for _, new in (await flows.create(mine), await flows.create(theirs))] == [True, True]
    assert (await flows.created(TENANT, "w"), await flows.created("other", "w")) == (mine, theirs)
    with pytest.raises(NotFound, match="workflow"):
        await flows.read("nobody", "w")


async def test_one_whose_acknowledgement_was_lost_was_created_here_also_when_it_has_gone_on(
    flows: WorkflowLog, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an owner that goes on before its creator has tried again
    acknowledged, mine = bus.acknowledged, created()

    async def lost(*args: Any) -> dict[str, Any]:
        said = await acknowledged(*args)
        monkeypatch.setattr(bus, "acknowledged", acknowledged)
        await write(flows, advanced(2), place=int(said["seq"]))
        raise TimeoutError

    monkeypatch.setattr(bus, "acknowledged", lost)
    # When it is created
    # Then its creator knows it for its own
    assert await flows.create(mine) == (mine, True)


async def test_a_full_log_refuses_new_workflows_and_lets_the_others_go_on(
    bus: Bus, flows: WorkflowLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.eventlog.ROOM_CHECK_S", 0.0)
    # Given a small log, and as many workflows as it takes
    await streams.ensure(bus.client, budget=2_000_000)
    inputs = {"brief": "x" * 20_000}
    with pytest.raises(
        StorageFull, match=r"the workflow log is full \([\d,]+ of 300,000 bytes\).*DEVSKYY_STREAM_BYTES"
    ):
        for number in range(100):
            await flows.create(created(f"w{number}", inputs=inputs))
    # When one of them goes on
    place = (await flows.read(TENANT, "w0"))[-1].stream_seq
    await write(flows, advanced(2, "w0"), ended(3, "w0"), place=place)
    # Then it ends, and a repeat still finds it
    assert (await flows.read(TENANT, "w0"))[-1].event.event == "completed"
    first, new = await flows.create(created("w0", event_id="again", inputs=inputs))
    assert (first.event_id, new) == ("w0-1", False)


async def test_a_full_queue_of_wakes_refuses_new_workflows_too(
    bus: Bus, flows: WorkflowLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.eventlog.ROOM_CHECK_S", 0.0)
    await streams.ensure(bus.client, budget=2_000_000)
    with pytest.raises(StorageFull, match="the queue of wakes is full"):
        for number in range(100):
            await flows.wake(TENANT, "w", command(str(number), payload="x" * 2000))
    with pytest.raises(StorageFull, match="the queue of wakes is full"):
        await flows.create(created())


# -- writing and reading -------------------------------------------------------------------------------------------


async def test_an_owner_that_was_overtaken_writes_nothing_and_nobody_sees_it_try(bus: Bus, flows: WorkflowLog) -> None:
    # Given somebody who hears everything that is published
    heard: list[WorkflowEvent] = []

    async def listen(msg: Msg) -> None:
        heard.append(await flows.event_of(msg))

    await bus.client.subscribe("devskyy.v1.workflows.>", cb=listen)
    await bus.settle()
    # When a newer owner has written, and an older one tries
    place = await write(flows, created())
    await write(flows, newer := advanced(2, event_id="newer"), place=place)
    with pytest.raises(WrongLastSequence):
        await flows.append(advanced(2, event_id="stale"), place)
    await write(flows, last := ended(3), place=place + 1)
    # Then only the newer's are there, and were heard
    await until(lambda: len(heard) == 3)
    assert [entry.event for entry in await flows.read(TENANT, "w")] == heard
    assert heard[1:] == [newer, last]


async def test_an_event_too_large_to_travel_lies_where_it_outlasts_the_workflow(bus: Bus, flows: WorkflowLog) -> None:
    large = signalled(2, payload=os.urandom(EVENT_LIMIT).hex())
    await write(flows, created(), large)
    assert (await flows.read(TENANT, "w"))[-1].event == large
    info = await bus.js.stream_info(f"OBJ_{LASTING}")
    assert info.state.messages
    assert (info.config.max_age or 0) >= streams.lasting_s(KEEP_S)


# -- following -----------------------------------------------------------------------------------------------------


class Follower:
    def __init__(self, flows: WorkflowLog, after: int = 0) -> None:
        self.seen: list[WorkflowEvent] = []
        self.done = asyncio.create_task(self._follow(flows, after))

    async def _follow(self, flows: WorkflowLog, after: int) -> None:
        async for event in flows.follow(TENANT, "w", after):
            self.seen.append(event)

    async def has(self, count: int) -> None:
        await until(lambda: len(self.seen) >= count, LONG_S)


async def test_followers_see_each_event_once_until_it_ends(flows: WorkflowLog) -> None:
    events: list[WorkflowEvent] = [created()]
    place = await write(flows, events[0])
    followers = [Follower(flows)]
    for seq in range(2, 20):
        events.append(ended(seq) if seq == 19 else advanced(seq))
        place = await write(flows, events[-1], place=place)
        followers.append(Follower(flows))
    async with asyncio.timeout(LONG_S):
        await asyncio.gather(*(follower.done for follower in followers))
    assert all(follower.seen == events for follower in followers)


async def test_a_follower_of_a_workflow_that_was_made_to_go_on_sees_that_and_waits_for_the_end_after_it(
    flows: WorkflowLog,
) -> None:
    # Given a workflow that ended, and goes on
    again = Retried(**fields(4), owner="e", deadline_at=now())
    place = await write(flows, created(), advanced(2), ended(3), again)
    # When it is followed, and ends at last
    follower, late = Follower(flows), Follower(flows, after=3)
    await follower.has(4)
    assert not follower.done.done()
    await write(flows, ended(5), place=place)
    # Then all is seen
    async with asyncio.timeout(LONG_S):
        await asyncio.gather(follower.done, late.done)
    assert [event.event for event in follower.seen] == ["created", "advanced", "completed", "retried", "completed"]
    assert [event.seq for event in late.seen] == [4, 5]


async def test_a_follower_is_done_where_the_last_event_is_an_end(flows: WorkflowLog) -> None:
    await write(flows, created(), ended(2))
    async with asyncio.timeout(LONG_S):
        assert [event.seq async for event in flows.follow(TENANT, "w")] == [1, 2]
        assert [event.seq async for event in flows.follow(TENANT, "w", after=2)] == []


# -- wakes ---------------------------------------------------------------------------------------------------------


async def test_a_wake_is_heard_once_however_often_it_is_sent(bus: Bus, flows: WorkflowLog, engine: Engine) -> None:
    assert [await flows.wake(TENANT, "w", command("c1")) for _ in range(3)] == [True, False, False]
    assert await flows.wake(TENANT, "w", command("c2"))
    await engine.hears(2)
    await engine.stop()
    assert engine.heard == [("w", command("c1")), ("w", command("c2"))]
    assert await held(bus, WAKES) == 0


async def test_of_wakes_that_are_to_be_heard_once_the_first_counts(flows: WorkflowLog, engine: Engine) -> None:
    sent = [await flows.wake(TENANT, "w", command(name), once="daily") for name in ("c1", "c2")]
    other = await flows.wake(TENANT, "v", command("c3"), once="daily")
    await engine.hears(2)
    assert (sent, other) == ([True, False], True)
    assert engine.heard == [("w", command("c1")), ("v", command("c3"))]


async def test_a_wake_carries_what_is_too_large_to_travel(bus: Bus, flows: WorkflowLog, engine: Engine) -> None:
    large = command(payload={"picture": "x" * (TRAVEL_LIMIT + 1)})
    await flows.wake(TENANT, "w", large)
    await engine.hears(1)
    assert engine.heard == [("w", large)]


async def test_a_wake_whose_engine_died_comes_to_another(bus: Bus, flows: WorkflowLog, engine: Engine) -> None:
    await engine.stop()
    consumer = replace(ENGINES, ack_wait_s=0.5)
    await bus.js.add_consumer(WAKES, consumer.config())
    await flows.wake(TENANT, "w", command())
    died = await bus.js.pull_subscribe_bind(durable=ENGINES.name, stream=WAKES)
    assert len(await died.fetch(1, timeout=LONG_S)) == 1
    await died.unsubscribe()
    other = Engine(bus)
    await other.hears(1)
    await other.stop()
    assert other.heard == [("w", command())]


async def test_what_is_no_command_goes_to_the_dead_letters(bus: Bus, flows: WorkflowLog, engine: Engine) -> None:
    await bus.put(WorkflowWake(TENANT, "w"), b"junk")
    await flows.wake(TENANT, "w", command())
    await engine.hears(1)
    await until_async(lambda: held(bus, DEAD))
    raw = await bus.js.get_last_msg(DEAD, str(DeadLetterSubject(ENGINES.name)))
    assert decode(raw.data or b"", DeadLetter).data == b"junk"
    assert engine.commands == ["c1"]


async def test_without_a_server_nothing_is_called_recorded(broker: Broker, bus: Bus) -> None:
    flows = WorkflowLog(bus, patience_s=0.2)
    await asyncio.to_thread(broker.stop)
    with pytest.raises(BusUnavailable, match="'signal' of workflow w"):
        await flows.wake(TENANT, "w", command())
    with pytest.raises(BusUnavailable, match="a timer of workflow w"):
        await flows.wake_at(TENANT, "w", now(), command())
    with pytest.raises(BusUnavailable, match="'created'"):
        await flows.create(created())


# -- timers --------------------------------------------------------------------------------------------------------


async def test_a_timer_wakes_its_workflow_at_its_moment(bus: Bus, flows: WorkflowLog, engine: Engine) -> None:
    at = now() + timedelta(seconds=1)
    await flows.wake_at(TENANT, "w", at, command("due"))
    await engine.hears(1)
    assert timedelta(0) <= now() - at < timedelta(seconds=LONG_S)
    assert engine.heard == [("w", command("due"))]


async def test_a_moment_that_has_passed_wakes_at_once(flows: WorkflowLog, engine: Engine) -> None:
    await flows.wake_at(TENANT, "w", now() - timedelta(days=3), command("late"))
    async with asyncio.timeout(5):
        await engine.hears(1)
    assert engine.commands == ["late"]


async def test_a_later_timer_replaces_the_one_before(bus: Bus, flows: WorkflowLog, engine: Engine) -> None:
    # Given a workflow with one timer after the other, the last of them the latest or the soonest
    for name, after_s in (("first", 0.5), ("second", 3600), ("third", 1.0)):
        await flows.wake_at(TENANT, "w", now() + timedelta(seconds=after_s), command(name))
    # When that of another workflow goes off, after all that could
    await flows.wake_at(TENANT, "other", now() + timedelta(seconds=2), command("last"))
    await engine.hears(2)
    # Then only the last one has
    assert engine.heard == [("w", command("third")), ("other", command("last"))]


async def test_timers_of_one_command_each_wake(flows: WorkflowLog, engine: Engine) -> None:
    for count in (1, 2, 3):
        await flows.wake_at(TENANT, "w", now(), command("tick"))
        await engine.hears(count)
    assert engine.commands == ["tick"] * 3


async def test_a_timer_carries_what_is_too_large_to_travel(flows: WorkflowLog, engine: Engine) -> None:
    large = command(payload="x" * (TRAVEL_LIMIT + 1))
    await flows.wake_at(TENANT, "w", now(), large)
    await engine.hears(1)
    assert engine.heard == [("w", large)]


async def test_timers_outlive_a_killed_server_also_those_that_go_off_meanwhile(
    broker: Broker, bus: Bus, flows: WorkflowLog
) -> None:
    # Given a timer that goes off at once and is taken by nobody, and one that is due while the server is down
    await flows.wake_at(TENANT, "early", now(), command())
    await until_async(lambda: _pending(bus))
    await flows.wake_at(TENANT, "meanwhile", at := now() + timedelta(seconds=1), command())
    # When the server is killed, and started once that is over
    await asyncio.to_thread(broker.kill)
    await until(lambda: now() > at, LONG_S)
    await asyncio.to_thread(broker.start)
    # Then both are heard
    engine = Engine(bus)
    await engine.hears(2)
    await engine.stop()
    assert sorted(workflow for workflow, _ in engine.heard) == ["early", "meanwhile"]


async def test_a_timer_waits_for_room_in_the_queue(bus: Bus, flows: WorkflowLog, engine: Engine) -> None:
    # Given a queue of wakes that is full, as nobody takes them
    await engine.stop()
    await streams.ensure(bus.client, budget=2_000_000)
    with pytest.raises(StorageFull):
        for number in range(100):
            await flows.wake(TENANT, "w", command(str(number), payload="x" * 2000))
    there = await held(bus, WAKES)
    await flows.wake_at(TENANT, "timed", now(), command("due", payload="x" * 2000))
    # When they are taken
    other = Engine(bus)
    await other.hears(there + 1)
    await other.stop()
    # Then the timer's comes too
    assert "timed" in {workflow for workflow, _ in other.heard}


async def _pending(bus: Bus) -> int:
    return (await bus.js.consumer_info(TIMERS, TIMEKEEPERS.name)).num_pending


async def until_async(condition: Any) -> None:
    async with asyncio.timeout(LONG_S):
        while not await condition():
            pass


# -- snapshots -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [b"", b"how it stands", os.urandom(500_000), os.urandom(2_000_000)])
async def test_a_snapshot_comes_back_as_it_was_kept(flows: WorkflowLog, state: bytes) -> None:
    kept = Snapshot(code="v1", seq=3, stream_seq=7, state=state)
    await flows.keep(TENANT, "w", kept)
    assert await flows.snapshot(TENANT, "w") == kept
    assert await flows.snapshot(TENANT, "other") is None
    assert await flows.snapshot("other", "w") is None


async def test_only_the_last_snapshot_is_kept_however_large(bus: Bus, flows: WorkflowLog) -> None:
    for seq in range(1, 5):
        await flows.keep(TENANT, "w", Snapshot(code="v1", seq=seq, stream_seq=seq, state=os.urandom(1_500_000)))
    last = await flows.snapshot(TENANT, "w")
    assert last is not None
    assert last.seq == 4
    assert await held(bus, SNAPSHOTS) == 1
    assert (await bus.js.stream_info(f"OBJ_{STATES}")).state.bytes < 2_000_000


async def test_a_snapshot_takes_less_than_what_it_says(bus: Bus, flows: WorkflowLog) -> None:
    await flows.keep(TENANT, "w", Snapshot(code="v1", seq=1, stream_seq=1, state=b"the same again " * 20_000))
    assert (await bus.js.stream_info(SNAPSHOTS)).state.bytes < 5_000


@pytest.mark.parametrize("junk", [b"", b"junk", b"x\x9cnothing of the kind"])
async def test_a_snapshot_that_cannot_be_read_is_none(bus: Bus, flows: WorkflowLog, junk: bytes) -> None:
    await bus.put(WorkflowSnapshot(TENANT, "w"), junk)
    with structlog.testing.capture_logs() as told:
        assert await flows.snapshot(TENANT, "w") is None
    assert [entry["event"] for entry in told] == ["a snapshot was not read"]


async def test_a_large_snapshot_that_is_gone_is_none(bus: Bus, flows: WorkflowLog) -> None:
    await flows.keep(TENANT, "w", Snapshot(code="v1", seq=1, stream_seq=1, state=os.urandom(1_500_000)))
    await bus.js.purge_stream(f"OBJ_{STATES}")
    assert await flows.snapshot(TENANT, "w") is None


async def test_one_half_of_which_is_gone_is_not_waited_for_long(bus: Bus) -> None:
    flows = WorkflowLog(bus, patience_s=0.3)
    await flows.keep(TENANT, "w", Snapshot(code="v1", seq=1, stream_seq=1, state=os.urandom(1_500_000)))
    await bus.js.purge_stream(f"OBJ_{STATES}", subject=f"$O.{STATES}.C.>")
    async with asyncio.timeout(5):
        assert await flows.snapshot(TENANT, "w") is None


async def test_that_a_snapshot_is_not_kept_is_no_failure(bus: Bus) -> None:
    flows = WorkflowLog(bus)
    await bus.js.delete_stream(SNAPSHOTS)
    with structlog.testing.capture_logs() as told:
        await flows.keep(TENANT, "w", Snapshot(code="v1", seq=1, stream_seq=1, state=b""))
        assert await flows.snapshot(TENANT, "w") is None
    assert told[0]["event"] == "a snapshot was not kept"


# -- what is kept of a workflow ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "bucket"), [(1, ""), (14, ""), (16, "lasting/"), (365, "lasting/")])
async def test_what_a_workflow_refers_to_outlasts_it(bus: Bus, flows: WorkflowLog, days: int, bucket: str) -> None:
    name = await flows.store(b"an output", until=now() + timedelta(days=days))
    assert name.startswith(bucket)
    assert await bus.blobs.get(name) == b"an output"
    kept_s = (await bus.js.stream_info(f"OBJ_{bucket.rstrip('/') or streams.PAYLOADS}")).config.max_age or 0
    # What is there already is stored anew only past half of its time.
    assert kept_s / 2 >= days * 86_400 if bucket == "" else kept_s >= days * 86_400
    assert kept_s >= KEEP_S


async def test_of_a_workflow_that_is_forgotten_nothing_is_left(bus: Bus, flows: WorkflowLog, engine: Engine) -> None:
    # Given two workflows with events, snapshots and timers
    for workflow_id in ("w", "other"):
        await write(flows, created(workflow_id), advanced(2, workflow_id))
        await flows.keep(TENANT, workflow_id, Snapshot(code="v1", seq=1, stream_seq=1, state=b""))
        await flows.wake_at(TENANT, workflow_id, now() + timedelta(seconds=1), command("due"))
    # When one is forgotten
    await flows.forget(TENANT, "w")
    # Then it is gone, and may be created anew; the other is there, and is woken alone
    with pytest.raises(NotFound):
        await flows.read(TENANT, "w")
    with pytest.raises(NotFound):
        await flows.created(TENANT, "w")
    assert await flows.snapshot(TENANT, "w") is None
    assert (await flows.create(created("w", body_sha256="f" * 64)))[1]
    assert len(await flows.read(TENANT, "other")) == 2
    await flows.wake_at(TENANT, "third", now() + timedelta(seconds=2), command("last"))
    await engine.hears(2)
    assert [workflow for workflow, _ in engine.heard] == ["other", "third"]

"""A cluster of three real servers: what was acknowledged stays, and work goes on, whichever of them is killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest
import structlog
from nats.aio.msg import Msg

from bus import streams
from bus.client import Bus
from bus.consumer import Puller
from bus.eventlog import Logged
from bus.streams import ENGINES, TASKS, WORKFLOWS
from bus.subjects import TaskEvents, WorkflowWake
from bus.tasklog import OwnedTask, TaskLog
from bus.workflowlog import WorkflowLog
from schemas.errors import BusUnavailable, ConfigError
from schemas.message import now
from schemas.workflow_event import WorkflowEvent
from tests.broker import Broker, until
from tests.bus.test_tasklog import HELLO, claimed, completed
from tests.bus.workflows import TENANT, advanced, command, created, ended
from tests.cluster import SIZE, Cluster, Member, patiently, running

LONG_S = 120.0
WORKFLOWS_AT_ONCE = 8


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    async def make() -> None:
        await (await cluster.connect(make_streams=True)).close(grace_s=0)

    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        asyncio.run(make())
        yield cluster


@pytest.fixture
async def bus(cluster: Cluster) -> AsyncIterator[Bus]:
    bus = await cluster.connect()
    await cluster.whole(bus)
    yield bus
    await bus.close(grace_s=0.2)


async def the_one_connected_to(cluster: Cluster, bus: Bus) -> Member:
    return cluster.connected_to(bus)


async def the_leader_of_events(cluster: Cluster, bus: Bus) -> Member:
    return await cluster.leader_of(bus, WORKFLOWS)


async def the_leader_of_wakes(cluster: Cluster, bus: Bus) -> Member:
    return await cluster.leader_of(bus, ENGINES.stream)


Victim = Callable[[Cluster, Bus], Awaitable[Member]]


class Writers:
    """Owners of workflows who write one event after the other, and remember what was acknowledged."""

    def __init__(self, bus: Bus) -> None:
        self._flows, self._stopping = WorkflowLog(bus, patience_s=LONG_S), False
        self.acknowledged: dict[str, list[Logged[WorkflowEvent]]] = {}
        self._writing = [asyncio.create_task(self._write(f"w{now():%H%M%S%f}{i}")) for i in range(WORKFLOWS_AT_ONCE)]

    @property
    def count(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    async def _write(self, workflow_id: str) -> None:
        event: WorkflowEvent = created(workflow_id)
        mine, place = self.acknowledged.setdefault(workflow_id, []), 0
        while event.seq == 1 or mine[-1].event.event != "completed":
            place = await self._flows.append(event, place)
            mine.append(Logged(place, event))
            event = (ended if self._stopping else advanced)(event.seq + 1, workflow_id)

    async def write(self, more: int) -> None:
        """Return once so many more events have been acknowledged."""
        wanted = self.count + more
        await until(lambda: self.count >= wanted or any(task.done() for task in self._writing), LONG_S)

    async def finish(self) -> None:
        self._stopping = True
        async with asyncio.timeout(LONG_S):
            await asyncio.gather(*self._writing)


@pytest.mark.parametrize("victim", [the_one_connected_to, the_leader_of_events])
async def test_no_event_that_was_acknowledged_is_lost_with_a_server(cluster: Cluster, bus: Bus, victim: Victim) -> None:
    # Given workflows that are written to, and somebody who follows one of them
    writers, flows = Writers(bus), WorkflowLog(bus)
    await writers.write(200)
    followed: list[WorkflowEvent] = []

    async def follow(workflow_id: str) -> None:
        async for event in flows.follow(TENANT, workflow_id):
            followed.append(event)

    following = asyncio.create_task(follow(next(iter(writers.acknowledged))))
    await until(lambda: bool(followed))
    # When a server is killed in the midst of it, and comes back once the others have gone on
    killed = await victim(cluster, bus)
    await asyncio.to_thread(killed.kill)
    await writers.write(200)
    await asyncio.to_thread(killed.start)
    await cluster.whole(bus)
    await writers.write(200)
    await writers.finish()
    # Then each workflow has exactly the events that were acknowledged, each at its place, and no other
    for workflow_id, events in writers.acknowledged.items():
        assert await patiently(partial(flows.read, TENANT, workflow_id)) == events
        assert [entry.event.seq for entry in events] == list(range(1, len(events) + 1))
    # And whoever followed has seen all of them
    async with asyncio.timeout(LONG_S):
        await following
    assert followed == [entry.event for entry in next(iter(writers.acknowledged.values()))]


class Engine:
    """Takes wakes as an engine does."""

    def __init__(self, bus: Bus) -> None:
        self.heard: set[str] = set()
        self._flows = WorkflowLog(bus)
        self.puller = Puller(bus, ENGINES, self._handle, concurrency=32)
        self.timekeeper = self._flows.timekeeper()
        self._runs = [asyncio.create_task(puller.run()) for puller in (self.puller, self.timekeeper)]

    async def _handle(self, msg: Msg) -> None:
        found = await self._flows.command_of(msg)
        self.heard.add(f"{WorkflowWake.parse(msg.subject).workflow}/{found.command}")

    async def stop(self) -> None:
        for puller in (self.puller, self.timekeeper):
            await puller.stop(grace_s=1)
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)


@pytest.mark.parametrize("victim", [the_one_connected_to, the_leader_of_wakes])
async def test_every_wake_and_every_timer_is_heard_although_a_server_dies(
    cluster: Cluster, bus: Bus, victim: Victim
) -> None:
    # Given an engine, somebody who wakes workflows all the time, and timers that go off during all that comes
    flows, other = WorkflowLog(bus, patience_s=LONG_S), await cluster.connect("engine")
    engine, sent, stopping = Engine(other), set[str](), asyncio.Event()
    round_ = f"{now():%H%M%S%f}"
    for i in range(20):
        await flows.wake_at(TENANT, f"t{i}", now() + timedelta(seconds=1 + i / 4), command(round_))
        sent.add(f"t{i}/{round_}")

    async def wake(workflow_id: str) -> None:
        count = 0
        while not stopping.is_set():
            count += 1
            await flows.wake(TENANT, workflow_id, command(f"{round_}-{count}"))
            sent.add(f"{workflow_id}/{round_}-{count}")

    waking = [asyncio.create_task(wake(f"w{i}")) for i in range(4)]
    await until(lambda: len(sent) > 100 and bool(engine.heard), LONG_S)
    # When a server is killed, and comes back once the others have gone on
    killed, before = await victim(cluster, bus), len(sent)
    await asyncio.to_thread(killed.kill)
    await until(lambda: len(sent) > before + 100, LONG_S)
    await asyncio.to_thread(killed.start)
    await cluster.whole(bus)
    stopping.set()
    async with asyncio.timeout(LONG_S):
        await asyncio.gather(*waking)
    # Then all that was acknowledged is heard
    try:
        await until(lambda: sent <= engine.heard, LONG_S)
    finally:
        await engine.stop()
        await other.close(grace_s=0.2)


async def test_tasks_go_on_although_the_leader_of_their_stream_dies(cluster: Cluster, bus: Bus) -> None:
    # Given tasks that are accepted, taken up from the stream, and carried to their end
    tasks, accepted, stopping = TaskLog(bus, patience_s=LONG_S), list[str](), False
    round_ = f"{now():%H%M%S%f}"
    consumer = streams.Consumer(TASKS, f"probe{round_}", TaskEvents.pattern(event="accepted"))
    await bus.js.add_consumer(TASKS, consumer.config())
    done: set[str] = set()

    async def carry(msg: Msg) -> None:
        task_id = TaskEvents.parse(msg.subject).task
        owned = OwnedTask(tasks, await tasks.read(TENANT, task_id))
        if not owned.ended:
            await owned.append(claimed(owned, msg.metadata.num_delivered))
            await owned.append(completed(owned))
        done.add(task_id)

    async def accept() -> None:
        while not stopping:
            accepted.append((await tasks.accept(HELLO, TENANT))[0].task_id)
            await asyncio.sleep(0.01)

    puller = Puller(bus, consumer, carry, concurrency=16)
    running, accepting = asyncio.create_task(puller.run()), asyncio.create_task(accept())
    await until(lambda: len(done) > 20, LONG_S)
    # When that server is killed, and comes back once the others have gone on
    killed, goal = await cluster.leader_of(bus, TASKS), len(accepted) + 50
    await asyncio.to_thread(killed.kill)
    await until(lambda: len(done) >= goal, LONG_S)
    await asyncio.to_thread(killed.start)
    await cluster.whole(bus)
    stopping = True
    await accepting
    # Then every task that was accepted has ended
    await until(lambda: done >= set(accepted), LONG_S)
    for task_id in accepted:
        assert (await patiently(partial(tasks.task, TENANT, task_id))).status == "completed"
    await puller.stop(grace_s=1)
    running.cancel()
    await bus.js.delete_consumer(TASKS, consumer.name)


# -- connecting ----------------------------------------------------------------------------------------------------


async def test_a_server_that_is_down_is_passed_over(cluster: Cluster, bus: Bus) -> None:
    first, *_ = cluster.members.values()
    await asyncio.to_thread(first.kill)
    try:
        for _ in range(4):  # the order is drawn
            found = await cluster.connect()
            assert cluster.connected_to(found) is not first
            await found.close(grace_s=0)
    finally:
        await asyncio.to_thread(first.start)


async def test_a_server_that_the_url_does_not_name_is_gone_to_when_the_named_one_dies(
    cluster: Cluster, bus: Bus
) -> None:
    # Given a connection to the only server that it was told of
    first, *others = cluster.members.values()
    alone = await Bus(first.url, "alone").connect()
    assert cluster.connected_to(alone) is first
    # When that dies
    await asyncio.to_thread(first.kill)
    try:
        # Then it has gone to another, with its credentials
        await until(lambda: alone.healthy and cluster.connected_to(alone) in others, LONG_S)
        await alone.settle()
    finally:
        await asyncio.to_thread(first.start)
        await alone.close(grace_s=0)


# -- copies --------------------------------------------------------------------------------------------------------


EVERY_STREAM = [config.name or "" for config in streams.stream_configs()] + [f"OBJ_{name}" for name in streams.STORES]


async def copies(bus: Bus) -> set[int | None]:
    found = [await patiently(partial(bus.js.stream_info, name)) for name in EVERY_STREAM]
    return {info.config.num_replicas for info in found}


async def test_a_store_is_there_although_a_server_is_down_when_it_is_first_needed(cluster: Cluster, bus: Bus) -> None:
    assert await copies(bus) == {SIZE}
    first, *_ = cluster.members.values()
    await asyncio.to_thread(first.kill)
    try:
        flows = WorkflowLog(bus)
        name = await patiently(lambda: flows.store(b"for a year", now() + timedelta(days=365)))
        assert await patiently(lambda: bus.blobs.get(name)) == b"for a year"
    finally:
        await asyncio.to_thread(first.start)


async def test_copies_become_fewer_and_more_again_and_nothing_is_lost(cluster: Cluster, bus: Bus) -> None:
    # Given a workflow and a task in three copies
    flows, tasks = WorkflowLog(bus), TaskLog(bus)
    first, _ = await flows.create(created("copied"))
    task, _ = await tasks.accept(HELLO, TENANT)
    for replicas in (1, SIZE):
        # When there are to be others
        await streams.ensure(bus.client, patience_s=LONG_S, budget=1024**3, replicas=replicas)
        # Then there are, and both are there
        assert await copies(bus) == {replicas}
        assert [entry.event for entry in await patiently(lambda: flows.read(TENANT, "copied"))] == [first]
        assert await patiently(lambda: tasks.task(TENANT, task.task_id)) == task


async def test_more_copies_than_servers_are_waited_for(cluster: Cluster, bus: Bus) -> None:
    with structlog.testing.capture_logs() as told, pytest.raises(BusUnavailable, match="no suitable peers"):
        await streams.ensure(bus.client, patience_s=0.5, budget=1024**3, replicas=5)
    assert [entry["event"] for entry in told] == ["waiting for JetStream"]


async def test_one_server_keeps_no_copies(tmp_path_factory: pytest.TempPathFactory) -> None:
    broker = Broker(tmp_path_factory.mktemp("alone")).start()
    bus = await broker.connect()
    try:
        with pytest.raises(ConfigError, match="DEVSKYY_STREAM_REPLICAS: 3 copies need a NATS cluster"):
            await streams.ensure(bus.client, patience_s=LONG_S, replicas=SIZE)
    finally:
        await bus.close(grace_s=0)
        broker.kill()

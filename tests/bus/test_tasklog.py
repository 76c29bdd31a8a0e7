"""The task log on a real server: accepted once, written by one owner, followed without gap or repeat."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import nats
import nats.errors
import pytest
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from bus import streams, trace
from bus.blobs import H_REF
from bus.client import Bus
from bus.codec import decode_as
from bus.eventlog import EVENT_LIMIT, FOLLOW_RECHECK_S, HEARD, PORTION
from bus.streams import CALLS, TASKS
from bus.subjects import TaskEvents
from bus.tasklog import OwnedTask, TaskLog, check, fingerprint, task_id_of
from schemas.completion import NO_TASK
from schemas.errors import BusUnavailable, Fenced, InvalidRequest, KeyReused, NotFound, StorageFull, TooLarge
from schemas.event import TASK_EVENT, Claimed, Command, Completed, TaskEvent
from schemas.projection import project
from schemas.task import MAX_INPUT_BYTES, MAX_PROMPT_BYTES, Input, TaskRequest
from tests.broker import Broker, settle, until
from tests.bus.outside import Outside

TENANT = "default"
HELLO = TaskRequest(prompt="Say hello.")
LONG_S = 30.0


async def own(tasks: TaskLog, task_id: str) -> OwnedTask:
    return OwnedTask(tasks, await tasks.read(TENANT, task_id))


def claimed(task: OwnedTask, epoch: int = 1, owner: str = "somebody") -> Claimed:
    return Claimed(**task.next_fields, epoch=epoch, owner=owner, tier="simple", shape="direct", agents=("writing",))


def completed(task: OwnedTask, answer: str = "Hello.") -> Completed:
    fields = task.next_fields
    ended = project(task.events).model_copy(
        update={"status": "completed", "answer": answer, "finished_at": fields["at"]}
    )
    return Completed(**fields, epoch=1, task=ended)


# -- the way in ----------------------------------------------------------------------------------------------------


async def test_an_accepted_task_is_there(tasks: TaskLog) -> None:
    trace.start()
    task, created = await tasks.accept(HELLO.model_copy(update={"timeout_s": 60}), TENANT)
    assert created
    assert (task.status, task.prompt) == ("accepted", "Say hello.")
    assert task.deadline_at is not None
    assert (task.deadline_at - task.created_at).total_seconds() == 60
    assert await tasks.task(TENANT, task.task_id) == task
    owned = await own(tasks, task.task_id)
    assert (owned.accepted.seq, owned.accepted.trace) == (1, trace.current())


async def test_fifty_at_once_with_one_key_make_one_task(bus: Bus, tasks: TaskLog) -> None:
    results = await asyncio.gather(*(tasks.accept(HELLO, TENANT, key="order 66") for _ in range(50)))
    assert {task.task_id for task, _ in results} == {task_id_of(TENANT, "order 66")}
    assert sum(created for _, created in results) == 1
    assert (await bus.js.stream_info(TASKS)).state.messages == 1


async def test_a_key_belongs_to_its_tenant(tasks: TaskLog) -> None:
    one, _ = await tasks.accept(HELLO, "one", key="k")
    two, created = await tasks.accept(HELLO, "two", key="k")
    assert created
    assert one.task_id != two.task_id


async def test_a_key_with_another_body_is_refused(tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, TENANT, key="k")
    with pytest.raises(KeyReused, match=task.task_id):
        await tasks.accept(TaskRequest(prompt="Say goodbye."), TENANT, key="k")


async def test_an_id_may_be_chosen_once(tasks: TaskLog) -> None:
    _, first = await tasks.accept(HELLO, TENANT, task_id="mine")
    _, second = await tasks.accept(HELLO, TENANT, task_id="mine")
    assert (first, second) == (True, False)
    with pytest.raises(KeyReused):
        await tasks.accept(TaskRequest(prompt="Say goodbye."), TENANT, task_id="mine")


async def test_a_repeat_gets_the_task_as_it_is_by_then(tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, TENANT, key="k")
    owned = await own(tasks, task.task_id)
    await owned.append(claimed(owned))
    again, created = await tasks.accept(HELLO, TENANT, key="k")
    assert (again.status, created) == ("running", False)


@pytest.mark.parametrize("bad", ["a.b", "a b", ">", "*", "a\n", "ä", "x" * 129, NO_TASK])
async def test_an_id_that_would_change_the_subject_or_stands_for_no_task_is_refused(
    bus: Bus, tasks: TaskLog, bad: str
) -> None:
    with pytest.raises(InvalidRequest, match="task_id"):
        await tasks.accept(HELLO, TENANT, task_id=bad)
    assert (await bus.js.stream_info(TASKS)).state.messages == 0


async def test_what_is_too_large_is_refused(bus: Bus, tasks: TaskLog) -> None:
    with pytest.raises(TooLarge, match="the prompt has 262,145 bytes"):
        await tasks.accept(TaskRequest(prompt="x" * (256 * 1024 + 1)), TENANT)
    part = Input(kind="text", name="a.txt", text="x" * 10_000_001)
    with pytest.raises(TooLarge, match="the inputs together"):
        await tasks.accept(TaskRequest(prompt="x", inputs=(part, part)), TENANT)
    assert (await bus.js.stream_info(TASKS)).state.messages == 0


def test_sizes_are_checked_to_the_byte() -> None:
    check(TaskRequest(prompt="x" * MAX_PROMPT_BYTES))
    with pytest.raises(TooLarge, match="the prompt"):
        check(TaskRequest(prompt="é" * (MAX_PROMPT_BYTES // 2) + "x"))
    half = Input(kind="text", name="n", text="x" * (MAX_INPUT_BYTES // 2))
    check(TaskRequest(prompt="x", inputs=(half, half)))
    with pytest.raises(TooLarge, match="the inputs together"):
        check(TaskRequest(prompt="x", inputs=(half, half, Input(kind="text", name="n", text="x"))))


async def test_large_inputs_are_accepted_and_read_back(tasks: TaskLog) -> None:
    request = TaskRequest(prompt="Sum up.", inputs=(Input(kind="text", name="a.txt", text="é" * 1_000_000),))
    task, _ = await tasks.accept(request, TENANT, key="large")
    assert (await own(tasks, task.task_id)).accepted.request == request
    _, created = await tasks.accept(request, TENANT, key="large")
    assert not created


def test_a_fingerprint_is_of_what_is_asked_not_of_how_it_is_spelled() -> None:
    one = TaskRequest.model_validate({"prompt": "x", "metadata": {"a": 1, "b": 2}})
    other = TaskRequest.model_validate({"metadata": {"b": 2, "a": 1}, "prompt": "x", "tier": None})
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(TaskRequest(prompt="x"))


# -- writing -------------------------------------------------------------------------------------------------------


async def test_a_fenced_owner_writes_nothing_and_nobody_sees_it_try(bus: Bus, tasks: TaskLog) -> None:
    # Given a reader of everything, and two who believe that they own the task
    heard: list[tuple[str, TaskEvent]] = []

    async def listen(msg: Msg) -> None:
        heard.append((msg.subject, decode_as(msg.data, TASK_EVENT, "task event")))

    await bus.client.subscribe("devskyy.v1.tasks.>", cb=listen)
    await bus.settle()
    task, _ = await tasks.accept(HELLO, TENANT)
    stale, newer = await own(tasks, task.task_id), await own(tasks, task.task_id)
    # When the newer has written, and the stale one tries everything it can
    await newer.append(claimed(newer, epoch=2, owner="newer"))
    for attempt in (claimed(stale, epoch=1, owner="stale"), completed(stale, "stale")):
        with pytest.raises(Fenced, match=task.task_id):
            await stale.append(attempt)
    await newer.append(completed(newer, "newer"))
    await until(lambda: len(heard) >= 3)
    # Then the log holds the newer's events only, and a core subscriber heard no others
    events = [entry.event for entry in await tasks.read(TENANT, task.task_id)]
    assert [(event.event, event.seq) for event in events] == [("accepted", 1), ("claimed", 2), ("completed", 3)]
    assert (await tasks.task(TENANT, task.task_id)).answer == "newer"
    assert [event for _, event in heard] == events
    assert [subject for subject, _ in heard] == [
        str(TaskEvents(TENANT, task.task_id, name)) for name in ("accepted", "claimed", "completed")
    ]


async def test_of_many_owners_at_once_one_wins(tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    owners = [await own(tasks, task.task_id) for _ in range(20)]

    async def claim(number: int, owned: OwnedTask) -> int | None:
        with contextlib.suppress(Fenced):
            await owned.append(claimed(owned, epoch=number + 1, owner=str(number)))
            return number
        return None

    winners = [n for n in await asyncio.gather(*(claim(i, o) for i, o in enumerate(owners))) if n is not None]
    last = (await tasks.read(TENANT, task.task_id))[-1].event
    assert isinstance(last, Claimed)
    assert [last.owner] == [str(n) for n in winners]


class LossyBus(Bus):
    """Its next acknowledgements get lost on the way back."""

    lose = 0

    async def acknowledged(self, subject: object, *args: Any) -> dict[str, Any]:
        said = await super().acknowledged(subject, *args)
        if self.lose > 0 and str(subject).startswith("devskyy.v1.log."):
            self.lose -= 1
            raise TimeoutError
        return said


@pytest.fixture
async def lossy(broker: Broker, bus: Bus) -> AsyncIterator[LossyBus]:
    lossy = LossyBus(broker.url, "lossy")
    await lossy.connect()
    yield lossy
    await lossy.close(grace_s=0.2)


async def test_a_lost_acknowledgement_is_recognised_as_ones_own(lossy: LossyBus) -> None:
    tasks = TaskLog(lossy)
    lossy.lose = 1
    task, created = await tasks.accept(HELLO, TENANT, key="k")
    assert created
    owned = await own(tasks, task.task_id)
    lossy.lose = 1
    await owned.append(claimed(owned))
    await owned.append(completed(owned))
    assert [entry.event.event for entry in await tasks.read(TENANT, task.task_id)] == [
        "accepted",
        "claimed",
        "completed",
    ]


async def test_a_task_whose_acknowledgement_was_lost_while_it_was_claimed_was_still_created_here(
    lossy: LossyBus, tasks: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a coordinator that claims the task before its sender has tried again
    sleep = asyncio.sleep

    async def claim_meanwhile(delay_s: float) -> None:
        monkeypatch.setattr("bus.eventlog.asyncio.sleep", sleep)
        owned = await own(tasks, task_id_of(TENANT, "k"))
        await owned.append(claimed(owned))

    monkeypatch.setattr("bus.eventlog.asyncio.sleep", claim_meanwhile)
    lossy.lose = 1
    task, created = await TaskLog(lossy).accept(HELLO, TENANT, key="k")
    assert (task.status, created) == ("running", True)


async def test_without_a_server_nothing_is_called_accepted(broker: Broker, bus: Bus) -> None:
    await asyncio.to_thread(broker.stop)
    with pytest.raises(BusUnavailable, match=r"did not record 'accepted' within 0\.2 s"):
        await TaskLog(bus, patience_s=0.2).accept(HELLO, TENANT)


async def test_what_was_accepted_outlives_a_killed_server(broker: Broker, tasks: TaskLog) -> None:
    accepted = [await tasks.accept(HELLO, TENANT, key=str(i)) for i in range(20)]
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    for task, _ in accepted:
        assert (await tasks.task(TENANT, task.task_id)).status == "accepted"


# -- a full log ----------------------------------------------------------------------------------------------------


async def test_a_full_log_refuses_new_tasks_and_lets_those_accepted_go_on(
    bus: Bus, tasks: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.eventlog.ROOM_CHECK_S", 0.0)
    # Given a small log, and as many tasks as it takes
    await streams.ensure(bus.client, budget=1_333_334)
    request = TaskRequest(prompt="x" * 20_000)
    accepted = []
    with pytest.raises(StorageFull, match=r"the task log is full \([\d,]+ of 400,000 bytes\).*DEVSKYY_STREAM_BYTES"):
        for number in range(100):
            accepted.append((await tasks.accept(request, TENANT, key=str(number)))[0].task_id)
    # When two of them are worked on
    for task_id in accepted[:2]:
        owned = await own(tasks, task_id)
        await owned.append(claimed(owned))
        await owned.append(completed(owned))
    # Then they end, and a repeat still finds its task
    again, created = await tasks.accept(request, TENANT, key="0")
    assert (again.status, created) == ("completed", False)
    with pytest.raises(StorageFull):
        await tasks.accept(request, TENANT)


async def test_how_full_the_log_is_is_not_asked_for_each_task(tasks: TaskLog, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    info = JetStreamContext.stream_info

    async def count(js: JetStreamContext, name: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(name)
        return await info(js, name, *args, **kwargs)

    monkeypatch.setattr(JetStreamContext, "stream_info", count)
    monkeypatch.setattr("bus.eventlog.ROOM_CHECK_S", 60.0)
    for _ in range(20):
        await tasks.accept(HELLO, TENANT)
    assert asked == [TASKS, CALLS]


async def test_a_task_is_accepted_when_nobody_says_how_full_the_log_is(
    tasks: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*args: Any, **kwargs: Any) -> Any:
        raise nats.errors.TimeoutError

    monkeypatch.setattr(JetStreamContext, "stream_info", silent)
    _, created = await tasks.accept(HELLO, TENANT)
    assert created


# -- large events --------------------------------------------------------------------------------------------------


async def test_an_event_of_nearly_a_megabyte_reaches_outside_clients_whole(tasks: TaskLog, outside: Outside) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    read = await outside.client.subscribe(TaskEvents.of_task(TENANT, task.task_id))
    await settle(outside.client)
    owned = await own(tasks, task.task_id)
    await owned.append(completed(owned, "x" * (EVENT_LIMIT - 2000)))
    heard = await read.next_msg(timeout=LONG_S)
    assert decode_as(heard.data, TASK_EVENT, "task event") == owned.events[-1]


async def test_an_event_beyond_that_comes_as_a_reference_and_is_read_inside(tasks: TaskLog, outside: Outside) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    read = await outside.client.subscribe(TaskEvents.of_task(TENANT, task.task_id))
    await settle(outside.client)
    owned = await own(tasks, task.task_id)
    await owned.append(completed(owned, "x" * (EVENT_LIMIT + 200_000)))
    heard = await read.next_msg(timeout=LONG_S)
    assert (heard.subject.rpartition(".")[2], heard.data) == ("completed", b"")
    assert H_REF in (heard.headers or {})
    assert len((await tasks.task(TENANT, task.task_id)).answer or "") == EVENT_LIMIT + 200_000


# -- reading -------------------------------------------------------------------------------------------------------


async def test_there_is_no_such_task(tasks: TaskLog) -> None:
    with pytest.raises(NotFound, match="nothing"):
        await tasks.read(TENANT, "nothing")
    with pytest.raises(NotFound):
        await anext(tasks.follow(TENANT, "nothing"))


async def test_another_tenant_finds_no_task(tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, "one")
    with pytest.raises(NotFound):
        await tasks.task("two", task.task_id)


async def test_a_long_history_is_read_whole(tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    owned = await own(tasks, task.task_id)
    for epoch in range(1, 300):
        await owned.append(claimed(owned, epoch))
    entries = await tasks.read(TENANT, task.task_id)
    assert [entry.event.seq for entry in entries] == list(range(1, 301))
    assert [entry.event for entry in entries] == owned.events
    assert [entry.event.seq for entry in await tasks.read(TENANT, task.task_id, after=298)] == [299, 300]


async def _without_beginning(bus: Bus, tasks: TaskLog) -> OwnedTask:
    """A claimed task whose `accepted` has grown too old for the stream."""
    task, _ = await tasks.accept(HELLO, TENANT, key="old")
    owned = await own(tasks, task.task_id)
    await owned.append(claimed(owned))
    await bus.js.purge_stream(TASKS, subject=str(TaskEvents(TENANT, task.task_id, "accepted")))
    return owned


async def test_a_task_whose_beginning_is_gone_is_not_found(bus: Bus, tasks: TaskLog) -> None:
    owned = await _without_beginning(bus, tasks)
    task_id = owned.accepted.task_id
    with pytest.raises(NotFound):
        await tasks.task(TENANT, task_id)
    with pytest.raises(NotFound):
        await tasks.wait(TENANT, task_id, timeout_s=0.1)
    with pytest.raises(NotFound):
        await tasks.accept(HELLO, TENANT, key="old")


async def test_a_task_of_which_only_the_end_is_left_is_whole(bus: Bus, tasks: TaskLog) -> None:
    owned = await _without_beginning(bus, tasks)
    await owned.append(completed(owned))
    task_id = owned.accepted.task_id
    assert await tasks.task(TENANT, task_id) == await tasks.wait(TENANT, task_id, LONG_S) == project(owned.events)
    again, created = await tasks.accept(HELLO, TENANT, key="old")
    assert (again.status, created) == ("completed", False)
    with pytest.raises(KeyReused):
        await tasks.accept(TaskRequest(prompt="Say goodbye."), TENANT, key="old")


class Follower:
    """Follows a task and keeps what it sees."""

    def __init__(self, tasks: TaskLog, task_id: str, after: int = 0) -> None:
        self.seen: list[TaskEvent] = []
        self.done = asyncio.create_task(self._follow(tasks, task_id, after))

    async def _follow(self, tasks: TaskLog, task_id: str, after: int) -> None:
        async for event in tasks.follow(TENANT, task_id, after):
            self.seen.append(event)

    @property
    def seqs(self) -> list[int]:
        return [event.seq for event in self.seen]

    async def has(self, count: int) -> None:
        await until(lambda: len(self.seen) >= count or self.done.done())


async def test_followers_see_every_event_once_in_order(tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    owned = await own(tasks, task.task_id)
    followers = [Follower(tasks, task.task_id)]
    for epoch in range(1, 20):
        await owned.append(claimed(owned, epoch))
        followers.append(Follower(tasks, task.task_id))  # they come at any moment
    await owned.append(completed(owned))
    followers += [Follower(tasks, task.task_id), Follower(tasks, task.task_id, after=15)]
    async with asyncio.timeout(LONG_S):
        await asyncio.gather(*(follower.done for follower in followers))
    for follower in followers[:-1]:
        assert follower.seen == owned.events
    assert followers[-1].seqs == list(range(16, 22))


async def test_a_follower_who_has_seen_the_end_sees_nothing_more(tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    owned = await own(tasks, task.task_id)
    await owned.append(completed(owned))
    async with asyncio.timeout(LONG_S):
        assert [event async for event in tasks.follow(TENANT, task.task_id, after=2)] == []


async def test_a_follower_who_waits_beyond_the_end_is_told_of_it(tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    owned = await own(tasks, task.task_id)
    follower = Follower(tasks, task.task_id, after=10)
    await owned.append(completed(owned))
    async with asyncio.timeout(LONG_S):
        await follower.done
    assert follower.seen == []


async def test_a_follower_that_stands_still_holds_little_and_then_has_every_event(bus: Bus, tasks: TaskLog) -> None:
    # Given a follower that does not go on after the first event
    task, _ = await tasks.accept(HELLO, TENANT)
    owned = await own(tasks, task.task_id)
    following = tasks.follow(TENANT, task.task_id)
    seen = [await anext(following)]
    # When far more follows than it may hold, the end included
    answer = "x" * 100_000
    for epoch in range(1, 5 * (HEARD + PORTION)):
        await owned.append(claimed(owned, epoch, owner=answer))
    await owned.append(completed(owned))
    await bus.client.flush()
    gc.collect()
    held = [each for each in gc.get_objects() if isinstance(each, Msg) and len(each.data) > len(answer)]
    assert len(held) <= HEARD
    # Then it has all of it when it goes on, each once, and at once
    del held
    async with asyncio.timeout(FOLLOW_RECHECK_S):
        seen += [event async for event in following]
    assert seen == owned.events


@pytest.mark.parametrize("events", [PORTION - 1, PORTION, PORTION + 1, 2 * PORTION])
async def test_a_follower_reads_a_log_of_any_length_to_its_end(tasks: TaskLog, events: int) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    owned = await own(tasks, task.task_id)
    for epoch in range(1, events - 1):
        await owned.append(claimed(owned, epoch))
    await owned.append(completed(owned))
    async with asyncio.timeout(FOLLOW_RECHECK_S):
        assert [event async for event in tasks.follow(TENANT, task.task_id)] == owned.events


async def test_a_follower_reads_each_event_once(tasks: TaskLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.eventlog.FOLLOW_RECHECK_S", 0.02)
    events = tasks._log
    read, event_of, reads, loaded = events.read, events.event_of, 0, 0

    async def count_reads(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(*args)

    async def count_loads(msg: Msg) -> TaskEvent:
        nonlocal loaded
        loaded += 1
        return await event_of(msg)

    task, _ = await tasks.accept(HELLO, TENANT)
    monkeypatch.setattr(events, "read", count_reads)
    monkeypatch.setattr(events, "event_of", count_loads)
    # Given a follower that has looked into the log again and again
    follower = Follower(tasks, task.task_id)
    await until(lambda: reads >= 4)
    # Then it has loaded the only event there is once
    assert loaded == 1
    follower.done.cancel()


async def test_a_follower_outlives_a_killed_server(broker: Broker, tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    owned = await own(tasks, task.task_id)
    follower = Follower(tasks, task.task_id)
    await owned.append(claimed(owned))
    await follower.has(2)
    for epoch in (2, 3):
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await owned.append(claimed(owned, epoch))
        await follower.has(epoch + 1)
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    await owned.append(completed(owned))
    async with asyncio.timeout(LONG_S):
        await follower.done
    assert follower.seen == owned.events
    assert follower.seqs == [1, 2, 3, 4, 5]


async def test_a_follower_bears_a_bus_that_does_not_answer(tasks: TaskLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.eventlog.FOLLOW_RECHECK_S", 0.02)
    monkeypatch.setattr("bus.eventlog.FOLLOW_RETRY_S", 0.02)
    task, _ = await tasks.accept(HELLO, TENANT)
    owned = await own(tasks, task.task_id)
    follower = Follower(tasks, task.task_id)
    await follower.has(1)
    # Given a log that cannot be read for a while
    events, failures = tasks._log, 0
    read = events.read

    async def away(*args: Any) -> Any:
        nonlocal failures
        failures += 1
        raise BusUnavailable("away")

    monkeypatch.setattr(events, "read", away)
    await until(lambda: failures >= 3)
    monkeypatch.setattr(events, "read", read)
    # Then nothing is missed
    await owned.append(completed(owned))
    async with asyncio.timeout(LONG_S):
        await follower.done
    assert follower.seen == owned.events


async def test_a_follower_makes_good_what_the_connection_dropped(
    tasks: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.eventlog.FOLLOW_RECHECK_S", 0.1)
    subscribe = NatsClient.subscribe

    async def deaf(client: NatsClient, subject: str, *args: Any, cb: Callable[[Msg], Awaitable[None]]) -> Any:
        async def hear_nothing(msg: Msg) -> None: ...

        return await subscribe(client, subject, *args, cb=hear_nothing)

    monkeypatch.setattr(NatsClient, "subscribe", deaf)
    task, _ = await tasks.accept(HELLO, TENANT)
    owned = await own(tasks, task.task_id)
    follower = Follower(tasks, task.task_id)
    await follower.has(1)
    await owned.append(claimed(owned))
    await owned.append(completed(owned))
    async with asyncio.timeout(LONG_S):
        await follower.done
    assert follower.seen == owned.events


async def test_waiting_returns_the_task_ended_or_as_it_is(tasks: TaskLog) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    assert (await tasks.wait(TENANT, task.task_id, timeout_s=0.05)).status == "accepted"
    waiting = asyncio.create_task(tasks.wait(TENANT, task.task_id, timeout_s=LONG_S))
    owned = await own(tasks, task.task_id)
    await owned.append(completed(owned))
    assert (await waiting).answer == "Hello."


async def test_a_command_waits_for_an_owner_still_to_come(tasks: TaskLog) -> None:
    assert await tasks.pending_command(TENANT, "t") is None
    await tasks.command(TENANT, "t", Command(reason="too dear"))
    assert await tasks.pending_command(TENANT, "t") == Command(reason="too dear")
    assert await tasks.pending_command(TENANT, "other") is None

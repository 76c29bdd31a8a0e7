"""Work from a durable consumer on a real server: nothing is lost, nothing comes for ever."""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import ServerError

from bus import streams
from bus.client import Bus
from bus.codec import decode
from bus.consumer import Puller
from bus.streams import ALERTS, DEAD, TASKS, Consumer
from bus.subjects import AlertSubject, DeadLetterSubject, TaskEvents, TaskLogEntry
from bus.tasklog import TaskLog
from schemas.errors import BusUnavailable, DecodeError, Fenced, Unavailable
from schemas.event import Alert, DeadLetter
from schemas.task import TaskRequest
from tests.broker import Broker, until

LONG_S = 60.0
PROBE = Consumer(TASKS, "probe", TaskEvents.pattern(event="accepted"), ack_wait_s=LONG_S)
SOON_S = 0.5
comes_again_soon = pytest.mark.parametrize("ack_wait_s", [SOON_S])
"""For tests of what is not acknowledged. All others wait long: on a busy machine nothing shall come again by itself."""

Handle = Callable[[Msg], Awaitable[None]]
Pull = Callable[..., Puller]


class Seen:
    """What a handler was given, in order."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.deliveries: list[int] = []

    def __call__(self, msg: Msg) -> None:
        self.tasks.append(TaskEvents.parse(msg.subject).task)
        self.deliveries.append(msg.metadata.num_delivered)


@pytest.fixture
def ack_wait_s() -> float:
    return PROBE.ack_wait_s


@pytest.fixture
async def probe(bus: Bus, ack_wait_s: float) -> Consumer:
    consumer = replace(PROBE, ack_wait_s=ack_wait_s)
    await bus.js.add_consumer(TASKS, consumer.config())
    return consumer


@pytest.fixture
async def pull(bus: Bus, probe: Consumer) -> AsyncIterator[Pull]:
    running: list[tuple[Puller, asyncio.Task[None]]] = []

    def start(handle: Handle, on: Bus = bus, concurrency: int = 8, **options: Any) -> Puller:
        puller = Puller(on, probe, handle, concurrency=concurrency, **options)
        running.append((puller, asyncio.create_task(puller.run())))
        return puller

    yield start
    for puller, run in running:
        await puller.stop(grace_s=0.1)
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run


async def accept(tasks: TaskLog, *ids: str) -> None:
    for task_id in ids:
        await tasks.accept(TaskRequest(prompt="Say hello."), "default", task_id=task_id)


async def all_done(bus: Bus) -> None:
    """Return once the consumer has nothing left, neither to deliver nor to be acknowledged."""
    async with asyncio.timeout(LONG_S):
        while True:
            info = await bus.js.consumer_info(TASKS, PROBE.name)
            if not info.num_pending and not info.num_ack_pending:
                return


async def test_every_message_is_handled_once(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    ids = [f"t{i}" for i in range(100)]
    await asyncio.gather(*(accept(tasks, task_id) for task_id in ids))
    seen = Seen()
    here, there = Seen(), Seen()

    def handler(mine: Seen) -> Handle:
        async def handle(msg: Msg) -> None:
            seen(msg)
            mine(msg)

        return handle

    pull(handler(here))
    pull(handler(there))
    await all_done(bus)
    assert sorted(seen.tasks) == sorted(ids)
    assert set(seen.deliveries) == {1}
    assert len(here.tasks) + len(there.tasks) == len(ids)


async def test_no_more_are_handled_at_once_than_allowed(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    await asyncio.gather(*(accept(tasks, f"t{i}") for i in range(12)))
    running, most = 0, 0
    turn = asyncio.Semaphore(0)

    async def handle(msg: Msg) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turn.acquire()
        running -= 1

    puller = pull(handle, concurrency=3)
    for _ in range(10):
        await until(lambda: running == 3)
        assert puller.in_flight == 3
        turn.release()
        await until(lambda: running == 2 or turn.locked())
    for _ in range(2):
        turn.release()
    await all_done(bus)
    assert most == 3


@pytest.mark.parametrize("together", [False, True])
async def test_a_message_whose_headers_pretend_to_be_a_status_is_handled_as_any_other(
    bus: Bus, pull: Pull, together: bool
) -> None:
    # Given messages of somebody who wrote into their headers what the server tells whoever pulls
    for status in ("100", "404", "408", "409"):
        subject = TaskLogEntry("default", f"t{status}", "accepted")
        await bus.acknowledged(subject, b"x", {"Status": status, "Nats-Pending-Messages": "9"}, LONG_S)
    seen = Seen()

    async def handle(msg: Msg) -> None:
        seen(msg)

    async def handle_all(batch: list[Msg]) -> None:
        for msg in batch:
            seen(msg)

    # When they are pulled
    pull(handle, together=handle_all if together else None)
    await all_done(bus)
    # Then each was handled, the first time that it came
    assert (seen.tasks, set(seen.deliveries)) == (["t100", "t404", "t408", "t409"], {1})


WORKER = """
import asyncio, sys
from bus.client import Bus
from bus.consumer import Puller
from bus.streams import Consumer

async def handle(msg):
    print("working", flush=True)
    await asyncio.sleep(3600)

async def main():
    bus = await Bus(sys.argv[1], "mortal").connect()
    consumer = Consumer(sys.argv[2], sys.argv[3], "", ack_wait_s=float(sys.argv[4]))
    await Puller(bus, consumer, handle, concurrency=1).run()

asyncio.run(main())
"""


@comes_again_soon
async def test_a_message_whose_worker_was_killed_comes_again(
    broker: Broker, bus: Bus, tasks: TaskLog, pull: Pull
) -> None:
    # Given a process that works on the message
    await accept(tasks, "t")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, broker.url, TASKS, PROBE.name, str(SOON_S), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        while b"working" not in (line := await process.stdout.readline()):
            assert line, "the worker ended by itself"
    finally:
        # When it is killed
        process.kill()
        await process.wait()
    # Then somebody else gets the message
    seen = Seen()

    async def handle(msg: Msg) -> None:
        seen(msg)

    pull(handle)
    await until(lambda: bool(seen.tasks), LONG_S)
    await all_done(bus)
    assert (seen.tasks[0], seen.deliveries[0]) == ("t", 2)


@pytest.mark.parametrize("ack_wait_s", [1.5])
async def test_a_message_that_is_worked_on_does_not_come_again(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    beats, deliveries = 0, Seen()
    go_on = asyncio.Event()

    async def count(msg: Msg) -> None:
        nonlocal beats
        beats += msg.data == b"+WPI"

    async def handle(msg: Msg) -> None:
        deliveries(msg)
        await go_on.wait()

    await bus.client.subscribe(f"$JS.ACK.{TASKS}.{PROBE.name}.>", cb=count)
    await bus.settle()
    pull(handle)
    await accept(tasks, "t")
    await until(lambda: beats >= 4, LONG_S)  # three take its ack wait
    go_on.set()
    await all_done(bus)
    assert deliveries.deliveries == [1]


async def test_what_fails_comes_again_until_it_works(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    seen = Seen()

    async def handle(msg: Msg) -> None:
        seen(msg)
        if len(seen.tasks) == 1:
            raise Unavailable("not now")
        if len(seen.tasks) == 2:
            raise ValueError("a mistake")

    pull(handle)
    await accept(tasks, "t")
    await until(lambda: len(seen.tasks) == 3, LONG_S)
    await all_done(bus)
    assert seen.deliveries == [1, 2, 3]
    assert (await bus.js.stream_info(DEAD)).state.messages == 0


async def test_deliveries_are_bounded(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    seen, given_up = Seen(), Seen()

    async def handle(msg: Msg) -> None:
        seen(msg)
        raise Unavailable("never")

    async def give_up(msg: Msg) -> None:
        given_up(msg)

    pull(handle, max_deliveries=2, give_up=give_up)
    await accept(tasks, "t")
    await until(lambda: bool(given_up.tasks), LONG_S)
    await all_done(bus)
    assert (seen.deliveries, given_up.deliveries) == ([1, 2], [3])
    letter = await dead_letter(bus)
    assert letter.reason == "given up after 2 deliveries"
    assert letter.subject == str(TaskEvents("default", "t", "accepted"))
    raw = await bus.js.get_last_msg(ALERTS, str(AlertSubject("3")))
    assert decode(raw.data or b"", Alert).title == "a message was given up"


async def test_an_outage_uses_up_no_deliveries_where_it_is_to_be_outlasted(
    bus: Bus, tasks: TaskLog, pull: Pull
) -> None:
    seen = Seen()

    async def handle(msg: Msg) -> None:
        seen(msg)
        if len(seen.tasks) <= 3:
            raise Unavailable("not now")

    pull(handle, max_deliveries=1, outlasts_outages=True)
    await accept(tasks, "t")
    await until(lambda: len(seen.tasks) == 4, LONG_S)
    await all_done(bus)
    assert (await bus.js.stream_info(DEAD)).state.messages == 0


async def test_a_mistake_is_given_up_also_where_outages_are_outlasted(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    seen = Seen()

    async def handle(msg: Msg) -> None:
        seen(msg)
        raise ValueError("a mistake")

    pull(handle, max_deliveries=1, outlasts_outages=True)
    await accept(tasks, "t")
    await all_done(bus)
    assert seen.deliveries == [1, 2]
    assert (await dead_letter(bus)).reason == "given up after 1 deliveries"


async def test_a_pull_that_is_refused_again_and_again_leaves_no_subscription_behind(
    bus: Bus, tasks: TaskLog, pull: Pull
) -> None:
    # Given a consumer that is not there, so that every pull is refused
    before = len(bus.client._subs)
    await bus.js.delete_consumer(TASKS, PROBE.name)
    seen = Seen()

    async def handle(msg: Msg) -> None:
        seen(msg)

    with structlog.testing.capture_logs() as logs:
        pull(handle)
        await until(lambda: sum(entry["event"] == "pulling was refused" for entry in logs) >= 2, LONG_S)
    # When it is there again
    await bus.js.add_consumer(TASKS, PROBE.config())
    await accept(tasks, "t")
    await until(lambda: bool(seen.tasks), LONG_S)
    # Then only one subscription is open
    assert len(bus.client._subs) == before + 1


async def test_what_comes_together_is_handled_as_one_batch(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    # Given more messages than one
    ids = [f"t{i}" for i in range(50)]
    await asyncio.gather(*(accept(tasks, task_id) for task_id in ids))
    alone, batches = Seen(), []

    async def handle(msg: Msg) -> None:
        alone(msg)

    async def together(batch: list[Msg]) -> None:
        batches.append([TaskEvents.parse(msg.subject).task for msg in batch])

    # When they are pulled by somebody who takes them together
    pull(handle, concurrency=64, together=together, gather_s=0.05)
    await all_done(bus)
    # Then each came once, in few batches, and none by itself
    assert sorted(itertools.chain(*batches)) == sorted(ids)
    assert len(batches) < len(ids) / 2
    assert not alone.tasks


@comes_again_soon
async def test_many_messages_that_come_again_do_not_hold_up_a_new_one(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    # Given hundreds of messages whose first reader died
    ids = [f"t{i}" for i in range(800)]
    await asyncio.gather(*(accept(tasks, task_id) for task_id in ids))
    died = await bus.js.pull_subscribe_bind(durable=PROBE.name, stream=TASKS)
    for _ in range(8):
        await died.fetch(100)
    await died.unsubscribe()
    alone, batches = Seen(), list[str]()

    async def handle(msg: Msg) -> None:
        alone(msg)

    async def together(batch: list[Msg]) -> None:
        batches.extend(TaskEvents.parse(msg.subject).task for msg in batch)

    # When another reads on, and something new comes
    pull(handle, concurrency=16, together=together, gather_s=0.1)
    await accept(tasks, "new")
    await all_done(bus)
    # Then all of it is handled, long before a batch a message would have been
    assert sorted({*alone.tasks, *batches}) == sorted([*ids, "new"])


async def test_a_batch_that_fails_is_handled_one_by_one(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    # Given a batch that cannot be handled as one
    ids = [f"t{i}" for i in range(10)]
    await asyncio.gather(*(accept(tasks, task_id) for task_id in ids))
    alone = Seen()

    async def handle(msg: Msg) -> None:
        alone(msg)

    async def together(batch: list[Msg]) -> None:
        raise Unavailable("one of them is poison")

    # When it is pulled
    pull(handle, together=together, gather_s=0.05)
    await all_done(bus)
    # Then each was handled by itself, at its first delivery
    assert sorted(alone.tasks) == sorted(ids)
    assert set(alone.deliveries) == {1}


async def dead_letter(bus: Bus) -> DeadLetter:
    raw = await bus.js.get_last_msg(DEAD, str(DeadLetterSubject(PROBE.name)))
    return decode(raw.data or b"", DeadLetter)


async def test_what_cannot_be_decoded_goes_to_the_dead_letters(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    async def handle(msg: Msg) -> None:
        await tasks.event_of(msg)

    pull(handle)
    junk = b"\xc1 no message at all \xff"
    await bus.js.publish(str(TaskLogEntry("default", "junk", "accepted")), junk, headers={"X-From": "a test"})
    await accept(tasks, "t")
    await all_done(bus)
    letter = await dead_letter(bus)
    assert letter.data == junk
    assert "msgpack" in letter.reason
    assert letter.headers["X-From"] == "a test"
    raw = await bus.js.get_last_msg(ALERTS, str(AlertSubject("2")))
    assert letter.reason in decode(raw.data or b"", Alert).detail


@comes_again_soon
async def test_a_dead_letter_that_cannot_be_kept_is_not_acknowledged(
    bus: Bus, tasks: TaskLog, pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, kept = 0, bus.dead_letter

    async def first_fails(*args: Any) -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise BusUnavailable("not now")
        await kept(*args)

    monkeypatch.setattr(bus, "dead_letter", first_fails)

    async def handle(msg: Msg) -> None:
        raise DecodeError("task event", "nonsense", msg.data)

    pull(handle)
    await accept(tasks, "t")
    await until(lambda: tried >= 2, LONG_S)
    await all_done(bus)
    assert "nonsense" in (await dead_letter(bus)).reason


@comes_again_soon
async def test_a_fenced_worker_leaves_the_message_to_its_newer_owner(bus: Bus, tasks: TaskLog, pull: Pull) -> None:
    seen = Seen()

    async def handle(msg: Msg) -> None:
        seen(msg)
        if len(seen.tasks) == 1:
            raise Fenced("t", "claimed")

    pull(handle)
    await accept(tasks, "t")
    await until(lambda: len(seen.tasks) >= 2, LONG_S)
    await all_done(bus)
    assert seen.deliveries[:2] == [1, 2]


async def test_stopping_finishes_what_is_under_way_and_takes_nothing_more(
    broker: Broker, bus: Bus, tasks: TaskLog, pull: Pull
) -> None:
    first, other = Seen(), Seen()
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(msg: Msg) -> None:
        first(msg)
        started.set()
        await go_on.wait()

    async def fast(msg: Msg) -> None:
        other(msg)

    # Given a worker in the middle of a message, that waits for more
    puller = pull(slow)
    await accept(tasks, "t1")
    await started.wait()
    # When it stops, and more comes
    stopping = asyncio.create_task(puller.stop(grace_s=LONG_S))
    await asyncio.sleep(0)
    await accept(tasks, "t2")
    pull(fast)
    await until(lambda: bool(other.tasks), LONG_S)
    go_on.set()
    await stopping
    # Then what was under way was finished, and the rest went elsewhere
    await all_done(bus)
    assert (first.tasks, other.tasks) == (["t1"], ["t2"])


@comes_again_soon  # what the first was acknowledged with may be lost with the server
async def test_pulling_goes_on_after_the_server_was_killed(
    broker: Broker, bus: Bus, tasks: TaskLog, pull: Pull
) -> None:
    seen = Seen()

    async def handle(msg: Msg) -> None:
        seen(msg)

    pull(handle)
    await accept(tasks, "t1")
    await until(lambda: "t1" in seen.tasks, LONG_S)
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    await accept(tasks, "t2")
    await until(lambda: "t2" in seen.tasks, LONG_S)
    await all_done(bus)
    assert (seen.tasks[0], set(seen.tasks)) == ("t1", {"t1", "t2"})


async def test_making_streams_and_consumers_again_changes_nothing(bus: Bus, tasks: TaskLog) -> None:
    await accept(tasks, "t")
    await streams.ensure(bus.client)
    assert (await tasks.task("default", "t")).status == "accepted"


async def test_a_shorter_time_holds_for_streams_that_are_there(bus: Bus, tasks: TaskLog) -> None:
    # Given the streams of an earlier start, with a task, and a store that was made when it was needed
    await accept(tasks, "t")
    await bus.blobs.put(b"x", streams.LASTING)
    # When things are to be kept for fifteen days, and then for a hundred
    for days in (15, 100):
        keep_s = days * 86_400.0
        await streams.ensure(bus.client, keep_s=keep_s)
        # Then they are, workflows and what belongs to them for a year more, and the task is there
        ages = {info.config.name: info.config.max_age for info in await bus.js.streams_info()}
        for name in (streams.TASKS, streams.CALLS, streams.COMMANDS, streams.DEAD, f"OBJ_{streams.PAYLOADS}"):
            assert ages[name] == keep_s
        for name in (streams.WORKFLOWS, streams.TIMERS, f"OBJ_{streams.LASTING}"):
            assert ages[name] == keep_s + 365 * 86_400
        assert await bus.blobs.keep_s() == keep_s
        assert (await tasks.task("default", "t")).status == "accepted"


async def test_a_smaller_budget_than_before_shrinks_every_stream_to_its_share(bus: Bus, tasks: TaskLog) -> None:
    # Given the streams of an earlier start, with a task
    await accept(tasks, "t")
    await streams.ensure(bus.client, budget=streams.BUDGET_BYTES)
    # When the disk has less room by now, and then more again
    shares = []
    for budget in (256 * 1024**2, 1024**3):
        await streams.ensure(bus.client, patience_s=1, budget=budget)
        found = {info.config.name: info.config.max_bytes for info in await bus.js.streams_info()}
        shares.append(found == {c.name: c.max_bytes for c in streams.stream_configs(budget)})
    # Then each has its share of it, the payloads' store too, and the task is there
    assert shares == [True, True]
    assert (await tasks.task("default", "t")).status == "accepted"


async def test_a_stream_never_shrinks_below_what_it_holds(bus: Bus) -> None:
    # Given payloads beyond their share of a smaller budget
    store = await bus.js.object_store(streams.PAYLOADS)
    await store.put("kept", b"x" * 2_000_000)
    # When the streams are fitted into that budget
    await streams.ensure(bus.client, patience_s=1, budget=1_000_000)
    # Then nothing is lost
    assert len((await store.get("kept")).data or b"") == 2_000_000
    info = await bus.js.stream_info("OBJ_payloads")
    assert 2_000_000 < info.state.bytes < (info.config.max_bytes or 0) < 3_000_000


async def test_shrinking_comes_before_growing(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given one stream above its share, and the others below theirs
    budget = streams.BUDGET_BYTES
    shares = streams.stream_configs(budget)
    await bus.js.update_stream(replace(shares[-1], max_bytes=2 * budget))
    for share in shares[:-1]:
        await bus.js.update_stream(replace(share, max_bytes=(share.max_bytes or 0) // 2))
    changed: list[str | None] = []
    update = JetStreamContext.update_stream

    async def noted(self: JetStreamContext, config: api.StreamConfig) -> api.StreamInfo:
        changed.append(config.name)
        return await update(self, config)

    monkeypatch.setattr(JetStreamContext, "update_stream", noted)
    # When the streams are fitted into the budget
    await streams.ensure(bus.client, patience_s=1, budget=budget)
    # Then room is made first
    assert changed[0] == "OBJ_payloads"
    assert len(changed) == len(shares)


async def test_why_streams_are_waited_for_is_logged_once(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server without room for the streams
    async def refused(self: JetStreamContext, config: api.StreamConfig) -> api.StreamInfo:
        raise ServerError(code=500, err_code=10047, description="insufficient storage resources available")

    monkeypatch.setattr(JetStreamContext, "add_stream", refused)
    # When the streams are waited for
    with structlog.testing.capture_logs() as told, pytest.raises(BusUnavailable):
        await streams.ensure(bus.client, patience_s=0.5)
    # Then the log says why, and does not repeat itself
    (warning,) = [entry for entry in told if entry["event"] == "waiting for JetStream"]
    assert warning["log_level"] == "warning"
    assert "insufficient storage" in warning["error"]


async def test_without_a_server_streams_are_not_made(broker: Broker, bus: Bus) -> None:
    await asyncio.to_thread(broker.stop)
    with pytest.raises(BusUnavailable, match="JetStream did not come up"):
        await streams.ensure(bus.client, patience_s=0.1)

"""A backup of a real broker and database, and what is there once it is restored elsewhere."""

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from bus import history, snapshots, streams
from bus.client import Bus
from bus.journal import Entry, Journal, Kept, key_of
from bus.purse import PurseStream
from bus.streams import CALLS, CONSUMERS, COORDINATORS, PAYLOADS, PROJECTOR, PURSE, TASKS, TIMERS
from bus.subjects import PurseCounter, Submit
from bus.tasklog import TaskLog
from devskyy.backup.archive import Writer
from devskyy.backup.broker import embedded
from devskyy.backup.restore import restore
from devskyy.backup.take import check, take
from devskyy.supervisor import checks, processes
from devskyy.supervisor.state import PlatformState, write_state
from schemas.backup import FORMAT, Manifest
from schemas.budget import Budget
from schemas.completion import ChatMessage, Complete
from schemas.errors import BackupError, StartError, Unavailable
from schemas.event import Claimed, Completed
from schemas.key import NewKey
from schemas.message import now
from schemas.receipt import Call, Receipt
from schemas.settings import Settings
from schemas.task import Input, Task, TaskRequest
from storage import CallLedger, Database, KeyRepository, TaskRepository
from tests.broker import Broker
from tests.serve.gateway import projector, taken
from tests.workflow.engines import TENANT, Engines

LARGE = "x" * 2_000_000
CALL = Call(step="1", agent="writing", service="s", model="m", prompt_tokens=7, completion_tokens=1, cost_usd=0.25)
COUNTER = str(PurseCounter("key", "2026-05-04", "k", "usd"))


def quiet(_: str) -> None:
    """Nobody looks on."""


def call_of(task_id: str) -> Complete:
    return Complete(
        tenant=TENANT,
        task_id=task_id,
        step="1",
        agent="writing",
        services=("s",),
        messages=(ChatMessage(role="user", content="hello"),),
        deadline_at=now(),
    )


async def end(tasks: TaskLog, prompt: str, key: str | None = None) -> str:
    """A task that was accepted, carried and completed."""
    task, _ = await tasks.accept(TaskRequest(prompt=prompt), TENANT, key)
    return await complete(tasks, task)


async def complete(tasks: TaskLog, task: Task) -> str:
    place = (await tasks.read(TENANT, task.task_id))[-1].stream_seq
    common = {"task_id": task.task_id, "tenant": TENANT, "at": now(), "epoch": 1}
    how = {"owner": "o", "tier": "simple", "shape": "direct", "agents": ("writing",), "confidence": 1.0}
    claimed = Claimed.model_validate({**common, "event_id": "c", "seq": 2, **how})
    place = await tasks.append(claimed, place)
    ended = {"status": "completed", "answer": task.prompt.upper(), "finished_at": now()}
    whole = task.model_copy(update={**ended, "receipt": Receipt.of((CALL,), wall_ms=1)})
    await tasks.append(Completed.model_validate({**common, "event_id": "e", "seq": 3, "task": whole}), place)
    return task.task_id


class Platform:
    """What a platform has on a broker and in a database, without its actors."""

    def __init__(self, broker: Broker, bus: Bus, database: Database, url: str) -> None:
        self.bus, self.database, self.tasks = bus, database, TaskLog(bus)
        self.settings = Settings(home=broker.home, nats_url=broker.url, database_url=url, config=None)

    async def backup(self, path: Path) -> Path:
        await take(self.settings, path, replace=False, say=quiet)
        return path


@pytest.fixture
async def platform(broker: Broker, bus: Bus, tmp_path: Path) -> AsyncIterator[Platform]:
    url = f"sqlite:///{tmp_path / 'platform.db'}"
    database = Database(url.replace("sqlite:", "sqlite+aiosqlite:"))
    await database.migrate()
    yield Platform(broker, bus, database, url)
    await database.close()


@pytest.fixture
async def either(broker: Broker, bus: Bus, database: Database, database_url: str) -> Platform:
    """One on SQLite, and one on PostgreSQL."""
    return Platform(broker, bus, database, database_url)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    """A home of which nothing is there yet, with a broker and a database of its own."""
    return Settings(home=tmp_path / "elsewhere", nats_url=None, database_url=None, config=None)


@contextlib.asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[tuple[Broker, Bus, Database]]:
    """The broker of a home, as a platform starts it."""
    broker, database = Broker(settings.home).start(), Database(settings.sql_url)
    bus = await broker.connect(make_streams=True)
    try:
        yield broker, bus, database
    finally:
        await bus.close(grace_s=0.2)
        await database.close()
        broker.kill()


async def all_of(bus: Bus, stream: str) -> list[tuple[str, str, bytes]]:
    """Every message of a stream: its place, its subject, and what it says."""
    found = []
    async with contextlib.aclosing(history.messages(bus, stream, ">")) as messages:
        async for msg in messages:
            headers = msg.headers or {}
            found.append((headers["Nats-Sequence"], headers["Nats-Subject"], msg.data))
    return found


def test_every_stream_is_either_kept_or_made_anew() -> None:
    # Given all streams and stores that there can be
    names = {config.name for config in streams.stream_configs()} | {f"OBJ_{bucket}" for bucket in streams.STORES}
    # Then a backup has each, or does without it for a reason
    assert {*snapshots.ORDER, *snapshots.MADE_ANEW} == names
    # And every consumer has its place in the backup, or begins with what its queue holds
    queues = {config.name for config in streams.stream_configs() if config.retention == "workqueue"}
    assert {each.stream for each in CONSUMERS} - {each.stream for each in snapshots.PLACED} == queues


async def test_what_was_kept_is_there_again(either: Platform, elsewhere: Settings, tmp_path: Path) -> None:
    # Given tasks, one with more than can travel, a call that was paid for, a budget that was spent, and a key
    done = await end(either.tasks, "hello", key="once")
    inputs = (Input(kind="text", name="a", text=LARGE),)
    large, _ = await either.tasks.accept(TaskRequest(prompt="hi", inputs=inputs), TENANT)
    await TaskRepository(either.database).upsert(TENANT, await either.tasks.task(TENANT, done), 3)
    entry = Entry(state="ended", gateway="a", began_at=now(), calls=(CALL,))
    await Journal(either.bus).write(key_of(call_of(done)), entry, 0)
    await PurseStream(either.bus).add(COUNTER, 7, "a")
    key = await KeyRepository(either.database).add(NewKey(name="k", budget=Budget(usd=1)), TENANT)
    # When a backup is made, and restored elsewhere
    path = await either.backup(tmp_path / "file")
    restored = await restore(elsewhere, path, say=quiet)
    # Then streams, stores and tables hold the same
    assert (restored.woken, check(path).manifest) == (0, restored.manifest)
    async with started(elsewhere) as (_, bus, database):
        for stream in (TASKS, CALLS, PURSE, f"OBJ_{PAYLOADS}"):
            assert await all_of(bus, stream) == await all_of(either.bus, stream)
        tasks, purse = TaskLog(bus), PurseStream(bus)
        (accepted,) = await tasks.read(TENANT, large.task_id)
        assert accepted.event == (await either.tasks.read(TENANT, large.task_id))[0].event
        assert (await CallLedger(database).costs(TENANT, "day")).spent_usd == 0.25
        assert (await KeyRepository(database).load()).by_id[key.key.id].key == key.key
        # And what was done once is not done again
        again, new = await tasks.accept(TaskRequest(prompt="hello"), TENANT, "once")
        assert (again.task_id, again.answer, new) == (done, "HELLO", False)
        assert (await Journal(bus).read(key_of(call_of(done)))).entry == entry
        assert (await purse.add(COUNTER, 7, "a")).repeated
        assert await purse.values([COUNTER]) == {COUNTER: 7}


async def test_a_workflow_that_waits_goes_on_though_its_timer_is_not_in_the_backup(
    platform: Platform, engines: Engines, elsewhere: Settings, tmp_path: Path
) -> None:
    # Given workflows: one waits for a moment, one for a signal that was sent and nobody has taken, one has ended
    # and one is not started
    running = await engines.start()
    waits = await engines.begin({"tasks": {"t": {"wait_s": 8}}})
    asks = await engines.begin({"tasks": {"t": {"approval": "go on?"}}})
    ended = await engines.run({"tasks": {"t": {"wait_s": 0}}})
    created = await engines.create({"tasks": {"t": {"wait_s": 0}}})
    await asyncio.gather(engines.waits(waits), engines.waits(asks))
    await running.engine.stop(5)
    running.work.cancel()
    await engines.send(asks, "signal", name="t", payload={"approved": True})
    # When that is restored elsewhere, where an engine starts
    restored = await restore(elsewhere, await platform.backup(tmp_path / "file"), say=quiet)
    assert restored.woken == 2
    async with started(elsewhere) as (broker, bus, _):
        assert (await bus.js.stream_info(TIMERS)).state.messages == 0
        there = Engines(broker, bus)
        await there.start()
        # Then both go on to their ends
        assert (await there.until(asks)).event == "completed"
        assert (await there.until(waits)).event == "completed"
        # And the others are as they were
        assert await there.view(ended.workflow_id) == await engines.view(ended.workflow_id)
        assert (await there.view(created)).status == "pending"
        await there.close()


async def test_rows_that_were_not_there_yet_are_made_once_more_from_events(
    either: Platform, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a projector that has entered one task, and is away when another ends
    async with projector(either.bus, either.settings, monkeypatch):
        first = await end(either.tasks, "one")
        await taken(either.bus, PROJECTOR)
    second = await end(either.tasks, "two")
    # When that is restored elsewhere, where one starts
    await restore(elsewhere, await either.backup(tmp_path / "file"), say=quiet)
    async with started(elsewhere) as (_, bus, database):
        async with projector(bus, elsewhere, monkeypatch):
            await taken(bus, PROJECTOR)
        # Then both are in the table, each with its costs once
        kept = [await TaskRepository(database).get(TENANT, each) for each in (first, second)]
        assert [task.answer for task in kept if task is not None] == ["ONE", "TWO"]
        costs = await CallLedger(database).costs(TENANT, "day")
        assert (costs.calls, costs.spent_usd) == (2, 0.5)


async def test_a_task_in_progress_is_given_out_once_more(
    platform: Platform, elsewhere: Settings, tmp_path: Path
) -> None:
    # Given two tasks that a coordinator took, of which one is done
    done, goes_on = await end(platform.tasks, "one"), await platform.tasks.accept(TaskRequest(prompt="two"), TENANT)
    consumer = await platform.bus.js.pull_subscribe_bind(COORDINATORS.name, TASKS)
    first, _ = await consumer.fetch(2)
    await first.ack_sync()
    # When that is restored elsewhere
    await restore(elsewhere, await platform.backup(tmp_path / "file"), say=quiet)
    async with started(elsewhere) as (_, bus, _):
        # Then a coordinator there is given the other alone
        there = await bus.js.pull_subscribe_bind(COORDINATORS.name, TASKS)
        msgs = await there.fetch(2, timeout=1)
        assert [msg.subject.split(".")[4] for msg in msgs] == [goes_on[0].task_id]
        assert done != goes_on[0].task_id


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have something done while a stream is being read, after the server has begun."""

    def do(stream: str, work: Callable[[], Any]) -> None:
        whole = snapshots.take

        async def taking(bus: Bus, name: str, write: Callable[[bytes], object]) -> Any:
            taken = await whole(bus, name, write)
            if name == stream:
                await work()
            return taken

        monkeypatch.setattr(snapshots, "take", taking)

    return do


async def test_a_call_that_ends_while_the_journal_is_read_is_not_lost(
    platform: Platform, elsewhere: Settings, tmp_path: Path, meanwhile: Callable[..., None]
) -> None:
    # Given a call under way, which ends while its stream is being read
    journal, key = Journal(platform.bus), key_of(call_of("t1"))
    place = await journal.write(key, Entry(state="begun", gateway="a", began_at=now(), open=(CALL,)), 0)
    ended = Entry(state="ended", gateway="a", began_at=now(), calls=(CALL,))
    meanwhile(CALLS, lambda: journal.write(key, ended, place))
    # When that is restored
    await restore(elsewhere, await platform.backup(tmp_path / "file"), say=quiet)
    # Then its end is known there, and it can be written on
    async with started(elsewhere) as (_, bus, _):
        kept = await Journal(bus).read(key)
        assert isinstance(kept, Kept)
        assert kept.entry == ended
        await Journal(bus).write(key, ended, kept.seq)


async def test_what_is_stored_while_a_store_is_read_is_not_lost(
    platform: Platform, elsewhere: Settings, tmp_path: Path, meanwhile: Callable[..., None]
) -> None:
    name = await platform.bus.blobs.put(LARGE.encode())

    async def store_again() -> None:
        await platform.bus.blobs.erase(name)
        await platform.bus.blobs.put(LARGE.encode())

    meanwhile(f"OBJ_{PAYLOADS}", store_again)
    await restore(elsewhere, await platform.backup(tmp_path / "file"), say=quiet)
    async with started(elsewhere) as (_, bus, _):
        assert await bus.blobs.get(name) == LARGE.encode()


async def test_a_backup_taken_in_the_midst_of_work_is_a_state_that_could_have_been(
    platform: Platform, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What later parts tell of, earlier ones may not know; never the other way about."""
    # Given workers who pay for a call, keep something large, and end a task, one after the other, and a projector
    journal, over, begun = Journal(platform.bus), asyncio.Event(), asyncio.Semaphore(0)

    async def work(worker: int) -> None:
        for number in itertools.count():
            if over.is_set():
                return
            inputs = (Input(kind="text", name="a", text=f"{worker}.{number} {LARGE}"),)
            task, _ = await platform.tasks.accept(TaskRequest(prompt="hi", inputs=inputs), TENANT)
            key = key_of(call_of(task.task_id))
            entry = Entry(state="begun", gateway="a", began_at=now(), open=(CALL,))
            place = await journal.write(key, entry, 0)
            await PurseStream(platform.bus).add(COUNTER, 1, task.task_id)
            await journal.write(key, Entry(state="ended", gateway="a", began_at=now(), calls=(CALL,)), place)
            await complete(platform.tasks, task)
            begun.release()

    async with projector(platform.bus, platform.settings, monkeypatch):
        workers = [asyncio.create_task(work(number)) for number in range(4)]
        for _ in range(20):
            await begun.acquire()
        # When a backup is made meanwhile, and restored
        path = await platform.backup(tmp_path / "file")
        over.set()
        await asyncio.gather(*workers)
    await restore(elsewhere, path, say=quiet)
    # Then every task that had ended had its call paid and recorded, and counted
    async with started(elsewhere) as (_, bus, database):
        tasks = TaskLog(bus)
        ids = {subject.split(".")[4] for _, subject, _ in await all_of(bus, TASKS)}
        known = [await tasks.task(TENANT, each) for each in ids]
        ended = [task.task_id for task in known if task.ended]
        assert len(ended) >= 20
        for task_id in ended:
            entry = (await Journal(bus).read(key_of(call_of(task_id)))).entry
            assert entry is not None and entry.state == "ended"
        assert (await PurseStream(bus).values([COUNTER]))[COUNTER] >= len(ended)
        # And once it is projected, the table knows of each as much as the stream, and of no other
        async with projector(bus, elsewhere, monkeypatch):
            await taken(bus, PROJECTOR)
        rows = (await TaskRepository(database).list(TENANT, 1000, None)).tasks
        assert {row.task_id: row.status for row in rows} == {task.task_id: task.status for task in known}
        assert (await CallLedger(database).costs(TENANT, "day")).calls == len(ended)


# -- where nothing may be lost -------------------------------------------------------------------------------------


async def test_a_stopped_platform_is_backed_up_as_one_that_runs(
    platform: Platform, broker: Broker, tmp_path: Path, elsewhere: Settings
) -> None:
    # Given a platform with a broker of its own that is stopped
    done = await end(platform.tasks, "hello")
    await platform.bus.close(grace_s=0)
    broker.stop()
    stopped = platform.settings.model_copy(update={"nats_url": None})
    # When a backup is made
    made = await take(stopped, tmp_path / "file", replace=False, say=quiet)
    # Then it has what was there, and what it needed to read it is gone
    await restore(elsewhere, tmp_path / "file", say=quiet)
    async with started(elsewhere) as (_, bus, _):
        assert (await TaskLog(bus).task(TENANT, done)).answer == "HELLO"
    assert made.manifest.part(f"streams/{TASKS}") is not None
    with checks.locked(broker.home):
        assert not (broker.store / "nats.conf").exists()


async def test_one_that_runs_is_backed_up_as_it_was_started(
    platform: Platform, broker: Broker, tmp_path: Path, elsewhere: Settings
) -> None:
    # Given a platform that runs, with a database and an overlay file that this environment does not name
    done = await end(platform.tasks, "hello")
    await TaskRepository(platform.database).upsert(TENANT, await platform.tasks.task(TENANT, done), 3)
    (overlay := tmp_path / "mine.yaml").write_text("services: {}\n")
    me = psutil.Process()
    state = PlatformState(
        instance="a",
        pid=me.pid,
        pid_started=me.create_time(),
        phase="ready",
        http="http://127.0.0.1:1",
        nats_url=broker.url,
        outside_nats_url=None,
        sql_url=platform.settings.sql_url,
        config=overlay,
        ray_dashboard=None,
        started_at=now(),
    )
    write_state(broker.home, state)
    # When its home is backed up, and that restored
    here = Settings(home=broker.home, nats_url=None, database_url=None, config=None)
    await take(here, tmp_path / "file", replace=False, say=quiet)
    restored = await restore(elsewhere, tmp_path / "file", say=quiet)
    # Then its database and its overlay file are there
    assert restored.overlay is not None
    assert Path(restored.overlay).read_text() == "services: {}\n"  # noqa: ASYNC240
    database = Database(elsewhere.sql_url)
    assert (await CallLedger(database).costs(TENANT, "day")).calls == 1
    await database.close()


async def test_a_broker_whose_backup_was_killed_is_found_by_the_next_start(
    platform: Platform, broker: Broker, tmp_path: Path
) -> None:
    # Given a stopped platform, and a backup of it whose process is gone without a word
    await platform.bus.close(grace_s=0)
    broker.stop()
    async with embedded(broker.home, "backup") as bus:
        assert (await bus.js.account_info()).streams
        # Then its server is known as the home's, and another backup does not begin beside it
        left = processes.of_home(broker.home)
        assert [process.name() for process in left] == ["nats-server"]
        stopped = platform.settings.model_copy(update={"nats_url": None})
        with pytest.raises(BackupError, match="devskyy down"):
            await take(stopped, tmp_path / "file", replace=False, say=quiet)
    # And is gone once it is over
    assert not processes.of_home(broker.home)


async def test_nothing_is_restored_over_what_is_there(either: Platform, elsewhere: Settings, tmp_path: Path) -> None:
    path = await either.backup(tmp_path / "file")
    # Given a home, a broker or a database that is in use
    used = tmp_path / "used"
    used.mkdir()
    (used / "operator.key").write_text("mine")
    for changed, found in (
        ({"home": used}, "operator.key"),
        ({"nats_url": either.settings.nats_url}, "the streams SUBMIT, WAKES"),
        ({"database_url": either.settings.database_url}, "tables of a platform"),
    ):
        # When a backup is restored to it; then it is refused, with what is there
        settings = elsewhere.model_copy(update=changed)
        with pytest.raises(BackupError, match=f"nothing is overwritten, and .* {found}"):
            await restore(settings, path, say=quiet)
        # And nothing is left of the try
        left = {each.name for each in settings.home.iterdir()} - {"run", "logs", "nats"}
        assert left == ({"operator.key"} if settings.home == used else set())
    assert await all_of(either.bus, TASKS) == []


async def test_a_restoring_that_breaks_off_leaves_nothing_and_can_be_repeated(
    platform: Platform, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a backup, and a database that goes away in the midst of its restoring
    await end(platform.tasks, "hello")
    path = await platform.backup(tmp_path / "file")

    def away(*_: object) -> int:
        raise Unavailable("it is away")

    # When it is restored to a broker of one's own
    other = Broker(tmp_path / "other").start()
    settings = elsewhere.model_copy(update={"nats_url": other.url})
    try:
        with monkeypatch.context() as broken:
            broken.setattr("storage.dump.load", away)
            with pytest.raises(Unavailable, match="it is away"):
                await restore(settings, path, say=quiet)
        # Then there are no streams and no tables, and the same can be done again
        bus = await other.connect()
        assert (await bus.js.account_info()).streams == 0
        await restore(settings, path, say=quiet)
        assert await all_of(bus, TASKS) == await all_of(platform.bus, TASKS)
        await bus.close(grace_s=0)
    finally:
        other.kill()


async def test_a_disk_that_is_too_small_is_named_before_anything_is_written(
    platform: Platform, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await platform.backup(tmp_path / "file")
    # Given a disk with less room than a platform needs to start
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(BackupError, match=r"(?s)its streams need .* has 1,000,000 free.*a larger disk"):
        await restore(elsewhere, path, say=quiet)
    assert {each.name for each in elsewhere.home.iterdir()} == {"run"}


async def test_no_platform_starts_with_half_a_backup(elsewhere: Settings) -> None:
    # Given a home in which a restoring was killed
    mark = checks.unfinished_restore(elsewhere.home)
    mark.parent.mkdir(parents=True)
    mark.touch()
    # Then no platform starts there, and nothing is restored over it
    with pytest.raises(StartError, match="half of a backup"):
        checks.check(elsewhere)


@pytest.mark.parametrize(
    ("revision", "parts", "said"),
    [("9999", (), "database is of a newer version"), ("0001", ("streams/NEW",), "does not know streams/NEW")],
)
async def test_what_a_newer_version_made_is_refused_before_anything_is_written(
    elsewhere: Settings, tmp_path: Path, revision: str, parts: tuple[str, ...], said: str
) -> None:
    with Writer(tmp_path / "file", replace=False) as writer:
        for name in parts:
            with writer.part(name) as part:
                part.write(b"new")
        fields = {"format": FORMAT, "version": "9", "made_at": now(), "positions": {}}
        writer.finish(Manifest(**fields, revision=revision, parts=tuple(writer.parts)))
    with pytest.raises(BackupError, match=f"(?s){said}.*newer one"):
        await restore(elsewhere, tmp_path / "file", say=quiet)
    assert not elsewhere.home.exists()


async def test_what_cannot_be_reached_is_named_with_what_is_needed(
    platform: Platform, broker: Broker, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A home of nobody
    with pytest.raises(BackupError, match=r"there is no database in .*\n  remedy: set DEVSKYY_HOME"):
        await take(elsewhere, tmp_path / "file", replace=False, say=quiet)
    # A database of nobody
    with pytest.raises(BackupError, match="no tables of a platform"):
        empty = platform.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'empty.db'}"})
        await take(Settings.load(empty.dump()), tmp_path / "file", replace=False, say=quiet)
    # A broker that is away
    monkeypatch.setattr("devskyy.backup.place.PATIENCE_S", 0.1)
    broker.kill()
    with pytest.raises(BackupError, match="no NATS server answered"):
        await platform.backup(tmp_path / "file")
    assert not [*tmp_path.glob("*file*"), *tmp_path.glob(".*")]  # noqa: ASYNC240


async def test_what_waits_to_be_begun_is_kept(platform: Platform, elsewhere: Settings, tmp_path: Path) -> None:
    # Given a task that somebody outside has submitted, and nobody has taken
    await platform.bus.client.publish(str(Submit(TENANT)), b"\x81\xa6prompt\xa5hello")
    await platform.bus.settle()
    await restore(elsewhere, await platform.backup(tmp_path / "file"), say=quiet)
    async with started(elsewhere) as (_, bus, _):
        consumer = await bus.js.pull_subscribe_bind("intake", "SUBMIT")
        (msg,) = await consumer.fetch(1, timeout=2)
        assert msg.data == b"\x81\xa6prompt\xa5hello"

"""A backup of one server becomes a cluster's state, and that one server's again; what is erased is gone from all."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bus.erasure import Eraser
from bus.journal import Entry, Journal, key_of
from bus.streams import CALLS, PAYLOADS, TASKS
from bus.tasklog import TaskLog
from devskyy.backup.restore import restore
from devskyy.backup.take import take
from schemas.errors import NotFound
from schemas.message import now
from schemas.settings import Settings
from schemas.task import Input, TaskRequest
from tests.backup.test_backup import CALL, LARGE, TENANT, Platform, all_of, call_of, end, platform, quiet, started
from tests.cluster import SIZE, Cluster, patiently, running

__all__ = ["platform"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path / "cluster") as cluster:
        yield cluster


async def test_a_backup_goes_into_a_cluster_and_out_of_it(platform: Platform, cluster: Cluster, tmp_path: Path) -> None:
    # Given a task that is done, one with more than can travel, and a call that was paid for
    done = await end(platform.tasks, "hello", key="once")
    inputs = (Input(kind="text", name="a", text=LARGE),)
    large, _ = await platform.tasks.accept(TaskRequest(prompt="hi", inputs=inputs), TENANT)
    entry = Entry(state="ended", gateway="a", began_at=now(), calls=(CALL,))
    await Journal(platform.bus).write(key_of(call_of(done)), entry, 0)
    told = {stream: await all_of(platform.bus, stream) for stream in (TASKS, CALLS, f"OBJ_{PAYLOADS}")}
    # When that is restored to a cluster of three
    there = Settings(home=tmp_path / "there", nats_url=cluster.url, database_url=None, config=None)
    there = there.model_copy(update={"stream_replicas": SIZE, "stream_bytes": 1024**3})
    bus = await cluster.connect()
    await patiently(bus.js.account_info)
    await restore(there, await platform.backup(tmp_path / "file"), say=quiet)
    # Then each of its servers has all of it
    await cluster.whole(bus)
    for stream, messages in told.items():
        assert await patiently(partial(all_of, bus, stream)) == messages
    log = TaskLog(bus)
    again, new = await patiently(lambda: log.accept(TaskRequest(prompt="hello"), TENANT, "once"))
    assert (again.answer, new) == ("HELLO", False)
    # And when a task is erased there
    removed = await patiently(lambda: Eraser(bus).task(TENANT, large.task_id))
    assert (removed[TASKS], removed["objects"]) == (1, 1)
    with pytest.raises(NotFound):
        await log.read(TENANT, large.task_id)
    # And the cluster backed up, and restored to one server
    await take(there, tmp_path / "back", replace=False, say=quiet)
    alone = Settings(home=tmp_path / "alone", nats_url=None, database_url=None, config=None)
    await restore(alone, tmp_path / "back", say=quiet)
    # Then it has what the cluster had
    async with started(alone) as (_, single, _):
        assert await all_of(single, TASKS) == [message for message in told[TASKS] if large.task_id not in message[1]]
        assert await all_of(single, CALLS) == told[CALLS]
        assert (await Journal(single).read(key_of(call_of(done)))).entry == entry
    await bus.close(grace_s=0)

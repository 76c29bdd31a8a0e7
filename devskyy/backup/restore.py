"""Restores a backup where nothing is yet: all of it, or nothing."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from nats.js.errors import NotFoundError
from sqlalchemy import Connection

from bus import snapshots, streams
from bus.client import Bus
from bus.files import write_private
from bus.nats_users import FILE as NATS_USERS
from bus.workflowlog import WorkflowLog
from devskyy.backup.archive import Reader
from devskyy.backup.broker import embedded
from devskyy.backup.place import NAME, OVERLAY, alone, broker_of, connected
from devskyy.backup.take import Say
from devskyy.supervisor.checks import ENOUGH_DISK, stream_budget, unfinished_restore
from schemas.backup import Manifest, Restored
from schemas.errors import BackupError, Conflict
from schemas.settings import Settings
from schemas.workflow_event import WorkflowCommand
from storage import Database, dump
from storage.database import knows

FILES = ("operator.key", NATS_USERS, OVERLAY)
"""Files of the home that a backup may have."""
DATABASE = ("devskyy.db", "devskyy.db-wal", "devskyy.db-shm", "devskyy.db.lock")
IN_HOME = (*FILES, "nats/jetstream", "devskyy.db", "credentials.json")
"""What says that a home has been used."""
OLDEST_BROKER = (2, 14)
"""The first that can set a consumer back."""
AT_ONCE = 64
"""Workflows that are woken at once."""


async def restore(settings: Settings, path: Path, *, say: Say) -> Restored:
    """Make of a backup what it was taken of. The platform then goes on when it is started.

    Raises:
        BackupError: the file is of no use, or there is something already.
        StartError: a platform runs with this home.
        DevSkyyError: it broke off. Nothing of it is left then, unless the broker went away; it says so.
    """
    say(f"checking {path}")
    with Reader(path) as reader:
        _refuse_unknown(reader.manifest)
        with alone(settings.home):
            _refuse_used(settings)
            _refuse_full(settings, reader.manifest)
            woken = await _restore(settings, reader, say)
        overlay = settings.home / OVERLAY
        return Restored(
            file=str(path),
            home=str(settings.home),
            manifest=reader.manifest,
            woken=woken,
            overlay=str(overlay) if overlay.exists() else None,
        )


async def _restore(settings: Settings, reader: Reader, say: Say) -> int:
    mark = unfinished_restore(settings.home)
    write_private(mark, f"{reader.path}\n")
    try:
        async with _database(settings) as database, _broker(settings) as (bus, budget):
            await _streams(reader, bus, budget, settings, say)
            woken = await _wake(bus, say)
            for name in FILES:
                if reader.manifest.part(f"home/{name}") is not None:
                    write_private(settings.home / name, reader.read(f"home/{name}").decode())
            # Last, and all at once: what went before can be taken away again.
            await database.fill(reader.manifest.revision, lambda connection: _tables(reader, connection, say))
    except BaseException:
        shutil.rmtree(settings.home / "nats" / "jetstream", ignore_errors=True)
        for name in (*FILES, *(DATABASE if settings.database_url is None else ())):
            (settings.home / name).unlink(missing_ok=True)
        mark.unlink()
        raise
    mark.unlink()
    return woken


# -- before anything is written ------------------------------------------------------------------------------------


def _refuse_unknown(manifest: Manifest) -> None:
    newer = "use the version of DevSkyy that made it, or a newer one"
    if not knows(manifest.revision):
        raise BackupError(f"its database is of a newer version ({manifest.version}, {manifest.revision})", newer)
    known = {f"{kind}/{stream}" for stream in snapshots.ORDER for kind in ("streams", "since")}
    known |= {f"home/{name}" for name in FILES}
    if strange := [part.name for part in manifest.parts if part.name not in known and not part.name.startswith("sql/")]:
        raise BackupError(f"this version does not know {', '.join(strange)} of version {manifest.version}", newer)


def _refuse_used(settings: Settings) -> None:
    if unfinished_restore(settings.home).exists():
        cause = f"an earlier restoring to {settings.home} broke off"
        raise BackupError(cause, "delete the folder, and tables and streams elsewhere that were made with it")
    if found := [name for name in IN_HOME if (settings.home / name).exists()]:
        raise _used(f"the home {settings.home}", ", ".join(found))


def _refuse_full(settings: Settings, manifest: Manifest) -> None:
    """Where the streams come to lie in the home."""
    needed = sum(_bytes(part.state) for part in manifest.parts if part.state is not None) + ENOUGH_DISK
    free = shutil.disk_usage(settings.home).free
    if broker_of(settings) is None and free < needed:
        cause = f"its streams need {needed:,} bytes, and the disk under {settings.home} has {free:,} free"
        raise BackupError(cause, "make room, or set DEVSKYY_HOME to a folder on a larger disk")


def _used(where: str, found: str) -> BackupError:
    remedy = "restore to an empty home and database; set DEVSKYY_HOME, DATABASE_URL and DEVSKYY_NATS_URL to such"
    return BackupError(f"nothing is overwritten, and {where} has {found} already", remedy)


@contextlib.asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.sql_url)
    try:
        if not await dump.is_empty(database):
            raise _used("the database", "tables of a platform")
        yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def _broker(settings: Settings) -> AsyncIterator[tuple[Bus, int]]:
    """An empty broker, and how many bytes its streams may take. With an error, it is empty again."""
    if (outside := broker_of(settings)) is None:
        async with embedded(settings.home, NAME, filling=True) as bus:
            yield bus, stream_budget(settings)
        return
    bus = await connected(*outside)
    try:
        _refuse_old(bus)
        if found := [name for name in _names() if await _is_there(bus, name)]:
            raise _used("the broker", f"the streams {', '.join(found)}")
        try:
            yield bus, settings.stream_bytes
        except BaseException as error:
            await _remove(bus, error)
            raise
    finally:
        await bus.close(grace_s=0)


def _refuse_old(bus: Bus) -> None:
    version = bus.client.connected_server_version
    if (version.major, version.minor) < OLDEST_BROKER:
        oldest = ".".join(map(str, OLDEST_BROKER))
        raise BackupError(f"the broker is nats-server {version}", f"restoring needs {oldest} or newer")


def _names() -> tuple[str, ...]:
    return (*snapshots.ORDER, *snapshots.MADE_ANEW)


async def _is_there(bus: Bus, stream: str) -> bool:
    try:
        await bus.js.stream_info(stream)
    except NotFoundError:
        return False
    return True


async def _remove(bus: Bus, error: BaseException) -> None:
    try:
        for name in _names():
            if await _is_there(bus, name):
                await bus.js.delete_stream(name)
    except Exception as left:
        cause = f"{error}; and what was made of it was not removed ({left!r})"
        raise BackupError(cause, "delete the streams of the broker before you restore it anew") from error


# -- writing it ----------------------------------------------------------------------------------------------------


async def _streams(reader: Reader, bus: Bus, budget: int, settings: Settings, say: Say) -> None:
    replicas, keep_s = settings.stream_replicas, settings.keep_s
    configs = {config.name: config for config in streams.stream_configs(budget, replicas, keep_s)}
    payloads = configs[f"OBJ_{streams.PAYLOADS}"]
    configs |= {f"OBJ_{bucket}": streams.store_config(bucket, payloads) for bucket in streams.STORES}
    for name in snapshots.ORDER:
        if (part := reader.manifest.part(f"streams/{name}")) is None:
            continue
        say(f"writing stream {name}")
        config, state = configs[name], part.state or {}
        config.max_bytes = max(config.max_bytes or 0, _bytes(state) * 5 // 4)
        try:
            await snapshots.restore(bus, config, state, reader.chunks(part.name))
        except Conflict as error:
            # On the embedded one it is not so: see `embedded`.
            remedy = "see its log; where it has `sync_interval: always`, it may be too slow for itself: leave that out"
            raise BackupError(str(error), f"{remedy}, restore, and set it again") from error
    # Only where all that was there then is there again: what came since takes the next places.
    for name in snapshots.REPLACED:
        if reader.manifest.part(f"since/{name}") is not None:
            await snapshots.write_again(bus, reader.file(f"since/{name}"))
    await streams.ensure(bus.client, budget=budget, replicas=replicas, keep_s=keep_s)
    for consumer in snapshots.PLACED:
        await snapshots.go_on_after(bus, consumer, reader.manifest.positions.get(snapshots.name_of(consumer), 0))


def _bytes(state: dict[str, Any]) -> int:
    return int(state.get("bytes", 0))


async def _wake(bus: Bus, say: Say) -> int:
    """Have engines look at each workflow that goes on. Their timers are not in the backup, nor is every wake: one of
    the two always is on its way to become the other."""
    waiting = await snapshots.unfinished(bus)
    if waiting:
        say(f"waking {len(waiting):,} workflows")
    flows, room = WorkflowLog(bus), asyncio.Semaphore(AT_ONCE)

    async def wake(tenant: str, workflow_id: str) -> None:
        async with room:
            await flows.wake(tenant, workflow_id, WorkflowCommand(kind="wake", command=f"{workflow_id}.restored"))

    await asyncio.gather(*(wake(*each) for each in waiting))
    return len(waiting)


def _tables(reader: Reader, connection: Connection, say: Say) -> None:
    for part in reader.manifest.parts:
        if part.name.startswith("sql/"):
            table = part.name.removeprefix("sql/").removesuffix(".jsonl.gz")
            say(f"writing table {table}")
            dump.load(connection, table, reader.lines(part.name))

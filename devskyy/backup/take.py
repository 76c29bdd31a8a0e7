"""Takes a backup, while the platform runs or where it is stopped."""

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import devskyy
from bus import snapshots
from bus.snapshots import Taken
from devskyy.backup.archive import Reader, Writer
from devskyy.backup.place import Place, of_platform
from schemas.backup import FORMAT, Checked, Manifest
from schemas.errors import BackupError, BusUnavailable
from schemas.message import now
from schemas.settings import Settings
from storage import dump

TRIES, AGAIN_S = 5, 2.0
"""Of one stream, and seconds between two: a server of a cluster may go while it is read."""
LEVEL = 6
"""Of gzip: 40 MB/s, and a fifth is left."""

Say = Callable[[str], None]


async def take(settings: Settings, path: Path, *, replace: bool, say: Say) -> Checked:
    """Put all of a platform's state into one file.

    What was accepted before this began is in it. Of what comes meanwhile some may be.

    Raises:
        BackupError: it cannot be made; nothing is left.
        Unavailable: the broker or the database does not answer; nothing is left.
    """
    with Writer(path, replace=replace) as writer:
        async with of_platform(settings) as place:
            made_at = now()
            # Before the database is read: what lies after these places is then done once more, where it is restored.
            positions = {
                snapshots.name_of(each): await snapshots.position(place.bus, each) for each in snapshots.PLACED
            }
            revision = await _tables(place, writer, say)
            for stream in snapshots.ORDER:
                await _stream(place, writer, stream, say)
            for name, file in place.files.items():
                with writer.part(f"home/{name}") as part:
                    part.write(file.read_bytes())
        manifest = Manifest(
            format=FORMAT,
            version=devskyy.__version__,
            made_at=made_at,
            revision=revision,
            positions=positions,
            parts=tuple(writer.parts),
        )
        size = writer.finish(manifest)
    return Checked(file=str(path), bytes=size, manifest=manifest)


def check(path: Path) -> Checked:
    """Read a backup from end to end, and compare it with what it says of itself.

    Raises:
        BackupError: it cannot be used; says why.
    """
    with Reader(path) as reader:
        return Checked(file=str(path), bytes=reader.bytes, manifest=reader.manifest)


async def _tables(place: Place, writer: Writer, say: Say) -> str:
    async with dump.reading(place.database) as reading:
        if reading is None:
            raise BackupError("the database has no tables of a platform", "see that DATABASE_URL names the right one")
        for table in reading.tables:
            say(f"reading table {table}")
            with writer.part(f"sql/{table}.jsonl.gz") as part:
                rows = -1  # the first line names the columns
                with gzip.GzipFile("", "wb", LEVEL, cast(IO[bytes], part), mtime=0) as compressed:
                    async for line in reading.lines(table):
                        compressed.write(line)
                        rows += 1
                part.said["rows"] = rows
        return reading.revision


async def _stream(place: Place, writer: Writer, stream: str, say: Say) -> None:
    say(f"reading stream {stream}")
    try:
        taken = await _taken(place, writer, stream, say)
    except _NotThere:
        return
    if stream in snapshots.REPLACED:
        with writer.part(f"since/{stream}") as part:
            async for message in snapshots.since(place.bus, stream, taken.state):
                part.write(message)


async def _taken(place: Place, writer: Writer, stream: str, say: Say) -> Taken:
    for left in reversed(range(TRIES)):
        try:
            with writer.part(f"streams/{stream}") as part:
                if (taken := await snapshots.take(place.bus, stream, part.write)) is None:
                    raise _NotThere
                part.said |= {"config": taken.config, "state": taken.state}
            return taken
        except BusUnavailable:
            if not left:
                raise
            say(f"reading stream {stream} once more")
            await asyncio.sleep(AGAIN_S)
    raise AssertionError("the last try returns or raises")


class _NotThere(Exception):
    """Nobody has made that stream yet: some are made when they are first needed."""

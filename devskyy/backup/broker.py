"""The broker of a home while no platform runs there: a server for one user, for as long as it is needed."""

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from bus import server
from bus.accounts import PLATFORM
from bus.client import Bus
from bus.files import tail, write_private
from bus.permissions import SUPERVISOR
from devskyy.supervisor import ports, processes
from schemas.errors import BusUnavailable, StartError

PATIENCE_S = 60.0
"""To read the streams that are there."""
END_S = 120.0


@contextlib.asynccontextmanager
async def embedded(home: Path, name: str, *, filling: bool = False) -> AsyncIterator[Bus]:
    """A connection to a nats-server on the home's streams, which ends with it.

    Args:
        filling: streams are restored. They are on the disk for certain once this has ended, not message by message: a
            server that is slower than five seconds with a megabyte of small ones gives up.

    Raises:
        StartError: it does not start; says why.
    """
    (port,) = ports.free(1)
    credentials, log = server.Credentials({SUPERVISOR: secrets.token_urlsafe(24)}), home / "logs" / "nats.log"
    config = _config(home, port, credentials, log, '"2m"' if filling else "always")
    process = await asyncio.create_subprocess_exec(
        *(server.binary(), "-c", str(config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        # Marked as a platform's: should this process be killed, `devskyy down` and the next start find it.
        env={**os.environ, **processes.marks(secrets.token_hex(8), home)},
        start_new_session=True,
    )
    try:
        try:
            bus = await Bus(credentials.url(port, SUPERVISOR), name).connect(PATIENCE_S)
        except BusUnavailable as error:
            raise StartError(f"the home's broker does not start: {error}\n{tail(log)}", f"read {log}") from error
        try:
            yield bus
        finally:
            await bus.close(grace_s=0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        config.unlink(missing_ok=True)
    if filling:
        await asyncio.to_thread(_to_disk, home / "nats")


def _to_disk(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):  # noqa: PTH118
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _config(home: Path, port: int, credentials: server.Credentials, log: Path, sync: str) -> Path:
    store = home / "nats"
    for folder in (store, log.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = store / "nats.conf"
    user = f"{{ user: {SUPERVISOR}, password: {json.dumps(credentials.supervisor)} }}"
    write_private(
        path,
        f"""listen: "127.0.0.1:{port}"
server_name: devskyy
log_file: {json.dumps(str(log))}
jetstream {{ store_dir: {json.dumps(str(store))}, sync_interval: {sync}, max_file_store: {server.NO_LIMIT} }}
accounts {{ {PLATFORM}: {{ jetstream: enabled, users: [ {user} ] }} }}
""",
    )
    return path

"""The broker of a home while no platform runs there: a server for one user, for as long as it is needed."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

from bus import server
from bus.accounts import PLATFORM
from bus.client import Bus
from bus.files import tail, write_private
from bus.permissions import SUPERVISOR
from devskyy.supervisor import ports
from schemas.errors import BusUnavailable, StartError

PATIENCE_S = 60.0
"""To read the streams that are there."""
END_S = 30.0


@contextlib.asynccontextmanager
async def embedded(home: Path, name: str) -> AsyncIterator[Bus]:
    """A connection to a nats-server on the home's streams, which ends with it.

    Raises:
        StartError: it does not start; says why.
    """
    (port,) = ports.free(1)
    credentials, log = server.Credentials({SUPERVISOR: os.urandom(24).hex()}), home / "logs" / "nats.log"
    config = _config(home, port, credentials, log)
    process = await asyncio.create_subprocess_exec(
        server.binary(), "-c", str(config), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
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


def _config(home: Path, port: int, credentials: server.Credentials, log: Path) -> Path:
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
jetstream {{ store_dir: {json.dumps(str(store))}, sync_interval: always, max_file_store: {server.NO_LIMIT} }}
accounts {{ {PLATFORM}: {{ jetstream: enabled, users: [ {user} ] }} }}
""",
    )
    return path

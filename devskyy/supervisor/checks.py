"""What must hold before a platform starts: settings, disk, port, and that nobody else runs with this home."""

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from bus import urls
from bus.logins import Logins
from devskyy.supervisor import broker, ports
from devskyy.supervisor.state import state_path
from schemas.errors import StartError
from schemas.message import now
from schemas.settings import Settings, is_loopback

EVERY_INTERFACE = "0.0.0.0"
ENOUGH_DISK = 64 * 1024 * 1024
"""Below this the platform says that its disk is full, and starts only if it has more."""


def check(settings: Settings) -> None:
    """Refuse what cannot work, before anything is started.

    Raises:
        StartError: names the cause and the remedy.
        ConfigError: the overlay is bad.
        Unavailable: the database cannot be looked into.
    """
    from actors.catalogue import load
    from serve import jwts

    load(settings.config)
    if unfinished_restore(settings.home).exists():
        raise StartError(
            f"the home {settings.home} holds half of a backup: its restoring broke off",
            "delete the folder, and tables and streams elsewhere that were made with it, and restore it anew",
        )
    if settings.http_host not in ("127.0.0.1", "localhost", EVERY_INTERFACE):
        raise StartError(
            f"DEVSKYY_HTTP_HOST={settings.http_host}: Ray Serve's proxy would look for replicas at 127.0.0.1 in vain",
            f"leave it at 127.0.0.1; or set {EVERY_INTERFACE}, with an API key, a firewall and TLS before it",
        )
    jwts.check(settings)
    broker.check(settings)
    if not is_loopback(settings.http_host) and not settings.takes_tokens and not _has_key(settings):
        raise StartError(
            f"DEVSKYY_HTTP_HOST={settings.http_host} opens the platform to other machines, and there is no API key",
            "start it without DEVSKYY_HTTP_HOST, make a key with `devskyy keys create NAME`, and start it anew; "
            "or set JWT_SECRET_KEY or DEVSKYY_JWKS_URL, and let callers bring tokens",
        )
    if settings.ray_address is not None and not is_loopback(settings.ray_address.rsplit(":", 1)[0].split("//")[-1]):
        brokers = [host for url in _brokers(settings) for host in urls.hosts(url)]
        if not brokers or any(map(is_loopback, brokers)):
            raise StartError(
                "other nodes of the Ray cluster cannot reach a NATS on this machine's loopback",
                "run a NATS with JetStream, TLS and credentials that they reach, and set DEVSKYY_NATS_URL",
            )
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = settings.home / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartError(
            f"the home {settings.home} cannot be written ({error.strerror})",
            "set DEVSKYY_HOME to a folder of yours, or make room",
        ) from None


def _brokers(settings: Settings) -> list[str]:
    if settings.nats_logins is not None:
        return list(Logins.of_file(settings.nats_logins).urls.values())
    return [settings.nats_url] if settings.nats_url else []


def unfinished_restore(home: Path) -> Path:
    """The file that says, while it is there, that a backup is being restored, or that this broke off."""
    return state_path(home).with_name("restoring")


def _has_key(settings: Settings) -> bool:
    """Whether somebody could be let in who is not the operator. Makes no database where there is none."""
    from storage import Database, KeyRepository

    if settings.database_url is None and not settings.sqlite_file.exists():
        return False

    async def look() -> bool:
        database = Database(settings.sql_url)
        try:
            await database.migrate()
            kept = await KeyRepository(database).load()
        finally:
            await database.close()
        return any(not each.key.expired(now()) for each in kept.by_id.values())

    with ThreadPoolExecutor(1) as aside:  # this may be called where an event loop runs
        return aside.submit(asyncio.run, look()).result()


def stream_budget(settings: Settings) -> int:
    """Bytes that the streams may take: what is asked for, or seven tenths of what their disk has room for.

    Raises:
        StartError: that is next to nothing.
    """
    store = settings.home / "nats"
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    used = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    budget = min(settings.stream_bytes, (shutil.disk_usage(store).free + used) * 7 // 10)
    if budget < ENOUGH_DISK:
        raise StartError(
            f"the disk under {settings.home} is full ({shutil.disk_usage(store).free:,} bytes free)",
            "free some space, or set DEVSKYY_HOME to a folder on another disk",
        )
    return budget


def check_port(settings: Settings) -> None:
    """Refuse a port that somebody else holds.

    Raises:
        StartError: names the port and, where that can be seen, who holds it.
    """
    broker.check_port(settings)
    if ports.busy(settings.http_port, settings.http_host):
        raise StartError(
            f"port {settings.http_port} is taken{_holder(settings.http_port)}",
            "end that program, or set DEVSKYY_HTTP_PORT to a free port",
        )


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,)
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home for one supervisor; the kernel lets go of it however the process ends.

    Raises:
        StartError: another supervisor holds it.
    """
    path = state_path(home).with_name("lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"a platform runs already with the home {home}",
                "use it (`devskyy status`), end it (`devskyy down`), or set another DEVSKYY_HOME and DEVSKYY_HTTP_PORT",
            ) from None
        yield
    finally:
        os.close(descriptor)

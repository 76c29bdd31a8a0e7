"""A real nats-server of a test's own, configured as the platform configures its own.

    def test_something(broker: Broker): ...                 # a server with streams and consumers, started
    async def test_more(bus: Bus, tasks: TaskLog): ...      # connected

A folder's `conftest.py` imports the fixtures it wants. The server's log is printed when its test is over, so pytest
shows it beside a failure and nowhere else.
"""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from bus import permissions, server, streams, urls
from bus.accounts import OUTSIDE
from bus.client import Bus
from bus.nats_users import NatsUsers
from bus.tasklog import TaskLog
from schemas.nats_user import NatsScope

AGENTS, SPECIALISTS = ("writing", "coding"), ("critic", "editor")
"""Those who have users of the broker; there need be no others of their names."""
START_S = 15.0
STOP_S = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def settle(client: Client) -> None:
    """Return once the server knows what a client of nats-py has subscribed to. A `flush` writes its question
    at once, and subscriptions wait for a task that writes them: the answer to the second comes after them."""
    await client.flush()
    await client.flush()


class Broker:
    """One nats-server on a loopback port; `kill` and `restart` keep home, port and credentials."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = 0
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.users = permissions.table(permissions.users(AGENTS, SPECIALISTS))
        self.credentials = server.Credentials.of_home(home, self.users)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For whoever may do everything."""
        return self.url_of(permissions.SUPERVISOR)

    @property
    def outside_url(self) -> str:
        """For a client from outside."""
        return self.url_of(OUTSIDE)

    def url_of(self, user: str) -> str:
        """For one part of the platform."""
        return self.credentials.url(self.port, user)

    @property
    def store(self) -> Path:
        """Where it keeps its streams."""
        return self.home / "nats"

    @property
    def log(self) -> str:
        path = self.home / "logs" / "nats.log"
        return path.read_text() if path.exists() else ""

    def start(self) -> "Broker":
        """Start the server and return once it answers; the first start finds a port that is free."""
        for last in (False, False, True):
            port = self.port or free_port()
            self._process = subprocess.Popen(
                [server.binary(), "-c", str(self.write_config(port))],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._answers(port):
                self.port = port
                return self
            self.kill()
            if last or self.port:
                break
        raise RuntimeError(f"nats-server did not start:\n{self.log[-2000:]}")

    def write_config(self, port: int) -> Path:
        return server.write_config(self.home, port, self.credentials, self.users, NatsUsers(self.home).valid())

    async def let_in(self, name: str, tenant: str, scope: NatsScope = "write") -> str:
        """One more client from outside, which a server that runs knows at once; the URL of it."""
        made, password = NatsUsers(self.home).create(name, tenant, scope)
        await self.reload()
        return urls.logged_in(self.outside_url, made.user, password)

    async def reload(self) -> None:
        """Have the server take up what is written for it now."""
        self.write_config(self.port)
        await server.reload(self.url_of(server.SYSTEM))

    def _answers(self, port: int) -> bool:
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
                if connection.recv(5) == b"INFO ":
                    return True
            time.sleep(0.01)
        return False

    def stop(self) -> None:
        """Let the server end in order."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """End the server as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    async def connect(self, name: str = "test", make_streams: bool = False) -> Bus:
        bus = await Bus(self.url, name).connect(patience_s=10)
        if make_streams:
            await streams.ensure(bus.client)
        return bus


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Return once something that nobody announces has become true.

    Raises:
        TimeoutError: it has not.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def made_streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server has stored once the streams and consumers are made: a copy takes 10 ms, making them 150."""
    broker = Broker(tmp_path_factory.mktemp("streams"))

    async def make() -> None:
        bus = await broker.connect(make_streams=True)
        await bus.close(grace_s=0)

    broker.start()
    asyncio.run(make())
    broker.stop()
    return broker.store


@pytest.fixture
def broker(tmp_path: Path, made_streams: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "home")
    shutil.copytree(made_streams, broker.store)
    try:
        yield broker.start()
    finally:
        broker.kill()
        print(f"---- nats-server ----\n{broker.log}")


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[Bus]:
    bus = await broker.connect()
    yield bus
    await bus.close(grace_s=0.2)


@pytest.fixture
def tasks(bus: Bus) -> TaskLog:
    return TaskLog(bus)

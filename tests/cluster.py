"""Three real nats-servers of a test's own that are one cluster, each configured as the platform configures its own."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import nats.errors
from nats.js.errors import APIError

from bus import streams
from bus.client import Bus
from bus.files import write_private
from schemas.errors import BusUnavailable
from tests.broker import Broker, free_port

T = TypeVar("T")

SIZE = 3
PATIENCE_S = 60.0
"""For a cluster to choose its leaders, on a machine that does other work besides."""


class Member(Broker):
    """One server of a cluster."""

    def __init__(self, home: Path, name: str, route: int, routes: list[int]) -> None:
        super().__init__(home)
        self.name, self._route, self._routes = name, route, routes

    def write_config(self, port: int) -> Path:
        path = super().write_config(port)
        routes = [f"nats://127.0.0.1:{other}" for other in self._routes]
        cluster = f'cluster {{ name: devskyy, listen: "127.0.0.1:{self._route}", routes: {json.dumps(routes)} }}\n'
        alone = path.read_text()
        named = alone.replace("server_name: devskyy", f"server_name: {self.name}")
        assert named != alone
        write_private(path, named + cluster)
        return path


async def patiently(do: Callable[[], Awaitable[T]]) -> T:
    """What comes of it once the cluster answers; while it chooses a leader it does not."""
    give_up = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return await do()
        except (nats.errors.Error, APIError, BusUnavailable, TimeoutError):
            if asyncio.get_running_loop().time() > give_up:
                raise
            await asyncio.sleep(0.05)


class Cluster:
    """Its members by name. `url` names all of them."""

    def __init__(self, home: Path) -> None:
        routes = [free_port() for _ in range(SIZE)]
        self.members = {f"n{i}": Member(home / f"n{i}", f"n{i}", route, routes) for i, route in enumerate(routes)}
        first, *others = self.members.values()
        for member in others:
            member.credentials = first.credentials

    @property
    def url(self) -> str:
        return ",".join(member.url for member in self.members.values())

    def start(self) -> None:
        for member in self.members.values():
            member.start()

    def kill(self) -> None:
        for member in self.members.values():
            member.kill()

    def connected_to(self, bus: Bus) -> Member:
        """The server that a client is connected to."""
        assert bus.client.connected_url is not None
        return next(member for member in self.members.values() if member.port == bus.client.connected_url.port)

    async def leader_of(self, bus: Bus, stream: str) -> Member:
        """The server that decides what is written to a stream."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                cluster = (await patiently(lambda: bus.js.stream_info(stream))).cluster
                if cluster is not None and cluster.leader:
                    return self.members[cluster.leader]

    async def whole(self, bus: Bus) -> None:
        """Return once every member has every stream."""
        async with asyncio.timeout(PATIENCE_S):
            for config in streams.stream_configs():
                assert config.name is not None
                while not await self._everywhere(bus, config.name):  # noqa: ASYNC110 - nobody announces it
                    await asyncio.sleep(0.05)

    @staticmethod
    async def _everywhere(bus: Bus, stream: str) -> bool:
        cluster = (await patiently(lambda: bus.js.stream_info(stream))).cluster
        replicas = [] if cluster is None else cluster.replicas or []
        return len(replicas) == SIZE - 1 and all(replica.current and not replica.offline for replica in replicas)

    async def connect(self, name: str = "test", make_streams: bool = False) -> Bus:
        bus = await Bus(self.url, name).connect(patience_s=PATIENCE_S)
        if make_streams:
            await streams.ensure(bus.client, patience_s=PATIENCE_S, budget=1024**3, replicas=SIZE)
        return bus


@contextlib.contextmanager
def running(home: Path) -> Iterator[Cluster]:
    cluster = Cluster(home)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()
        for member in cluster.members.values():
            print(f"---- nats-server {member.name} ----\n{member.log}")

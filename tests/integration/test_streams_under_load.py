"""Many streams of events at once, slow readers among them, on a real platform: each gets every event once, in order.

A short run is in every test run; `make soak` has 500 streams for a minute.
"""

import asyncio
import http.client
import json
import socket
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from devskyy.sse import SseParser
from serve.sse import HEARTBEAT
from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

TASKS, WORKFLOWS = "/api/v1/tasks", "/api/v1/workflows"
LAST = {"completed", "failed", "cancelled"}
HOLD = "hold"
"""The signal that ends a workflow which otherwise waits."""
SILENCE_S = 15.0
"""No stream may say nothing for longer."""
GROWTH = 1.15
"""Between a third of the time and its end, the replica's memory may be multiplied by this."""
SLOWER = 5.0
"""By what slow readers may multiply the median of the others' latency; a machine that does other work doubles it."""
PAYLOAD = "x" * 100_000
FED = 60
"""Signals of that size which a workflow gets: its events are 11 MiB, far more than a socket on Linux holds (4 MiB)."""

Platform = tuple[LivePlatform, OpenAISimulator]


@dataclass
class Reader:
    """A client of one stream."""

    path: str
    resumes: bool = False
    """Whether it connects again, after the last event that it has, when the connection breaks."""
    seen: list[tuple[int, str]] = field(default_factory=list)
    """Number and name of every event, repeated ones too."""
    late_s: dict[int, float] = field(default_factory=dict)
    """By number, from an event's own time to its arrival."""
    beats: int = 0
    silence_s: float = 0.0
    """The longest."""
    breaks: int = 0
    connected: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, client: httpx.AsyncClient) -> "Reader":
        """Read until the last event."""
        while not self.ended:
            try:
                await self._connection(client)
            except httpx.TransportError:
                if not self.resumes:
                    raise
            if self.ended:
                break
            assert self.resumes, f"{self.path} ended after {self.seen[-3:]}"
            self.breaks += 1
            await asyncio.sleep(0.2)
        return self

    @property
    def ended(self) -> bool:
        return bool(self.seen) and self.seen[-1][1] in LAST

    async def _connection(self, client: httpx.AsyncClient) -> None:
        headers = {"Last-Event-ID": str(self.seen[-1][0])} if self.seen else {}
        parser = SseParser()
        async with client.stream("GET", f"{self.path}/events", headers=headers) as reply:
            if reply.status_code != 200:
                assert self.resumes and reply.status_code >= 500, reply.status_code
                return
            heard_at = time.monotonic()
            self.connected.set()
            async for chunk in reply.aiter_raw():
                self.silence_s = max(self.silence_s, time.monotonic() - heard_at)
                heard_at = time.monotonic()
                self.beats += chunk.count(HEARTBEAT)
                for event in parser.feed(chunk):
                    assert event.number is not None
                    self.seen.append((event.number, event.name))
                    at = datetime.fromisoformat(json.loads(event.data)["at"])
                    self.late_s[event.number] = time.time() - at.timestamp()


@dataclass
class Load:
    """What is read, and those who read it."""

    client: httpx.AsyncClient
    readers: list[Reader] = field(default_factory=list)
    fed: list[str] = field(default_factory=list)
    """Workflows with large events."""

    async def task(self) -> str:
        reply = await self._sent(TASKS, {"prompt": f"Say {time.time_ns()}."})
        return f"{TASKS}/{reply['task_id']}"

    async def workflow(self, signals: int) -> str:
        """One that waits for these signals, s0, s1 and so on, one after the other, and for the last to be let go."""
        names = [*(f"s{number}" for number in range(signals)), HOLD]
        tasks = {name: {"signal": name, "depends_on": names[:at][-1:]} for at, name in enumerate(names)}
        reply = await self._sent(WORKFLOWS, {"definition": {"name": "followed", "tasks": tasks}})
        return f"{WORKFLOWS}/{reply['workflow_id']}"

    async def signal(self, path: str, name: str, payload: Any = None) -> None:
        await self._sent(f"{path}/signals/{name}", payload, f"{path}-{name}")

    async def _sent(self, path: str, body: Any, key: str | None = None) -> Any:
        """Send as a careful client does: the same again until somebody answers."""
        headers = {"Idempotency-Key": key or f"streams-{time.time_ns()}"}
        give_up, refused = time.monotonic() + 120, ""
        while time.monotonic() < give_up:
            try:
                reply = await self.client.post(path, json=body, headers=headers)
                if reply.is_success:
                    return reply.json()
                refused = reply.text
                assert "storage_full" not in refused and (reply.status_code >= 500 or reply.status_code == 429), refused
            except httpx.TransportError as error:
                refused = repr(error)
            await asyncio.sleep(0.2)
        raise AssertionError(f"{path} was not taken: {refused}")

    async def close(self) -> None:
        """Make room again: the platform's disk is small, and other tests follow."""
        for path in self.fed:
            (await self.client.delete(path)).raise_for_status()

    async def read(self, path: str) -> Reader:
        self.readers.append(reader := Reader(path))
        return await reader.read(self.client)

    async def reading(self, paths: list[str], resumes: bool = False) -> list[asyncio.Task[Reader]]:
        """Readers of these, once all are connected."""
        readers = [Reader(path, resumes) for path in paths]
        self.readers += readers
        tasks = [asyncio.create_task(reader.read(self.client)) for reader in readers]
        async with asyncio.timeout(60):
            for reader in readers:
                await reader.connected.wait()
        return tasks

    async def story(self, path: str) -> list[tuple[int, str]]:
        """All events of what has ended."""
        reply = await self.client.get(f"{path}/events", params={"follow": "false"})
        return [(event.number or 0, event.name) for event in SseParser().feed(reply.content)]

    async def check(self) -> None:
        """Each reader has every event once, in order."""
        stories = {path: await self.story(path) for path in {reader.path for reader in self.readers}}
        for path, story in stories.items():
            assert [number for number, _ in story] == list(range(1, len(story) + 1)), path
        for reader in self.readers:
            assert reader.seen == stories[reader.path], reader.path


@pytest.fixture
async def load(simulated: Platform, sim: OpenAISimulator) -> AsyncIterator[Load]:
    live, _ = simulated
    await asyncio.to_thread(until, live.ready, 90, "a platform that is ready")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(base_url=live.url, limits=limits, timeout=httpx.Timeout(60)) as client:
        yield (made := Load(client))
        await made.close()


def replica_mib(live: LivePlatform) -> float:
    """The replica's own part of memory (PSS)."""
    return float(live.process("ray::ServeReplica:devskyy").memory_full_info().pss) / 2**20


async def follow_many(live: LivePlatform, sim: OpenAISimulator, load: Load, streams: int, seconds: float) -> None:
    """A third of the streams is of workflows that wait, one of workflows that are signalled, and one of tasks."""
    sim.behaviour = Behaviour(answer="A word.", latency_s=seconds / 6)
    third, rounds = streams // 3, 10
    waiting = [await load.workflow(0) for _ in range(third // 5)]
    signalled = [await load.workflow(rounds) for _ in range(third // 5)]
    began = time.monotonic()
    over = began + seconds

    async def tasks() -> None:
        while time.monotonic() < over:
            await load.read(await load.task())

    async def signals() -> None:
        for number in range(rounds):
            await asyncio.sleep(max(0.0, began + (number + 0.5) * seconds / rounds - time.monotonic()))
            for path in signalled:
                await load.signal(path, f"s{number}", number)
        await asyncio.sleep(max(0.0, over - time.monotonic()))
        for path in waiting + signalled:
            await load.signal(path, HOLD)

    async def weigh() -> tuple[float, float]:
        await asyncio.sleep(seconds / 3)
        early = await asyncio.to_thread(replica_mib, live)
        await asyncio.sleep(max(0.0, over - time.monotonic()))
        return early, await asyncio.to_thread(replica_mib, live)

    # When they are all followed for a while
    async with asyncio.timeout(seconds + 90), asyncio.TaskGroup() as group:
        for path in [*waiting, *signalled] * 5:
            group.create_task(load.read(path))
        for _ in range(third):
            group.create_task(tasks())
        group.create_task(signals())
        weighing = group.create_task(weigh())
    # Then each stream had every event once, in order, and none was silent for long
    await load.check()
    early, late = weighing.result()
    late_s = [late for reader in load.readers for late in reader.late_s.values()]
    quiet = [reader for reader in load.readers if reader.path in waiting]
    print(
        f"{len(load.readers)} streams, {len(late_s)} events, {sum(r.beats for r in load.readers)} heartbeats; "
        f"longest silence {max(r.silence_s for r in load.readers):.1f} s; "
        f"replica {early:.1f} MiB after a third, {late:.1f} at the end"
    )
    assert max(reader.silence_s for reader in load.readers) < SILENCE_S
    assert all(reader.beats for reader in quiet)
    # And the memory of the replica does not grow
    assert late < early * GROWTH


async def test_sixty_streams_get_every_event_once(simulated: Platform, sim: OpenAISimulator, load: Load) -> None:
    await follow_many(simulated[0], sim, load, streams=60, seconds=12)


@pytest.mark.soak
async def test_five_hundred_streams_get_every_event_once(simulated: Platform, sim: OpenAISimulator, load: Load) -> None:
    await follow_many(simulated[0], sim, load, streams=500, seconds=60)


@contextmanager
def unread(live: LivePlatform, path: str) -> Iterator[Callable[[], bytes]]:
    """A stream whose socket nobody reads, until what it gives is called."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(60)
        line.connect(("127.0.0.1", live.port))
        connection = http.client.HTTPConnection("127.0.0.1", live.port)
        connection.sock = line
        connection.request("GET", f"{path}/events")

        def whole() -> bytes:
            with connection.getresponse() as reply:
                return reply.read()

        yield whole


async def feed(load: Load, path: str) -> float:
    """Give a workflow its signals; the median of how late its ten quick readers are told of them."""
    load.fed.append(path)
    before = len(load.readers)
    reading = await load.reading([path] * 10)
    for number in range(FED):
        await load.signal(path, f"s{number}", PAYLOAD)
    await load.signal(path, HOLD)
    async with asyncio.timeout(60):
        await asyncio.gather(*reading)
    return statistics.median(late for reader in load.readers[before:] for late in reader.late_s.values())


async def test_readers_that_do_not_read_cost_the_others_nothing(simulated: Platform, load: Load) -> None:
    live, _ = simulated
    # Given how late readers are told without slow ones
    alone = await feed(load, await load.workflow(FED))
    # When thirty others follow the same workflow and do not read
    path = await load.workflow(FED)
    before = await asyncio.to_thread(replica_mib, live)
    with ExitStack() as lines:
        slow = [lines.enter_context(unread(live, path)) for _ in range(30)]
        beside = await feed(load, path)
        held = await asyncio.to_thread(replica_mib, live) - before
        # Then those who read are told as soon as before
        await load.check()
        of_one = len((await load.client.get(f"{path}/events")).content) / 2**20
        print(
            f"median latency {alone * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside slow readers; "
            f"{held:.1f} MiB held for {of_one:.1f} MiB that {len(slow)} have each not read"
        )
        assert beside < alone * SLOWER
        # And the replica does not hold for the others what they have not read
        assert held < len(slow) * of_one / 3
        # And once they read, they have every event once
        story = await load.story(path)
        for whole in slow:
            told = SseParser().feed(await asyncio.to_thread(whole))
            assert [(event.number, event.name) for event in told] == story


@pytest.mark.soak
@pytest.mark.parametrize("victim", ["ray::ServeReplica:devskyy", "nats-server"])
async def test_streams_are_resumed_without_gap_or_repeat_when_a_part_is_killed(
    victim: str, simulated: Platform, load: Load
) -> None:
    live, _ = simulated
    # Given streams of workflows that are signalled all the while
    paths = [await load.workflow(8) for _ in range(4)]
    reading = await load.reading(paths * 5, resumes=True)
    for number in range(8):
        # When a part is killed in the midst of that
        if number == 4:
            await asyncio.to_thread(live.process(victim).kill)
        for path in paths:
            await load.signal(path, f"s{number}")
    for path in paths:
        await load.signal(path, HOLD)
    # Then whoever resumes after the last event has every event once
    async with asyncio.timeout(90):
        await asyncio.gather(*reading)
    await load.check()
    if "Replica" in victim:
        assert all(reader.breaks for reader in load.readers)


async def test_a_task_goes_on_when_its_reader_has_gone(sim: OpenAISimulator, load: Load) -> None:
    # Given a task under way, whose events somebody reads
    sim.behaviour = Behaviour(answer="A word.", latency_s=2.0)
    path = await load.task()
    async with load.client.stream("GET", f"{path}/events") as reply:
        await anext(reply.aiter_raw())
    # When the reader leaves before its end
    assert (await load.client.get(path)).json()["status"] not in LAST
    # Then the task goes on to its end
    assert (await load.read(path)).seen[-1][1] == "completed"

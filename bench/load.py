"""Asks a server over some connections, each of which asks again as soon as it is answered; checks every answer.

    python -m bench.load URL --body '{"model": "instant", "messages": [{"role": "user", "content": "Nr. {number}"}]}'
        [--expect chat|task] [--header 'Prefer: wait=30'] [--connections 16] [--seconds 5 | --requests 1000]

It speaks just as much HTTP/1.1 as that takes: some 0.05 ms of CPU a request, where a client library takes 0.3 ms and
more, which on a small machine would be taken from the server that is measured. `{number}` in the body becomes a number
of its own in every request, so that no cache can answer. Prints what came of it as JSON.
"""

import argparse
import asyncio
import contextlib
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import uvloop

from bench.upstream import TEXT, more_files

Expect = Literal["chat", "task"]
NUMBER = "{number}"
GRACE_S = 60.0
"""How long answers are waited for after the last request."""
AGAIN_S = 0.1
"""Before a lost connection is made again."""


@dataclass(frozen=True)
class Ask:
    """What is asked, and of whom."""

    url: str
    body: str
    """JSON; `{number}` becomes eight digits, always others."""
    expect: Expect = "chat"
    headers: tuple[str, ...] = ()


@dataclass
class Load:
    """What came of it."""

    connections: int
    seconds: float = 0.0
    """From the first request to the last answer."""
    answered: int = 0
    """Requests with the answer that was expected."""
    requests_per_s: float = 0.0
    median_ms: float | None = None
    p99_ms: float | None = None
    client_cpu_ms: float | None = None
    """CPU of the asking process for each answer."""
    problems: dict[str, int] = field(default_factory=dict)
    """What else happened, and how often."""


def _wrong_chat(answer: Any) -> str | None:
    content = answer["choices"][0]["message"]["content"]
    return None if content == TEXT else "other content"


def _wrong_task(answer: Any) -> str | None:
    return None if answer["status"] == "completed" and answer["answer"] else str(answer["status"])


WRONG: dict[Expect, Callable[[Any], str | None]] = {"chat": _wrong_chat, "task": _wrong_task}
"""What is wrong with an answer, if anything."""


class _Requests:
    """Requests made from a template. The number has as many digits in all, so that the length is the same."""

    def __init__(self, ask: Ask) -> None:
        where = urlsplit(ask.url)
        before, number, after = ask.body.encode().partition(NUMBER.encode())
        lines = [f"POST {where.path} HTTP/1.1", f"host: {where.netloc}", "content-type: application/json"]
        lines += [*ask.headers, f"content-length: {len(before) + len(after) + 8 * bool(number)}"]
        self._before = "\r\n".join([*lines, "", ""]).encode() + before
        self._after = after
        self._numbered = bool(number)
        # From the clock, in steps that no run keeps up with: two runs one after another must not ask the same.
        self._next = time.time_ns() // 10_000

    def next(self) -> bytes:
        self._next += 1
        number = b"%08d" % (self._next % 100_000_000) if self._numbered else b""
        return self._before + number + self._after


class _Run:
    """One run: when another request is made, and what came of each."""

    def __init__(self, ask: Ask, load: Load, seconds: float | None, requests: int | None) -> None:
        self._requests, self._wrong = _Requests(ask), WRONG[ask.expect]
        self._load, self._seconds, self._left = load, seconds, requests
        self._problems: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._open = 0
        self.ended = asyncio.Event()
        self.until = math.inf

    def start(self) -> None:
        self.began = time.perf_counter()
        if self._seconds is not None:
            self.until = self.began + self._seconds

    def next(self) -> bytes | None:
        """The next request, if there is to be one."""
        if self._left == 0 or time.perf_counter() >= self.until:
            if not self._open:
                self.ended.set()
            return None
        if self._left is not None:
            self._left -= 1
        self._open += 1
        return self._requests.next()

    def answered(self, latency_s: float, status: int, body: bytes) -> None:
        self._open -= 1
        try:
            what = self._wrong(json.loads(body)) if status == 200 else f"HTTP {status}"
        except (ValueError, LookupError, TypeError):
            what = "unreadable answer"
        if what is None:
            self._latencies.append(latency_s)
        else:
            self._problems[what] += 1

    def failed(self, what: str) -> None:
        self._open -= 1
        self._problems[what] += 1

    def finish(self, cpu_s: float) -> None:
        load, latencies = self._load, sorted(self._latencies)
        load.seconds = time.perf_counter() - self.began
        load.answered = len(latencies)
        load.requests_per_s = load.answered / load.seconds
        if self._open:
            self._problems["no answer"] += self._open
        load.problems = dict(self._problems)
        if latencies:
            load.median_ms = statistics.median(latencies) * 1000
            load.p99_ms = latencies[math.ceil(0.99 * len(latencies)) - 1] * 1000
            load.client_cpu_ms = cpu_s / load.answered * 1000


class _Connection(asyncio.Protocol):
    """One connection, which asks again as soon as it is answered."""

    def __init__(self, run: _Run, lost: Callable[[], None]) -> None:
        self._run, self._lost = run, lost
        self._received = bytearray()
        self._sent_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by type

    def ask(self) -> None:
        if (request := self._run.next()) is not None:
            self._sent_at = time.perf_counter()
            self._transport.write(request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if (answer := parse(self._received)) is None or self._sent_at is None:
            return
        latency_s, self._sent_at = time.perf_counter() - self._sent_at, None
        self._received.clear()
        self._run.answered(latency_s, *answer)
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self._sent_at is not None:
            self._run.failed("connection lost")
        if not self._run.ended.is_set():
            self._lost()


def parse(received: bytes | bytearray) -> tuple[int, bytes] | None:
    """Status and body of an answer once it is all there."""
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head, body = bytes(received[:head_end]).lower() + b"\r\n", bytes(received[head_end + 4 :])
    status = int(head[9:12])
    if (at := head.find(b"\r\ncontent-length:")) >= 0:
        length = int(head[at + 17 : head.index(b"\r\n", at + 2)])
        return (status, body) if len(body) >= length else None
    if b"\r\ntransfer-encoding: chunked\r\n" not in head:
        return status, b""
    return (status, _joined(body)) if body.endswith(b"0\r\n\r\n") else None


def _joined(chunked: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        size, _, rest = chunked.partition(b"\r\n")
        length = int(size.split(b";", 1)[0], 16)
        if length == 0:
            return b"".join(parts)
        parts.append(rest[:length])
        chunked = rest[length + 2 :]


async def ask_all(ask: Ask, connections: int, seconds: float | None = None, requests: int | None = None) -> Load:
    """Connect first, then ask over all connections at once: for some seconds, or until that many were asked.

    Requests under way at the end are waited for and counted.
    """
    load = Load(connections)
    run = _Run(ask, load, seconds, requests)
    where, loop = urlsplit(ask.url), asyncio.get_running_loop()
    again: set[asyncio.Task[None]] = set()

    connections_made: list[_Connection] = []

    async def connect() -> _Connection:
        _, made = await loop.create_connection(lambda: _Connection(run, lost), str(where.hostname), where.port or 80)
        connections_made.append(made)
        return made

    async def reconnect() -> None:
        await asyncio.sleep(AGAIN_S)
        try:
            (await connect()).ask()
        except OSError:
            lost()

    def lost() -> None:
        again.add(task := loop.create_task(reconnect()))
        task.add_done_callback(again.discard)

    for _ in range(connections):
        await connect()
    before = resource.getrusage(resource.RUSAGE_SELF)
    run.start()
    for connection in connections_made.copy():
        connection.ask()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(run.ended.wait(), (seconds or 3600.0) + GRACE_S)
    after = resource.getrusage(resource.RUSAGE_SELF)
    run.finish(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    run.ended.set()
    for task in again:
        task.cancel()
    for connection in connections_made:
        connection.close()
    await asyncio.sleep(0)  # they close in the loop's next turn
    return load


def measure(ask: Ask, connections: int, seconds: float | None = None, requests: int | None = None) -> Load:
    """The same from a process of its own, so that what else this one does is not in the way.

    Raises:
        subprocess.CalledProcessError: nobody listens there.
    """
    command = [sys.executable, "-m", "bench.load", ask.url, "--body", ask.body, "--expect", ask.expect]
    for header in ask.headers:
        command += ["--header", header]
    command += ["--connections", str(connections)]
    command += ["--seconds", str(seconds)] if requests is None else ["--requests", str(requests)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Load(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__.split("\n", 1)[0])
    parser.add_argument("url")
    parser.add_argument("--body", required=True, help="JSON; {number} becomes a number, always another")
    parser.add_argument("--expect", choices=sorted(WRONG), default="chat", help="what every answer must be")
    parser.add_argument("--header", action="append", default=[], help="'Name: value'; may be repeated")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--requests", type=int, default=None, help="ask that often instead of for some seconds")
    given = parser.parse_args()
    more_files()
    ask = Ask(given.url, given.body, given.expect, tuple(given.header))
    seconds = given.seconds if given.requests is None else None
    print(json.dumps(asdict(uvloop.run(ask_all(ask, given.connections, seconds, given.requests)))))


if __name__ == "__main__":
    main()

"""How many tasks a second a platform takes over HTTP and completes, and how long one takes.

    python -m bench.submit [--seconds 10] [--connections 1 16] [--json]

The provider is a simulator that answers at once, in a process of its own; so what is measured is the platform: the
task accepted on disk, carried out by one agent, its call journalled, its answer and receipt handed back.
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from tests.live import running

WARM_UP_S = 2.0
WAIT_S = 30

progress = Console(stderr=True)


@dataclass
class Load:
    """What came of asking over some connections, each of which asks again as soon as it is answered."""

    connections: int
    seconds: float = 0.0
    completed: int = 0
    tasks_per_s: float = 0.0
    median_ms: float | None = None
    p99_ms: float | None = None
    problems: dict[str, int] = field(default_factory=dict)
    """What else happened than a completed task, and how often."""


@contextmanager
def provider() -> Iterator[dict[str, Any]]:
    """An overlay whose only service is a simulated provider without latency."""
    command = [sys.executable, "-m", "tests.simulators.openai"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            price = {"input_per_mtok": 1.0, "output_per_mtok": 2.0}
            service = {"model": "openai/simulated", "api_base": url, "api_key_env": "none", "price": price}
            yield {"services": {"simulated": service}, "routing": {"services": ["simulated"]}}
        finally:
            process.terminate()


async def ask(url: str, connections: int, seconds: float) -> Load:
    """Ask over that many connections for some seconds; tasks under way at the end are waited for and counted."""
    load, problems, numbers = Load(connections), Counter[str](), itertools.count()
    latencies: list[float] = []
    clock = time.monotonic
    headers = {"Prefer": f"wait={WAIT_S}"}

    async def one(session: aiohttp.ClientSession, until: float) -> None:
        while (began := clock()) < until:
            body = {"prompt": f"Describe handbag number {next(numbers)} in one sentence.", "tier": "simple"}
            try:
                async with session.post("/api/v1/tasks", json=body, headers=headers) as response:
                    task = await response.json(content_type=None)
                    what = task["status"] if response.ok else f"HTTP {response.status}"
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                what = type(error).__name__
            if what == "completed":
                latencies.append(clock() - began)
            else:
                problems[what] += 1

    pool = aiohttp.TCPConnector(limit=connections)
    timeout = aiohttp.ClientTimeout(total=WAIT_S + 10)
    async with aiohttp.ClientSession(url, connector=pool, timeout=timeout) as session:
        began = clock()
        await asyncio.gather(*(one(session, began + seconds) for _ in range(connections)))
        load.seconds = clock() - began
    load.completed, load.problems = len(latencies), dict(problems)
    load.tasks_per_s = load.completed / load.seconds
    if latencies:
        latencies.sort()
        load.median_ms = statistics.median(latencies) * 1000
        load.p99_ms = latencies[math.ceil(0.99 * len(latencies)) - 1] * 1000
    return load


def measure(connections: list[int], seconds: float) -> list[Load]:
    loads = []
    with tempfile.TemporaryDirectory(prefix="dsky-bench-") as folder, provider() as overlay:
        progress.print("starting a platform …")
        with running(Path(folder) / "home", overlay) as platform:
            for number in connections:
                progress.print(f"{number} at a time, {seconds:g} s …")
                asyncio.run(ask(platform.url, number, WARM_UP_S))
                loads.append(asyncio.run(ask(platform.url, number, seconds)))
    return loads


def show(loads: list[Load]) -> None:
    table = Table(title=f"tasks over HTTP, completed and waited for; {os.cpu_count()} cores, shared with the client")
    for heading in ("connections", "tasks/s", "median, ms", "p99, ms", "completed", "problems"):
        table.add_column(heading, justify="right")
    for load in loads:
        times = [f"{ms:.1f}" if ms is not None else "none" for ms in (load.median_ms, load.p99_ms)]
        problems = ", ".join(f"{what}: {count}" for what, count in load.problems.items()) or "none"
        table.add_row(str(load.connections), f"{load.tasks_per_s:.1f}", *times, str(load.completed), problems)
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.submit", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each number of connections is measured")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    loads = measure(arguments.connections, arguments.seconds)
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "loads": [asdict(load) for load in loads]}))
    else:
        show(loads)
    return 1 if any(load.problems for load in loads) else 0


if __name__ == "__main__":
    sys.exit(main())

"""How many tasks a second a platform takes over HTTP and completes, and how long one takes.

    python -m bench.submit [--seconds 10] [--connections 1 16] [--json]

The provider answers at once, in a process of its own; so what is measured is the platform: the task accepted on disk,
carried out by one agent, its call journalled, its answer and receipt handed back.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import accounting
from bench.load import Ask, Load, measure
from bench.upstream import upstream
from tests.live import running

WARM_UP_S = 2.0
BODY = '{"prompt": "Describe handbag number {number} in one sentence.", "tier": "simple"}'

progress = Console(stderr=True)


def measure_all(connections: list[int], seconds: float) -> list[Load]:
    loads = []
    with tempfile.TemporaryDirectory(prefix="dsky-bench-") as folder, upstream() as provider:
        price = {"input_per_mtok": 1.0, "output_per_mtok": 2.0}
        service = {"model": "openai/instant", "api_base": provider.base("ours"), "api_key_env": "none", "price": price}
        overlay = {"services": {"instant": service}, "routing": {"services": ["instant"]}}
        progress.print("starting a platform …")
        with running(Path(folder) / "home", overlay) as platform:
            ask = Ask(f"{platform.url}/api/v1/tasks", BODY, "task", ("prefer: wait=30",))
            for number in connections:
                progress.print(f"{number} at a time, {seconds:g} s …")
                measure(ask, number, WARM_UP_S)
                loads.append(measure(ask, number, seconds))
    return loads


def show(loads: list[Load]) -> None:
    table = Table(
        title=f"tasks over HTTP, completed and waited for; {accounting.cores()} cores, shared with the client"
    )
    for heading in ("connections", "tasks/s", "median, ms", "p99, ms", "completed", "problems"):
        table.add_column(heading, justify="right")
    for load in loads:
        times = [f"{ms:.1f}" if ms is not None else "none" for ms in (load.median_ms, load.p99_ms)]
        problems = ", ".join(f"{what}: {count}" for what, count in load.problems.items()) or "none"
        table.add_row(str(load.connections), f"{load.requests_per_s:.1f}", *times, str(load.answered), problems)
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.submit", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each number of connections is measured")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    loads = measure_all(arguments.connections, arguments.seconds)
    if arguments.json:
        print(json.dumps({"cores": accounting.cores(), "loads": [asdict(load) for load in loads]}))
    else:
        show(loads)
    return 1 if any(load.problems for load in loads) else 0


if __name__ == "__main__":
    sys.exit(main())

"""How long a platform takes to start and to end, and how much memory it holds in between.

    python -m bench.startup [--runs 3] [--idle-s 10] [--json]

Each run has a home of its own in a temporary folder. Memory is the proportional set size of every process of the
platform, the supervisor included, so that pages they share are counted once.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from devskyy.supervisor import processes
from tests.live import LivePlatform

START_BOUND_S = 15.0
MEMORY_BOUND_GIB = 2.5
GIB = 1024**3

progress = Console(stderr=True)


@dataclass(frozen=True)
class Run:
    start_s: float
    memory_gib: float
    """Without the processes that this user may not look into; there are none unless somebody else started them."""
    processes: int
    stop_s: float
    left: int
    """Processes that still ran when `devskyy down` had returned."""


def measure(home: Path, idle_s: float) -> Run:
    """Start a platform, let it idle, and end it.

    Raises:
        AssertionError: it does not start; says why.
    """
    platform = LivePlatform(home)
    try:
        began = time.monotonic()
        platform.up()
        started = time.monotonic()
        time.sleep(idle_s)
        everything = platform.processes()
        memory = sum(_pss(process) for process in everything) / GIB
        stopping = time.monotonic()
        platform.down()
        stopped = time.monotonic()
        # The homeless among them would be found by neither mark nor session, so each is asked for by itself as well.
        left = {p.pid for p in everything if _runs(p)} | {p.pid for p in platform.processes()}
        return Run(started - began, memory, len(everything), stopped - stopping, len(left))
    finally:
        processes.end_home(home)


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def show(runs: list[Run]) -> None:
    table = Table(title=f"devskyy up --detach, idle, devskyy down; {os.cpu_count()} cores")
    for heading in ("measure", "median", "runs", "bound"):
        table.add_column(heading, justify="left" if heading == "measure" else "right")

    def row(measure: str, values: list[float], places: int, bound: float | None) -> None:
        middle = statistics.median(values)
        mark = "" if bound is None else f"< {bound:g}" if middle < bound else f"[red]OVER {bound:g}"
        table.add_row(measure, f"{middle:.{places}f}", ", ".join(f"{v:.{places}f}" for v in values), mark)

    row("start, s", [run.start_s for run in runs], 1, START_BOUND_S)
    row("memory, GiB (PSS)", [run.memory_gib for run in runs], 2, MEMORY_BOUND_GIB)
    row("processes", [run.processes for run in runs], 0, None)
    row("stop, s", [run.stop_s for run in runs], 1, None)
    row("processes left", [run.left for run in runs], 0, 1)
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle-s", type=float, default=10.0, help="how long it idles before its memory is measured")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    runs = []
    for _ in track(range(arguments.runs), "starting, idling, ending", console=progress, transient=True):
        with tempfile.TemporaryDirectory(prefix="dsky-bench-") as folder:
            runs.append(measure(Path(folder) / "home", arguments.idle_s))
    if arguments.json:
        bounds = {"start_s": START_BOUND_S, "memory_gib": MEMORY_BOUND_GIB}
        print(json.dumps({"cores": os.cpu_count(), "bounds": bounds, "runs": [asdict(run) for run in runs]}))
    else:
        show(runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())

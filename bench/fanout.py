"""How fast a team fans out: so many agents, each of which takes a second, asked at once and all waited for.

    python -m bench.fanout [--agents 45 1000] [--processes 2] [--rounds 5] [--json]

Ours: the 24 specialists' subjects, answered by hosts in processes of their own over a nats-server of its own, and asked
by one process with `Bus.ask`, as a coordinator asks. Agents wait and do not compute, so what is left over one second is
what the messages took: encoding, sending, decoding of the questions, and the same of the answers. Every answer is
checked to be that of the seat that was asked. Processes run on uvloop, as Ray's actors do, and do with their memory as
ours do.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
import uvloop
from rich.console import Console
from rich.progress import track
from rich.table import Table

from actors.base import keep_for_good
from actors.catalogue import Catalogue, load
from actors.coordinator.asking import Asking
from actors.coordinator.assessor import Assessor
from actors.coordinator.bounds import Bounds
from actors.coordinator.run import Run
from actors.coordinator.seats import seats_of
from actors.coordinator.story import Story
from bench.peers import environment
from bus import streams
from bus.client import Bus
from bus.desk import Endpoint
from bus.subjects import AgentAsk
from bus.tasklog import OwnedTask, TaskLog
from schemas.agent import Answer, Ask
from schemas.task import TaskRequest
from tests.broker import Broker

OURS = "DevSkyy"
WORK_S = 1.0
"""What each agent takes."""
PATIENCE_S = 60.0
PROMPT = "Look at this product page and report your findings. " * 8
ANSWER = "The first sentence promises what the second takes back; say which of the two holds. " * 4

progress = Console(stderr=True)


@dataclass(frozen=True)
class Round:
    """Everybody asked once."""

    side: str
    agents: int
    processes: int
    """That answer; another one asks. 0: one process does it all."""
    seconds: float
    """From the first question to the last result, on our side on disk."""
    asking_cpu_ms: float | None = None
    """CPU of the process that asks, for all of them."""
    events: int | None = None
    """Written into the task's stream, each fsync'd."""

    @property
    def over_ms(self) -> float:
        """Beyond what the agents took."""
        return (self.seconds - WORK_S) * 1000


# -- our side ------------------------------------------------------------------------------------------------------


async def works(ask: Ask) -> Answer:
    """An agent that takes a second."""
    await asyncio.sleep(WORK_S)
    return Answer(agent=ask.seat or "", step=ask.step, text=ANSWER)


def host(name: str, url: str, roles: list[str], ready: "multiprocessing.synchronize.Event") -> None:
    """Answers for every specialist until it is ended."""

    async def answer() -> None:
        bus = await Bus(url, name).connect()
        await bus.serve(name, [Endpoint(r, str(AgentAsk(r)), Ask, works, concurrency=1024) for r in roles], "", {})
        keep_for_good()
        ready.set()
        await bus.closed.wait()

    quietly()
    uvloop.run(answer())


def quietly() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))


@contextlib.contextmanager
def hosts(broker: Broker, processes: int, roles: list[str]) -> Iterator[None]:
    """So many processes that answer, for as long as the block runs."""
    context = multiprocessing.get_context("spawn")
    started = []
    try:
        for number in range(processes):
            ready = context.Event()
            arguments = (f"host-{number}", broker.url, roles, ready)
            started.append((process := context.Process(target=host, args=arguments, daemon=True), ready))
            process.start()
        for _, ready in started:
            if not ready.wait(PATIENCE_S):
                raise RuntimeError("a host did not start; see above")
        yield
    finally:
        for process, _ in started:
            process.terminate()
            process.join()


async def ask_all(bus: Bus, agents: int, roles: list[str], catalogue: Catalogue) -> tuple[float, float, int]:
    """Seconds from the first question to the last result on disk, CPU of this process meanwhile, events written."""
    tasks = TaskLog(bus)
    task, _ = await tasks.accept(TaskRequest(prompt=PROMPT, tier="mega", agents=max(6, agents)), "default")
    owned = OwnedTask(tasks, await tasks.read("default", task.task_id))

    async def ask(question: Ask, agent: str) -> Answer:
        return await bus.ask(AgentAsk(agent), question, Answer, deadline=question.deadline_at, work=question.task_id)

    async def hosts(_: int) -> None:
        """They are there."""

    run = Run(owned.accepted, Story(owned, 1), catalogue, ask, Assessor(), Bounds(2 * agents), hosts, {})
    seats = seats_of(roles[number % len(roles)] for number in range(agents))
    askings = [
        Asking(seat=seat, kind="optimisation", step=f"look-{seat.name}", prompt=PROMPT, about=("draft",))
        for seat in seats
    ]
    cpu, began = _cpu_s(), time.perf_counter()
    found = await run.ask("optimisation", askings)
    took, used = time.perf_counter() - began, _cpu_s() - cpu
    for seat, each in zip(seats, found, strict=True):
        if (each.agent, each.text, each.problem) != (seat.name, ANSWER, None):
            raise RuntimeError(f"{seat.name} was answered with {each!r}")
    return took, used, len(owned.events) - 1


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def ours(agents: int, processes: int, rounds: int) -> list[Round]:
    """One round to warm up, which is not counted, and so many that are."""
    catalogue = load()
    roles = list(catalogue.specialists)

    async def ask(url: str) -> list[tuple[float, float, int]]:
        bus = await Bus(url, "bench").connect()
        await streams.ensure(bus.client, budget=1024**3)
        await ask_all(bus, agents, roles, catalogue)
        keep_for_good()  # as an actor does once it is ready
        took = [await ask_all(bus, agents, roles, catalogue) for _ in track(range(rounds), "asking", console=progress)]
        await bus.close(grace_s=0.2)
        return took

    with tempfile.TemporaryDirectory(prefix="dsky-bench-") as folder:
        broker = Broker(Path(folder) / "home").start()
        try:
            with hosts(broker, processes, roles):
                took = uvloop.run(ask(broker.url))
        finally:
            broker.stop()
    return [Round(OURS, agents, processes, seconds, cpu_s * 1000, events) for seconds, cpu_s, events in took]


# -- the peers -----------------------------------------------------------------------------------------------------

PEERS = {
    "autogen-core": ("autogen-core==0.7.5", "peer_autogen.py"),
    "LangGraph": ("langgraph==1.2.24", "peer_langgraph.py"),
}


def theirs(agents: int, rounds: int) -> list[Round]:
    found = []
    for side, (requirement, script) in PEERS.items():
        python = environment(requirement.partition("==")[0], requirement) / "python"
        progress.print(f"{side} …")
        command = [str(python), str(Path(__file__).with_name(script)), str(agents), str(rounds)]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        found += [Round(side, agents, 0, seconds) for seconds in json.loads(said.stdout)]
    return found


# -- what came of it -----------------------------------------------------------------------------------------------


def show(rounds: list[Round]) -> None:
    table = Table(title=f"agents of {WORK_S:g} s, asked at once; {os.cpu_count()} cores")
    for heading in (
        "side",
        "agents",
        "processes",
        "median, s",
        "best, s",
        "worst, s",
        "CPU of the asker, ms",
        "events",
    ):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for side, agents, processes in dict.fromkeys((r.side, r.agents, r.processes) for r in rounds):
        these = [r for r in rounds if (r.side, r.agents, r.processes) == (side, agents, processes)]
        took = [r.seconds for r in these]
        cpu = statistics.median(r.asking_cpu_ms or 0 for r in these)
        events = statistics.median(r.events or 0 for r in these)
        seconds = (f"{value:.3f}" for value in (statistics.median(took), min(took), max(took)))
        shown = (f"{cpu:.0f}", f"{events:.0f}") if processes else ("", "none")
        table.add_row(side, str(agents), str(processes) if processes else "one", *seconds, *shown)
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--agents", type=int, nargs="+", default=[45, 1000])
    parser.add_argument("--processes", type=int, default=2, help="that answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours-only", action="store_true", help="leave out the peers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    quietly()
    rounds = []
    for agents in arguments.agents:
        rounds += ours(agents, arguments.processes, arguments.rounds)
        rounds += [] if arguments.ours_only else theirs(agents, arguments.rounds)
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "work_s": WORK_S, "rounds": [asdict(each) for each in rounds]}))
    else:
        show(rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

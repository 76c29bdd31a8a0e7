"""What the four shapes make of agents of known skill, beside asking one agent as often.

    python -m bench.teams [--tasks 60] [--seed 1] [--json]

Real platform, real HTTP, scripted providers (`bench/scripted.py`) that are right in 70 % of cases. Four worlds: errors
of each agent's own, errors that all share, one agent that is slow, one that fails half the time.
"""

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.scripted import ANSWER, Skill, providers
from devskyy.client import AsyncClient
from tests.live import LivePlatform, running

AGENTS = ("cerebras-ultra", "gemini-flash", "groq-lightning", "scaleway-eu")
SERVICES = ("s1", "s2", "s3", "s4")
WORLDS: dict[str, dict[str, Skill]] = {
    "own errors": {name: Skill(0.7) for name in SERVICES},
    "shared errors": {name: Skill(0.7, systematic=1.0, shared=True) for name in SERVICES},
    "one slow": {name: Skill(0.7, delay_s=3.0 if name == "s4" else 0.05) for name in SERVICES},
    "one failing": {name: Skill(0.7, fails=0.5 if name == "s4" else 0.0) for name in SERVICES},
}
TIERS = ("simple", "moderate", "complex", "mega")
AT_ONCE = 4

progress = Console(stderr=True)


@dataclass(frozen=True)
class Row:
    """One way of working in one world."""

    world: str
    way: str
    tasks: int
    right: float
    """A fraction."""
    cost_usd: float
    """Of a task, on average."""
    calls: float
    """Of a task, on average."""
    median_s: float
    early: float
    """Share of tasks that ended before all phases were run."""
    failed: int


async def _solve(client: AsyncClient, prompt: str, way: str) -> tuple[str | None, float, int, bool]:
    """Answer, cost, calls, and whether it stopped early."""
    if way.startswith("one agent, "):
        times = int(re.findall(r"\d+", way)[0])
        tasks = await asyncio.gather(*(client.run(prompt, agent=AGENTS[0], timeout_s=60) for _ in range(times)))
        said = Counter(each.answer for each in tasks if each.answer)
        costs = sum(each.receipt.cost_usd or 0 for each in tasks if each.receipt)
        return (said.most_common(1)[0][0] if said else None), costs, times, False
    task = await client.run(prompt, tier=way, timeout_s=60, agents=8 if way == "mega" else None)  # type: ignore[arg-type]
    receipt = task.receipt
    early = False
    async for event in client.events(task.task_id):
        early = early or any(d.get("change") == "stopped_early" for d in event.get("decisions", ()))
    return task.answer, (receipt.cost_usd or 0) if receipt else 0.0, len(receipt.calls) if receipt else 0, early


async def _row(platform: LivePlatform, world: str, way: str, pairs: list[tuple[int, int]]) -> Row:
    room = asyncio.Semaphore(AT_ONCE)
    async with AsyncClient(platform.url) as client:

        async def one(left: int, right: int) -> tuple[bool, bool, float, int, float, bool]:
            async with room:
                began = time.monotonic()
                prompt = f"What is {left} times {right}? End with the words: The answer is <number>."
                answer, cost, calls, early = await _solve(client, prompt, way)
                found = ANSWER.findall(answer or "")
                correct = bool(found) and int(found[-1]) == left * right
                return correct, answer is None, cost, calls, time.monotonic() - began, early

        done = await asyncio.gather(*(one(*pair) for pair in pairs))
    return Row(
        world,
        way,
        len(done),
        sum(each[0] for each in done) / len(done),
        sum(each[2] for each in done) / len(done),
        sum(each[3] for each in done) / len(done),
        statistics.median(each[4] for each in done),
        sum(each[5] for each in done) / len(done),
        sum(each[1] for each in done),
    )


def overlay(url: str) -> dict[str, Any]:
    price = {"input_per_mtok": 0.1, "output_per_mtok": 0.4}
    services = {
        name: {"model": f"openai/{name}", "api_base": f"{url}/{name}/v1", "api_key_env": "none", "price": price}
        for name in SERVICES
    }
    agents = {agent: {"services": [service]} for agent, service in zip(AGENTS, SERVICES, strict=True)}
    return {"services": services, "agents": agents, "routing": {"services": list(SERVICES)}}


def measure(tasks: int, seed: int) -> list[Row]:
    chance = random.Random(seed)
    pairs = [(chance.randrange(11, 99), chance.randrange(11, 99)) for _ in range(tasks)]
    rows = []
    for world, skills in WORLDS.items():
        with tempfile.TemporaryDirectory(prefix="dsky-bench-") as folder, providers(seed, skills) as url:
            progress.print(f"{world}: starting a platform …")
            with running(Path(folder) / "home", overlay(url)) as platform:
                for way in ("one agent, 1 time", "one agent, 4 times", *TIERS):
                    progress.print(f"{world}: {way} …")
                    few = pairs[: max(4, tasks // 6)] if way == "mega" else pairs
                    rows.append(asyncio.run(_row(platform, world, way, few)))
    return rows


def show(rows: list[Row]) -> None:
    table = Table(title="shapes of agents that are right in 70 % of cases")
    for heading in ("world", "way", "tasks", "right", "cost/task", "calls/task", "median", "ended early", "failed"):
        table.add_column(heading, justify="left" if heading in ("world", "way") else "right")
    for row in rows:
        table.add_row(
            row.world,
            row.way,
            str(row.tasks),
            f"{row.right:.0%}",
            f"${row.cost_usd:.6f}",
            f"{row.calls:.1f}",
            f"{row.median_s:.2f} s",
            f"{row.early:.0%}",
            str(row.failed),
        )
    Console(width=140).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.teams", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tasks", type=int, default=60, help="multiplications for each way of working")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = measure(arguments.tasks, arguments.seed)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

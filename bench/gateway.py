"""Our chat completions side by side with LiteLLM's proxy, in front of the same instant provider, in one run.

    python -m bench.gateway                 all of it, some twenty minutes
    python -m bench.gateway --quick         without the memory after 20,000 requests, some five minutes
    python -m bench.gateway --quick --keys  both check a key on each request
    python -m bench.gateway --ours-only --seconds 10         where our CPU goes, by process
    python -m bench.gateway --profile core                   … and by function in one process

Both sides run from the beginning to the end; while one is asked the others idle, and what they take then is printed.
Each round asks every side, in an order that turns from round to round; figures are medians over the rounds. Every
answer is checked, and the provider's count of calls must be the number of answers: nobody answers from a cache. Our
side has each task on disk before it answers, and enters its calls into a ledger that is counted at the end; theirs
keeps nothing. Before a side is asked, work that another still does in the background is waited for.

Exits with 1 when something was answered wrongly or not recorded, not when a target is missed.
"""

import argparse
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console

from bench import accounting, peers, report, sampling
from bench.accounting import Cpu, CpuUse, Processes
from bench.load import Ask, measure
from bench.results import AUTO, OURS, Results, Round
from bench.upstream import Upstream, upstream
from tests.live import LivePlatform, running

MANY = 16
"""Connections of the memory runs, of warming up and of sampling."""
WARM_UP = 300
MARKS = (1_000, 5_000, 10_000, 20_000)
"""Requests after which memory is read; growth is between the first and the last."""
AT_ONCE = 1_000
QUIET_CORES = 0.35
"""A platform that nobody asks takes up to 0.2 cores here, Ray's own processes mostly."""
QUIET_S = 120.0
IDLE = "idle"
"""The part that the processes of sides play that are not asked."""

progress = Console(stderr=True)


@dataclass(frozen=True)
class Side:
    """Somebody who can be asked for chat completions."""

    name: str
    url: str
    model: str
    slow_model: str
    counted_as: str
    """The name under which the provider counts its calls."""
    processes: Callable[[], Processes]
    key: str | None = None
    """What it is asked with."""

    def ask(self, *, slow: bool = False) -> Ask:
        message = {"role": "user", "content": "Describe handbag number {number} in one sentence."}
        body = json.dumps({"model": self.slow_model if slow else self.model, "messages": [message]})
        headers = () if self.key is None else (f"authorization: Bearer {self.key}",)
        return Ask(f"{self.url}/v1/chat/completions", body, headers=headers)


@dataclass
class Comparison:
    """The provider and those who stand before it, all of them running."""

    provider: Upstream
    sides: list[Side]

    def ask(
        self,
        side: Side,
        connections: int,
        seconds: float | None = None,
        requests: int | None = None,
        *,
        slow: bool = False,
    ) -> Round:
        """Ask one side, wait until it is quiet again, and see what it cost."""
        calls, client, before = self.provider.count(side.counted_as), _children_s(), self._cpu(side)
        load = measure(side.ask(slow=slow), connections, seconds, requests)
        use = accounting.between(before, self._cpu(side))
        client = _children_s() - client
        others = use.machine - use.total - client
        idle = use.by_role.pop(IDLE, 0.0)
        later = quiet(side)
        each = 1000 / max(load.answered, 1)
        cpu_ms = {role: spent * each for role, spent in use.by_role.items()}
        return Round(
            side=side.name,
            load=load,
            upstream_calls=self.provider.count(side.counted_as) - calls,
            cpu_ms=cpu_ms | {"load generator": load.client_cpu_ms or 0.0},
            later_cpu_ms={role: spent * each for role, spent in later.by_role.items()},
            later_s=later.seconds,
            idle_cores=idle / use.seconds,
            others_cores=max(0.0, others / use.seconds),
        )

    def _cpu(self, asked: Side) -> Cpu:
        found: dict[int, tuple[str, psutil.Process]] = {}
        for side in distinct(self.sides):
            found |= {pid: (IDLE, process) for pid, (_, process) in side.processes().items()}
        return accounting.cpu({**found, **asked.processes(), **accounting.tree(self.provider.pid, "provider")})


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def quiet(side: Side) -> CpuUse:
    """Wait until a side's processes have nothing left to do; what that took."""
    processes = side.processes()
    began = before = accounting.cpu(processes)
    while True:
        time.sleep(0.5)
        now = accounting.cpu(processes)
        last = accounting.between(before, now)
        if last.total < QUIET_CORES * last.seconds or now.at - began.at > QUIET_S:
            return accounting.between(began, before)  # without the last look, which was quiet
        before = now


def distinct(sides: list[Side]) -> list[Side]:
    """The first of those that are the same processes, asked for another model."""
    first: dict[str, Side] = {}
    for side in sides:
        first.setdefault(side.url, side)
    return list(first.values())


# The sides


def overlay(provider: Upstream) -> dict[str, Any]:
    """Two services; the slow one serves who asks for it by name, and else only if the instant one failed."""
    rest = {"model": "openai/instant", "api_key_env": "none", "price": {"input_per_mtok": 1.0, "output_per_mtok": 2.0}}
    bases = {"instant": provider.base("ours"), "slow": provider.base("ours", slow=True)}
    services = {name: {**rest, "api_base": base} for name, base in bases.items()}
    return {"services": services, "routing": {"services": list(services)}}


def ours(platform: LivePlatform, keys: bool) -> list[Side]:
    def processes() -> Processes:
        return {each.pid: (accounting.role_of(each), each) for each in platform.processes()}

    key = json.loads(platform.cli("keys", "create", "bench", "--json").stdout)["secret"] if keys else None
    return [
        Side(OURS, platform.url, "service/instant", "service/slow", "ours", processes, key),
        Side(AUTO, platform.url, "devskyy-auto", "service/slow", "ours", processes, key),
    ]


def theirs(provider: Upstream, workers: int, stack: ExitStack, keys: bool) -> Side:
    counted_as = f"litellm-{workers}"
    models = {"instant": provider.base(counted_as), "slow": provider.base(counted_as, slow=True)}
    key = f"sk-{secrets.token_hex(16)}" if keys else None
    proxy = stack.enter_context(peers.litellm_proxy(models, workers, key))
    name = f"LiteLLM, {workers} worker{'s' * (workers > 1)}"
    return Side(
        name, proxy.url, "instant", "slow", counted_as, lambda: accounting.tree(proxy.pid, "LiteLLM's proxy"), key
    )


def start_ours(stack: ExitStack, keys: bool) -> tuple[Comparison, LivePlatform]:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dsky-bench-"))) / "home"
    provider = stack.enter_context(upstream())
    progress.print("starting a platform …")
    platform = stack.enter_context(running(home, overlay(provider)))
    return Comparison(provider, ours(platform, keys)), platform


def recorded(platform: LivePlatform, expected: int) -> int:
    """Tasks in our ledger, once they are as many as expected or stay fewer."""
    give_up = time.monotonic() + QUIET_S
    operator = {"x-api-key": (platform.home / "operator.key").read_text().strip()}
    while True:
        costs = httpx.get(f"{platform.url}/api/v1/costs", params={"by": "task"}, headers=operator, timeout=60).json()
        found = len(costs["rows"]) + int(costs["rows_left_out"])
        if found >= expected or time.monotonic() > give_up:
            return found
        time.sleep(1)


# What is measured


def watch_memory(comparison: Comparison, side: Side, last: int, results: Results) -> None:
    """Ask a side that was not asked before, and read its memory after so many requests."""
    asked = 0
    for mark in [mark for mark in MARKS if mark < last] + [last]:
        progress.print(f"memory of {side.name}: {mark:,} requests …")
        results.warm_up.append(comparison.ask(side, MANY, requests=mark - asked))
        results.memory.setdefault(side.name, {})[mark] = accounting.memory(side.processes())
        asked = mark


def ask_in_turn(comparison: Comparison, given: argparse.Namespace, results: Results) -> None:
    sides = comparison.sides
    for number in range(given.rounds):
        turned = sides[number % len(sides) :] + sides[: number % len(sides)]
        for side in turned if number % 2 == 0 else turned[::-1]:
            for connections in given.connections:
                done = comparison.ask(side, connections, given.seconds)
                results.rounds.append(done)
                progress.print(
                    f"round {number + 1}, {side.name}, {connections} at a time: {done.load.requests_per_s:.0f}/s; "
                    f"others on this machine took {done.others_cores:.2f} cores"
                )


def measure_all(given: argparse.Namespace) -> Results:
    results = Results()
    with ExitStack() as stack:
        comparison, platform = start_ours(stack, given.keys)
        if not given.ours_only:
            results.litellm = peers.litellm_version()
            progress.print("starting LiteLLM's proxy …")
            for workers in sorted({1, results.cores}):
                comparison.sides.append(theirs(comparison.provider, workers, stack, given.keys))
        different = distinct(comparison.sides)
        if given.memory:
            for side in different[:2]:
                watch_memory(comparison, side, given.memory_requests, results)
        progress.print("warming up …")
        results.warm_up += [comparison.ask(side, MANY, requests=WARM_UP) for side in comparison.sides]
        ask_in_turn(comparison, given, results)
        for number in range(given.rounds):
            progress.print(f"{AT_ONCE:,} calls of one second at once, {number + 1} …")
            results.at_once += [comparison.ask(side, AT_ONCE, requests=AT_ONCE, slow=True) for side in different]
        results.recorded = recorded(platform, results.answered_by_us)
    return results


def profile(given: argparse.Namespace) -> sampling.Samples:
    """Where one process of ours spends its time while all are busy."""
    with ExitStack() as stack:
        comparison, _ = start_ours(stack, given.keys)
        side = comparison.sides[0]
        comparison.ask(side, MANY, requests=WARM_UP)
        found = {
            pid: role
            for pid, (role, _) in side.processes().items()
            if given.profile.lower() in {role.lower(), *role.lower().split()}
        }
        if not found:
            sys.exit(f"no process plays the part {given.profile!r}; there are: {', '.join(_roles(side))}")
        pid, connections = min(found), given.connections[-1]
        progress.print(f"sampling {found[pid]}, process {pid}, for {given.seconds:g} s …")
        # A second longer: the sampler takes a while to start.
        work = partial(measure, side.ask(), connections, given.seconds + 1)
        return sampling.during(work, pid, given.seconds, given.keep)


def _roles(side: Side) -> list[str]:
    return sorted({role for role, _ in side.processes().values()})


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__, formatter_class=how)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long a side is asked in a round")
    parser.add_argument("--rounds", type=int, default=None, help="3; 1 with --ours-only")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, MANY])
    parser.add_argument("--ours-only", action="store_true", help="without LiteLLM and without memory: one round")
    parser.add_argument("--quick", action="store_true", help="without memory")
    parser.add_argument("--keys", action="store_true", help="ask with a key, which both sides check")
    parser.add_argument("--memory", action="store_true", help="memory even with --ours-only")
    parser.add_argument("--memory-requests", type=int, default=MARKS[-1])
    parser.add_argument(
        "--profile",
        metavar="PART",
        help="sample this process of ours: core (coordinator and gateway), serve, projector, intake, agents",
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="with --profile: keep the stacks, for flamegraphs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(words)
    given.memory = given.memory or not (given.quick or given.ours_only)
    given.rounds = given.rounds or (1 if given.ours_only else 3)
    return given


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    if given.profile:
        report.show_samples(profile(given), given.profile)
        return 0
    results = measure_all(given)
    targets = results.targets()
    if given.json:
        found = [asdict(each) | {"reached": each.reached} for each in targets]
        print(json.dumps(asdict(results) | {"targets": found, "problems": results.problems}))
    else:
        report.show(results, targets)
    return 1 if results.problems else 0


if __name__ == "__main__":
    sys.exit(main())

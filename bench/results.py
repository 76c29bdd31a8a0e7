"""What a side-by-side run found out, and how that stands against what was asked for."""

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench import accounting
from bench.accounting import Memory
from bench.load import Load

OURS = "DevSkyy"
AUTO = "DevSkyy, auto"

THROUGHPUT = 4.0
"""Times the other side's requests a second at 16 connections, at least."""
LATENCY = 0.4
"""Times the other side's median latency at 1 connection, at most."""
AT_ONCE_S = 2.0
"""For a thousand calls of one second, at most."""
GROWTH = 10.0
"""Percent of memory from the first mark to the last, at most."""
GROWTH_OF = ("core", "Serve replica")


@dataclass(frozen=True)
class Round:
    """One side asked over some connections."""

    side: str
    load: Load
    upstream_calls: int
    cpu_ms: dict[str, float]
    """Milliseconds of CPU for each answer, by process, while it was asked."""
    later_cpu_ms: dict[str, float]
    """The same of its processes afterwards, until they were quiet."""
    later_s: float
    """How long that was."""
    idle_cores: float
    """CPU that the other sides took while it was asked, in cores."""
    others_cores: float
    """CPU that everything else on the machine took meanwhile."""

    @property
    def problems(self) -> dict[str, int]:
        missing = abs(self.upstream_calls - self.load.answered)
        return self.load.problems | ({"answers and upstream calls differ by": missing} if missing else {})


@dataclass(frozen=True)
class Target:
    """Something that was asked for, and what was found."""

    what: str
    found: float | None
    bound: float
    at_least: bool = False

    @property
    def reached(self) -> bool | None:
        """`None` where it was not measured."""
        if self.found is None:
            return None
        return self.found >= self.bound if self.at_least else self.found <= self.bound


@dataclass
class Results:
    """Everything that a run finds out."""

    cores: int = field(default_factory=accounting.cores)
    litellm: str | None = None
    """Its version, where it was there."""
    memory: dict[str, dict[int, dict[str, Memory]]] = field(default_factory=dict)
    """By side, by requests until then, by process."""
    warm_up: list[Round] = field(default_factory=list)
    """With those of the memory runs."""
    rounds: list[Round] = field(default_factory=list)
    at_once: list[Round] = field(default_factory=list)
    recorded: int = 0
    """Tasks in our ledger at the end."""

    @property
    def everything(self) -> list[Round]:
        return [*self.warm_up, *self.rounds, *self.at_once]

    @property
    def sides(self) -> list[str]:
        """Who took part, ours first."""
        return list(dict.fromkeys(each.side for each in self.everything))

    @property
    def answered_by_us(self) -> int:
        return sum(each.load.answered for each in self.everything if each.side in {OURS, AUTO})

    @property
    def problems(self) -> dict[str, int]:
        """What happened that must not, and how often."""
        found = Counter[str]()
        for each in self.everything:
            found.update({f"{each.side}: {what}": count for what, count in each.problems.items()})
        if missing := abs(self.answered_by_us - self.recorded):
            found[f"{OURS}: answers and recorded tasks differ by"] = missing
        return dict(found)

    def of(self, side: str, connections: int) -> list[Round]:
        return [each for each in self.rounds if each.side == side and each.load.connections == connections]

    def requests_per_s(self, side: str, connections: int) -> float | None:
        return middle(each.load.requests_per_s for each in self.of(side, connections))

    def median_ms(self, side: str, connections: int) -> float | None:
        return middle(each.load.median_ms for each in self.of(side, connections))

    def at_once_s(self, side: str) -> float | None:
        return middle(each.load.seconds for each in self.at_once if each.side == side and not each.problems)

    def growth(self, side: str, role: str) -> float | None:
        """Percent of memory from the first mark to the last, by the measure that grew more."""
        marks = [memory[role] for _, memory in sorted(self.memory.get(side, {}).items()) if role in memory]
        if len(marks) < 2:
            return None
        first, last = marks[0], marks[-1]
        return max(last.pss / first.pss - 1, last.rss / first.rss - 1) * 100

    def targets(self) -> list[Target]:
        found = []
        for peer in self.sides:
            if peer in {OURS, AUTO}:
                continue
            times = ratio(self.requests_per_s(OURS, 16), self.requests_per_s(peer, 16))
            found.append(Target(f"requests/s at 16 connections, times {peer}", times, THROUGHPUT, at_least=True))
            times = ratio(self.median_ms(OURS, 1), self.median_ms(peer, 1))
            found.append(Target(f"median latency at 1 connection, times {peer}", times, LATENCY))
        found.append(Target("1,000 one-second calls at once, s", self.at_once_s(OURS), AT_ONCE_S))
        found += [Target(f"memory growth of {role}, %", self.growth(OURS, role), GROWTH) for role in GROWTH_OF]
        return found


def middle(values: Iterable[float | None]) -> float | None:
    """The median of those that there are."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None

"""What a run of durable workflows side by side found out."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

OURS = "DevSkyy"

EVERY = "every step that was acknowledged"
BUT_THE_LAST = "all but the last steps"
NOTHING_SURE = "nothing for sure"


@dataclass(frozen=True)
class Round:
    """One side carried out so many workflows at once, each of so many steps."""

    number: int
    side: str
    workflows: int
    steps: int
    """Of each workflow."""
    seconds: float
    bytes: int
    """By which what it keeps has grown."""

    @property
    def steps_per_s(self) -> float:
        return self.workflows * self.steps / self.seconds

    @property
    def bytes_per_step(self) -> float:
        return self.bytes / (self.workflows * self.steps)


@dataclass(frozen=True)
class Recovery:
    """A process was killed in the middle of a step, and another, which had started by then, went on."""

    number: int
    side: str
    history: int
    """Steps that were kept by then."""
    seconds: float
    """From the kill until the first new step was kept."""
    noticed_s: float | None = None
    """Of those, until the process that goes on knew that it was to; None: it was told to at once."""

    @property
    def resumed_s(self) -> float:
        """The rest: finding out how the workflow stood, and the step."""
        return self.seconds - (self.noticed_s or 0.0)


@dataclass(frozen=True)
class Span:
    """Middle and ends of what several rounds found."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Span | None":
        """None: there are no values."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found)) if found else None


@dataclass
class Results:
    """Everything that a run finds out."""

    fdatasync_ms: float | None = None
    """Median of bringing one page to this machine's disk: what a step can cost at least."""
    rounds: list[Round] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    """By side: those that decide what a power cut leaves, as its own connection reports them."""

    def of(self, side: str, workflows: int) -> list[Round]:
        return [each for each in self.rounds if (each.side, each.workflows) == (side, workflows)]

    def recovered(self, side: str, history: int) -> list[Recovery]:
        return [each for each in self.recoveries if (each.side, each.history) == (side, history)]

    def speed(self, side: str, workflows: int) -> Span | None:
        return Span.of(each.steps_per_s for each in self.of(side, workflows))

    def times(self, peer: str, workflows: int) -> Span | None:
        """Our steps a second over the peer's, compared within each round: what slows a round slows both."""
        theirs = {each.number: each.steps_per_s for each in self.of(peer, workflows)}
        ours = {each.number: each.steps_per_s for each in self.of(OURS, workflows)}
        return Span.of(ours[number] / theirs[number] for number in ours.keys() & theirs.keys())


def survives(settings: Mapping[str, str]) -> str:
    """What a power cut leaves of the steps that were acknowledged, by the settings of whoever keeps them.

    Raises:
        ValueError: a database that this does not know.

    Source:
        sqlite.org/pragma.html#pragma_synchronous; PostgreSQL's chapter "Asynchronous Commit"; nats-server's
        `sync_interval`.
    """
    match settings:
        case {"database": "sqlite", "synchronous": "3"} | {
            "database": "sqlite",
            "journal_mode": "wal",
            "synchronous": "2",
        }:
            return EVERY
        # A rollback journal that was deleted may come back, and with it the state before the last commit.
        case {"database": "sqlite", "synchronous": "2"} | {
            "database": "sqlite",
            "journal_mode": "wal",
            "synchronous": "1",
        }:
            return BUT_THE_LAST
        case {"database": "postgresql", "fsync": "on", "synchronous_commit": "off"}:
            return BUT_THE_LAST
        case {"database": "postgresql", "fsync": "on"}:
            return EVERY
        case {"database": "nats", "sync_interval": "always"}:
            return EVERY
        case {"database": "nats"}:
            return BUT_THE_LAST
        case {"database": "sqlite" | "postgresql"}:
            return NOTHING_SURE
    raise ValueError(f"what does {settings.get('database')!r} promise?")

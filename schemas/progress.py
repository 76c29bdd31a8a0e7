"""What a watcher of a team sees: its parts, phases and seats, as a task's events tell them to every screen alike."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from schemas.event import TASK_EVENT, Accepted, Answered, Claimed, Decided, Dispatched, Ended, TaskEvent
from schemas.receipt import Call
from schemas.task import SHAPE_OF, TIERS, Shape, Status, Task, Tier
from schemas.team import Contribution, Decision, Progress, Step

State = Literal["asked", "answered", "failed", "left out"]
LEFT_OUT = frozenset({"too_slow", "not_asked"})
"""Problems of a step that nobody did wrong: the team went on without it."""
GRAPH = "graph"
"""The decision that names the parts of a task."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of steps. None of these ever falls."""

    asked: int = 0
    """All that were ever asked for."""
    answered: int = 0
    failed: int = 0
    left_out: int = 0

    @property
    def pending(self) -> int:
        return self.asked - self.answered - self.failed - self.left_out

    @classmethod
    def of(cls, seats: "Iterable[Seat]") -> "Counts":
        states = Counter(seat.state for seat in seats)
        return cls(states.total(), states["answered"], states["failed"], states["left out"])


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls of models came to, as far as it is known."""

    calls: int = 0
    usd: float = 0.0
    unknown: int = 0
    """Calls whose cost nobody knows; `usd` is without them."""
    estimated: bool = False
    replayed: bool = False
    """A recording answered: this is what it cost then."""

    @classmethod
    def of(cls, calls: Iterable[Call]) -> "Spent":
        told = tuple(calls)
        return cls(
            len(told),
            sum(call.cost_usd or 0.0 for call in told),
            sum(call.cost_usd is None for call in told),
            any(call.cost_estimated for call in told),
            any(call.replayed for call in told),
        )


@dataclass(frozen=True, slots=True)
class Seat:
    """One step in the hands of whoever does it."""

    step: Step
    asked_at: datetime
    state: State = "asked"
    ended_at: datetime | None = None
    said: Contribution | None = None
    """What came of it."""

    @property
    def why(self) -> str:
        """Why there is no answer; empty where there is one, or may be."""
        if self.said is None:
            return "the task ended before" if self.state == "left out" else ""
        if self.said.problem is not None:
            return self.said.problem.detail
        return "" if self.state == "answered" else "it answered nothing"

    def seconds(self, clock: datetime) -> float:
        """From the question to the answer, or to `clock` while there is none."""
        return max(0.0, ((self.ended_at or clock) - self.asked_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Phase:
    """Steps that were asked for under one name."""

    name: str
    """Without the part's name."""
    seats: tuple[Seat, ...]
    counts: Counts


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the task, or the whole of it, as what happened there in order."""

    name: str
    """Empty for the whole."""
    title: str = ""
    after: tuple[str, ...] = ()
    """Titles of the parts whose results it waits for."""
    items: "tuple[Phase | Decision | Part, ...]" = ()
    counts: Counts = Counts()
    """Parts within it included."""


@dataclass(frozen=True, slots=True)
class TeamView:
    """A team at one moment."""

    status: Status = "accepted"
    tier: Tier | None = None
    """The present one; it may have been stepped up."""
    shape: Shape | None = None
    epoch: int = 0
    """How many coordinators have carried the task."""
    whole: Part = Part("")
    phase: str = ""
    """The one under way; of several the one that began last."""
    waiting: tuple[str, ...] = ()
    """Members of the team who have been asked nothing yet."""
    agents: int = 0
    """Seats that were asked for anything, and whoever else was named for the team."""
    counts: Counts = Counts()
    spent: Spent = Spent()
    began_at: datetime | None = None
    at: datetime | None = None
    """The moment of the last event."""
    task: Task | None = None
    """The whole task, once it has ended."""

    @property
    def is_team(self) -> bool:
        """Whether there is more to see than one agent who answers."""
        return self.shape not in (None, "direct") or self.counts.asked > 1

    def seconds(self, clock: datetime) -> float:
        """Since the task was accepted, until it ended."""
        until = self.at if self.task is not None and self.at is not None else clock
        return 0.0 if self.began_at is None else max(0.0, (until - self.began_at).total_seconds())


def team_view(events: Iterable[TaskEvent]) -> TeamView:
    """The team after these events, oldest first; any beginning of a task's events will do."""
    watch = TeamWatch()
    for event in events:
        watch.take(event)
    return watch.view


def progress_of(events: Sequence[TaskEvent]) -> Progress | None:
    """How far a team is, in numbers; None while none works, and of one agent who answers alone."""
    if not any(isinstance(event, Dispatched) for event in events):
        return None
    view = team_view(events)
    if not view.is_team or view.task is not None:
        return None
    counts = view.counts
    return Progress(
        phase=view.phase,
        asked=counts.asked,
        answered=counts.answered,
        failed=counts.failed,
        left_out=counts.left_out,
    )


def known_event(raw: Mapping[str, Any]) -> TaskEvent | None:
    """An event as it was received; None where this version does not know its kind or cannot read it."""
    try:
        return TASK_EVENT.validate_python(raw)
    except ValidationError:
        return None


@dataclass(slots=True)
class _Part:
    name: str
    title: str = ""
    after: tuple[str, ...] = ()
    items: "list[str | Decision | _Part]" = field(default_factory=list)
    """A phase by its full name."""


class TeamWatch:
    """Takes a task's events one after another; `view` is what they come to."""

    def __init__(self) -> None:
        self._base = TeamView()
        self._team: tuple[str, ...] = ()
        self._seats: dict[str, Seat] = {}
        self._phases: dict[str, list[str]] = {}
        self._parts: dict[str, _Part] = {"": _Part("")}

    def take(self, event: TaskEvent) -> None:
        self._base = replace(self._base, at=event.at, began_at=self._base.began_at or event.at)
        match event:
            case Accepted():
                self._base = replace(self._base, began_at=event.at)
            case Claimed():
                self._claimed(event)
            case Dispatched():
                self._dispatched(event)
            case Answered():
                for said in event.contributions:
                    self._answered(said, event.at)
            case Decided():
                for decision in event.decisions:
                    self._decided(decision)
            case _ if isinstance(event, Ended):
                self._ended(event)

    @property
    def view(self) -> TeamView:
        seats = self._seats.values()
        busy = {seat.step.agent for seat in seats}
        waiting = () if self._base.task else tuple(name for name in self._team if name not in busy)
        task = self._base.task
        paid = task.receipt if task is not None else None
        calls = (call for seat in seats if seat.said is not None for call in seat.said.calls)
        return replace(
            self._base,
            whole=self._shown(self._parts[""]),
            phase=self._phase(),
            waiting=waiting,
            agents=len(busy.union(self._team)),
            counts=Counts.of(seats),
            spent=Spent.of(calls if paid is None else paid.calls),
        )

    # -- events ------------------------------------------------------------------------------------------------

    def _claimed(self, event: Claimed) -> None:
        # A later owner goes on where the task had been stepped up to.
        if self._base.tier is None or TIERS.index(event.tier) > TIERS.index(self._base.tier):
            self._base = replace(self._base, tier=event.tier, shape=event.shape)
        self._base = replace(self._base, status="running", epoch=self._base.epoch + 1)
        self._team = tuple(dict.fromkeys((*self._team, *event.agents)))

    def _dispatched(self, event: Dispatched) -> None:
        for step in event.steps:
            self._part(step.part)
        for step in event.steps:
            self._ask(step, event.phase, event.at)

    def _ask(self, step: Step, phase: str, at: datetime) -> None:
        if step.step in self._seats:
            return
        if phase not in self._phases:
            self._phases[phase] = []
            self._parts[self._home(phase)].items.append(phase)
        self._phases[phase].append(step.step)
        self._seats[step.step] = Seat(step, at)

    def _answered(self, said: Contribution, at: datetime) -> None:
        if said.step not in self._seats:
            # What it was asked for is not among the events that are known.
            step = Step(step=said.step, agent=said.agent, kind=said.kind, part=said.part)
            self._part(said.part)
            self._ask(step, f"{said.part}-{said.kind}" if said.part else said.kind, at)
        state: State = "answered" if said.usable else "failed"
        if said.problem is not None and said.problem.code in LEFT_OUT:
            state = "left out"
        self._seats[said.step] = replace(self._seats[said.step], state=state, ended_at=at, said=said)

    def _decided(self, decision: Decision) -> None:
        self._part(decision.part).items.append(decision)
        if decision.change == "escalated":
            tier = decision.value.get("tier")
            if tier in SHAPE_OF:
                self._base = replace(self._base, tier=tier, shape=SHAPE_OF[tier])
        if decision.name == GRAPH or decision.name.endswith(f"-{GRAPH}"):
            self._planned(decision)

    def _planned(self, decision: Decision) -> None:
        """The parts are there before anybody is asked for them."""
        raw = decision.value.get("parts")
        nodes = [node for node in raw if isinstance(node, dict)] if isinstance(raw, list) else []
        titles = {str(node.get("id")): str(node.get("title") or node.get("id")) for node in nodes}
        for node in nodes:
            name = str(node.get("id"))
            part = self._part(f"{decision.part}-{name}" if decision.part else name)
            needed = node.get("depends_on")
            part.title = titles[name]
            part.after = tuple(titles.get(str(id), str(id)) for id in needed) if isinstance(needed, list) else ()

    def _ended(self, event: Ended) -> None:
        task = event.task
        tier, shape = task.tier or self._base.tier, task.shape or self._base.shape
        self._base = replace(self._base, status=task.status, tier=tier, shape=shape, task=task)
        for name, seat in self._seats.items():
            if seat.state == "asked":
                self._seats[name] = replace(seat, state="left out", ended_at=event.at)

    # -- parts -------------------------------------------------------------------------------------------------

    def _part(self, name: str) -> _Part:
        """The part of that name; a new one takes its place within the one that its name begins with."""
        if name not in self._parts:
            around = self._parts[self._home(name)]
            self._parts[name] = _Part(name)
            around.items.append(self._parts[name])
        return self._parts[name]

    def _home(self, name: str) -> str:
        """The part that a name of a phase or part lies in: the longest that it begins with."""
        while "-" in name:
            name = name.rpartition("-")[0]
            if name in self._parts:
                return name
        return ""

    def _shown(self, part: _Part) -> Part:
        items: list[Phase | Decision | Part] = []
        counts = Counts()
        for item in part.items:
            match item:
                case _Part():
                    shown = self._shown(item)
                    items.append(shown)
                    counts = _sum(counts, shown.counts)
                case str():
                    seats = tuple(self._seats[step] for step in self._phases[item])
                    phase = Phase(item.removeprefix(f"{part.name}-"), seats, Counts.of(seats))
                    items.append(phase)
                    counts = _sum(counts, phase.counts)
                case _:
                    items.append(item)
        return Part(part.name, part.title, part.after, tuple(items), counts)

    def _phase(self) -> str:
        under_way = [
            name for name, steps in self._phases.items() if any(self._seats[step].state == "asked" for step in steps)
        ]
        return next(reversed(under_way or list(self._phases)), "")


def _sum(one: Counts, other: Counts) -> Counts:
    return Counts(
        one.asked + other.asked,
        one.answered + other.answered,
        one.failed + other.failed,
        one.left_out + other.left_out,
    )

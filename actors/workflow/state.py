"""A workflow as its events tell it: a pure fold, by which any engine takes over where another stopped."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from actors.workflow import graph
from schemas.problem import Problem
from schemas.workflow import SETTLED, TaskDefinition, UnitStatus, WorkflowStatus
from schemas.workflow_event import (
    Advanced,
    Cancelled,
    Cancelling,
    Change,
    Claimed,
    Completed,
    Created,
    Failed,
    Failing,
    Paused,
    Resumed,
    Retried,
    Signalled,
    Started,
    WorkflowEvent,
)

COMMANDS_KNOWN = 256
"""Commands that are remembered, so that one which comes again has no second effect."""
SIGNALS_KEPT = 1000
"""Signals that nobody waits for yet; beyond that the oldest go."""

SIGNAL = "signal"
"""Who served a task that waited for one."""


@dataclass(slots=True)
class Unit:
    """A task, or one item of a mapped task."""

    status: UnitStatus = "pending"
    attempt: int = 0
    serial: int = 0
    """Of the key that it was last begun under. Another one is taken once what became of the last is known."""
    output: Any = None
    blob: str | None = None
    bytes: int | None = None
    problem: Problem | None = None
    unsure: bool = False
    """Whether an attempt that failed may have had its effect."""
    due_at: datetime | None = None
    ref: str | None = None
    served_by: str | None = None
    cost_usd: float | None = None
    once: bool | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    order: int = 0
    """When it was done, among all of the workflow."""


@dataclass(slots=True)
class Whole(Unit):
    """A task with what is known of its items, if it is mapped."""

    size: int | None = None
    items: dict[int, Unit] = field(default_factory=dict)
    begun: int = 0
    """Items before this one have begun."""
    again: list[int] = field(default_factory=list)
    """Of these, those that begin anew."""
    settled: int = 0


Place = tuple[str, int | None]
"""A unit: its task, and its item."""


class State:
    """What is known of a workflow after its events so far. `apply` and `take` are all that change it."""

    def __init__(self, created: Created) -> None:
        self.created = created
        self.definition = created.definition
        refers = graph.referred(created.definition)
        self.dependencies = graph.dependencies(created.definition, refers)
        self.dependents = graph.dependents(self.dependencies)
        self.uses = {(name, "do"): names.tasks for name, names in refers.items()}
        """Tasks that the expressions of a task refer to, by its name and what they are for; found once each."""
        self.units: dict[str, Whole] = {name: Whole() for name in created.definition.tasks}
        self.seq = 0
        self.stream_seq = 0
        self.replayed = 0
        """How many events were read for this state, since the snapshot that it comes from."""
        self.owner: str | None = None
        self.claims = 0
        """Since it last got on."""
        self.started_at: datetime | None = None
        self.deadline_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.ended: WorkflowStatus | None = None
        self.paused = False
        self.problem: Problem | None = None
        """Why it cannot be completed: it fails, or is cancelled."""
        self.cancelled = False
        self.compensates = True
        self.output: Any = None
        self.blob: str | None = None
        self.bytes: int | None = None
        self.signals: list[tuple[str, Any]] = []
        self.lists: dict[str, list[Any]] = {}
        """What maps are over, found once; it follows from the rest."""
        self.commands: dict[str, None] = {}
        self.compensated: list[str] = []
        self.undone: list[str] = []
        self.order = 0
        self.cost_usd = 0.0
        self.cost_unknown = False
        self.reindex()

    # -- what follows from the units ---------------------------------------------------------------------------

    def reindex(self) -> None:
        """Find out anew which units run, wait, or may begin."""
        self.running: set[Place] = set()
        self.waiting: set[Place] = set()
        self.retrying: set[Place] = set()
        self.undoing: set[Place] = set()
        self.open_maps: set[str] = set()
        self.broken: set[str] = set()
        """Tasks whose failure the workflow does not allow."""
        self.settled = 0
        for place, unit in self.all_units():
            group = self._group(unit.status)
            if group is not None and not (place[1] is None and self.is_open_map(place[0])):
                group.add(place)
        self.left: dict[str, int] = {}
        self.ready: dict[str, None] = {}
        """Tasks whose dependencies are all settled, and that have not begun."""
        for name, whole in self.units.items():
            if whole.status in SETTLED or whole.status == "compensating":
                self.settled += 1
                if whole.status == "failed" and not self.definition.tasks[name].allow_failure:
                    self.broken.add(name)
            elif self.is_open_map(name):
                self.open_maps.add(name)
            self.left[name] = sum(not self._lets_on(other) for other in self.dependencies[name])
            if whole.status == "pending" and not self.left[name]:
                self.ready[name] = None

    def _lets_on(self, name: str) -> bool:
        """Whether tasks that need it may begin, as far as it is concerned."""
        status = self.units[name].status
        return status in ("completed", "skipped") or (status == "failed" and self.definition.tasks[name].allow_failure)

    def _group(self, status: UnitStatus) -> set[Place] | None:
        match status:
            case "running":
                return self.running
            case "waiting":
                return self.waiting
            case "retrying":
                return self.retrying
            case "compensating":
                return self.undoing
        return None

    def is_open_map(self, name: str) -> bool:
        whole = self.units[name]
        return whole.status == "running" and whole.size is not None

    def task(self, name: str) -> TaskDefinition:
        return self.definition.tasks[name]

    def unit(self, task: str, item: int | None) -> Unit:
        whole = self.units[task]
        if item is None:
            return whole
        found = whole.items.get(item)
        if found is None:
            found = whole.items[item] = Unit()
        return found

    def all_units(self) -> Iterator[tuple[Place, Unit]]:
        for name, whole in self.units.items():
            yield (name, None), whole
            for number, item in whole.items.items():
                yield (name, number), item

    @property
    def busy(self) -> int:
        """Units that count for `max_parallel_tasks`."""
        return len(self.running) + len(self.undoing)

    @property
    def status(self) -> WorkflowStatus:
        if self.ended is not None:
            return self.ended
        if self.started_at is None:
            return "pending"
        if self.problem is not None:
            return "compensating"
        if self.running or (self.retrying and not self.paused):
            return "running"
        return "waiting" if self.waiting or self.paused else "running"

    @property
    def percentage(self) -> float:
        """Of tasks that are settled, each counting the same, an unfinished map by its items."""
        if self.ended == "completed":
            return 100.0
        done = float(self.settled)
        for name in self.open_maps:
            whole = self.units[name]
            done += whole.settled / (whole.size or 1)
        return round(min(99.9, 100.0 * done / len(self.units)), 1)

    # -- the fold ----------------------------------------------------------------------------------------------

    @classmethod
    def of(cls, events: Iterable[WorkflowEvent]) -> "State":
        """The state after these events, oldest first.

        Raises:
            ValueError: they do not begin at the beginning.
        """
        told = iter(events)
        first = next(told, None)
        if not isinstance(first, Created):
            raise ValueError("a workflow begins with the event that created it")  # noqa: TRY004
        state = cls(first)
        state.take(first)
        for event in told:
            state.take(event)
        return state

    def take(self, event: WorkflowEvent, stream_seq: int = 0) -> None:
        """Go on by one event."""
        self.begin(event)
        for change in event.changes:
            self.apply(change, event.at)
        self.finish(event)
        self.stream_seq = stream_seq

    def begin(self, event: WorkflowEvent) -> None:
        """What an event says before its changes."""
        match event:
            case Advanced():  # most are
                pass
            case Started():
                self.started_at, self.deadline_at, self.owner = event.at, event.deadline_at, event.owner
            case Claimed():
                self.owner = event.owner
            case Signalled():
                self.signals.append((event.name, event.payload))
                del self.signals[:-SIGNALS_KEPT]
            case Paused():
                self.paused = True
            case Resumed():
                self.paused = False
            case Failing():
                self.problem, self.paused = event.problem, False
                self.compensates = self.definition.compensate
            case Cancelling():
                self._cancelling(event)
            case Retried():
                self.ended = self.finished_at = self.problem = None
                self.cancelled, self.paused, self.deadline_at = False, False, event.deadline_at
                self.compensated, self.undone, self.owner = [], [], event.owner

    def _cancelling(self, event: Cancelling) -> None:
        self.problem, self.owner = cancelled(event.reason), event.owner
        self.cancelled, self.paused, self.compensates = True, False, event.compensate
        self.ended = self.finished_at = None

    def finish(self, event: WorkflowEvent) -> None:
        """What an event says after its changes."""
        match event:
            case Advanced():
                pass
            case Completed():
                self.ended, self.output, self.blob, self.bytes = "completed", event.output, event.blob, event.bytes
            case Failed():
                self.ended, self.problem = "failed", event.problem
            case Cancelled():
                self.ended, self.problem = "cancelled", event.problem
            case Retried():
                self.reindex()  # while it was being undone, nobody kept count of what may begin
        if self.ended is not None and self.finished_at is None:
            self.finished_at = event.at
        self.claims = self.claims + 1 if isinstance(event, Claimed) else 0
        if event.command is not None:
            self.commands[event.command] = None
            if len(self.commands) > COMMANDS_KNOWN:
                del self.commands[next(iter(self.commands))]
        self.seq = event.seq

    def apply(self, change: Change, at: datetime) -> None:
        """Bring one unit into the state that the change says."""
        unit, place = self.unit(change.task, change.item), (change.task, change.item)
        before = unit.status
        if (group := self._group(before)) is not None:
            group.discard(place)
        self._write(unit, change, at)
        if change.served_by == SIGNAL:
            self._heard(change.task)
        whole = self.units[change.task]
        if change.size is not None:
            whole.size = change.size
        if change.size is not None and change.to == "running":
            self.open_maps.add(change.task)
        elif (group := self._group(change.to)) is not None:
            group.add(place)
        if change.item is not None:
            self._item(whole, change, before)
        elif change.to == "pending":
            whole.size, whole.items, whole.begun, whole.again, whole.settled = None, {}, 0, [], 0
            self.lists.pop(change.task, None)
            self.reindex()
        elif change.to == "compensating" or before == "compensating":
            pass
        elif change.to in SETTLED and before not in SETTLED:
            self._settle(change.task, whole)
        elif before in SETTLED:
            self.reindex()
        elif before == "pending":
            self.ready.pop(change.task, None)

    def _write(self, unit: Unit, change: Change, at: datetime) -> None:
        unit.status, unit.due_at = change.to, change.due_at
        for name in ("attempt", "serial", "ref", "served_by", "once"):
            value = getattr(change, name)
            if value is not None:
                setattr(unit, name, value)
        if change.cost_usd is not None:
            unit.cost_usd = (unit.cost_usd or 0.0) + change.cost_usd
            self.cost_usd += change.cost_usd
        self.cost_unknown = self.cost_unknown or bool(change.unpriced)
        match change.to:
            case "pending":
                unit.attempt, unit.output, unit.blob, unit.bytes, unit.problem = 0, None, None, None, None
                unit.started_at = unit.finished_at = unit.ref = unit.served_by = None
                unit.order = 0
                return
            case "running" | "waiting":
                unit.started_at = unit.started_at or at
                unit.unsure, unit.problem, unit.finished_at = False, None, None
                return
        if change.problem is not None or change.to == "completed":
            unit.problem = change.problem
        if change.unsure is not None:
            unit.unsure = change.unsure
        if change.to in SETTLED:
            unit.finished_at = at
        if change.to in ("completed", "failed", "cancelled"):
            self.order += 1
            unit.order = self.order
        if change.to == "completed":
            unit.output, unit.blob, unit.bytes = change.output, change.blob, change.bytes
        elif change.to == "compensated":
            self.compensated.append(label((change.task, change.item)))
        elif change.to == "undo_failed":
            self.undone.append(label((change.task, change.item)))

    def signal_of(self, name: str) -> str | None:
        """The signal that a task waits for."""
        task = self.definition.tasks[name]
        return name if task.kind == "approval" else task.signal

    def _heard(self, name: str) -> None:
        """The first signal of the kind that this task waited for is used up."""
        wanted = self.signal_of(name)
        for number, (said, _) in enumerate(self.signals):
            if said == wanted:
                del self.signals[number]
                return

    def _item(self, whole: Whole, change: Change, before: UnitStatus) -> None:
        """What an item's change means for its task."""
        assert change.item is not None
        if change.to == "pending":
            if before in SETTLED:
                whole.settled -= 1
            whole.again.append(change.item)
            return
        if before == "pending":
            if change.item in whole.again:
                whole.again.remove(change.item)
            whole.begun = max(whole.begun, change.item + 1)
        if change.to in SETTLED and before not in SETTLED and before != "compensating":
            whole.settled += 1
            if change.to == "failed" and not self.task(change.task).allow_failure:
                self._end_map(change.task, whole, "failed", change.problem, whole.items[change.item].finished_at)
            elif whole.settled == whole.size and whole.status == "running":
                self._end_map(change.task, whole, "completed", None, whole.items[change.item].finished_at)

    def _end_map(
        self, name: str, whole: Whole, status: UnitStatus, problem: Problem | None, at: datetime | None
    ) -> None:
        if whole.status in SETTLED:
            return
        whole.status, whole.problem, whole.finished_at = status, problem, at
        self._settle(name, whole)

    def _settle(self, name: str, whole: Whole) -> None:
        self.settled += 1
        self.open_maps.discard(name)
        self.ready.pop(name, None)
        if whole.status == "failed" and not self.task(name).allow_failure:
            self.broken.add(name)
        elif self._lets_on(name):
            for other in self.dependents[name]:
                self.left[other] -= 1
                if not self.left[other] and self.units[other].status == "pending":
                    self.ready[other] = None


def label(place: Place) -> str:
    """A unit as people read it: `resize`, `resize[3]`."""
    task, item = place
    return task if item is None else f"{task}[{item}]"


def in_order(place: Place) -> tuple[str, int]:
    """Sorts units always the same way."""
    return place[0], -1 if place[1] is None else place[1]


def cancelled(reason: str) -> Problem:
    return Problem(type="urn:devskyy:problem:cancelled", title="It was cancelled", status=409, detail=reason)

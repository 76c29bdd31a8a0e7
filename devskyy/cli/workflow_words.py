"""What happens to a workflow in words: a line of an event, the state of a task, the commands that end a wait."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from devskyy.cli import render
from devskyy.cli.render import cost
from devskyy.cli.words import plural
from schemas.workflow import Attempted, TaskView, UnitStatus, Workflow, WorkflowStatus
from schemas.workflow_event import (
    WORKFLOW_EVENT,
    Cancelled,
    Cancelling,
    Change,
    Claimed,
    Completed,
    Created,
    Failed,
    Failing,
    Retried,
    Signalled,
    Started,
    WorkflowEvent,
)

__all__ = ["STATES", "event_line", "facts", "plural", "some", "span", "stands", "task_facts", "totals", "wanted"]

STATES: dict[UnitStatus, str] = {
    "pending": "pending",
    "running": "running",
    "waiting": "waiting",
    "retrying": "retrying",
    "completed": "completed",
    "failed": "failed",
    "skipped": "skipped",
    "cancelled": "cancelled",
    "compensating": "being undone",
    "compensated": "undone",
    "undo_failed": "not undone",
}
_STANDS: dict[WorkflowStatus, str] = {"pending": "not started"}
MOST_NAMES = 4
"""Named one by one in a line; beyond it they are counted."""
MOST_CHANGES = 6
"""Of one event, told one by one."""


def totals(view: Workflow, clock: datetime) -> str:
    """Which workflow, how it stands, and what it has come to so far."""
    progress = view.progress
    told = [f"{view.name}: {stands(view)}", f"{progress.completed:,} of {plural(progress.total, 'task')} completed"]
    for count, what in ((progress.skipped, "skipped"), (progress.failed, "failed"), (progress.running, "running")):
        told += [f"{count:,} {what}"] if count else []
    if view.started_at is not None:
        told.append(span(((view.finished_at or clock) - view.started_at).total_seconds()))
    told.append(paid(view))
    return ", ".join(told)


def stands(view: Workflow) -> str:
    if view.status == "compensating":
        return "being cancelled" if view.error is not None and view.error.code == "cancelled" else "failing"
    return "paused" if view.paused else _STANDS.get(view.status, view.status)


def paid(view: Workflow) -> str:
    if view.cost_usd is None:
        return "unknown cost"
    return cost(view.cost_usd) if view.ended else f"{cost(view.cost_usd)} so far"


def span(seconds: float) -> str:
    """A length of time with its two largest units."""
    if seconds < 60:
        return render.seconds(max(0.0, seconds) * 1000)
    whole = int(seconds)
    for large, small, names in ((86400, 3600, ("d", "h")), (3600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {names[0]}{f' {rest} {names[1]}' if rest else ''}"
    raise AssertionError(seconds)


def some(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """The names, or the first of them and how many more there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1:,} more"


# -- a task ------------------------------------------------------------------------------------------------------------


def task_facts(task: TaskView, waited: Sequence[str], clock: datetime) -> Iterator[str]:
    """
    Args:
        waited: the tasks that it needs and that are not over.
    """
    if task.status == "pending":
        yield from [f"after {some(waited)}"] if waited else []
        return
    if task.size is not None:
        of = f"{task.settled:,} of " if task.settled < task.size else ""
        yield f"{of}{plural(task.size, 'item')}"
    if task.status == "waiting":
        if task.kind == "approval":
            yield "for an approval"
        elif task.waits_for is not None:
            yield f"for the signal {task.waits_for}"
    yield from facts(task, clock)


def facts(unit: Attempted, clock: datetime) -> Iterator[str]:
    """Which attempt, since when or how long, by whom, at what cost, and what went wrong."""
    due = _due(unit, clock)
    if due:
        yield due
    if unit.attempt > 1 and unit.status not in ("compensated", "skipped"):
        yield f"attempt {unit.attempt}"
    if unit.started_at is not None and unit.status in ("running", "waiting", "completed", "failed"):
        yield span(((unit.finished_at or clock) - unit.started_at).total_seconds())
    if unit.problem is not None and unit.status in ("retrying", "failed", "compensating", "undo_failed"):
        yield unit.problem.detail
    if unit.cost_usd:
        yield cost(unit.cost_usd)
    if unit.served_by is not None and unit.status == "completed" and unit.served_by not in ("signal", "timer"):
        yield f"by {unit.served_by}"


def _due(unit: Attempted, clock: datetime) -> str:
    if unit.due_at is None:
        return ""
    left_s = max(0.0, (unit.due_at - clock).total_seconds())
    if unit.status in ("retrying", "compensating"):
        return f"in {span(left_s)}"
    return f"until {moment(unit.due_at, clock)}, in {span(left_s)}"


def moment(at: datetime, clock: datetime) -> str:
    """By this machine's clock; the day only where it is another."""
    here, there = clock.astimezone(), at.astimezone()
    return f"{there:%H:%M:%S}" if here.date() == there.date() else f"{there:%Y-%m-%d %H:%M:%S}"


def wanted(view: Workflow, name: str) -> tuple[str, ...]:
    """What a task that waits for a signal waits for, and then the commands that give it that."""
    task = view.tasks[name]
    if task.waits_for is None:
        return ()
    signal = f"devskyy workflows signal {view.workflow_id} {task.waits_for}"
    if task.kind == "approval":
        return f"{name} asks: {task.asks}", f"{signal} --approve", f"{signal} --reject --comment WHY"
    return f"{name} waits for the signal {task.waits_for}", f"{signal} --payload JSON"


# -- an event ----------------------------------------------------------------------------------------------------------


def event_line(raw: Mapping[str, Any]) -> str:
    """One event in words. Those of a later version say what they can."""
    try:
        return _told(WORKFLOW_EVENT.validate_python(raw))
    except ValidationError:
        return str(raw.get("event"))


def _told(event: WorkflowEvent) -> str:
    return "; ".join(filter(None, (_what(event), *_changes(event.changes))))


def _what(event: WorkflowEvent) -> str:
    match event:
        case Created():
            fork = f", forked from {event.forked_from.workflow_id}" if event.forked_from else ""
            return f"created as {event.workflow_id}: {plural(len(event.definition.tasks), 'task')}{fork}"
        case Started():
            return "started"
        case Claimed():
            return f"carried on by {event.owner}"
        case Signalled():
            return f"the signal {event.name} came"
        case Failing():
            return f"failing: {event.problem.detail}"
        case Cancelling():
            return f"being cancelled: {event.reason}"
        case Retried():
            return "goes on"
        case Completed():
            return "completed"
        case Failed() | Cancelled():
            return f"{event.event}: {event.problem.detail}"
        case _:
            return "" if event.changes else event.event


def _changes(changes: Sequence[Change]) -> Iterable[str]:
    """Tasks one by one, items of one task that came to the same together."""
    groups: dict[tuple[str, UnitStatus, bool], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.task, change.to, change.item is not None), []).append(change)
    told = [_group(task, to, group) for (task, to, _), group in groups.items()]
    return (
        [*told[: MOST_CHANGES - 1], f"and {len(told) - MOST_CHANGES + 1:,} more"] if len(told) > MOST_CHANGES else told
    )


def _group(task: str, to: UnitStatus, group: Sequence[Change]) -> str:
    first, count = group[0], len(group)
    if first.item is None:
        name = task
    elif count == 1:
        name = f"{task}[{first.item}]"
    else:
        name = f"{task}: {count:,} items"
    told = [f"{name} {STATES[to]}"]
    if first.size is not None:
        told.append(plural(first.size, "item"))
    if (first.attempt or 1) > 1:
        told.append(f"attempt {first.attempt}")
    if first.due_at is not None:
        told.append(f"{'until' if to == 'waiting' else 'at'} {first.due_at.astimezone():%Y-%m-%d %H:%M:%S}")
    problem = f": {first.problem.detail}" if first.problem is not None else ""
    return ", ".join(told) + problem

"""What commands bring about."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from actors.workflow.state import Place, State, Unit, cancelled
from schemas.workflow import RETRY_WITHIN_S, UnitStatus
from schemas.workflow_event import (
    Cancelled,
    Cancelling,
    Paused,
    Resumed,
    Retried,
    Signalled,
    Started,
    WorkflowCommand,
    WorkflowEvent,
)

Draft = Callable[..., Any]
"""Makes an event of a kind, with what is said in it."""


class ChangeUnit(Protocol):
    def __call__(self, task: str, item: int | None, to: UnitStatus, **said: Any) -> None: ...


def answer(
    state: State,
    command: WorkflowCommand,
    at: datetime,
    draft: Draft,
    owner: str,
    retry_within_s: float = RETRY_WITHIN_S,
) -> WorkflowEvent | None:
    """The event that a command brings about; None where it has no effect: it came before, or is too late."""
    if command.command in state.commands:
        return None
    until = at + timedelta(seconds=state.definition.timeout_s)
    sent = {"command": command.command}
    going_on = state.ended is None and state.problem is None
    started = state.started_at is not None
    event: WorkflowEvent | None = None
    match command.kind:
        case "start" if not started and going_on:
            event = draft(Started, owner=owner, deadline_at=until, **sent)
        case "signal" if going_on and command.name is not None and usable(state, command.name, command.payload):
            event = draft(Signalled, name=command.name, payload=command.payload, **sent)
        case "pause" if going_on and not state.paused:  # one that is to start waits then, as one that runs
            event = draft(Paused, **sent)
        case "resume" if going_on and state.paused:
            event = draft(Resumed, **sent)
        case "cancel" if going_on and not started:
            event = draft(Cancelled, problem=cancelled(command.reason), **sent)
        case "cancel" if going_on:
            said = {"reason": command.reason, "compensate": command.compensate, "owner": owner}
            event = draft(Cancelling, **said, **sent)
        case "undo" if state.ended == "completed":
            event = draft(Cancelling, owner=owner, reason=command.reason, **sent)
        case "retry" if state.ended in ("failed", "cancelled") and started and not too_old(state, at, retry_within_s):
            event = draft(Retried, owner=owner, deadline_at=until, **sent)
    return event


def too_old(state: State, at: datetime, retry_within_s: float) -> bool:
    """Whether one that has ended is about to lose its events."""
    return state.finished_at is not None and at - state.finished_at > timedelta(seconds=retry_within_s)


def usable(state: State, name: str, payload: Any) -> bool:
    """Whether a signal says what its task waits for: an approval yes or no, others anything."""
    task = state.definition.tasks.get(name)
    if task is None or task.kind != "approval":
        return True
    return isinstance(payload, dict) and isinstance(payload.get("approved"), bool)


def begin_anew(state: State, first: str | None, change: ChangeUnit) -> None:
    """All that did not end well, and what was undone, begins anew; with a task named, so does what follows it."""
    follow = _following(state, first)
    for name, whole in state.units.items():
        if name in follow:
            if whole.status != "pending":
                change(name, None, "pending")
        elif whole.size is not None and whole.items:
            again = [number for number, item in whole.items.items() if item.status in _ANEW]
            for number, item in whole.items.items():
                _still_done((name, number), item, change)
            if again or whole.status in _ANEW:
                change(name, None, "running", size=whole.size)
                for number in again:
                    change(name, number, "pending")
        elif whole.status in _ANEW and not _rightly(state, name):
            change(name, None, "pending")
        else:
            _still_done((name, None), whole, change)
    state.reindex()


_ANEW = ("failed", "cancelled", "compensated", "skipped")


def _following(state: State, first: str | None) -> set[str]:
    found, todo = set[str](), [] if first is None else [first]
    while todo:
        if (name := todo.pop()) not in found:
            found.add(name)
            todo += state.dependents[name]
    return found


def _rightly(state: State, name: str) -> bool:
    """Failed as it may, or skipped: the same would come of it."""
    status = state.units[name].status
    return status == "skipped" or (status == "failed" and state.task(name).allow_failure)


def _still_done(place: Place, unit: Unit, change: ChangeUnit) -> None:
    """What could not be undone need not be done again."""
    if unit.status == "undo_failed":
        change(*place, "completed", output=unit.output, blob=unit.blob, bytes=unit.bytes)

"""Histories of earlier versions: this code reads them as they were meant, and would go on as that code did.

See `record.py` for how they were made. Where one of these fails, workflows that run now would break at an upgrade.
"""

import json
from pathlib import Path

import pytest

from actors.workflow.snapshot import dump, load
from actors.workflow.state import State
from actors.workflow.turn import Turn
from actors.workflow.view import view_of
from actors.workflow.work import Assignment, Outcome
from bus.codec import decode_as, encode
from schemas.workflow_event import (
    WORKFLOW_EVENT,
    Cancelling,
    Change,
    Claimed,
    Created,
    Paused,
    Resumed,
    Retried,
    Signalled,
    Started,
    WorkflowCommand,
    WorkflowEvent,
)
from tests.replay.record import FOLDER, SCENARIOS

HISTORIES = sorted(FOLDER.glob("*.json"))
COMMANDS = {
    Started: "start",
    Signalled: "signal",
    Paused: "pause",
    Resumed: "resume",
    Cancelling: "cancel",
    Retried: "retry",
}
ENDS = ("completed", "failed", "retrying", "cancelled", "compensated", "undo_failed")


def events_of(path: Path) -> list[WorkflowEvent]:
    return [WORKFLOW_EVENT.validate_python(each) for each in json.loads(path.read_text())]


@pytest.fixture(params=HISTORIES, ids=[path.stem for path in HISTORIES])
def history(request: pytest.FixtureRequest) -> list[WorkflowEvent]:
    return events_of(request.param)


def test_every_scenario_is_recorded() -> None:
    assert {path.stem for path in HISTORIES} >= set(SCENARIOS)


def test_each_event_still_says_what_the_fold_says(history: list[WorkflowEvent]) -> None:
    for at, event in enumerate(history, 1):
        state = State.of(history[:at])
        assert (state.seq, state.status, state.percentage) == (event.seq, event.status, event.percentage)
        assert view_of(state).seq == event.seq


def test_an_event_travels_as_it_is(history: list[WorkflowEvent]) -> None:
    for event in history:
        assert decode_as(encode(event), WORKFLOW_EVENT, "event") == event


def test_a_snapshot_at_any_event_is_as_good_as_what_came_before(history: list[WorkflowEvent]) -> None:
    end, first = dump(State.of(history)), history[0]
    assert isinstance(first, Created)
    for at in range(1, len(history)):
        state = load(first, dump(State.of(history[:at])))
        for event in history[at:]:
            state.take(event)
        assert dump(state) == end


def test_this_code_would_have_written_the_same_next_event(history: list[WorkflowEvent]) -> None:
    for at, event in enumerate(history[1:], 1):
        if isinstance(event, Claimed):
            continue
        state = State.of(history[:at])
        outcomes = [outcome for change in event.changes if (outcome := _outcome(state, change)) is not None]
        turn = Turn(state, event.at, lambda: 0.5, {}, getattr(event, "owner", "me"), event.event_id)
        written = turn.take(outcomes, _command(event))
        assert written is not None, f"event {event.seq}, {event.event!r}, would not come"
        assert _comparable(written) == _comparable(event)


def _outcome(state: State, change: Change) -> Outcome | None:
    """What the engine had been told, going by what it wrote."""
    unit = state.unit(change.task, change.item)
    ends = change.to in ENDS or (change.to == "compensating" and change.due_at is not None)
    if (
        not ends
        or unit.status not in ("running", "compensating")
        or state.is_open_map(change.task) != (change.item is not None)
    ):
        return None
    work = Assignment((change.task, change.item), unit.attempt, unit.serial, undoes=unit.status == "compensating")
    return Outcome(
        work,
        output=change.output,
        problem=change.problem,
        unsure=bool(change.unsure),
        cancelled=change.to == "cancelled",
        cost_usd=change.cost_usd,
        unpriced=bool(change.unpriced),
        served_by=change.served_by,
        once=change.once,
    )


def _command(event: WorkflowEvent) -> WorkflowCommand | None:
    kind = COMMANDS.get(type(event))
    if kind is None:
        return None
    said = {name: getattr(event, name) for name in ("name", "payload", "reason", "compensate") if hasattr(event, name)}
    return WorkflowCommand.model_validate({"kind": kind, "command": event.command, **said})


def _comparable(event: WorkflowEvent) -> dict[str, object]:
    """But for what was drawn."""
    told = event.model_dump(exclude_none=True)
    for change in told["changes"]:
        if change["to"] in ("retrying", "compensating"):
            change.pop("due_at", None)
    return told

"""Whoever sends a command that can have no effect is told why."""

from datetime import timedelta
from typing import Any, get_args

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from actors.workflow.commands import answer
from actors.workflow.refusals import check_command, refused
from actors.workflow.state import State
from schemas.errors import InvalidRequest
from schemas.workflow import retry_within_s
from schemas.workflow_event import WorkflowCommand
from tests.workflow.drive import Drive, created, failing
from tests.workflow.test_any_history import Script, carry, definitions

KINDS = [kind for kind in get_args(WorkflowCommand.model_fields["kind"].annotation) if kind != "wake"]
WAITS = {
    "draft": {"function": "f"},
    "review": {"approval": "Publish?", "depends_on": ["draft"]},
    "go": {"signal": "release", "depends_on": ["review"]},
}


def command(kind: str, **said: Any) -> WorkflowCommand:
    return WorkflowCommand.model_validate({"kind": kind, "command": "c", **said})


def ready(*sent: str, **more: Any) -> Drive:
    drive = Drive(created({"tasks": WAITS}), **more)
    for kind in sent:
        drive.run() if kind == "run" else drive.send(kind)
    return drive


@settings(max_examples=200, deadline=None)
@given(definitions(), st.integers(0, 10**6), st.data())
def test_a_command_is_refused_if_and_only_if_it_would_have_no_effect(
    definition: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    drive = Drive(created(definition, {"names": ["x", "y", "z"]}), Script(data), seed=seed)
    carry(drive, data)
    for at in range(1, len(drive.events) + 1):
        state = State.of(drive.events[:at])
        for kind in KINDS:
            asked = command(kind, name="release")
            for moment in (drive.clock, drive.clock + timedelta(days=40)):
                event = answer(state, asked, moment, lambda kind, **said: kind, "me")
                assert (refused(state, asked, moment) is None) == (event is not None), (kind, state.status)


@pytest.mark.parametrize(
    ("sent", "kind", "said"),
    [
        (["start"], "start", "it was started already; it is running"),
        (["run"], "start", "it was started already; it is waiting"),
        (["cancel"], "start", "it was cancelled"),
        (["start", "pause"], "pause", "it is paused"),
        (["start"], "resume", "it is running; only one that is paused can be resumed"),
        (["cancel"], "cancel", "it was cancelled; there is nothing left to cancel"),
        (["start", "cancel"], "cancel", "it is being cancelled; there is nothing left to cancel"),
        (["start", "cancel"], "signal", "it is being cancelled; nothing waits for signals any more"),
        (["start"], "retry", "it is running; only one that has failed or was cancelled can be retried"),
        (["cancel"], "retry", "it was cancelled before it was started; create it again"),
    ],
)
def test_a_refusal_says_how_it_stands(sent: list[str], kind: str, said: str) -> None:
    assert refused((drive := ready(*sent)).state, command(kind), drive.clock) == said


def test_of_one_that_has_completed_all_but_nothing_is_refused() -> None:
    drive = Drive(created({"tasks": {"draft": {"function": "f"}}}))
    drive.run()
    for kind in ("start", "signal", "pause", "resume", "cancel", "retry"):
        assert "it has completed" in (refused(drive.state, command(kind), drive.clock) or "")


def test_one_that_is_failing_is_not_said_to_be_cancelled() -> None:
    slow = {"function": "f"}
    drive = Drive(created({"tasks": {"bad": slow, "slow": slow}}), failing("bad", retryable=False))
    drive.send("start")
    drive.turn(drive.answer(drive.state, drive.open[0]))  # type: ignore[arg-type]
    assert refused(drive.state, command("pause"), drive.clock) == "it is failing; there is nothing left to pause"


@pytest.mark.parametrize(
    ("said", "field", "rule"),
    [
        (
            {"kind": "signal", "name": "releas"},
            "name",
            "no task waits for a signal 'releas'; did you mean 'release'?",
        ),
        ({"kind": "signal", "name": "draft"}, "name", "no task waits for a signal 'draft'; there are release, review"),
        (
            {"kind": "signal", "name": "review", "payload": {"approved": "yes"}},
            "approved",
            "must be true or false: the task asks a person to approve it",
        ),
        (
            {"kind": "signal", "name": "review"},
            "approved",
            "must be true or false: the task asks a person to approve it",
        ),
        ({"kind": "retry", "task": "drat"}, "task", "there is no task 'drat'; did you mean 'draft'?"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(said: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_command(ready().state, command(**said))
    assert (caught.value.field, caught.value.rule) == (field, rule)


def test_what_a_task_waits_for_is_taken() -> None:
    state = ready().state
    for name, payload in (("release", None), ("release", [1]), ("review", {"approved": False, "comment": "no"})):
        check_command(state, command("signal", name=name, payload=payload))


def test_one_that_ended_long_ago_cannot_go_on() -> None:
    drive = Drive(created({"tasks": {"a": {"function": "f"}}}), failing("a", retryable=False))
    drive.run()
    assert refused(drive.state, command("retry"), drive.clock + timedelta(days=28)) is None
    late = refused(drive.state, command("retry"), drive.clock + timedelta(days=30))
    assert late == "it has failed more than 29 days ago; create it again"


def test_where_events_are_removed_sooner_one_that_ended_can_go_on_for_less_long() -> None:
    # Given that events are kept for fifteen days
    limit = {"retry_within_s": retry_within_s(15 * 86_400)}
    drive = Drive(created({"tasks": {"a": {"function": "f"}}}), failing("a", retryable=False))
    drive.run()
    # Then it can go on until a day before that
    for days, reason in ((13, None), (14.1, "it has failed more than 14 days ago; create it again")):
        at = drive.clock + timedelta(days=days)
        assert refused(drive.state, command("retry"), at, **limit) == reason
        event = answer(drive.state, command("retry"), at, lambda kind, **_: kind, "me", **limit)
        assert (event is None) == (reason is not None)

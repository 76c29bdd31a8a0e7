"""What happens next in a workflow, turn by turn."""

from datetime import timedelta
from typing import Any

import pytest

from actors.workflow.state import State
from actors.workflow.turn import next_due
from actors.workflow.work import Assignment, Outcome, key_of
from tests.workflow.drive import BEGAN, Drive, created, failing, failure, well

UNDO = {"function": "undo"}
CHAIN = {
    "tasks": {
        "a": {"function": "f", "compensation": UNDO},
        "b": {"function": "f", "inputs": {"n": "${tasks.a.output.of}"}, "compensation": UNDO},
        "c": {"function": "f", "depends_on": ["b"]},
    }
}


def statuses(state: State) -> dict[str, str]:
    return {name: whole.status for name, whole in state.units.items()}


def test_a_task_begins_once_what_it_needs_is_done() -> None:
    drive = Drive(created(CHAIN))
    state = drive.run()
    assert drive.done == ["a", "b", "c"]
    assert (state.ended, state.percentage) == ("completed", 100.0)
    # A chain takes an event for its start and one a task; the last also ends it.
    assert [event.event for event in drive.events] == ["created", "started", "advanced", "advanced", "completed"]


def test_no_more_tasks_run_at_once_than_the_definition_allows() -> None:
    tasks = {f"t{n}": {"function": "f"} for n in range(7)}
    drive = Drive(created({"tasks": tasks, "max_parallel_tasks": 3}))
    drive.send("start")
    assert len(drive.open) == 3
    drive.finish_one()
    assert len(drive.open) == 3
    assert drive.run().ended == "completed"


def test_a_failure_that_may_pass_is_tried_again_later_and_later() -> None:
    # Given a task that fails three times
    task = {"function": "f", "retry": {"attempts": 4, "delay_s": 2, "factor": 3, "jitter": 0, "max_delay_s": 10}}
    drive = Drive(created({"tasks": {"a": task}}), failing("a", times=3))
    # When it is run
    state = drive.run()
    # Then it was tried after 2, 6 and, as 18 is too long, 10 seconds
    dues = [change.due_at for event in drive.events for change in event.changes if change.to == "retrying"]
    waits = [(due - event.at).total_seconds() for due, event in zip(dues, drive.events[2:7:2], strict=True) if due]
    assert (state.ended, waits) == ("completed", [2, 6, 10])


def test_a_delay_is_drawn_from_around_what_it_is_to_be() -> None:
    seen = set()
    for seed in range(20):
        task = {"function": "f", "retry": {"delay_s": 10, "jitter": 0.5}}
        drive = Drive(created({"tasks": {"a": task}}), failing("a", times=1), seed=seed)
        drive.send("start")
        drive.finish_one()
        due = next_due(drive.state)
        assert due is not None
        seen.add((due - BEGAN).total_seconds())
    assert len(seen) > 10
    assert all(5 <= wait <= 15 for wait in seen)


@pytest.mark.parametrize(
    ("on", "problem", "attempts"),
    [
        ("retryable", {"retryable": True}, 3),
        ("retryable", {"retryable": False}, 1),
        ("any", {"retryable": False}, 3),
        (["flood"], {"code": "flood", "retryable": False}, 3),
        (["flood"], {"code": "fire", "retryable": True}, 1),
    ],
)
def test_what_is_tried_again_is_said_by_the_task(on: Any, problem: dict[str, Any], attempts: int) -> None:
    task = {"function": "f", "retry": {"attempts": 3, "on": on}}
    drive = Drive(created({"tasks": {"a": task}}), failing("a", **problem))
    state = drive.run()
    assert (state.ended, state.units["a"].attempt) == ("failed", attempts)


def test_another_attempt_has_another_key_only_once_what_became_of_the_last_is_known() -> None:
    # Given a task of which first nobody knows what became, which then fails, and then succeeds
    outcomes = [{"problem": failure(), "unsure": True}, {"problem": failure()}, {"output": 1}]

    def answer(state: State, work: Assignment) -> Outcome:
        return Outcome(work, **outcomes[work.attempt - 1])

    drive = Drive(created({"tasks": {"a": {"function": "f"}}}), answer)
    drive.run()
    assert [key_of("w1", work) for work in drive.begun] == ["w1.a.1", "w1.a.1", "w1.a.2"]


def test_compensations_run_in_reverse_order_of_completion() -> None:
    # Given four tasks that end in an order of their own, and one that fails after them
    tasks: dict[str, Any] = {f"t{n}": {"function": "f", "compensation": UNDO} for n in range(4)}
    tasks["last"] = {"function": "f", "depends_on": list(tasks), "retry": {"attempts": 1}}
    for seed in range(10):
        drive = Drive(created({"tasks": tasks}), failing("last"), seed=seed)
        state = drive.run()
        done = [name for name in drive.done if name.startswith("t")]
        assert drive.undone_in_order == done[::-1]
        assert (state.ended, state.compensated, state.undone) == ("failed", done[::-1], [])


def test_what_runs_when_a_workflow_fails_is_undone_once_it_has_ended() -> None:
    # Given a task that goes on while another fails
    tasks = {"slow": {"function": "f", "compensation": UNDO}, "bad": {"function": "f", "retry": {"attempts": 1}}}
    drive = Drive(created({"tasks": tasks}), failing("bad"))
    drive.send("start")
    slow, bad = drive.open
    drive.turn(Outcome(bad, problem=failure()))
    # When nothing more is to be begun
    drive.settle()
    assert (drive.state.status, drive.undone_in_order) == ("compensating", [])
    # Then it is undone after its end
    drive.turn(well(drive.state, slow))
    assert drive.undone_in_order == ["slow"]


def test_a_compensation_that_fails_for_good_leaves_its_task_named_and_the_others_undone() -> None:
    def answer(state: State, work: Assignment) -> Outcome:
        if work.place[0] == "c" or (work.undoes and work.place[0] == "b"):
            return Outcome(work, problem=failure(retryable=False))
        return well(state, work)

    drive = Drive(created(CHAIN), answer)
    state = drive.run()
    assert (state.ended, state.compensated, state.undone) == ("failed", ["a"], ["b"])
    assert drive.events[-1].undone == ("b",)  # type: ignore[union-attr]


def test_a_compensation_is_tried_again() -> None:
    def answer(state: State, work: Assignment) -> Outcome:
        if work.place[0] == "c" or (work.undoes and work.attempt < 4):
            return Outcome(work, problem=failure(retryable=work.undoes))
        return well(state, work)

    state = Drive(created(CHAIN), answer).run()
    assert (state.compensated, state.undone) == (["b", "a"], [])


def test_a_task_that_failed_but_may_have_had_its_effect_is_undone_too() -> None:
    def answer(state: State, work: Assignment) -> Outcome:
        if work.place[0] == "b" and not work.undoes:
            return Outcome(work, problem=failure(retryable=False), unsure=True)
        return well(state, work)

    state = Drive(created(CHAIN), answer).run()
    assert state.compensated == ["b", "a"]


def test_a_workflow_that_does_not_compensate_ends_as_it_is() -> None:
    state = Drive(created({**CHAIN, "compensate": False}), failing("c", retryable=False)).run()
    assert (state.ended, state.compensated) == ("failed", [])


def test_a_failure_that_is_allowed_lets_the_others_go_on() -> None:
    tasks = {"a": {"function": "f", "allow_failure": True}, "b": {"function": "f", "depends_on": ["a"]}}
    state = Drive(created({"tasks": tasks}), failing("a", retryable=False)).run()
    assert (state.ended, statuses(state)) == ("completed", {"a": "failed", "b": "completed"})


def test_a_condition_that_does_not_hold_skips_its_task_alone() -> None:
    tasks = {
        "a": {"function": "f"},
        "b": {"function": "f", "when": "tasks.a.output.attempt > `5`"},
        "c": {"function": "f", "depends_on": ["b"]},
        "d": {"function": "f", "when": "tasks.b.status == 'completed'"},
    }
    state = Drive(created({"tasks": tasks})).run()
    assert statuses(state) == {"a": "completed", "b": "skipped", "c": "completed", "d": "skipped"}


def test_a_map_does_each_item_within_its_limit_and_gives_their_outputs_in_order() -> None:
    task = {"function": "f", "map": {"over": "inputs.names", "limit": 2}}
    drive = Drive(created({"tasks": {"a": task}}, {"names": ["x", "y", "z", "w", "v"]}))
    drive.send("start")
    assert len(drive.open) == 2
    state = drive.run()
    assert [unit["of"] for unit in state.output["a"]] == [f"a[{n}]" for n in range(5)]


def test_percentage_counts_the_items_of_a_map() -> None:
    tasks = {"a": {"function": "f", "map": {"over": "inputs.names"}}, "b": {"function": "f", "depends_on": ["a"]}}
    drive = Drive(created({"tasks": tasks}, {"names": ["x", "y", "z", "w"]}))
    drive.send("start")
    seen = [drive.state.percentage]
    while drive.finish_one():
        seen.append(drive.state.percentage)
    assert seen == [0.0, 12.5, 25.0, 37.5, 50.0, 100.0]


def test_an_empty_list_is_done_at_once() -> None:
    state = Drive(created({"tasks": {"a": {"function": "f", "map": {"over": "inputs.names"}}}}, {"names": []})).run()
    assert (state.ended, state.output) == ("completed", {"a": []})


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("x" * 3, "that is no list"),
        (list(range(1001)), "needs a `limit`"),
        (list(range(10_001)), "the most are 10,000"),
        (None, "null"),
    ],
)
def test_a_map_over_what_cannot_be_fails_with_the_reason(over: Any, said: str) -> None:
    drive = Drive(created({"tasks": {"a": {"function": "f", "map": {"over": "inputs.names"}}}}, {"names": over}))
    state = drive.run()
    assert state.ended == "failed" and state.problem is not None
    assert said in state.problem.detail


def test_an_item_that_fails_lets_those_under_way_end_and_undoes_the_others() -> None:
    task = {"function": "f", "map": {"over": "inputs.names"}, "compensation": UNDO, "retry": {"attempts": 1}}
    drive = Drive(created({"tasks": {"a": task}}, {"names": ["x", "y", "z"]}), failing("a[1]"))
    state = drive.run()
    assert (state.ended, sorted(state.compensated)) == ("failed", ["a[0]", "a[2]"])


def test_an_approval_waits_for_a_person() -> None:
    tasks = {"ask": {"approval": "Publish?"}, "do": {"function": "f", "depends_on": ["ask"]}}
    drive = Drive(created({"tasks": tasks}))
    assert drive.run().status == "waiting"
    drive.send("signal", name="ask", payload={"approved": True, "by": "Ada"})
    assert drive.run().ended == "completed"
    assert drive.state.units["ask"].output == {"approved": True, "by": "Ada"}


def test_a_refused_approval_fails_its_task() -> None:
    drive = Drive(created({"tasks": {"ask": {"approval": "Publish?"}}}))
    drive.run()
    drive.send("signal", name="ask", payload={"approved": False, "comment": "Too loud."})
    state = drive.run()
    assert state.ended == "failed" and state.problem is not None
    assert (state.problem.code, "Too loud." in state.problem.detail) == ("rejected", True)


@pytest.mark.parametrize("payload", [None, {}, {"approved": "yes"}, [True]])
def test_an_approval_that_says_neither_yes_nor_no_has_no_effect(payload: Any) -> None:
    drive = Drive(created({"tasks": {"ask": {"approval": "Publish?"}}}))
    drive.run()
    assert drive.send("signal", name="ask", payload=payload) is None
    assert drive.state.status == "waiting"


def test_a_signal_that_comes_too_soon_is_kept_for_its_task() -> None:
    tasks = {"a": {"function": "f"}, "go": {"signal": "go", "depends_on": ["a"]}}
    drive = Drive(created({"tasks": tasks}))
    drive.send("start")
    drive.send("signal", name="go", payload=7)
    state = drive.run()
    assert (state.ended, state.units["go"].output, state.signals) == ("completed", 7, [])


def test_each_signal_is_heard_by_one_task() -> None:
    tasks = {"a": {"signal": "go"}, "b": {"signal": "go"}}
    drive = Drive(created({"tasks": tasks}))
    drive.run()
    drive.send("signal", name="go", payload=1)
    assert statuses(drive.state) == {"a": "completed", "b": "waiting"}
    drive.send("signal", name="go", payload=2)
    assert [drive.state.units[name].output for name in "ab"] == [1, 2]


def test_a_wait_for_a_signal_ends_with_its_time() -> None:
    drive = Drive(created({"tasks": {"a": {"signal": "go", "timeout_s": 60}}}))
    state = drive.run()
    assert state.ended == "failed" and state.problem is not None
    assert (state.problem.code, drive.clock - BEGAN) == ("deadline_exceeded", timedelta(seconds=60))


def test_timers_are_done_at_their_moment() -> None:
    tasks = {"a": {"wait_s": "${inputs.delay}"}, "b": {"wait_until": "2026-03-01T12:00:00+02:00", "depends_on": ["a"]}}
    drive = Drive(created({"tasks": tasks}, {"delay": 90}))
    state = drive.run()
    ends = [state.units[name].finished_at for name in "ab"]
    assert ends == [BEGAN + timedelta(seconds=90), BEGAN + timedelta(hours=1)]


def test_a_paused_workflow_begins_nothing_until_it_is_resumed() -> None:
    drive = Drive(created(CHAIN))
    drive.send("start")
    drive.send("pause")
    drive.finish_one()
    assert (drive.open, drive.state.status, drive.state.paused) == ([], "waiting", True)
    drive.send("resume")
    assert drive.run().ended == "completed"


def test_one_that_is_paused_before_it_is_started_begins_when_it_is_resumed() -> None:
    drive = Drive(created(CHAIN))
    drive.send("pause")
    drive.send("start")
    assert (drive.open, drive.state.status) == ([], "waiting")
    drive.send("resume")
    assert drive.run().ended == "completed"


def test_a_cancelled_workflow_is_undone() -> None:
    drive = Drive(created(CHAIN))
    drive.send("start")
    drive.finish_one()
    drive.send("cancel", reason="enough")
    [running] = drive.open
    drive.turn(Outcome(running, problem=failure("cancelled"), cancelled=True))
    state = drive.run()
    assert (state.ended, state.compensated, statuses(state)["b"]) == ("cancelled", ["a"], "cancelled")


def test_a_cancel_may_leave_what_was_done() -> None:
    drive = Drive(
        created(
            {"tasks": {"a": {"function": "f", "compensation": UNDO}, "b": {"signal": "never", "depends_on": ["a"]}}}
        )
    )
    drive.run()
    drive.send("cancel", compensate=False)
    state = drive.run()
    assert (state.ended, state.compensated) == ("cancelled", [])


def test_one_that_was_never_started_is_cancelled_at_once() -> None:
    drive = Drive(created(CHAIN))
    event = drive.send("cancel")
    assert event is not None and event.event == "cancelled"


def test_a_deadline_fails_a_workflow_and_its_compensations_still_run() -> None:
    tasks = {"a": {"function": "f", "compensation": UNDO}, "b": {"signal": "never", "depends_on": ["a"]}}
    state = Drive(created({"tasks": tasks, "timeout_s": 3600})).run()
    assert state.ended == "failed" and state.problem is not None
    assert (state.problem.code, state.compensated) == ("deadline_exceeded", ["a"])


def test_a_retry_begins_anew_what_did_not_end_well_and_what_was_undone() -> None:
    # Given a workflow that failed at its last task, and was undone
    drive = Drive(created(CHAIN), failing("c", retryable=False))
    drive.run()
    # When it is retried, and the task works
    drive.answer = well
    drive.send("retry")
    state = drive.run()
    # Then all of it was done, under new keys
    assert state.ended == "completed"
    keys = [key_of("w1", work) for work in drive.begun if not work.undoes]
    assert len(keys) == len(set(keys)) == 6


def test_a_retry_leaves_alone_what_stands() -> None:
    tasks = {"a": {"function": "f"}, "b": {"function": "f", "depends_on": ["a"]}}
    drive = Drive(created({"tasks": tasks}), failing("b", retryable=False))
    drive.run()
    drive.answer = well
    drive.send("retry")
    drive.run()
    assert [work.place[0] for work in drive.begun] == ["a", "b", "b"]


def test_a_retry_of_a_map_begins_anew_the_items_that_failed() -> None:
    task = {"function": "f", "map": {"over": "inputs.names"}, "retry": {"attempts": 1}}
    drive = Drive(created({"tasks": {"a": task}}, {"names": ["x", "y", "z"]}), failing("a[1]"))
    drive.run()
    drive.answer = well
    drive.send("retry")
    state = drive.run()
    assert state.ended == "completed"
    assert [work.place[1] for work in drive.begun].count(1) == 2
    assert len(drive.begun) == 4


def test_a_retry_from_a_task_repeats_all_that_follows_it() -> None:
    tasks = {
        "a": {"function": "f"},
        "b": {"function": "f", "depends_on": ["a"]},
        "c": {"function": "f", "depends_on": ["b"]},
    }
    drive = Drive(created({"tasks": tasks}), failing("c", retryable=False))
    drive.run()
    drive.answer = well
    drive.send("retry", task="b")
    drive.run()
    assert [work.place[0] for work in drive.begun] == ["a", "b", "c", "b", "c"]


def test_what_could_not_be_undone_is_not_done_again() -> None:
    def answer(state: State, work: Assignment) -> Outcome:
        if work.place[0] == "c" or (work.undoes and work.place[0] == "a"):
            return Outcome(work, problem=failure(retryable=False))
        return well(state, work)

    drive = Drive(created(CHAIN), answer)
    drive.run()
    drive.answer = well
    drive.send("retry")
    assert drive.run().ended == "completed"
    assert [work.place[0] for work in drive.begun if not work.undoes].count("a") == 1


@pytest.mark.parametrize("kind", ["start", "pause", "resume", "cancel", "signal", "undo"])
def test_a_command_that_comes_too_late_has_no_effect(kind: str) -> None:
    drive = Drive(created(CHAIN), failing("a", retryable=False))
    drive.run()
    assert drive.send(kind, name="x") is None


def test_a_command_that_comes_twice_has_one_effect() -> None:
    drive = Drive(created({"tasks": {"a": {"signal": "go"}, "b": {"signal": "go"}}}))
    drive.run()
    event = drive.send("signal", name="go")
    assert event is not None
    drive._sent -= 1
    assert drive.send("signal", name="go") is None


def test_an_outcome_that_nobody_awaits_any_more_changes_nothing() -> None:
    drive = Drive(created({"tasks": {"a": {"function": "f"}}}), failing("a", times=1))
    drive.send("start")
    [work] = drive.open
    drive.finish_one()
    drive.run()
    assert drive.turn(well(drive.state, work)) is None


def test_an_output_that_cannot_be_found_fails_the_workflow_with_the_reason() -> None:
    definition = {"tasks": {"a": {"function": "f"}}, "output": "it is ${tasks.a.output.nothing}"}
    state = Drive(created(definition)).run()
    assert state.ended == "failed" and state.problem is not None
    assert "tasks.a.output.nothing" in state.problem.detail


def test_what_tasks_cost_is_summed_and_what_one_cost_unknown_makes_all_unknown() -> None:
    def answer(state: State, work: Assignment) -> Outcome:
        return Outcome(work, output=1, cost_usd=0.5)

    state = Drive(created(CHAIN), answer).run()
    assert (state.cost_usd, state.cost_unknown) == (1.5, False)

    def unpriced(state: State, work: Assignment) -> Outcome:
        return Outcome(work, output=1, unpriced=work.place[0] == "b")

    drive = Drive(created(CHAIN), unpriced)
    assert drive.run().cost_unknown
    assert drive.events[-1].cost_usd is None  # type: ignore[union-attr]


def test_one_that_engines_die_of_is_given_up() -> None:
    from schemas.workflow_event import Claimed

    drive = Drive(created(CHAIN))
    drive.send("start")
    for number in range(21):
        said = {"event_id": f"x{number}", "workflow_id": "w1", "tenant": "default", "seq": drive.state.seq + 1}
        drive.state.take(Claimed(**said, at=BEGAN, status="running", percentage=0, owner=f"o{number}"))
    event = drive.turn()
    assert event is not None and event.event == "failing"


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "tomorrow", "2026-03-01T09:00:00", 7]
)
def test_a_moment_that_is_none_fails_its_task_with_the_reason(moment: Any) -> None:
    drive = Drive(created({"tasks": {"a": {"wait_until": "${inputs.at}"}}}, {"at": moment}))
    state = drive.run()
    assert state.ended == "failed" and state.problem is not None
    assert "wait_until" in state.problem.detail


def test_who_asks_to_be_asked_again_after_ages_is_asked_within_a_year() -> None:
    def answer(state: State, work: Assignment) -> Outcome:
        return Outcome(work, problem=failure().model_copy(update={"retry_after_s": 1e300}))

    drive = Drive(created({"tasks": {"a": {"function": "f"}}}), answer)
    drive.send("start")
    drive.finish_one()
    due = drive.state.units["a"].due_at
    assert due is not None and due - BEGAN <= timedelta(days=366)

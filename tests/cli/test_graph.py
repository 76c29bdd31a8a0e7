"""A workflow's graph: where tasks stand, what is shown of them, and that it fits."""

import io
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from actors.workflow.state import State
from actors.workflow.view import view_of
from actors.workflow.work import Assignment, Outcome
from devskyy.cli import graph
from devskyy.cli import workflow_words as words
from schemas.workflow import Workflow
from tests.workflow.drive import BEGAN, Drive, created, failure, well


def console(width: int = 80, height: int = 40) -> Console:
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)


def shown(view: Workflow, lines: int = 100, width: int = 100) -> str:
    """The graph as text, as long after the workflow's beginning as it takes."""
    screen = console(width)
    screen.print(graph.fitted(view, BEGAN + timedelta(seconds=90), screen, lines))
    assert isinstance(screen.file, io.StringIO)
    return "\n".join(line.rstrip() for line in screen.file.getvalue().splitlines())


def run(tasks: dict[str, Any], answer: Any = well, **more: Any) -> Workflow:
    return view_of(Drive(created({"tasks": tasks, **more}), answer=answer).run())


# -- where tasks stand -------------------------------------------------------------------------------------------------


def test_branches_are_indented_and_joins_stand_where_the_branches_began() -> None:
    # Given a fork of two, one of which forks again, and joins
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["c"], "e": ["c"], "f": ["d", "e"], "g": ["b", "f"], "h": ["g"]}
    # When it is laid out
    # Then each stands below what it needs
    assert graph.layout(needs) == [
        ("a", 0),
        ("b", 1),
        ("c", 1),
        ("d", 2),
        ("e", 2),
        ("f", 1),
        ("g", 0),
        ("h", 0),
    ]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Any acyclic graph, with its tasks in any order."""
    count = draw(st.integers(1, 30))
    needs = {
        f"t{number}": sorted(draw(st.sets(st.sampled_from([f"t{n}" for n in range(number)]), max_size=4)))
        if number
        else []
        for number in range(count)
    }
    return {name: needs[name] for name in draw(st.permutations(list(needs)))}


@given(graphs())
def test_any_graph_has_each_task_once_and_after_those_that_it_needs(needs: dict[str, list[str]]) -> None:
    placed = graph.layout(needs)
    order = [name for name, _ in placed]
    assert sorted(order) == sorted(needs)
    assert all(order.index(other) < order.index(name) for name, needed in needs.items() for other in needed)
    assert all(0 <= indent <= graph.MOST_INDENT for _, indent in placed)


@given(graphs(), st.integers(8, 60), st.integers(40, 160))
def test_any_workflow_fits_into_the_lines_that_there_are(needs: dict[str, list[str]], lines: int, width: int) -> None:
    # Given a workflow of any shape with a map of many items, half of which have failed
    tasks: dict[str, Any] = {name: {"function": "f", "depends_on": needed} for name, needed in needs.items()}
    tasks["each"] = {"function": "f", "map": {"over": "inputs.many"}, "allow_failure": True}

    def answer(state: State, work: Assignment) -> Outcome:
        odd = (work.place[1] or 0) % 2 == 1
        return Outcome(work, problem=failure(retryable=False)) if odd else well(state, work)

    inputs = {"many": {"type": "array"}}
    drive = Drive(created({"tasks": tasks, "inputs": inputs}, {"many": list(range(40))}), answer=answer)
    view = view_of(drive.run())
    # When it is drawn on any terminal
    screen = console(width, lines)
    drawn = screen.render_lines(graph.fitted(view, BEGAN, screen, lines), pad=False)
    # Then it takes no more lines than there are
    assert len(drawn) <= lines


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_what_runs_waits_and_has_failed_is_told_with_its_facts() -> None:
    # Given a workflow in which something runs for the second time, waits, is over and is still to come
    tasks = {
        "assets": {"function": "f"},
        "site": {"function": "f", "depends_on": ["assets"], "retry": {"attempts": 3, "delay_s": 1, "jitter": 0}},
        "stock": {"function": "f", "allow_failure": True, "retry": {"attempts": 1}},
        "review": {"approval": "Publish it?", "depends_on": ["assets"]},
        "publish": {"function": "f", "depends_on": ["site", "review", "stock"]},
    }

    def answer(state: State, work: Assignment) -> Outcome | None:
        match work.place[0], work.attempt:
            case ("stock", _) | ("site", 1):
                return Outcome(work, problem=failure(detail="no shelf is free"))
            case "site", _:
                return None
            case _:
                return Outcome(work, output="x", served_by="function", cost_usd=0.25)

    drawn = shown(run(tasks, answer))
    # When it is drawn, Then each says how it is
    assert drawn.splitlines()[0].startswith("test: running, 1 of 5 tasks completed, 1 failed, 1 running")
    assert "$0.250 so far" in drawn
    assert "40 %" in drawn
    assert "assets    completed, 0 ms, $0.250, by function" in drawn
    assert "  site    running, attempt 2, 1 min 30 s" in drawn
    assert "  review  waiting, for an approval, 1 min 30 s" in drawn
    assert "stock     failed, 0 ms, no shelf is free" in drawn
    assert "publish   pending, after site, review" in drawn
    # And what it waits for stands below, with the commands that end that
    assert drawn.endswith(
        "review asks: Publish it?\n"
        "  devskyy workflows signal w1 review --approve\n"
        "  devskyy workflows signal w1 review --reject --comment WHY"
    )


def test_items_of_a_map_are_counted_and_those_at_work_are_told() -> None:
    # Given a map of which some items are done, one has failed for now, and others are at work
    tasks = {
        "each": {"function": "f", "map": {"over": "inputs.many", "limit": 4}, "retry": {"attempts": 2, "delay_s": 9999}}
    }

    def answer(state: State, work: Assignment) -> Outcome | None:
        match work.place[1]:
            case 2:
                return Outcome(work, problem=failure(detail="the printer is out of paper"))
            case number if number is not None and number > 10:
                return None
            case _:
                return well(state, work)

    drive = Drive(
        created({"tasks": tasks, "inputs": {"many": {"type": "array"}}}, {"many": list(range(20))}), answer=answer
    )
    drive.send("start")
    while drive.finish_one():
        pass
    # When it is drawn, Then the sum stands with the task, and below it those of which there is something to tell
    drawn = shown(view_of(drive.state))
    assert "each    running, 10 of 20 items" in drawn
    assert "  [2]   retrying, in" in drawn
    assert "the printer is out of paper" in drawn
    assert "  [11]  running" in drawn
    # And on a short terminal the sum is enough
    assert "[2]" not in shown(view_of(drive.state), lines=4)


def test_where_there_is_little_room_the_quiet_are_counted() -> None:
    # Given a chain of which some is done, something fails for now, and much is to come
    tasks = {f"t{n}": {"function": "f", "depends_on": [f"t{n - 1}"] if n else []} for n in range(30)}
    drive = Drive(
        created({"tasks": tasks}), answer=lambda state, work: well(state, work) if work.place[0] < "t2" else None
    )
    # When there are eight lines
    drawn = shown(view_of(drive.run()), lines=8)
    # Then what goes on is told, the rest counted
    assert drawn.splitlines()[2:] == [
        "2 tasks   2 completed",
        "t2        running, 1 min 30 s",
        "27 tasks  27 pending",
    ]


def test_what_was_undone_and_what_was_not_is_told() -> None:
    # Given a workflow whose payment failed, and of whose two bookings one could not be undone
    undo = {"function": "undo", "retry": {"attempts": 1}}
    tasks = {
        "flight": {"function": "f", "compensation": undo},
        "hotel": {"function": "f", "compensation": undo, "depends_on": ["flight"]},
        "pay": {"function": "f", "depends_on": ["hotel"], "retry": {"attempts": 1}},
    }

    def answer(state: State, work: Assignment) -> Outcome:
        if work.place[0] == "pay" or (work.undoes and work.place[0] == "hotel"):
            return Outcome(work, problem=failure(detail="nobody answers the telephone"))
        return well(state, work)

    drawn = shown(run(tasks, answer))
    assert "flight  undone" in drawn
    assert "hotel   not undone, nobody answers the telephone" in drawn
    assert "pay     failed, 0 ms, nobody answers the telephone" in drawn
    assert drawn.startswith("test: failed")


def test_without_unicode_the_bar_is_of_plain_characters() -> None:
    view = run({"a": {"function": "f"}})
    assert graph.bar(view, 60, ascii_only=True).plain.startswith("########")
    assert graph.bar(view, 60, ascii_only=False).plain.startswith("━━━━━━━━")


def test_a_question_cannot_steer_the_terminal() -> None:
    # Given a question with control characters in it
    drawn = shown(run({"review": {"approval": "Publish?\x1b[2J\nNow"}}))
    # Then they are shown as what they are
    assert "\x1b[2J" not in drawn
    assert "Publish?�[2J Now" in drawn


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.012, "12 ms"), (59.94, "59.9 s"), (61, "1 min 1 s"), (3600, "1 h"), (3725, "1 h 2 min"), (200_000, "2 d 7 h")],
)
def test_lengths_of_time_are_told_by_their_largest_units(seconds: float, told: str) -> None:
    assert words.span(seconds) == told


@given(st.floats(0, 10**9))
def test_any_length_of_time_is_told_in_a_few_characters(seconds: float) -> None:
    assert len(words.span(seconds)) <= 14


def test_every_event_of_a_workflow_has_a_line() -> None:
    # Given a workflow with everything in it
    tasks = {
        "wait": {"wait_s": 5},
        "skip": {"function": "f", "when": "`false`", "depends_on": ["wait"]},
        "each": {"function": "f", "map": {"over": "`[1, 2, 3]`"}, "depends_on": ["wait"]},
        "pay": {"function": "f", "depends_on": ["each"], "retry": {"attempts": 2, "delay_s": 1, "jitter": 0}},
    }
    drive = Drive(created({"tasks": tasks}), answer=well)
    drive.send("start")
    drive.send("pause")
    drive.send("resume")
    drive.answer = lambda state, work: (
        Outcome(work, problem=failure(detail="the till is locked")) if work.place[0] == "pay" else well(state, work)
    )
    drive.run()
    drive.send("retry")
    drive.send("signal", name="hello", payload=1)
    drive.send("cancel", reason="too dear")
    drive.answer = well
    drive.run()
    # When each is told
    told = "\n".join(words.event_line(event.model_dump(mode="json")) for event in drive.events)
    # Then it says what happened
    for phrase in (
        "created as w1: 4 tasks",
        "started; wait waiting, until 2026-03-01",
        "paused",
        "resumed",
        "wait completed",
        "skip skipped",
        "each running, 3 items; each: 3 items running",
        "pay retrying, at 2026-03-01",
        ": the till is locked",
        "pay running, attempt 2",
        "failed: pay: the till is locked",
        "goes on; pay pending; pay running",
        "the signal hello came",
        "being cancelled: too dear",
        "cancelled: too dear",
    ):
        assert phrase in told


def test_an_event_of_a_later_version_is_named() -> None:
    assert words.event_line({"event": "teleported", "seq": 3}) == "teleported"


def test_many_changes_of_one_event_are_counted() -> None:
    tasks = {f"t{n:02}": {"function": "f"} for n in range(20)}
    drive = Drive(created({"tasks": tasks, "max_parallel_tasks": 20}))
    drive.send("start")
    told = words.event_line(drive.events[1].model_dump(mode="json"))
    assert told == "started; t00 running; t01 running; t02 running; t03 running; t04 running; and 15 more"


def test_a_plan_tells_what_each_task_waits_for() -> None:
    screen = console()
    screen.print(graph.plan({"a": [], "b": ["a"]}, {"a": "Draw a logo"}, 80))
    assert isinstance(screen.file, io.StringIO)
    assert [line.rstrip() for line in screen.file.getvalue().splitlines()] == ["a  Draw a logo", "b  after a"]


def test_long_facts_go_on_in_the_next_line_where_all_is_shown() -> None:
    # Given a failure with a long reason
    view = run(
        {"pay": {"function": "f", "retry": {"attempts": 1}}},
        lambda state, work: Outcome(work, problem=failure(detail="word " * 30 + "end")),
    )
    screen = console(60)
    # When all of it is shown on a narrow terminal, Then nothing is cut off
    screen.print(*graph.whole(view, BEGAN, 60))
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert "end" in lines[-1]

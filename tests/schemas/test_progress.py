"""A team as its events tell it: whatever the beginning of a story, its counts, its parts, what it has spent."""

from dataclasses import astuple
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Unavailable
from schemas.event import TaskEvent
from schemas.problem import Problem
from schemas.progress import Part, Phase, TeamView, TeamWatch, known_event, progress_of, team_view
from schemas.team import Decision, Step
from tests.stories import BEGAN, STORIES, TOO_SLOW, Teller, call, hierarchical, said, step, unsaid

NAMES = st.sampled_from(["writing", "code", "groq", "mistral", "role-1", "role-2"])
PARTS = st.sampled_from(["", "p1", "p2", "moderate", "moderate-p1"])


@st.composite
def stories(draw: st.DrawFn) -> list[TaskEvent]:
    """Any story that a coordinator could write: each step asked for once, and ended at most once."""
    teller = Teller()
    if draw(st.booleans()):
        teller.claimed(draw(st.sampled_from(["simple", "moderate", "complex", "mega"])), *draw(st.lists(NAMES)))
    open_: list[Step] = []
    for number in range(draw(st.integers(0, 12))):
        match draw(st.sampled_from(["ask", "answer", "decide", "claim"])):
            case "ask":
                part = draw(PARTS)
                steps = [step("draft", name, f"{number}-{i}", part) for i, name in enumerate(draw(st.lists(NAMES)))]
                teller.dispatched(f"{part}-drafts" if part else "drafts", *steps)
                open_ += steps
            case "answer" if open_:
                of = open_.pop(draw(st.integers(0, len(open_) - 1)))
                paid = call(of.step, of.agent, cost_usd=draw(st.sampled_from([None, 0.0, 0.5])))
                problem = draw(st.sampled_from([None, TOO_SLOW, Problem.of(Unavailable("no"))]))
                teller.answered(said(of, "x", calls=(paid,)) if problem is None else unsaid(of, problem))
            case "decide":
                change = draw(st.sampled_from([None, "escalated", "missing", "shrunk"]))
                name = draw(st.sampled_from(["choice", "graph", "moderate-graph"]))
                values = [{}, {"tier": "mega"}, {"tier": 3}, {"parts": [{"id": "p1", "title": "One"}, 7]}, {"parts": 1}]
                value = draw(st.sampled_from(values))
                teller.decided(Decision(name=name, part=draw(PARTS), change=change, value=value, reasons=("so",)))
            case "claim":
                teller.epoch += 1
                teller.claimed("moderate", *draw(st.lists(NAMES)))
    if draw(st.booleans()):
        if draw(st.booleans()):
            teller.completed("Done.", None)
        else:
            teller.failed(Unavailable("nobody serves"))
    return teller.events


def prefixes(events: list[TaskEvent]) -> list[TeamView]:
    watch, views = TeamWatch(), []
    for event in events:
        watch.take(event)
        views.append(watch.view)
    return views


def shown(part: Part) -> tuple[list[str], list[Phase]]:
    """The parts in order, and all phases."""
    names, phases = [], []
    for item in part.items:
        if isinstance(item, Part):
            names.append(item.name)
            more, inner = shown(item)
            names += more
            phases += inner
        elif isinstance(item, Phase):
            phases.append(item)
    return names, phases


# -- any story -----------------------------------------------------------------------------------------------------


@given(stories())
def test_no_count_ever_falls_and_every_step_is_in_one_state(events: list[TaskEvent]) -> None:
    # Given any story; When it is watched event by event
    before = TeamView()
    for view in prefixes(events):
        # Then nothing that was counted is taken back
        assert all(now >= then for now, then in zip(astuple(view.counts), astuple(before.counts), strict=True))
        assert view.counts.pending >= 0
        assert (view.spent.calls, view.spent.usd, view.agents) >= (before.spent.calls, before.spent.usd, before.agents)
        # And parts and phases hold every step once
        _, phases = shown(view.whole)
        assert sorted(seat.step.step for phase in phases for seat in phase.seats) == sorted(
            {s.step for e in events[: view_place(events, view)] if e.event == "dispatched" for s in e.steps}
        )
        assert view.whole.counts == view.counts
        before = view


def view_place(events: list[TaskEvent], view: TeamView) -> int:
    assert view.at is not None
    return round((view.at - BEGAN) / timedelta(seconds=1)) + 1


@given(stories())
def test_a_watcher_who_comes_late_sees_what_one_who_was_there_sees(events: list[TaskEvent]) -> None:
    assert team_view(events) == prefixes(events)[-1]


@given(stories(), st.integers(0, 20))
def test_a_story_whose_beginning_is_lost_can_be_watched(events: list[TaskEvent], lost: int) -> None:
    # Given a story without its first events, such as those that have grown too old
    view = team_view(events[lost:])
    # When and Then what is left of it counts
    steps = {each.step for event in events[lost:] if event.event == "answered" for each in event.contributions}
    assert view.counts.answered + view.counts.failed + view.counts.left_out >= len(steps)


@pytest.mark.parametrize("name", STORIES)
def test_the_view_of_an_ended_task_leaves_nothing_open(name: str) -> None:
    view = team_view(STORIES[name])
    assert view.counts.pending == 0
    assert (view.status, view.waiting) == ("completed", ())
    assert view.task is not None
    assert view.task.receipt is not None
    assert view.spent.calls == len(view.task.receipt.calls)


# -- what is seen --------------------------------------------------------------------------------------------------


def test_who_was_asked_nothing_yet_waits() -> None:
    teller = Teller()
    teller.claimed("moderate", "a", "b", "c")
    teller.dispatched("drafts", step("draft", "b"))
    view = team_view(teller.events)
    assert (view.waiting, view.agents, view.counts.pending) == (("a", "c"), 3, 1)


def test_each_way_in_which_a_step_ends_is_told_apart() -> None:
    # Given steps that were answered, failed, came to nothing, were too slow, and are under way
    steps = [step("draft", agent) for agent in "abcde"]
    teller = Teller()
    teller.dispatched("drafts", *steps)
    teller.answered(said(steps[0], "x"), unsaid(steps[1], Problem.of(Unavailable("HTTP 500"))), said(steps[2], "  "))
    teller.answered(unsaid(steps[3], TOO_SLOW))
    # When they are looked at
    _, (phase,) = shown(team_view(teller.events).whole)
    # Then each is what it is, with its reason and its time
    assert [seat.state for seat in phase.seats] == ["answered", "failed", "failed", "left out", "asked"]
    assert [seat.why for seat in phase.seats] == ["", "HTTP 500", "it answered nothing", TOO_SLOW.detail, ""]
    clock = BEGAN + timedelta(seconds=9)
    assert [seat.seconds(clock) for seat in phase.seats] == [1, 1, 1, 2, 8]
    # And when the task ends, what was under way is over too
    teller.failed(Unavailable("too bad"))
    _, (phase,) = shown(team_view(teller.events).whole)
    assert (phase.seats[4].state, phase.seats[4].why) == ("left out", "the task ended before")


def test_parts_are_there_when_they_are_planned_and_hold_their_own_phases() -> None:
    view = team_view(STORIES["hierarchical"])
    names, phases = shown(view.whole)
    assert names == ["p1", "p2", "p3"]
    parts = [item for item in view.whole.items if isinstance(item, Part)]
    assert [(part.title, part.after) for part in parts] == [
        ("The name", ()),
        ("The price", ()),
        ("The launch", ("The name", "The price")),
    ]
    assert [part.counts.asked for part in parts] == [1, 1, 1]
    # And what concerns several parts is a phase of the whole
    assert [phase.name for phase in phases] == [
        "plan",
        "subtask",
        "subtask",
        "subtask",
        "optimisation",
        "improvement",
        "assembly",
    ]
    assert "optimisation" in [item.name for item in view.whole.items if isinstance(item, Phase)]


def test_a_task_that_is_stepped_up_has_the_dearer_tier_and_its_team_as_a_part() -> None:
    events = STORIES["escalated"]
    # Given a task that one agent began; Then it is no team yet
    assert not team_view(events[:4]).is_team
    # When it is stepped up, Then it has the tier that it was stepped up to, also after a second coordinator took over
    stepped_up = team_view(events[:5])
    assert (stepped_up.tier, stepped_up.shape, stepped_up.is_team) == ("moderate", "parallel", True)
    taken_over = team_view(events[:8])
    assert (taken_over.tier, taken_over.epoch) == ("moderate", 2)
    names, phases = shown(taken_over.whole)
    assert (names, [phase.name for phase in phases]) == (["moderate"], ["direct", "drafts"])


def test_one_agent_who_answers_alone_is_no_team() -> None:
    view = team_view(STORIES["direct"])
    assert (view.is_team, view.agents) == (False, 1)
    assert progress_of(STORIES["direct"]) is None


def test_an_unknown_cost_is_counted_and_not_taken_for_zero() -> None:
    first, second = step("draft", "a"), step("draft", "b")
    teller = Teller()
    teller.dispatched("drafts", first, second)
    teller.answered(said(first, "x", calls=(call("s", "a", cost_usd=None, cost_unknown_reason="no price"),)))
    teller.answered(said(second, "x", calls=(call("s", "b", cost_usd=0.25, cost_estimated=True),)))
    spent = team_view(teller.events).spent
    assert (spent.calls, spent.usd, spent.unknown, spent.estimated) == (2, 0.25, 1, True)


def test_how_far_a_team_is_comes_in_numbers() -> None:
    progress = progress_of(hierarchical(100, ended=False))
    assert progress is not None
    assert (progress.phase, progress.asked, progress.answered, progress.failed) == ("optimisation", 104, 93, 1)
    # And once the task has ended, that tells
    assert progress_of(STORIES["hierarchical"]) is None


@pytest.mark.parametrize(
    "raw",
    [
        {"event": "debated", "task_id": "x", "seq": 4},
        {"event": "dispatched", "steps": [{"kind": "of the future"}]},
        {},
        {"event": 7},
    ],
)
def test_an_event_that_this_version_does_not_know_is_skipped(raw: dict[str, object]) -> None:
    assert known_event(raw) is None


@pytest.mark.parametrize("name", STORIES)
def test_events_that_came_as_json_are_the_same_events(name: str) -> None:
    told = [known_event(event.model_dump(mode="json")) for event in STORIES[name]]
    assert told == STORIES[name]

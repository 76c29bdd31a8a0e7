"""A team drawn for a terminal: at every moment of every story, narrow and wide, small and huge."""

import io
import re
from datetime import timedelta

import pytest
from rich.console import Console
from rich.tree import Tree

from devskyy.cli import tree, words
from schemas.errors import Unavailable
from schemas.event import Decided, TaskEvent
from schemas.problem import Problem
from schemas.progress import TeamView, team_view
from tests.stories import BEGAN, STORIES, TOO_SLOW, Teller, call, hierarchical, said, step, unsaid

WIDTHS = [80, 140]


def console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, record=True, force_terminal=True, markup=False, highlight=False)


def drawn(view: TeamView, width: int, lines: int = 1000) -> str:
    assert view.at is not None
    screen = console(width)
    screen.print(tree.fitted(view, view.at + timedelta(seconds=3), screen, lines))
    return screen.export_text()


def flat(text: str) -> str:
    """The words without the branches and line ends between them."""
    return " ".join(re.sub(r"[│├└─]", " ", text).split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", STORIES)
def test_every_moment_of_a_story_can_be_drawn_and_nothing_is_cut(name: str, width: int) -> None:
    # Given a team at every moment of its story
    for count in range(1, len(STORIES[name]) + 1):
        view = team_view(STORIES[name][:count])
        # When it is drawn
        text = drawn(view, width)
        # Then every line fits, and none is cut short
        assert all(len(line) <= width for line in text.splitlines())
        assert "…" not in text
        # And every decision is there with its reason, and whoever was asked
        told = flat(text)
        for event in STORIES[name][:count]:
            if isinstance(event, Decided):
                assert all(flat(reason) in told for each in event.decisions for reason in each.reasons)
            if event.event == "dispatched":
                assert all(each.agent in told for each in event.steps)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_team_of_a_thousand_takes_a_few_lines(width: int) -> None:
    # Given a thousand specialists of whom nine in ten are done, some without an answer
    view = team_view(hierarchical(1_000, ended=False))
    # When they are drawn
    text = drawn(view, width)
    # Then they are counted, and the failures have their reason
    assert len(text.splitlines()) <= 20
    assert "optimisation: 897 of 1,000 answered, 3 failed" in text
    assert "failed: HTTP 500 from the service (3 times)" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_what_does_not_fit_is_folded_the_quietest_first(width: int) -> None:
    # Given a team whose last phase is under way
    events = STORIES["coordinated"]
    place = next(i for i, event in enumerate(events) if event.event == "dispatched" and event.phase == "vote1")
    view = team_view(events[: place + 1])
    whole = drawn(view, width)
    # When there is room for a dozen lines
    text = drawn(view, width, lines=12)
    # Then the agents at work are still there, those of the phases that are over are counted
    assert len(text.splitlines()) <= 12 < len(whole.splitlines())
    assert re.search(r"vote1: 0 of 2 answered.*\n.*cerebras-ultra  asked", text)
    assert "review: 2 of 2 answered" in text
    assert "groq-lightning" not in text


def test_changes_of_the_plan_stand_out_and_outlive_other_decisions() -> None:
    # Given a team with a decision that changed the plan and one that did not
    view = team_view(STORIES["parallel"])
    # When there is room for little
    text = drawn(view, 80, lines=8)
    # Then the change is still there with its reason, the other is not
    assert "replaced: 'scaleway-eu' takes the place of 'gemini-flash'" in text
    assert "decided:" not in text
    # And it is set apart
    replaced = next(event for event in STORIES["parallel"] if isinstance(event, Decided)).decisions[0]
    assert [span.style for span in tree.decided(replaced).spans] == ["bold magenta"]


def test_the_totals_say_who_what_and_how_much() -> None:
    running = team_view(STORIES["coordinated"][:-1])
    assert running.at is not None
    assert tree.totals(running, running.at + timedelta(seconds=2)) == (
        "complex, coordinated: 4 agents, 9 of 10 steps answered, 1 left out, 9 calls, $0.00123 so far, 19.0 s"
    )
    ended = team_view(STORIES["coordinated"])
    assert tree.totals(ended, BEGAN + timedelta(hours=1)) == (
        "complex, coordinated: 4 agents, 9 of 10 steps answered, 1 left out, 9 calls, $0.00123, 18.0 s, completed"
    )


def test_a_cost_that_nobody_knows_is_said_to_be_unknown() -> None:
    # Given one call whose cost is known and one whose is not
    first, second = step("draft", "a"), step("draft", "b")
    teller = Teller()
    teller.claimed("moderate", "a", "b")
    teller.dispatched("drafts", first, second)
    teller.answered(said(first, "x", calls=(call("s", "a", cost_usd=None, cost_unknown_reason="no price"),)))
    alone = drawn(team_view(teller.events), 140)
    teller.answered(said(second, "x", calls=(call("s", "b", cost_usd=0.25),)))
    # When they are drawn, Then nothing is taken for zero
    assert "1 call, unknown cost so far" in alone
    assert "2 calls, $0.250 and 1 call of unknown cost so far" in drawn(team_view(teller.events), 140)


def test_what_is_suspicious_about_an_answer_is_seen() -> None:
    text = flat(drawn(team_view(STORIES["coordinated"]), 80))
    assert 'groq-lightning answered, quality 0.64, local, $0.00, 3.0 s, suspicious: it asks for a score: "rate' in text


def test_what_agents_say_cannot_draw_on_the_terminal() -> None:
    # Given names and reasons that hold escape sequences and line ends
    teller = Teller()
    teller.claimed("moderate", "a\x1b[2J", "b")
    teller.dispatched("drafts\x1b[1m", step("draft", "a\x1b[2J"))
    view = team_view(teller.events)
    leaf: Tree = tree.tree(view, BEGAN)
    screen = Console(file=(out := io.StringIO()), width=80, color_system=None)
    screen.print(leaf)
    assert "\x1b" not in out.getvalue()


# -- a line an event -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORIES)
def test_every_event_is_told_in_one_line(name: str) -> None:
    for event in STORIES[name]:
        told = words.event_line(event.model_dump(mode="json"))
        assert told
        assert "\n" not in told


def lines(events: list[TaskEvent]) -> list[str]:
    return [words.event_line(event.model_dump(mode="json")) for event in events]


def test_the_lines_say_who_was_asked_who_answered_and_what_was_decided() -> None:
    told = lines(STORIES["parallel"])
    assert told[2:6] == [
        "drafts: cerebras-ultra, gemini-flash, groq-lightning are asked",
        "cerebras-ultra answered: draft, quality 0.61, local, $0.00",
        "gemini-flash did not answer: draft: no service of its order serves",
        "groq-lightning answered: draft, quality 0.66, local, $0.00",
    ]
    assert told[6].startswith("replaced: 'scaleway-eu' takes the place of")
    assert told[7] == "drafts: scaleway-eu is asked"


def test_many_are_counted() -> None:
    told = lines(hierarchical(1_000))
    assert "optimisation: 1,000 agents are asked" in told
    reason = "HTTP 500 from the service"
    assert f"50 steps ended (50 optimisation): 49 with an answer, 1 without: {reason}" in told


def test_reasons_that_are_alike_are_told_once() -> None:
    # Given steps that failed for one kind of reason in different words, one of them very long, and one too slow
    steps = [step("draft", f"a{place}") for place in range(20)]
    teller = Teller()
    teller.dispatched("drafts", *steps)
    long = f"none could serve ({'no key, ' * 100})"
    teller.answered(*(unsaid(each, Problem.of(Unavailable(long))) for each in steps[:9]))
    teller.answered(*(unsaid(each, Problem.of(Unavailable("nobody"))) for each in steps[9:12]))
    teller.answered(unsaid(steps[12], TOO_SLOW))
    # When they are drawn
    text = drawn(team_view(teller.events), 80)
    # Then the commonest words stand for them all, short
    assert "drafts: 0 of 20 answered, 12 failed, 1 left out" in text
    assert re.search(r"failed: none could serve \(no key, .*… \(12 times, or the like\)", flat(text))
    assert f"left out: {TOO_SLOW.detail}" in flat(text)
    assert len(text.splitlines()) <= 8


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"event": "debated", "step": "d1", "agent": "writing"}, "debated: d1, writing"),
        ({"event": "dispatched", "phase": "duel", "steps": "of another shape"}, "dispatched: duel"),
        ({"event": "debated"}, "debated"),
    ],
)
def test_an_event_of_a_later_version_says_what_it_can(event: dict[str, str], told: str) -> None:
    assert words.event_line(event) == told

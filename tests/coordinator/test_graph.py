"""Plans as graphs: whatever a strategist says, what is carried has parts, owners, an order, and an end."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import load
from actors.coordinator.graph import MOST_PARTS, Graph, GraphPart, by_rule, graph_of, mistakes_of
from actors.coordinator.remarks import choice_of, remarks_of, review_of

OWNERS = tuple(name for name, spec in load().agents.items() if spec.kind == "agent")
PROMPT = "Describe the handbag's leather and its lining."

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


def part(name: str, *needs: str, owner: str = OWNERS[0]) -> dict[str, Any]:
    work = "Describe the handbag's leather and its lining."
    return {"id": name, "title": name, "work": work, "owner": owner, "acceptance": [], "depends_on": list(needs)}


def test_a_sound_plan_is_carried_in_the_order_of_its_dependencies() -> None:
    text = json.dumps({"parts": [part("last", "a", "b"), part("a"), part("b", "a")]})
    graph, mistakes = graph_of(text, PROMPT, OWNERS, MOST_PARTS)
    assert mistakes == []
    assert graph is not None
    # Parts get names of ours, so that no step of one can be taken for another's
    assert [each.title for each in graph.ordered()] == ["a", "b", "last"]
    assert [each.id for each in graph.parts] == ["p1", "p2", "p3"]


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ([part("a", "b"), part("b", "a")], "wait for each other"),
        ([part("a", "a"), part("b")], "wait for each other"),
        ([part("a"), part("a")], "more than one part is called a"),
        ([part("a", "nothing"), part("b")], "which is not there"),
        ([part("a", owner="nobody"), part("b")], "there is no 'nobody'"),
        ([part("a b"), part("b")], "part 1: id"),
        ([{**part("a"), "work": 3}, part("b")], "part 1: work"),
        ([part("a")], "it has 1 parts"),
        ([part(f"n{n}") for n in range(1000)], "it has 1,000 parts"),
    ],
)
def test_a_fault_of_a_plan_is_named(parts: list[dict[str, Any]], fault: str) -> None:
    _, mistakes = graph_of(json.dumps({"parts": parts}), PROMPT, OWNERS, MOST_PARTS)
    assert any(fault in mistake for mistake in mistakes), mistakes


@given(said=JSON | st.text(max_size=100))
def test_no_plan_whatever_it_says_is_an_accident(said: Any) -> None:
    text = said if isinstance(said, str) else json.dumps(said)
    graph, mistakes = graph_of(text, PROMPT, OWNERS, MOST_PARTS)
    assert graph is not None or mistakes


@given(
    edges=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12),
    count=st.integers(2, 6),
)
def test_a_graph_without_mistakes_can_be_ordered(edges: list[tuple[int, int]], count: int) -> None:
    needs: dict[int, set[str]] = {n: set() for n in range(count)}
    for one, other in edges:
        needs[one % count].add(f"n{other % count}")
    parts = tuple(GraphPart.model_validate(part(f"n{n}", *sorted(needs[n]))) for n in range(count))
    graph = Graph(parts=parts)
    if not mistakes_of(graph, PROMPT, OWNERS):
        place = {each.id: number for number, each in enumerate(graph.ordered())}
        assert all(place[need] < place[each.id] for each in parts for need in each.depends_on)


@given(prompt=st.text(max_size=400))
def test_every_task_can_be_divided_by_rule(prompt: str) -> None:
    owners = {name: load().agents[name] for name in OWNERS}
    graph = by_rule(prompt, owners)
    assert 2 <= len(graph.parts) <= MOST_PARTS
    assert {each.owner for each in graph.parts} <= set(OWNERS)
    assert len(graph.ordered()) == len(graph.parts)


def test_a_task_that_lists_what_it_wants_is_divided_so() -> None:
    owners = {name: load().agents[name] for name in OWNERS}
    prompt = "Prepare the launch:\n1. Write the press release\n2. Plan the budget\n3. Draft three posts"
    assert [each.work for each in by_rule(prompt, owners).parts] == [
        "Write the press release",
        "Plan the budget",
        "Draft three posts",
    ]


def test_a_sentence_that_enumerates_is_divided_by_what_it_names() -> None:
    owners = {name: load().agents[name] for name in OWNERS}
    parts = by_rule("Write a launch plan for a bag: the audience, the price, and the window text.", owners).parts
    assert [each.work for each in parts] == [
        "the audience (of this: Write a launch plan for a bag)",
        "the price (of this: Write a launch plan for a bag)",
        "the window text (of this: Write a launch plan for a bag)",
    ]


# -- what reviewers say --------------------------------------------------------------------------------------------


@given(said=JSON | st.text(max_size=100))
def test_no_review_vote_or_finding_is_an_accident(said: Any) -> None:
    text = said if isinstance(said, str) else json.dumps(said)
    names = ["one", "two"]
    review = review_of(text, names, 16)
    assert review is None or set(review.remarks) <= set(names)
    found = remarks_of(text, 3)
    assert found is None or len(found) <= 3
    choice = choice_of(text, names)
    assert choice is None or choice[0] in names


def test_a_reviewer_has_a_say_only_in_what_it_was_shown() -> None:
    remark = {"severity": "HIGH", "place": "x", "problem": "wrong", "proposal": "right"}
    text = json.dumps({"remarks": [{"answer": "One", **remark}, {"answer": "stranger", **remark}], "best": "stranger"})
    review = review_of(text, ["one", "two"], 16)
    assert review is not None
    assert set(review.remarks) == {"one"}
    assert review.remarks["one"][0].severity == "high"
    assert review.best is None

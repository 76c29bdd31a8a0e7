"""A sum with an unknown part is unknown, and says why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.receipt import JUDGE, Call, Receipt

COSTS = st.none() | st.floats(0, 1000)
COUNTS = st.none() | st.integers(0, 10**9)


def call(service: str = "groq", **fields: object) -> Call:
    known = {"prompt_tokens": 10, "completion_tokens": 5, "cost_usd": 0.25}
    return Call.model_validate({"step": "s", "agent": "a", "service": service, "model": "m", **known, **fields})


CALLS = st.lists(
    st.builds(
        call,
        agent=st.sampled_from(["a", "b", "c"]),
        cost_usd=COSTS,
        prompt_tokens=COUNTS,
        completion_tokens=COUNTS,
        outcome=st.sampled_from(["answered", "cancelled", "failed", "in_doubt"]),
        cost_estimated=st.booleans(),
    ),
    max_size=5,
).map(tuple)


def test_known_parts_add_up() -> None:
    receipt = Receipt.of((call(), call(cost_usd=0.5, agent="b")), 12.5, "opus", 2.0)
    assert (receipt.cost_usd, receipt.cost_unknown_reason) == (0.75, None)
    assert (receipt.prompt_tokens, receipt.completion_tokens) == (20, 10)
    assert (receipt.premium_service, receipt.premium_cost_usd, receipt.saved_usd) == ("opus", 2.0, 1.25)
    assert (receipt.agents, receipt.wall_ms, receipt.cost_estimated) == (2, 12.5, False)


def test_judges_do_not_count_as_agents_but_their_calls_cost() -> None:
    receipt = Receipt.of((call(), call(agent=JUDGE), call(agent="b", outcome="failed")), 1.0)
    assert (receipt.agents, receipt.cost_usd, len(receipt.calls)) == (1, 0.75, 3)


def test_one_unknown_cost_makes_the_sum_unknown_and_is_named() -> None:
    unknown = call("mystery", cost_usd=None, cost_unknown_reason="no price is known")
    receipt = Receipt.of((call(), unknown, call("dark", cost_usd=None)), 1.0, "opus", 2.0)
    assert receipt.cost_usd is None
    assert receipt.saved_usd is None
    assert receipt.cost_unknown_reason == "mystery: no price is known; dark: unknown"
    assert receipt.premium_cost_usd == 2.0


@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens"])
def test_one_unknown_count_makes_that_sum_unknown_only(field: str) -> None:
    receipt = Receipt.of((call(), call(**{field: None})), 1.0)
    assert getattr(receipt, field) is None
    other = ({"prompt_tokens", "completion_tokens"} - {field}).pop()
    assert getattr(receipt, other) is not None
    assert receipt.cost_usd == 0.5


def test_an_unknown_premium_leaves_what_was_saved_unknown() -> None:
    receipt = Receipt.of((call(),), 1.0, "opus", None, "its price is not known")
    assert (receipt.premium_cost_usd, receipt.saved_usd) == (None, None)
    assert receipt.premium_unknown_reason == "its price is not known"


def test_what_cost_nothing_is_zero_and_known() -> None:
    receipt = Receipt.of((call("local", cost_usd=0.0),), 1.0, "opus", 0.02)
    assert (receipt.cost_usd, receipt.saved_usd, receipt.cost_unknown_reason) == (0.0, 0.02, None)


def test_a_task_that_called_nobody_cost_nothing() -> None:
    receipt = Receipt.of((), 1.0)
    assert (receipt.cost_usd, receipt.prompt_tokens, receipt.completion_tokens, receipt.agents) == (0, 0, 0, 0)


def test_dearer_than_the_premium_is_said_so() -> None:
    assert Receipt.of((call(cost_usd=3.0),), 1.0, "opus", 2.0).saved_usd == -1.0


def test_only_those_who_answered_contributed() -> None:
    calls = (call(agent="a"), call(agent="a"), call(agent="b", outcome="failed"), call(agent="c", outcome="in_doubt"))
    assert Receipt.of(calls, 1.0).agents == 1


def test_one_estimate_makes_the_sum_an_estimate() -> None:
    assert Receipt.of((call(), call(cost_estimated=True)), 1.0).cost_estimated


@given(CALLS, COSTS)
def test_nothing_unknown_becomes_a_number(calls: tuple[Call, ...], premium: float | None) -> None:
    receipt = Receipt.of(calls, 1.0, "opus", premium)
    cost_known = all(c.cost_usd is not None for c in calls)
    assert (receipt.cost_usd is not None) == cost_known
    assert (receipt.cost_unknown_reason is None) == cost_known
    assert (receipt.saved_usd is not None) == (cost_known and premium is not None)
    assert receipt.premium_cost_usd == premium
    for field in ("prompt_tokens", "completion_tokens"):
        assert (getattr(receipt, field) is not None) == all(getattr(c, field) is not None for c in calls)
    if receipt.cost_usd is not None:
        assert receipt.cost_usd == pytest.approx(sum(c.cost_usd or 0.0 for c in calls))
    # What is unknown is spelled out as null wherever people see it.
    seen = json.loads(receipt.model_dump_json())
    assert {"cost_usd", "premium_cost_usd", "saved_usd", "prompt_tokens", "completion_tokens"} <= seen.keys()
    assert (seen["cost_usd"] is None) == (not cost_known)

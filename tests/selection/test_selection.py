"""The choice: who is taken, who is left out, in what order the rest stands, and what is said of it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import Catalogue, load
from actors.selection import Candidate, Choice, Features, PriorPredictor, Selection
from schemas.figures import ServiceFigures
from tests.selection.doubles import FEATURES, PROFILES, candidate, foretold, seen, spec, told

OURS = load()


def choose(*candidates: Candidate, budget_usd: float | None = None, **figures: ServiceFigures) -> Choice:
    selection = Selection(PROFILES, PriorPredictor(PROFILES))
    return selection.choose(FEATURES, candidates, budget_usd, figures)


# -- who is taken --------------------------------------------------------------------------------------------------


def test_the_better_of_two_that_cost_the_same_is_chosen() -> None:
    choice = choose(candidate("fair", quality=0.7), candidate("good", quality=0.9))
    assert (choice.chosen, choice.order) == ("good", ("good", "fair"))


def test_the_cheaper_of_two_that_are_as_good_is_chosen() -> None:
    assert choose(candidate("dear", usd_per_mtok=2), candidate("cheap", usd_per_mtok=1)).chosen == "cheap"


def test_the_faster_of_two_that_are_as_good_is_chosen() -> None:
    choice = choose(candidate("a"), candidate("b"), a=seen("a", p50_ms=900), b=seen("b", p50_ms=300))
    assert choice.chosen == "b"


def test_of_equals_the_agents_own_order_decides() -> None:
    assert choose(candidate("b"), candidate("a"), candidate("c")).order == ("b", "a", "c")


def test_the_worth_is_what_the_profile_weighs() -> None:
    # Given half of quality, three tenths of cost, a fifth of latency
    selection = told(a=foretold(0.8, 0.01, 500, 0.5), b=foretold(0.6, 0.02, 1000))
    # When two services are weighed
    choice = selection.choose(FEATURES, [candidate("a"), candidate("b")], None, {})
    # Then what may fail counts for less, and cost and latency are shares of the greatest
    a, b = choice.candidates
    assert a.utility == pytest.approx(0.5 * 0.8 * 0.5 - 0.3 * 0.5 - 0.2 * 0.5)
    assert b.utility == pytest.approx(0.5 * 0.6 - 0.3 - 0.2)


def test_a_hard_task_is_worth_the_better_service() -> None:
    # Given a strong service and one that is weaker and half the price
    both = [candidate("cheap", quality=0.65, usd_per_mtok=0.5), candidate("strong", quality=0.95)]
    selection = Selection(PROFILES, PriorPredictor(PROFILES))
    # When an easy and a hard task are weighed
    easy, hard = (
        selection.choose(replace(FEATURES, difficulty=difficulty), both, None, {}).chosen for difficulty in (0, 0.9)
    )
    # Then only the hard one gets the strong one
    assert (easy, hard) == ("cheap", "strong")


def test_a_free_service_far_worse_than_another_is_no_bargain() -> None:
    # Given one that is free and hardly of use, whose worth by the weights is the higher
    choice = choose(candidate("tiny", quality=0.13, usd_per_mtok=0), candidate("real", quality=0.6))
    tiny, real = choice.candidates
    assert (tiny.utility or 0) > (real.utility or 0)
    # Then the real one is chosen all the same, and it is said why the other is not
    assert choice.chosen == "real"
    assert "whatever it costs" in tiny.notes[0]


def test_a_service_that_is_all_there_is_serves_however_weak() -> None:
    assert choose(candidate("real", unavailable="no key: set KEY"), candidate("tiny", quality=0.1)).chosen == "tiny"


# -- unknown figures -----------------------------------------------------------------------------------------------


def test_an_unknown_cost_counts_as_the_dearest_and_it_is_said() -> None:
    choice = choose(candidate("unknown", usd_per_mtok=None), candidate("known"))
    assert choice.chosen == "known" or choice.candidates[0].utility == choice.candidates[1].utility
    assert choice.candidates[0].cost == 1.0
    assert "its cost is unknown, so it counts as the dearest" in choice.candidates[0].notes


def test_an_unknown_latency_counts_as_the_mean_of_the_known_and_it_is_said() -> None:
    figures = {"a": seen("a", p50_ms=1000), "b": seen("b", p50_ms=500)}
    choice = choose(candidate("a"), candidate("b"), candidate("new"), **figures)
    assert [each.latency for each in choice.candidates] == [1.0, 0.5, 0.75]
    assert choice.candidates[2].notes == ("its latency is unknown, so it counts as the mean of the others",)


def test_where_no_latency_is_known_none_counts() -> None:
    choice = choose(candidate("a"), candidate("b"))
    assert [each.latency for each in choice.candidates] == [0.0, 0.0]
    assert choice.candidates[0].notes == ()


# -- how they are doing --------------------------------------------------------------------------------------------


def test_a_service_that_fails_often_gives_way() -> None:
    # Given the better of two, failing three times out of four
    choice = choose(candidate("good", quality=0.9), candidate("fair"), good=seen("good", calls=40, errors=30))
    # Then the other serves, and the failures are told
    assert choice.chosen == "fair"
    assert choice.candidates[0].notes == ("30 of 40 calls failed lately",)


@pytest.mark.parametrize("left", [{"requests_left": 1}, {"tokens_left": 100}, {"retry_after_s": 3.0}])
def test_a_service_whose_limits_are_nearly_used_up_gives_way(left: dict[str, Any]) -> None:
    choice = choose(candidate("good", quality=0.9), candidate("fair"), good=seen("good", **left))
    assert choice.chosen == "fair"
    assert choice.candidates[0].notes != ()


def test_a_small_limit_that_nobody_has_used_holds_nothing_back() -> None:
    # Given a service that allows 4 requests a minute, all of them left
    small = candidate("small", quality=0.9, limits={"rpm": 4})
    choice = choose(candidate("fair"), small, small=seen("small", requests_left=4))
    assert choice.chosen == "small"


def test_a_service_that_waits_to_be_tried_again_is_tried_where_it_would_be_chosen() -> None:
    good = seen("good", calls=5, errors=5, breaker="half_open")
    assert choose(candidate("fair"), candidate("good", quality=0.9), good=good).chosen == "good"


# -- who is left out -----------------------------------------------------------------------------------------------


def excluded(choice: Choice, name: str) -> str:
    (found,) = [each for each in choice.candidates if each.name == name]
    assert found.utility is None
    assert name not in [each.name for each in choice.ranked]
    return found.excluded or ""


def test_a_service_without_its_key_is_left_out_with_that_reason() -> None:
    choice = choose(candidate("a", unavailable="no key: set KEY"), candidate("b", quality=0.5))
    assert excluded(choice, "a") == "no key: set KEY"
    assert choice.chosen == "b"


def test_a_service_that_may_cost_more_than_the_limit_is_left_out() -> None:
    choice = choose(candidate("dear", quality=0.9, usd_per_mtok=100), candidate("cheap"), budget_usd=0.01)
    assert excluded(choice, "dear") == "may cost $0.141600, over the limit of $0.010000"
    assert choice.chosen == "cheap"


def test_under_a_cost_limit_a_service_of_unknown_price_is_left_out() -> None:
    choice = choose(candidate("a", usd_per_mtok=None), candidate("b"), budget_usd=1.0)
    assert "so a cost limit cannot be kept" in excluded(choice, "a")


def test_a_service_that_takes_no_images_is_left_out_where_there_are_some() -> None:
    selection = Selection(OURS.profiles, PriorPredictor(OURS.profiles))
    both = [Candidate(name, OURS.services[name]) for name in ("groq", "scaleway", "local")]
    choice = selection.choose(Features(profile="vision", images=1), both, None, {})
    assert excluded(choice, "groq") == excluded(choice, "local") == "takes no images"
    assert choice.chosen == "scaleway"


def test_a_service_of_ones_own_is_chosen_for_images_where_its_entry_says_that_it_takes_them() -> None:
    mine: dict[str, dict[str, Any]] = {
        "seeing": {"images": True},
        "scored": {"capabilities": {"vision": 0.3}},
        "unsaid": {},
    }
    services = [Candidate(name, spec(**fields)) for name, fields in mine.items()]
    selection = Selection(OURS.profiles, PriorPredictor(OURS.profiles))
    choice = selection.choose(Features(profile="vision", images=1), services, None, {})
    assert {each.name for each in choice.ranked} == {"seeing", "scored"}
    assert excluded(choice, "unsaid") == "not known to take images; state services.unsaid.images"


def test_a_service_whose_context_is_too_small_is_left_out_and_tried_last() -> None:
    # Given 100 tokens, and the better service with room for 50
    choice = choose(candidate("small", quality=0.9, context_tokens=50), candidate("a"), candidate("b"))
    # Then it comes last: the gateway would ask it, and be refused
    assert excluded(choice, "small") == "its context of 50 tokens has no room for about 100"
    assert choice.order == ("a", "b", "small")


def test_a_service_whose_circuit_is_open_is_left_out_with_the_reason() -> None:
    broken = seen("good", calls=5, errors=5, breaker="open", breaker_reason="5 failures in a row")
    choice = choose(candidate("good", quality=0.9), candidate("fair"), good=broken)
    assert excluded(choice, "good") == "its circuit is open: 5 failures in a row"
    assert choice.order == ("good", "fair")


def test_where_none_can_serve_the_agents_order_stands() -> None:
    choice = choose(candidate("a", unavailable="no key: set A"), candidate("b", unavailable="no key: set B"))
    assert (choice.chosen, choice.order) == (None, ("a", "b"))
    assert choice.reasons == ("none of its services can serve now; they are tried in the agent's order",)


# -- the order of all of them --------------------------------------------------------------------------------------


def test_those_passed_over_stand_before_whoever_they_stood_before() -> None:
    # Given an order in which the first, third and last have no key, and the fourth is better than the second
    without = [candidate(name, unavailable="no key") for name in ("first", "third", "last")]
    others = candidate("second", quality=0.6), candidate("fourth", quality=0.9)
    choice = choose(without[0], others[0], without[1], others[1], without[2])
    # Then the receipt of whoever serves names what its agent's order had before it, and no more
    assert choice.order == ("first", "third", "fourth", "second", "last")


services = st.lists(
    st.builds(
        dict,
        quality=st.floats(0, 1),
        usd_per_mtok=st.none() | st.floats(0, 100),
        unavailable=st.none() | st.just("no key"),
        context_tokens=st.none() | st.integers(1, 300),
    ),
    min_size=1,
    max_size=7,
)
doing = st.none() | st.builds(
    lambda calls, failed, **fields: seen("", calls=calls, errors=round(calls * failed), **fields),
    st.integers(0, 50),
    st.floats(0, 1),
    p50_ms=st.none() | st.floats(0.1, 1e5),
    ms_per_token=st.none() | st.floats(0.01, 1e3),
    waiting=st.integers(0, 50),
    in_flight=st.integers(0, 50),
    breaker=st.sampled_from([None, "closed", "open", "half_open"]),
    requests_left=st.none() | st.integers(0, 100),
    tokens_left=st.none() | st.integers(0, 10**6),
    retry_after_s=st.none() | st.floats(0, 60),
)
budgets = st.none() | st.floats(0, 0.2)


def any_choice(about: list[dict[str, Any]], live: list[ServiceFigures | None], budget_usd: float | None) -> Choice:
    candidates = [candidate(f"s{place}", **each) for place, each in enumerate(about)]
    figures = {f"s{place}": each for place, each in enumerate(live[: len(about)]) if each is not None}
    return choose(*candidates, budget_usd=budget_usd, **figures)


@given(services, st.lists(doing, max_size=7), budgets)
def test_an_order_is_always_of_the_candidates_each_once(
    about: list[dict[str, Any]], live: list[ServiceFigures | None], budget_usd: float | None
) -> None:
    choice = any_choice(about, live, budget_usd)
    assert sorted(choice.order) == [f"s{place}" for place in range(len(about))]


@given(services, st.lists(doing, max_size=7), budgets)
def test_whoever_is_left_out_is_never_before_one_that_can_serve_but_to_be_passed_over(
    about: list[dict[str, Any]], live: list[ServiceFigures | None], budget_usd: float | None
) -> None:
    choice = any_choice(about, live, budget_usd)
    left_out = {each.name: each for each in choice.candidates if each.excluded is not None}
    for place, name in enumerate(choice.order):
        if name not in left_out and any(
            not left_out[other].passed_over for other in choice.order[:place] if other in left_out
        ):
            pytest.fail(f"{name} comes after one that would be asked in vain: {choice.order}")
    assert choice.chosen not in left_out


@given(services, st.lists(doing, max_size=7), budgets)
def test_whoever_serves_has_all_that_was_passed_over_on_the_way_before_it(
    about: list[dict[str, Any]], live: list[ServiceFigures | None], budget_usd: float | None
) -> None:
    choice = any_choice(about, live, budget_usd)
    own = [each.name for each in choice.candidates]
    for passed in (each.name for each in choice.candidates if each.passed_over):
        for able in (each.name for each in choice.ranked):
            assert own.index(passed) > own.index(able) or choice.order.index(passed) < choice.order.index(able)


@given(services, st.lists(doing, max_size=7), budgets, st.integers(0, 6), st.floats(1, 50))
def test_a_higher_price_never_moves_a_service_up(
    about: list[dict[str, Any]], live: list[ServiceFigures | None], budget_usd: float | None, which: int, times: float
) -> None:
    # Given a choice, When one service becomes dearer
    which %= len(about)
    dearer = [dict(each) for each in about]
    if dearer[which]["usd_per_mtok"] is not None:
        dearer[which]["usd_per_mtok"] *= times
    before, after = any_choice(about, live, budget_usd), any_choice(dearer, live, budget_usd)

    # Then whoever was better still is
    def better(choice: Choice) -> set[str] | None:
        names = [each.name for each in choice.ranked]
        return set(names[: names.index(f"s{which}")]) if f"s{which}" in names else None

    if (now := better(after)) is not None:
        assert better(before) is not None
        assert now >= (better(before) or set())


@given(services, st.lists(doing, max_size=7), budgets)
def test_the_same_is_always_chosen_of_the_same(
    about: list[dict[str, Any]], live: list[ServiceFigures | None], budget_usd: float | None
) -> None:
    first, again = any_choice(about, live, budget_usd), any_choice(about, live, budget_usd)
    assert (first.order, first.reasons, first.compact()) == (again.order, again.reasons, again.compact())


# -- our own catalogue ---------------------------------------------------------------------------------------------


def of_agent(catalogue: Catalogue, agent: str, profile: str, difficulty: float, without: set[str]) -> Choice:
    candidates = [
        Candidate(name, catalogue.services[name], "no key" if name in without else None)
        for name in catalogue.agents[agent].services
    ]
    features = Features(profile=profile, difficulty=difficulty, prompt_bytes=900, max_tokens=1536)
    return Selection(catalogue.profiles, PriorPredictor(catalogue.profiles)).choose(features, candidates, None, {})


@pytest.mark.parametrize("agent", sorted(OURS.agents))
@pytest.mark.parametrize("profile", sorted(OURS.profiles.keys() - {"vision"}))
@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_the_embedded_model_serves_only_where_nothing_else_can(agent: str, profile: str, difficulty: float) -> None:
    # Given an agent's built-in order, with every key, with one key only, and with none
    cloud = set(OURS.agents[agent].services) - {"local"}
    # Then the embedded model comes last wherever another one can serve
    assert of_agent(OURS, agent, profile, difficulty, set()).ranked[-1].name == "local"
    for only in cloud:
        assert of_agent(OURS, agent, profile, difficulty, cloud - {only}).chosen == only
    # And serves where none can
    assert of_agent(OURS, agent, profile, difficulty, cloud).chosen == "local"


# -- what is said --------------------------------------------------------------------------------------------------


def test_the_reasons_name_the_one_chosen_the_next_one_and_what_decided() -> None:
    choice = choose(candidate("a", quality=0.9), candidate("b", quality=0.7, usd_per_mtok=0.9), a=seen("a", p50_ms=700))
    assert choice.reasons == (
        "'a' serves, of 2 that can, for writing work: quality 0.90 (prior), $0.00061, 700 ms",
        "next is 'b', quality 0.70 (prior), $0.00055: the first is better, which outweighs that this is cheaper",
    )


def test_one_that_is_alone_is_said_to_be() -> None:
    choice = choose(candidate("a", unavailable="no key"), candidate("b"))
    assert choice.reasons == ("'b' serves: it is the only one of 2 services that can",)


def test_what_an_event_keeps_is_plain_and_short() -> None:
    # Given a choice between two and one that cannot serve
    choice = choose(candidate("a", unavailable="no key"), candidate("b"), candidate("c", quality=0.5))
    # Then those that can serve have a line each
    assert choice.compact() == {
        "profile": "writing",
        "chosen": "b",
        "order": ["a", "b", "c"],
        "predicted": {
            "b": {"quality": 0.8, "cost_usd": 0.000612, "latency_ms": None, "utility": 0.1},
            "c": {"quality": 0.5, "cost_usd": 0.000612, "latency_ms": None, "utility": -0.05},
        },
    }


def test_a_service_is_looked_up_anew_when_its_entry_is_another() -> None:
    # Given a selection that has chosen before, When a service of that name has another price
    selection = Selection(PROFILES, PriorPredictor(PROFILES))
    prices = [
        selection.choose(FEATURES, [Candidate("a", spec(usd_per_mtok=usd))], None, {}).candidates[0].most_usd
        for usd in (1.0, 2.0)
    ]
    # Then the new one counts
    assert prices[1] == pytest.approx(2 * (prices[0] or 0))

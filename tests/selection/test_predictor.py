import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import load, match
from actors.selection import Features, Prediction, PriorPredictor
from actors.selection.predictor import PATIENCE
from schemas.figures import ServiceFigures
from tests.selection.doubles import FEATURES, PROFILES, seen, spec

PREDICTOR = PriorPredictor(PROFILES)
fractions = st.floats(0, 1)


def predicted(features: Features = FEATURES, figures: ServiceFigures | None = None, quality: float = 0.8) -> Prediction:
    return PREDICTOR.predict(features, "one", spec(quality), figures)


# -- quality -------------------------------------------------------------------------------------------------------


def test_the_easiest_task_leaves_the_prior_as_it_is() -> None:
    # Given our catalogue, When an easy task of a kind of work is foreseen, Then it is the fit to that kind
    ours = load()
    for name, service in ours.services.items():
        found = PriorPredictor(ours.profiles).predict(Features(profile="code"), name, service, None)
        assert found.quality == match(ours.profiles["code"], service)
        assert found.quality_from == "prior"


@given(weak=st.floats(0.01, 1), strong=st.floats(0.01, 1), difficulty=fractions)
def test_difficulty_costs_a_weak_service_a_larger_share_than_a_strong_one(
    weak: float, strong: float, difficulty: float
) -> None:
    # Given two services
    weak, strong = sorted((weak, strong))
    hard = replace(FEATURES, difficulty=difficulty)
    # When a task is hard
    of_weak, of_strong = predicted(hard, quality=weak).quality, predicted(hard, quality=strong).quality
    # Then both are worse for it, neither overtakes the other, and the weak one keeps less of what it had
    assert 0 <= of_weak <= of_strong <= 1
    assert of_weak / weak <= of_strong / strong + 1e-9


def test_two_services_of_one_name_are_told_apart() -> None:
    # Given a predictor that has seen one service, When another comes under its name, Then it is looked at anew
    assert predicted(quality=0.2).quality == 0.2
    assert predicted(quality=0.9).quality == 0.9


# -- cost ----------------------------------------------------------------------------------------------------------


def test_the_cost_is_the_price_of_the_tokens_that_are_expected() -> None:
    # Given 400 bytes, an answer of at most 1,000 tokens and a dollar a million, When the cost is foreseen
    found = predicted()
    # Then it is that of 100 and 512 tokens
    assert found.cost_usd == pytest.approx(612e-6)


def test_a_short_answer_is_reckoned_as_short() -> None:
    assert predicted(replace(FEATURES, max_tokens=12)).cost_usd == pytest.approx(112e-6)


def test_a_price_that_nobody_knows_leaves_the_cost_unknown_with_the_reason() -> None:
    found = PREDICTOR.predict(FEATURES, "priceless", spec(usd_per_mtok=None), None)
    assert found.cost_usd is None
    assert "state services.priceless.price" in (found.cost_unknown or "")


# -- latency and success -------------------------------------------------------------------------------------------


def test_before_any_call_latency_and_success_are_unknown_with_the_reason() -> None:
    # Given a service that no gateway has spoken of, and one that nobody has asked lately
    silent, idle = predicted(), predicted(figures=seen("one", calls=0))
    # Then nothing is made up
    assert (silent.latency_ms, silent.success, idle.latency_ms, idle.success) == (None, None, None, None)
    assert silent.latency_unknown == "the gateways have said nothing of it yet"
    assert idle.latency_unknown == "no call has been answered lately"


def test_the_latency_is_the_median_just_seen() -> None:
    assert predicted(figures=seen("one", p50_ms=800.0, ms_per_token=5.0)).latency_ms == 800.0


def test_an_answer_that_must_be_short_takes_no_longer_than_its_tokens() -> None:
    short = replace(FEATURES, max_tokens=10)
    assert predicted(short, seen("one", p50_ms=800.0, ms_per_token=5.0)).latency_ms == 50.0


def test_whoever_stands_in_a_queue_or_a_pause_waits_for_it_too() -> None:
    # Given a service with 4 places, 8 who wait for them, and a pause of 2 s that it asked for
    busy = seen("one", p50_ms=100.0, in_flight=4, waiting=8, retry_after_s=2.0)
    # Then a call waits for the pause, two rounds, and its own turn
    assert predicted(figures=busy).latency_ms == pytest.approx(2300.0)


def test_one_failed_call_does_not_condemn_a_service() -> None:
    assert predicted(figures=seen("one", calls=1, errors=1)).success == PATIENCE / (PATIENCE + 1)


@given(calls=st.integers(1, 10_000), errors=st.integers(0, 10_000), more=st.integers(0, 100))
def test_more_errors_never_make_success_likelier(calls: int, errors: int, more: int) -> None:
    fewer = predicted(figures=seen("one", calls=calls, errors=min(errors, calls))).success
    worse = predicted(figures=seen("one", calls=calls, errors=min(errors + more, calls))).success
    assert fewer is not None
    assert worse is not None
    assert 0 < worse <= fewer <= 1


def test_a_service_that_is_being_tried_again_is_not_held_to_its_old_failures() -> None:
    assert predicted(figures=seen("one", calls=10, errors=10, breaker="half_open")).success is None


# -- the most it can cost ------------------------------------------------------------------------------------------


@given(prompt_bytes=st.integers(0, 10**6), images=st.integers(0, 5), max_tokens=st.integers(1, 10**5))
def test_what_is_expected_never_costs_more_than_the_most(prompt_bytes: int, images: int, max_tokens: int) -> None:
    features = Features(profile="writing", prompt_bytes=prompt_bytes, images=images, max_tokens=max_tokens)
    service = spec()
    expected = PREDICTOR.predict(features, "one", service, None).cost_usd
    assert service.price is not None
    assert expected is not None
    assert expected <= features.most_usd(service.price) or math.isclose(expected, features.most_usd(service.price))

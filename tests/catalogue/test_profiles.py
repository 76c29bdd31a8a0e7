"""Kinds of work: which capabilities count for each, and how well a service fits."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import Profile, load, match, profile_for
from actors.coordinator.classifier import DOMAINS, classify
from schemas.errors import ConfigError
from schemas.service import ServiceSpec
from schemas.task import TaskRequest
from tests.catalogue.conftest import Overlaid

BUILT_IN = load().profiles
WEIGHS = {"quality": 0.5, "cost": 0.3, "latency": 0.2}


def profile(**capabilities: float) -> Profile:
    return Profile.model_validate({"why": "Because.", "capabilities": capabilities, "weighs": WEIGHS})


def service(**capabilities: float) -> ServiceSpec:
    return ServiceSpec(model="openai/x", capabilities=capabilities)


def test_there_are_twelve_profiles_each_with_its_reason_in_a_sentence() -> None:
    assert len(BUILT_IN) == 12
    assert all(one.why.endswith(".") and len(one.why) > 40 for one in BUILT_IN.values())
    assert len({one.why for one in BUILT_IN.values()}) == 12


def test_the_weights_of_each_profile_sum_to_one() -> None:
    for one in BUILT_IN.values():
        assert math.fsum(one.capabilities.values()) == pytest.approx(1)
        assert one.weighs.quality + one.weighs.cost + one.weighs.latency == pytest.approx(1)


def test_no_two_profiles_are_the_same_under_different_names() -> None:
    assert len({str((one.capabilities, one.weighs)) for one in BUILT_IN.values()}) == 12


def test_every_capability_that_a_profile_names_has_a_score_in_every_chat_service() -> None:
    scored = [set(spec.capabilities) for spec in load().services.values() if spec.kind == "chat"]
    for one in BUILT_IN.values():
        assert all(set(one.capabilities) <= capabilities for capabilities in scored)


def test_every_trade_that_the_classifier_knows_has_a_profile() -> None:
    for domain in DOMAINS:
        # "none" is a trade that nobody knows, so it decides nothing
        assert profile_for([domain]) == profile_for(["none", domain]) in BUILT_IN


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        (("architecture",), "architecture"),
        (("privacy", "legal"), "security"),
        (("mathematics",), "reasoning"),
        (("code", "security"), "code"),
        (("security", "code"), "security"),
        (("design",), "marketing"),
        (("documentation",), "writing"),
        (("finance",), "data"),
        ((), "writing"),
        (("alchemy",), "writing"),
    ],
)
def test_the_weightiest_trade_decides_the_profile(domains: tuple[str, ...], expected: str) -> None:
    assert profile_for(domains) == expected


def test_a_prompt_finds_its_profile_through_the_classifier() -> None:
    def of(prompt: str) -> str:
        return profile_for(classify(TaskRequest(prompt=prompt)).domains)

    assert of("Write a Python function that parses a csv and unit-test it") == "code"
    assert of("Slogans for a luxury brand campaign on social media") == "marketing"
    assert of("Hello there") == "writing"


@given(st.lists(st.sampled_from([*DOMAINS, "alchemy", ""]), max_size=6))
def test_whatever_the_trades_the_profile_is_one_of_ours(domains: list[str]) -> None:
    assert profile_for(domains) in BUILT_IN


def test_a_match_is_the_weighted_score() -> None:
    assert match(profile(code=0.75, reasoning=0.25), service(code=0.8, reasoning=0.4)) == pytest.approx(0.7)


def test_a_capability_without_a_score_counts_as_the_general_one_and_without_that_as_nothing() -> None:
    wanted = profile(code=0.5, translation=0.5)
    assert match(wanted, service(code=0.8, general=0.6)) == pytest.approx(0.7)
    assert match(wanted, service(code=0.8)) == pytest.approx(0.4)
    assert match(wanted, service()) == 0
    # A score of 0 is a statement, not a gap
    assert match(profile(vision=1), service(vision=0, general=0.9)) == 0


scores = st.dictionaries(st.sampled_from(["general", "code", "writing", "vision"]), st.floats(0, 1))
weights = st.dictionaries(st.sampled_from(["code", "writing", "vision", "data"]), st.integers(1, 100), min_size=1)


@given(scores, weights, st.sampled_from(["general", "code", "writing", "vision"]), st.floats(0, 1))
def test_a_match_is_a_fraction_and_no_better_score_lowers_it(
    given_scores: dict[str, float], raw: dict[str, int], better: str, by: float
) -> None:
    # Given any profile and any service
    wanted = profile(**{name: weight / sum(raw.values()) for name, weight in raw.items()})
    before = match(wanted, service(**given_scores))
    assert 0 <= before <= 1
    # When the service becomes better at something that it has a score for
    if better in given_scores:
        improved = {**given_scores, better: max(given_scores[better], by)}
        # Then it fits no worse
        assert match(wanted, service(**improved)) >= before - 1e-12


def test_what_cannot_see_is_no_match_for_pictures() -> None:
    services = load().services
    assert match(BUILT_IN["vision"], services["groq"]) < 0.2 < match(BUILT_IN["vision"], services["gemini-flash"])


def test_a_painter_is_no_match_for_any_of_our_kinds_of_work() -> None:
    painter = load().services["openai-images"]
    assert all(match(one, painter) == 0 for one in BUILT_IN.values())


def test_an_overlay_replaces_the_fields_it_names_and_adds_profiles(overlaid: Overlaid, overlay: Path) -> None:
    # Given an overlay that changes one of ours and adds another
    catalogue = overlaid(
        "profiles:\n"
        "  code: {weighs: {quality: 0.2, cost: 0.7, latency: 0.1}}\n"
        "  poems: {why: They rhyme., capabilities: {poetry: 1}, weighs: {quality: 1, cost: 0, latency: 0}}\n"
    )
    # Then ours keeps what is not named
    assert catalogue.profiles["code"].capabilities == BUILT_IN["code"].capabilities
    assert catalogue.profiles["code"].weighs.cost == 0.7
    # And the other is there
    assert catalogue.profiles["poems"].capabilities == {"poetry": 1}
    assert len(catalogue.profiles) == 13


def test_a_mistake_in_a_profile_stops_the_start(overlay: Path) -> None:
    overlay.write_text("profiles: {code: {capabilities: {code: 0.5}}}")
    with pytest.raises(ConfigError) as caught:
        load(overlay)
    rule = "the weights sum to 0.5; they must sum to 1"
    assert str(caught.value) == f"{overlay}: profiles.code.capabilities: {rule}"


def test_thirds_are_close_enough_to_a_whole() -> None:
    assert match(profile(a=0.3333333, b=0.3333333, c=0.3333333), service(general=1)) == pytest.approx(1)
    assert match(profile(a=0.3333334, b=0.3333334, c=0.3333334), service(general=1)) == 1

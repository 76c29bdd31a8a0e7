"""The overlay's section `budgets`: what it says is what counts, and every mistake is named."""

import pytest

from actors.catalogue import load
from schemas.budget import Budget, Budgets
from tests.catalogue.conftest import MY_MODEL, Overlaid, Refused


def test_without_an_overlay_nothing_is_limited() -> None:
    assert load().budgets == Budgets()


def test_an_overlay_without_the_section_limits_nothing(overlaid: Overlaid) -> None:
    assert overlaid(MY_MODEL).budgets == Budgets()
    assert overlaid("budgets:").budgets == Budgets()


def test_budgets_are_read_as_they_are_written(overlaid: Overlaid) -> None:
    budgets = overlaid("""
budgets:
  day: {usd: 20, tokens: 5_000_000}
  services:
    claude-opus: {usd: 5}
  keys:
    ci: {usd: 0.5}
    laptop: {tokens: 1000}
""").budgets
    assert budgets == Budgets(
        day=Budget(usd=20, tokens=5_000_000),
        services={"claude-opus": Budget(usd=5)},
        keys={"ci": Budget(usd=0.5), "laptop": Budget(tokens=1000)},
    )


def test_a_service_of_the_same_overlay_may_have_a_budget(overlaid: Overlaid) -> None:
    budgets = overlaid(MY_MODEL + "budgets: {services: {my-model: {usd: 1}}}").budgets
    assert budgets.services == {"my-model": Budget(usd=1)}


def test_a_budget_of_nothing_is_a_budget(overlaid: Overlaid) -> None:
    assert overlaid("budgets: {day: {usd: 0}}").budgets.day == Budget(usd=0)


NOT_NEGATIVE = "must be greater than or equal to 0"


@pytest.mark.parametrize(
    ("text", "key", "rule"),
    [
        ("budgets: [1]", "budgets", "must be a mapping"),
        ("budgets: {dya: {usd: 1}}", "budgets.dya", "unknown key; did you mean 'day'?"),
        ("budgets: {1: {usd: 1}}", "budgets.1", "unknown key; there are day, keys, services"),
        ("budgets: {day: 20}", "budgets.day", "must be a mapping"),
        ("budgets: {day: }", "budgets.day", "states no limit; give usd, tokens or both"),
        ("budgets: {day: {usd: null}}", "budgets.day", "states no limit; give usd, tokens or both"),
        ("budgets: {day: {us: 20}}", "budgets.day.us", "unknown key; did you mean 'usd'?"),
        ("budgets: {day: {usd: -1}}", "budgets.day.usd", NOT_NEGATIVE),
        ("budgets: {day: {usd: .inf}}", "budgets.day.usd", "must be a finite number"),
        ("budgets: {day: {usd: .nan}}", "budgets.day.usd", "must be a finite number"),
        ("budgets: {day: {usd: true}}", "budgets.day.usd", "must be a number, not true or false"),
        ("budgets: {day: {usd: 1e30}}", "budgets.day.usd", "must be less than or equal to 1000000000"),
        ("budgets: {day: {tokens: -1}}", "budgets.day.tokens", NOT_NEGATIVE),
        (
            "budgets: {day: {tokens: 1.5}}",
            "budgets.day.tokens",
            "must be a valid integer, got a number with a fractional part",
        ),
        ("budgets: {services: [a]}", "budgets.services", "must be a mapping"),
        (
            "budgets: {services: {claude-opsu: {usd: 1}}}",
            "budgets.services.claude-opsu",
            "there is no such service; did you mean 'claude-opus'?",
        ),
        ("budgets: {services: {claude-opus: 5}}", "budgets.services.claude-opus", "must be a mapping"),
        (
            "budgets: {services: {claude-opus: {dollars: 5}}}",
            "budgets.services.claude-opus.dollars",
            "unknown key; there are tokens, usd",
        ),
        ("budgets: {keys: {1: {usd: 1}}}", "budgets.keys.1", "a name must be text; put it in quotes"),
        ("budgets: {keys: {ci: {usd: cheap}}}", "budgets.keys.ci.usd", "must be a valid number, unable to parse"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_rule(refused: Refused, text: str, key: str, rule: str) -> None:
    error = refused(text)
    assert error.key == key
    assert error.rule.startswith(rule)


def test_a_keys_id_that_cannot_be_part_of_a_subject_is_refused(refused: Refused) -> None:
    assert refused("budgets: {keys: {'my key': {usd: 1}}}").key == "budgets.keys.my key"

"""When what failed is tried again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.webhooks.schedule import JITTER, LONGEST_WAIT_S, SCHEDULE_S, Outcome, retry_after_s, wait_s

FAILED = Outcome(500)
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_the_schedule_is_the_one_that_the_specification_gives_as_an_example() -> None:
    hours = [round(seconds / 3600, 4) for seconds in accumulate(SCHEDULE_S)]
    assert hours == [0.0014, 0.0847, 0.5847, 2.5847, 7.5847, 17.5847, 31.5847, 51.5847, 75.5847]


@given(st.integers(1, len(SCHEDULE_S)), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_the_schedules_and_a_little_more(made: int, chance: float) -> None:
    waited = wait_s(made, FAILED, chance=lambda: chance)
    assert waited is not None
    assert SCHEDULE_S[made - 1] <= waited <= SCHEDULE_S[made - 1] * (1 + JITTER)


@given(st.integers(len(SCHEDULE_S) + 1, 1000), st.none() | st.floats(0, 1e9))
def test_after_the_last_attempt_there_is_no_other(made: int, asked_s: float | None) -> None:
    assert wait_s(made, Outcome(429, retry_after_s=asked_s)) is None


@given(st.integers(1, len(SCHEDULE_S)), st.floats(0, 1e12), st.sampled_from([429, 503]))
def test_what_a_receiver_asks_for_is_waited_but_no_longer_than_a_day(made: int, asked_s: float, status: int) -> None:
    waited = wait_s(made, Outcome(status, retry_after_s=asked_s), chance=lambda: 0.0)
    assert waited == max(SCHEDULE_S[made - 1], min(asked_s, LONGEST_WAIT_S))


def test_only_those_who_are_busy_may_ask_for_a_wait() -> None:
    assert wait_s(1, Outcome(500, retry_after_s=600), chance=lambda: 0.0) == SCHEDULE_S[0]


@given(st.integers(0, 10**15))
def test_seconds_are_read(seconds: int) -> None:
    assert retry_after_s(f" {seconds} ") == float(seconds)


@given(st.integers(-(10**6), 10**6))
def test_a_date_is_read_as_the_seconds_until_then(seconds: int) -> None:
    asked = format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_s(asked, NOON) == max(0.0, float(seconds))


@given(st.text())
def test_any_text_is_seconds_or_nothing(text: str) -> None:
    found = retry_after_s(text, NOON)
    assert found is None or found >= 0


@pytest.mark.parametrize("header", [None, "", "soon", "-5", "1.5", "٣", "Mon, 99 Foo 2026"])
def test_what_says_nothing_usable_asks_for_nothing(header: str | None) -> None:
    assert retry_after_s(header) is None


@pytest.mark.parametrize(
    ("outcome", "succeeded", "gone", "reason"),
    [
        (Outcome(200), True, False, None),
        (Outcome(299), True, False, None),
        (
            Outcome(300),
            False,
            False,
            "it answered 300; redirects are not followed, so give the address that it leads to",
        ),
        (Outcome(410), False, True, "it answered 410"),
        (Outcome(500), False, False, "it answered 500"),
        (Outcome(199), False, False, "it answered 199"),
        (Outcome(error="no connection"), False, False, "no connection"),
    ],
)
def test_what_an_answer_means(outcome: Outcome, succeeded: bool, gone: bool, reason: str | None) -> None:
    assert (outcome.succeeded, outcome.gone, outcome.reason) == (succeeded, gone, reason)

"""How often a key may come."""

from hypothesis import given
from hypothesis import strategies as st

from serve.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.at = 50.0

    def __call__(self) -> float:
        return self.at


def test_what_is_left_is_told_and_when_there_will_be_more() -> None:
    clock = Clock()
    rates = Rates(clock)
    first, clock.at = rates.count("ci", 2), clock.at + 10
    second = rates.count("ci", 2)
    refused = rates.count("ci", 2)
    assert [(rate.left, rate.wait_s) for rate in (first, second, refused)] == [(1, 0), (0, 0), (0, 51)]
    assert (first.reset_s, second.reset_s, refused.reset_s) == (61, 51, 51)
    clock.at += 51
    assert (rates.count("ci", 2).wait_s, rates.count("ci", 2).wait_s > 0) == (0, True)


def test_each_key_has_its_own_minute_and_a_new_limit_begins_anew() -> None:
    rates = Rates(Clock())
    assert [rates.count(key, 1).wait_s > 0 for key in ("a", "b", "a", "b")] == [False, False, True, True]
    assert rates.count("a", 5).left == 4


def test_the_headers_say_it_in_whole_numbers() -> None:
    assert Rates(Clock()).count("ci", 600).headers == [
        (b"ratelimit-limit", b"600"),
        (b"ratelimit-remaining", b"599"),
        (b"ratelimit-reset", b"61"),
    ]


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.integers(1, 8))
def test_no_minute_has_more_requests_than_the_limit(pauses: list[float], rpm: int) -> None:
    clock, counted = Clock(), list[float]()
    rates = Rates(clock)
    for pause in pauses:
        clock.at += pause
        if not rates.count("ci", rpm).wait_s:
            counted.append(clock.at)
    for begin in counted:
        assert sum(begin <= at < begin + 60 for at in counted) <= rpm

import pytest

from actors.selection import LatestFigures
from tests.selection.doubles import said, seen


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def latest(clock: Clock) -> LatestFigures:
    return LatestFigures(stale_s=5.0, clock=clock)


def test_before_any_gateway_speaks_nothing_is_known(latest: LatestFigures) -> None:
    assert latest.now() == {}


def test_the_last_word_of_a_gateway_counts(latest: LatestFigures) -> None:
    # Given a gateway that speaks twice
    latest.heard(said(seen("one", calls=1), seen("two")))
    latest.heard(said(seen("one", calls=2)))
    # Then the second stands, for all that it says and leaves out
    assert {name: figures.calls for name, figures in latest.now().items()} == {"one": 2}


def test_what_several_gateways_say_is_added_up(latest: LatestFigures) -> None:
    # Given two gateways, looked at between their words
    latest.heard(said(seen("one", calls=3, errors=1), gateway="gateway-1"))
    assert latest.now()["one"].calls == 3
    latest.heard(said(seen("one", calls=7, errors=1), gateway="gateway-2"))
    # Then a service is what both see of it
    assert (latest.now()["one"].calls, latest.now()["one"].error_rate) == (10, 0.2)


def test_a_gateway_that_has_gone_silent_no_longer_counts(latest: LatestFigures, clock: Clock) -> None:
    # Given two gateways, of which one goes on speaking
    latest.heard(said(seen("one", calls=3), gateway="gateway-1"))
    clock.now += 4
    latest.heard(said(seen("one", calls=7), gateway="gateway-2"))
    assert latest.now()["one"].calls == 10
    # When the other has been silent for longer than its word holds, and then both have
    clock.now += 2
    one_left = latest.now()
    clock.now += 60
    # Then first its word goes, then all of it
    assert one_left["one"].calls == 7
    assert latest.now() == {}

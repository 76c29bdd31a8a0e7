"""A breaker keeps calls away from who fails, tries again with one, and always finds back."""

import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.gateway.breaker import Breaker, BreakerPolicy, Change, Outcome, Resting
from tests.gateway.virtual import Clock

STEADY = BreakerPolicy(jitter=0.0)
OUTCOMES: list[Outcome] = ["answered", "failed", "denied", "refused", "limited", "outrun", "cancelled"]


class Bench:
    def __init__(self, policy: BreakerPolicy = STEADY) -> None:
        self.clock = Clock()
        self.changes: list[Change] = []
        self.breaker = Breaker(self.clock, self.changes.append, policy, random.Random(1).random)

    def call(self, *outcomes: Outcome, every_s: float = 0.0) -> None:
        for outcome in outcomes:
            self.breaker.leave(self.breaker.enter(), outcome, "HTTP 503")
            self.clock.now += every_s

    def opened(self) -> "Bench":
        self.call(*["failed"] * 5)
        assert self.breaker.state == "open"
        return self

    def tried_again(self) -> int:
        """The one call that is let in after the rest."""
        self.clock.now += self.breaker.retry_after_s or 0.0
        return self.breaker.enter()


# -- opening -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every_s", [0.0, 1.0, 120.0])
def test_five_failures_in_a_row_open_it_however_slowly_they_come(every_s: float) -> None:
    bench = Bench()
    bench.call(*["failed"] * 4, every_s=every_s)
    assert bench.breaker.state == "closed"
    bench.call("failed")
    assert bench.breaker.state == "open"


def test_half_of_the_last_calls_failing_opens_it() -> None:
    bench = Bench()
    bench.call(*["answered", "failed"] * 4, "answered", every_s=1)
    assert bench.breaker.state == "closed"
    bench.call("failed")
    assert bench.breaker.state == "open"


def test_a_smaller_share_of_failures_does_not() -> None:
    bench = Bench()
    bench.call(*["failed", "answered", "answered"] * 30, every_s=0.1)
    assert bench.breaker.state == "closed"


def test_failures_of_another_time_do_not() -> None:
    bench = Bench()
    bench.call(*["failed", "answered"] * 20, every_s=10)
    assert bench.changes == []


def test_a_key_that_is_not_accepted_opens_it_at_once() -> None:
    bench = Bench()
    bench.breaker.leave(bench.breaker.enter(), "denied", "HTTP 401")
    assert bench.breaker.state == "open"
    assert bench.breaker.reason == "HTTP 401"


@pytest.mark.parametrize("outcome", ["refused", "limited", "outrun", "cancelled"])
def test_what_says_nothing_about_the_service_never_opens_it(outcome: Outcome) -> None:
    bench = Bench()
    bench.call(*[outcome] * 100)
    assert bench.breaker.state == "closed"


# -- open ----------------------------------------------------------------------------------------------------------


def test_while_it_is_open_nobody_enters_and_everybody_hears_why_and_when() -> None:
    bench = Bench().opened()
    with pytest.raises(Resting, match="left alone: HTTP 503; again in 2 s") as resting:
        bench.breaker.enter()
    assert resting.value.retry_after_s == 2


def test_outcomes_of_calls_from_before_it_opened_change_nothing() -> None:
    bench = Bench()
    old = [bench.breaker.enter() for _ in range(10)]
    bench.opened()
    # Given the one call that tries again
    probe = bench.tried_again()
    # When old calls end, well or badly
    for entered, outcome in zip(old, ["answered", "failed"] * 5, strict=True):
        bench.breaker.leave(entered, outcome)  # type: ignore[arg-type]
    # Then it still waits for the one
    assert bench.breaker.state == "half_open"
    assert bench.breaker.refusal() is not None
    bench.breaker.leave(probe, "answered")
    assert bench.breaker.state == "closed"


def test_each_time_it_opens_anew_it_rests_twice_as_long_up_to_two_minutes() -> None:
    bench = Bench().opened()
    rests = [bench.breaker.retry_after_s]
    for _ in range(8):
        bench.breaker.leave(bench.tried_again(), "failed")
        rests.append(bench.breaker.retry_after_s)
    assert rests == pytest.approx([2, 4, 8, 16, 32, 64, 120, 120, 120])


def test_one_that_fails_again_soon_after_it_closed_rests_longer_too() -> None:
    bench = Bench().opened()
    bench.breaker.leave(bench.tried_again(), "answered")
    bench.opened()
    assert bench.breaker.retry_after_s == 4


def test_one_that_held_for_as_long_as_it_had_rested_begins_anew() -> None:
    bench = Bench().opened()
    bench.breaker.leave(bench.tried_again(), "answered")
    bench.clock.now += 2
    bench.opened()
    assert bench.breaker.retry_after_s == 2


def test_rests_differ_a_little_between_gateways() -> None:
    rests = set()
    for seed in range(50):
        breaker = Breaker(Clock(), rng=random.Random(seed).random)
        breaker.leave(breaker.enter(), "denied")
        rests.add(breaker.retry_after_s)
    assert len(rests) == 50
    assert all(rest is not None and 1.6 <= rest <= 2.4 for rest in rests)


# -- half open -----------------------------------------------------------------------------------------------------


def test_after_the_rest_exactly_one_may_try() -> None:
    bench = Bench().opened()
    bench.tried_again()
    with pytest.raises(Resting, match="being tried again: HTTP 503") as resting:
        bench.breaker.enter()
    assert resting.value.retry_after_s is None


def test_to_look_whether_one_may_try_is_not_to_try() -> None:
    bench = Bench().opened()
    bench.clock.now += 2
    assert [bench.breaker.refusal() for _ in range(3)] == [None, None, None]
    bench.breaker.enter()


@pytest.mark.parametrize("outcome", ["answered", "refused", "limited"])
def test_any_answer_to_the_one_closes_it(outcome: Outcome) -> None:
    bench = Bench().opened()
    bench.breaker.leave(bench.tried_again(), outcome)
    assert (bench.breaker.state, bench.breaker.reason, bench.breaker.refusal()) == ("closed", None, None)


@pytest.mark.parametrize("outcome", ["cancelled", "outrun"])
def test_when_the_one_is_cancelled_the_next_may_try(outcome: Outcome) -> None:
    bench = Bench().opened()
    bench.breaker.leave(bench.tried_again(), outcome)
    assert bench.breaker.state == "half_open"
    bench.breaker.leave(bench.breaker.enter(), "answered")
    assert bench.breaker.state == "closed"


def test_each_change_is_told_once_with_its_reason() -> None:
    bench = Bench().opened()
    bench.breaker.leave(bench.tried_again(), "failed", "HTTP 500")
    bench.breaker.leave(bench.tried_again(), "answered")
    assert bench.changes == [
        Change("closed", "open", "HTTP 503", 2),
        Change("open", "half_open", "HTTP 503"),
        Change("half_open", "open", "HTTP 500", 4),
        Change("open", "half_open", "HTTP 500"),
        Change("half_open", "closed", "it was answered again"),
    ]


# -- whatever happens ----------------------------------------------------------------------------------------------


class AnyLife(RuleBasedStateMachine):
    """Calls come, end in any order and in any way, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.states: list[Change] = []
        self.breaker = Breaker(self.clock, self._changed, rng=random.Random(0).random)
        self.under_way: list[int] = []
        self.probe: int | None = None
        self.opens_until = 0.0

    def _changed(self, change: Change) -> None:
        # Then each change begins where the one before it ended
        assert change.before == (self.states[-1].after if self.states else "closed")
        assert change.before != change.after
        self.states.append(change)
        if change.after == "open":
            assert change.retry_after_s is not None
            # And a rest is at least the first and at most the longest, give or take a fifth
            assert 1.6 <= change.retry_after_s <= 144
            self.opens_until = self.clock.now + change.retry_after_s

    @property
    def state(self) -> str:
        return self.states[-1].after if self.states else "closed"

    @rule()
    def somebody_comes(self) -> None:
        was = self.state
        try:
            entered = self.breaker.enter()
        except Resting:
            # Then nobody is turned away from a closed one
            assert was != "closed"
            return
        if was != "closed":
            # And nobody enters an open one, and never two a half open one
            assert self.clock.now >= self.opens_until
            assert self.probe is None
            self.probe = entered
        self.under_way.append(entered)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def somebody_leaves(self, data: st.DataObject, outcome: Outcome) -> None:
        entered = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        if entered == self.probe:
            self.probe = None
        self.breaker.leave(entered, outcome, "it broke")

    @rule(seconds=st.floats(0, 200))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def many_fail(self) -> None:
        for _ in range(5):
            if self.breaker.refusal() is None and self.state == "closed":
                self.breaker.leave(self.breaker.enter(), "failed", "it broke")

    @invariant()
    def it_says_what_it_does(self) -> None:
        closed = self.breaker.state == "closed"
        assert closed == (self.breaker.reason is None)
        if closed or (self.breaker.state == "half_open" and self.probe is None):
            assert self.breaker.refusal() is None
        else:
            assert self.breaker.refusal() is not None

    def teardown(self) -> None:
        # Then, whatever happened: once those under way have ended and its rest is over, one good answer closes it
        for entered in self.under_way:
            self.breaker.leave(entered, "cancelled")
        self.clock.now += 144
        self.breaker.leave(self.breaker.enter(), "answered")
        assert self.breaker.state == "closed"


TestAnyLife = AnyLife.TestCase

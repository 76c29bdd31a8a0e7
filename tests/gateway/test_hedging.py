"""A hedge: the first answer counts, the other call is cancelled, and both have ended when it is over."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from actors.gateway.hedging import race
from tests.gateway.virtual import clock, run


class Call:
    """Takes some seconds and then answers or fails; tells what became of it."""

    def __init__(self, seconds: float, outcome: str | Exception = "an answer", dies_s: float = 0.0) -> None:
        """`dies_s`: seconds that it needs to end when it is cancelled."""
        self.seconds, self.outcome, self.dies_s = seconds, outcome, dies_s
        self.began_at: float | None = None
        self.cancelled_at: float | None = None

    async def __call__(self) -> str:
        self.began_at = clock()
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            await asyncio.sleep(self.dies_s)
            self.cancelled_at = clock()
            raise
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def hedge(first: Call, after_s: float, second: Callable[[], Coroutine[Any, Any, str] | None]) -> Any:
    async def story() -> Any:
        return *(await race(first(), after_s, second)), clock()

    return run(story())


def test_a_call_that_is_fast_enough_is_made_once() -> None:
    second = Call(1)
    first, hedged, at = hedge(Call(3), 5, second)
    assert (first.value, hedged, at) == ("an answer", None, 3)
    assert second.began_at is None


def test_a_call_that_takes_too_long_is_made_again_and_the_faster_counts() -> None:
    slow, fast = Call(60), Call(2, "a fast answer")
    first, hedged, at = hedge(slow, 5, fast)
    assert fast.began_at == 5
    assert (hedged.value, at) == ("a fast answer", 7)
    # And the slow one was cancelled at once
    assert (first.outrun, slow.cancelled_at) == (True, 7)


def test_the_first_counts_if_it_is_faster_after_all() -> None:
    second = Call(60)
    first, hedged, at = hedge(Call(6), 5, second)
    assert (first.value, at) == ("an answer", 6)
    assert (hedged.outrun, second.cancelled_at) == (True, 6)


def test_of_two_that_answer_at_the_same_moment_one_counts() -> None:
    first, hedged, _ = hedge(Call(7), 5, Call(2, "another"))
    assert [first.value, hedged.value].count(None) == 1


def test_one_that_fails_soon_is_left_to_a_retry() -> None:
    error, second = ValueError("no"), Call(1)
    first, hedged, at = hedge(Call(1, error), 5, second)
    assert (first.error, hedged, at, second.began_at) == (error, None, 1, None)


@pytest.mark.parametrize(("first_s", "second_s"), [(6, 9), (60, 1)])
def test_of_two_that_run_one_that_fails_leaves_it_to_the_other(first_s: float, second_s: float) -> None:
    error = ValueError("no")
    first_fails = first_s < second_s
    one = Call(first_s, error if first_fails else "an answer")
    other = Call(second_s, "an answer" if first_fails else error)
    first, hedged, _ = hedge(one, 5, other)
    assert (hedged.value if first_fails else first.value) == "an answer"
    assert (first.error if first_fails else hedged.error) is error


def test_when_both_fail_both_errors_are_told() -> None:
    errors = ValueError("one"), ValueError("other")
    first, hedged, _ = hedge(Call(6, errors[0]), 5, Call(2, errors[1]))
    assert (first.error, hedged.error) == errors


def test_there_is_no_hedge_where_the_second_is_not_to_be() -> None:
    first, hedged, at = hedge(Call(60), 5, lambda: None)
    assert (first.value, hedged, at) == ("an answer", None, 60)


@pytest.mark.parametrize("at_s", [2, 8])
def test_cancelling_the_race_ends_whoever_runs_in_it(at_s: float) -> None:
    one, other = Call(60, dies_s=3), Call(60, dies_s=1)

    async def story() -> None:
        racing = asyncio.create_task(race(one(), 5, other))
        await asyncio.sleep(at_s)
        racing.cancel()
        await asyncio.sleep(1)
        racing.cancel()  # and impatience changes nothing
        with pytest.raises(asyncio.CancelledError):
            await racing
        assert clock() == at_s + 3

    run(story())
    assert one.cancelled_at == at_s + 3
    assert other.cancelled_at == (None if at_s < 5 else at_s + 1)


def test_a_cancellation_is_not_lost_while_the_loser_ends() -> None:
    async def story() -> None:
        racing = asyncio.create_task(race(Call(60, dies_s=3)(), 5, Call(1)))
        # Given a race that is won, whose loser takes a while to end
        await asyncio.sleep(7)
        # When it is cancelled
        racing.cancel()
        # Then it raises, once the loser has ended
        with pytest.raises(asyncio.CancelledError):
            await racing
        assert clock() == 9

    run(story())

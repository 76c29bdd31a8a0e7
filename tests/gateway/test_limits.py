"""The limits of a service: never more than allowed, in the order of coming, and nobody waits for longer than said."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.gateway.limits import LONGEST_PAUSE_S, MAX_WAITING, AtLimit, Limiter, Place, Window
from schemas.service import Limits
from tests.gateway.virtual import Clock, clock, run

LATER_S = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 30.0, 58.3, 59.2, 59.999, 60.0, 61.0]) | st.floats(0, 90)
MOMENTS = st.lists(st.tuples(LATER_S, st.integers(0, 12)), max_size=40)
"""How long after the one before, and how many units."""


def limiter(gateways: int = 1, **limits: int) -> Limiter:
    return Limiter(Limits(**limits), gateways, clock)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# -- any 60 seconds ------------------------------------------------------------------------------------------------


@given(limit=st.integers(1, 20), asked=MOMENTS, start=st.floats(0, 1e6))
@example(limit=1, asked=[(0.0, 1), (59.2, 1)], start=0.9)
def test_no_60_seconds_hold_more_than_the_limit(limit: int, asked: list[tuple[float, int]], start: float) -> None:
    # Given whoever asks at any moments for any amounts, and takes them when told that there is room
    window, now = Window(limit), start
    taken: list[tuple[float, int]] = []
    for later, units in asked:
        now += later
        if window.wait_s(now, units) <= 0:
            window.take(now, units)
            taken.append((now, units))
    # Then no 60 seconds, wherever they begin, hold more than the limit
    for begin, _ in taken:
        assert sum(units for at, units in taken if begin <= at < begin + 60) <= limit


@given(limit=st.integers(1, 20), asked=MOMENTS)
def test_after_the_wait_that_it_names_there_is_room(limit: int, asked: list[tuple[float, int]]) -> None:
    window, now = Window(limit), 0.0
    for later, wanted in asked:
        units = min(wanted, limit)
        now += later
        # When the wait is over
        wait_s = window.wait_s(now, units)
        now += wait_s + 1e-6
        # Then there is room, and it was at most a minute and the rest of a second
        assert window.wait_s(now, units) == 0
        assert wait_s <= 61
        window.take(now, units)


@given(asked=MOMENTS)
def test_a_window_remembers_61_seconds_at_most(asked: list[tuple[float, int]]) -> None:
    window, now = Window(10**9), 0.0
    for later, units in asked:
        now += later / 60
        window.take(now, units)
        window.left(now)
        assert len(window._seconds) <= 61


def test_a_line_that_wants_several_limits_waits_a_minute_for_each_further_one() -> None:
    window = Window(10)
    assert [window.wait_s(0.0, units) for units in (10, 11, 20, 21, 35)] == [0, 60, 60, 120, 180]


# -- room or none --------------------------------------------------------------------------------------------------


def test_a_service_without_limits_lets_everybody_in_at_once() -> None:
    async def story() -> None:
        free = limiter()
        for _ in range(10_000):
            await free.enter(10**9)
        assert (free.requests_left, free.tokens_left, free.places_left) == (None, None, None)

    run(story())


def test_whoever_would_wait_longer_than_it_will_is_told_at_once_when_there_is_room() -> None:
    async def story() -> None:
        service = limiter(rpm=2)
        for _ in range(2):
            await service.enter()
        # When a third comes that would wait for 10 seconds
        with pytest.raises(AtLimit, match=r"at its limit of 2 requests a minute; again in 61 s") as full:
            await service.enter(patience_s=10)
        # Then it hears at once that the wait is a minute
        assert clock() == 0
        assert full.value.retry_after_s == 61

    run(story())


def test_whoever_will_wait_gets_the_room_as_soon_as_there_is_any() -> None:
    async def story() -> None:
        service = limiter(rpm=2)
        for _ in range(2):
            await service.enter()
        await service.enter(patience_s=100)
        assert clock() == pytest.approx(61)

    run(story())


def test_tokens_that_were_not_needed_are_room_for_others() -> None:
    async def story() -> None:
        service = limiter(tpm=1000)
        # Given a call that was estimated at all that there is, and another that waits
        place = await service.enter(1000)
        waiting = asyncio.create_task(service.enter(900, patience_s=100))
        await settle()
        assert not waiting.done()
        # When the first turns out to have taken a tenth
        place.leave(100)
        await waiting
        # Then the other had to wait for nothing else
        assert clock() == 0
        assert service.tokens_left == 0

    run(story())


def test_tokens_beyond_the_estimate_count_too() -> None:
    async def story() -> None:
        service = limiter(tpm=1000)
        (await service.enter(10)).leave(700)
        assert service.tokens_left == 300

    run(story())


def test_an_estimate_stands_where_nobody_knows_better() -> None:
    async def story() -> None:
        service = limiter(tpm=1000)
        (await service.enter(400)).leave(None)
        assert service.tokens_left == 600

    run(story())


def test_a_call_larger_than_the_whole_limit_is_told_that_it_never_fits() -> None:
    async def story() -> None:
        with pytest.raises(AtLimit, match="1,001 tokens never fit") as full:
            await limiter(tpm=1000).enter(1001, patience_s=1e6)
        assert (full.value.ever, full.value.retry_after_s) == (False, None)

    run(story())


def test_a_place_given_back_unused_counts_as_never_taken() -> None:
    async def story() -> None:
        service = limiter(rpm=1, tpm=10, concurrency=1)
        (await service.enter(10)).give_back()
        assert (service.requests_left, service.tokens_left, service.places_left) == (1, 10, 1)

    run(story())


def test_leaving_twice_is_leaving_once() -> None:
    async def story() -> None:
        service = limiter(tpm=100, concurrency=2)
        place = await service.enter(50)
        await service.enter(0)
        place.leave(10)
        place.leave(10)
        place.give_back()
        assert (service.places_left, service.tokens_left) == (1, 90)

    run(story())


def test_who_finds_all_places_taken_hears_how_long_they_have_lately_been_held() -> None:
    async def story() -> None:
        service = limiter(concurrency=2)
        place = await service.enter()
        await asyncio.sleep(8)
        place.leave()
        for _ in range(2):
            await service.enter()
        with pytest.raises(AtLimit, match="at its limit of 2 calls at once") as full:
            await service.enter()
        assert full.value.retry_after_s == pytest.approx(4)

    run(story())


def test_when_nobody_knows_how_long_places_are_held_nobody_says_so() -> None:
    async def story() -> None:
        service = limiter(concurrency=1)
        await service.enter()
        with pytest.raises(AtLimit) as full:
            await service.enter(patience_s=3)
        assert (clock(), full.value.retry_after_s) == (3, None)

    run(story())


# -- several gateways ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "gateways", "share"),
    [
        ({"rpm": 100, "tpm": 1000, "concurrency": 8}, 4, (25, 250, 2)),
        ({"rpm": 10, "tpm": 10, "concurrency": 10}, 3, (3, 3, 4)),
        ({"rpm": 1, "tpm": 1, "concurrency": 1}, 8, (1, 1, 1)),
    ],
)
def test_of_several_gateways_each_takes_its_share(
    limits: dict[str, int], gateways: int, share: tuple[int, int, int]
) -> None:
    async def story() -> None:
        service = limiter(gateways, **limits)
        assert (service.requests_left, service.tokens_left, service.places_left) == share

    run(story())


def test_a_share_is_said_to_be_one() -> None:
    async def story() -> None:
        service = limiter(2, rpm=2)
        await service.enter()
        with pytest.raises(AtLimit, match="of 2 requests a minute, of which this gateway has one part in 2"):
            await service.enter()

    run(story())


# -- the line ------------------------------------------------------------------------------------------------------


@given(
    limits=st.fixed_dictionaries(
        {},
        optional={"rpm": st.integers(1, 30), "tpm": st.integers(10, 300), "concurrency": st.integers(1, 5)},
    ),
    calls=st.lists(
        st.tuples(st.floats(0, 30), st.integers(1, 10), st.floats(0, 200), st.floats(0, 40), st.integers(0, 10)),
        max_size=30,
    ),
)
def test_whatever_comes_the_limits_hold_the_order_holds_and_nobody_waits_longer_than_said(
    limits: dict[str, int], calls: Sequence[tuple[float, int, float, float, int]]
) -> None:
    """Calls: seconds after the one before, tokens, patience, how long it holds its place, tokens it really takes."""

    async def story() -> None:
        service = limiter(**limits)
        entered: list[tuple[int, float, int]] = []
        inside = 0

        async def call(number: int, tokens: int, patience_s: float, held_s: float, real: int) -> None:
            nonlocal inside
            came = clock()
            try:
                place = await service.enter(tokens, patience_s)
            except AtLimit:
                # Then nobody waits longer than it would
                assert clock() <= came + patience_s + 1e-6
                return
            assert clock() <= came + patience_s + 1e-6
            inside += 1
            # And never are more inside than may be
            assert inside <= limits.get("concurrency", inside)
            entered.append((number, clock(), min(tokens, real)))
            await asyncio.sleep(held_s)
            inside -= 1
            place.leave(min(tokens, real))

        async with asyncio.TaskGroup() as group:
            for number, (later, *rest) in enumerate(calls):
                await asyncio.sleep(later)
                group.create_task(call(number, *rest))
        # And whoever came first went in first
        numbers = [number for number, _, _ in entered]
        assert numbers == sorted(numbers)
        # And no 60 seconds hold more than the limits
        for _, begin, _ in entered:
            minute = [tokens for _, at, tokens in entered if begin <= at < begin + 60]
            assert len(minute) <= limits.get("rpm", len(minute))
            assert sum(minute) <= limits.get("tpm", sum(minute))
        assert (service.waiting, service._line_tokens, service._inside) == (0, 0, 0)

    run(story())


def test_a_small_call_does_not_pass_a_large_one_that_waits() -> None:
    async def story() -> None:
        service = limiter(tpm=100)
        await service.enter(60)
        # Given a large call that waits for room
        large = asyncio.create_task(service.enter(80, patience_s=100))
        await settle()
        # When a small one comes that there would be room for
        with pytest.raises(AtLimit):
            await service.enter(10)
        # Then it stands behind the large one
        small = asyncio.create_task(service.enter(10, patience_s=100))
        await large
        await small
        assert clock() == pytest.approx(61)

    run(story())


def test_when_the_head_of_the_line_gives_up_the_next_need_not_wait_for_it() -> None:
    async def story() -> None:
        service = limiter(tpm=100, concurrency=1)
        holder = await service.enter(60)
        # Given a large call at the head of the line, and a small one behind it
        large = asyncio.create_task(service.enter(100, patience_s=70))
        await settle()
        small = asyncio.create_task(service.enter(30, patience_s=200))
        await settle()
        # When the place is free again but not the tokens for the large one, and that one is cancelled
        holder.leave()
        large.cancel()
        # Then the small one goes in
        await small
        assert clock() == 0

    run(story())


def test_a_full_line_takes_nobody_else() -> None:
    async def story() -> None:
        service = limiter(concurrency=1)
        await service.enter()
        waiting = [asyncio.create_task(service.enter(patience_s=1000)) for _ in range(MAX_WAITING)]
        await settle()
        with pytest.raises(AtLimit, match="1,000 wait already"):
            await service.enter(patience_s=1000)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert service.waiting == 0

    run(story())


def test_whoever_is_cancelled_in_the_line_leaves_no_gap() -> None:
    async def story() -> None:
        service = limiter(concurrency=1)
        place = await service.enter()
        first, second = (asyncio.create_task(service.enter(patience_s=100)) for _ in range(2))
        await settle()
        first.cancel()
        place.leave()
        await second
        assert first.cancelled()
        assert service.places_left == 0

    run(story())


def test_whoever_is_cancelled_just_as_its_turn_comes_gives_the_place_to_the_next() -> None:
    async def story() -> None:
        service = limiter(concurrency=1, rpm=10)
        place = await service.enter()
        first, second = (asyncio.create_task(service.enter(patience_s=100)) for _ in range(2))
        await settle()
        # Given that the place was handed over, but the first in line has not noticed
        place.leave()
        first.cancel()
        # Then the second gets it, and only two requests were counted
        await second
        assert service.requests_left == 8

    run(story())


# -- pauses --------------------------------------------------------------------------------------------------------


def test_after_a_429_nobody_else_runs_into_the_same_wall() -> None:
    async def story() -> None:
        service = limiter()
        service.pause(20)
        with pytest.raises(AtLimit, match="it asked for a pause; again in 20 s"):
            await service.enter(patience_s=5)
        await service.enter(patience_s=30)
        assert clock() == pytest.approx(20)
        # And afterwards it is as if nothing had been
        assert await service.enter() is await service.enter()

    run(story())


def test_a_pause_tells_those_in_line_who_would_not_wait_so_long() -> None:
    async def story() -> None:
        service = limiter(concurrency=1)
        await service.enter()
        hasty = asyncio.create_task(service.enter(patience_s=10))
        await settle()
        service.pause(60)
        with pytest.raises(AtLimit, match="asked for a pause"):
            await hasty
        assert clock() == 0

    run(story())


def test_a_pause_of_unknown_length_doubles_until_something_is_answered() -> None:
    async def story() -> None:
        service = limiter()
        lengths = []
        for _ in range(8):
            service.pause()
            service.pause()  # an answer to what was asked before the pause changes nothing
            lengths.append(service.paused_s)
            await asyncio.sleep(service.paused_s)
        assert lengths == [1, 2, 4, 8, 16, 32, 60, 60]
        service.answered()
        service.pause()
        assert service.paused_s == 1

    run(story())


@pytest.mark.parametrize("asked", [float("inf"), 1e9])
def test_a_provider_that_asks_for_days_is_asked_again_after_an_hour(asked: float) -> None:
    service = Limiter(Limits(), clock=Clock())
    service.pause(asked)
    assert service.paused_s == LONGEST_PAUSE_S


@pytest.mark.parametrize("asked", [0.0, -1.0, float("nan")])
def test_a_pause_of_no_length_is_none(asked: float) -> None:
    service = Limiter(Limits(), clock=Clock())
    service.pause(asked)
    assert service.paused_s == 0


def test_a_limiter_refuses_nobody_for_a_place_that_is_free() -> None:
    async def story() -> list[Place]:
        service = limiter(rpm=5, tpm=50, concurrency=5)
        return [await service.enter(10) for _ in range(5)]

    assert len(run(story())) == 5

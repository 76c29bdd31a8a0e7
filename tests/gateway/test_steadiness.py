"""The way to a service: its breaker, then its limits, and what every visit leaves behind."""

import asyncio
from typing import Any

import pytest

from actors.gateway.breaker import Change, Resting
from actors.gateway.limits import AtLimit
from actors.gateway.steadiness import Lane, Steadiness, outcome_of
from schemas.errors import UpstreamError
from schemas.service import Limits, ServiceSpec
from tests.gateway.virtual import clock, run


def spec(**changed: Any) -> ServiceSpec:
    return ServiceSpec(**{"model": "openai/cheap-1", **changed})


def lane(**changed: Any) -> Lane:
    return Steadiness("gateway-a", clock=clock).lane("cheap", spec(**changed))


def failure(status: int | None = 503, **changed: Any) -> UpstreamError:
    return UpstreamError("cheap", f"HTTP {status}", again=True, status=status, **changed)


async def visit(way: Lane, took_s: float = 1.0, error: UpstreamError | None = None, given_s: float = 120.0) -> None:
    with await way.enter(100, 0) as entered:
        await asyncio.sleep(took_s)
        if error is None:
            entered.answered(60, 20)
        else:
            entered.failed(error, given_s)


# -- what a failure says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UpstreamError("s", "cannot be reached", again=True), "failed"),
        (UpstreamError("s", "no answer within 120 s", spent=None), "failed"),
        (UpstreamError("s", "no chat completion", again=True, spent=None), "failed"),
        (UpstreamError("s", "an image of the question is no base64"), "refused"),
        (failure(500), "failed"),
        (failure(529), "failed"),
        (failure(302), "failed"),
        (failure(408), "failed"),
        (failure(404), "failed"),
        (failure(401), "denied"),
        (failure(402), "denied"),
        (failure(403), "refused"),
        (failure(400), "refused"),
        (failure(422), "refused"),
        (failure(429), "limited"),
    ],
    ids=str,
)
def test_a_failure_tells_of_the_service_of_its_limits_or_of_the_question(error: UpstreamError, outcome: str) -> None:
    assert outcome_of(error) == outcome


# -- visits --------------------------------------------------------------------------------------------------------


def test_a_visit_leaves_its_figures() -> None:
    async def story() -> None:
        way = lane(limits=Limits(rpm=10, tpm=1000, concurrency=2))
        with await way.enter(100, 0) as entered:
            during = way.figures()
            await asyncio.sleep(2)
            entered.answered(60, 20)
        after = way.figures()
        # While it goes on
        assert (during.in_flight, during.places_left, during.calls, during.p50_ms) == (1, 1, 0, None)
        # And afterwards
        assert (after.in_flight, after.places_left, after.requests_left, after.tokens_left) == (0, 2, 9, 920)
        assert (after.calls, after.errors, after.error_rate, after.breaker) == (1, 0, 0.0, "closed")
        assert after.p50_ms == pytest.approx(2000, rel=0.02)
        assert after.ms_per_token == 100

    run(story())


def test_a_visit_that_ends_without_a_word_was_cancelled() -> None:
    async def story() -> None:
        way = lane(limits=Limits(concurrency=1))
        with pytest.raises(asyncio.CancelledError), await way.enter(0, 0):
            raise asyncio.CancelledError
        figures = way.figures()
        assert (figures.calls, figures.in_flight, figures.places_left) == (0, 0, 1)

    run(story())


def test_only_the_first_word_about_a_visit_counts() -> None:
    async def story() -> None:
        way = lane()
        with await way.enter(0, 0) as entered:
            entered.answered(1, 1)
            entered.failed(failure())
        assert (way.figures().calls, way.figures().errors) == (1, 0)

    run(story())


def test_a_failure_that_cost_nothing_gives_its_tokens_back_and_another_does_not() -> None:
    async def story() -> None:
        way = lane(limits=Limits(tpm=1000))
        await visit(way, error=failure(spent=False))
        assert way.figures().tokens_left == 1000
        await visit(way, error=failure(spent=None))
        assert way.figures().tokens_left == 900

    run(story())


# -- breaker and limits together -----------------------------------------------------------------------------------


def test_a_service_that_keeps_failing_is_left_alone_and_it_is_told() -> None:
    told: list[tuple[str, str, Change]] = []

    async def story() -> None:
        way = Steadiness("a", changed=lambda *change: told.append(change), clock=clock).lane("cheap", spec())
        for _ in range(5):
            await visit(way, error=failure())
        with pytest.raises(Resting):
            await way.enter(0, 60)
        figures = way.figures()
        assert (figures.breaker, figures.breaker_reason, figures.error_rate) == ("open", "HTTP 503", 1.0)
        assert figures.retry_after_s is not None

    run(story())
    assert [(service, model, change.after) for service, model, change in told] == [("cheap", "openai/cheap-1", "open")]


def test_whoever_waits_for_room_is_sent_away_as_soon_as_the_breaker_opens() -> None:
    async def story() -> None:
        way = lane(limits=Limits(rpm=5))
        # Given a service whose requests of this minute are all under way, and a call that waits for the next
        under_way = [await way.enter(0, 0) for _ in range(5)]
        waiting = asyncio.create_task(way.enter(0, 100))
        await asyncio.sleep(1)
        # When all of them fail
        for entered in under_way:
            entered.failed(failure())
        # Then it does not wait for the minute to end
        with pytest.raises(Resting, match="left alone: HTTP 503"):
            await waiting
        assert clock() == 1

    run(story())


def test_whoever_waited_for_room_while_the_breaker_opened_uses_no_room() -> None:
    async def story() -> None:
        way = lane(limits=Limits(concurrency=1, rpm=100))
        for _ in range(4):
            await visit(way, error=failure(), took_s=0)
        with await way.enter(0, 0) as entered:
            waiting = asyncio.create_task(way.enter(0, 60))
            await asyncio.sleep(1)
            entered.failed(failure())
        with pytest.raises(Resting):
            await waiting
        assert (way.figures().requests_left, way.figures().places_left) == (95, 1)

    run(story())


def test_a_429_pauses_the_service_and_says_nothing_against_its_health() -> None:
    async def story() -> None:
        way = lane()
        for _ in range(10):
            await visit(way, error=failure(429, retry_after_s=3.0), took_s=0)
            with pytest.raises(AtLimit):
                await way.enter(0, 2)
            await asyncio.sleep(3)
        figures = way.figures()
        assert (figures.limited, figures.calls, figures.error_rate, figures.breaker) == (10, 0, None, "closed")

    run(story())


def test_after_an_answer_the_next_pause_of_unknown_length_is_short_again() -> None:
    async def story() -> None:
        way, pauses = lane(), []
        for error in (failure(429), failure(429), None, failure(429)):
            await visit(way, error=error)
            if error is not None:
                pauses.append(way.figures().retry_after_s)
            await asyncio.sleep(pauses[-1] or 0)
        assert pauses == [1, 2, 1]

    run(story())


def test_a_503_that_says_when_pauses_the_service_too() -> None:
    async def story() -> None:
        way = lane()
        await visit(way, error=failure(503, retry_after_s=9.0))
        assert way.figures().retry_after_s == 9

    run(story())


def test_an_embedded_model_has_no_breaker() -> None:
    async def story() -> None:
        way = lane(model="embedded/smollm2-135m-instruct")
        for _ in range(50):
            await visit(way, error=failure(None))
        assert way.figures().breaker is None
        await visit(way)

    run(story())


def test_impatient_askers_do_not_shut_a_slow_service_for_everybody() -> None:
    async def story() -> None:
        way = lane()
        late = UpstreamError("cheap", "no answer within 5 s", spent=None)
        # Given a service that needs four seconds
        for _ in range(20):
            await visit(way, took_s=4)
        # When many give it five, and it does not manage
        for _ in range(50):
            await visit(way, took_s=5, error=late, given_s=5)
        assert way.figures().breaker == "closed"
        # Then those who gave it more than twice what it mostly needs still count
        for _ in range(5):
            await visit(way, took_s=10, error=late, given_s=10)
        assert way.figures().breaker == "open"

    run(story())


def test_a_service_of_which_nothing_is_known_has_half_a_minute() -> None:
    async def story() -> None:
        way = lane()
        late = UpstreamError("cheap", "no answer", spent=None)
        for given_s, state in ((29.0, "closed"), (30.0, "open")):
            for _ in range(5):
                await visit(way, took_s=given_s, error=late, given_s=given_s)
            assert way.figures().breaker == state

    run(story())


# -- hedges --------------------------------------------------------------------------------------------------------


def test_a_hedge_waits_for_the_95th_percentile_of_the_services_own_latencies() -> None:
    async def story() -> None:
        way = lane(hedge=True)
        assert way.hedge_after_s() is None
        for n in range(20):
            await visit(way, took_s=9 if n == 19 else 2)
        assert way.hedge_after_s() == pytest.approx(2, rel=0.02)

    run(story())


def test_who_does_not_ask_for_hedges_gets_none_and_neither_does_who_is_being_tried_again() -> None:
    async def story() -> None:
        plain, hedged = lane(), lane(hedge=True)
        for way in (plain, hedged):
            for _ in range(30):
                await visit(way)
        assert plain.hedge_after_s() is None
        for _ in range(5):
            await visit(hedged, error=failure())
        assert hedged.hedge_after_s() is None

    run(story())


# -- many lanes ----------------------------------------------------------------------------------------------------


def test_models_of_one_service_share_its_limits_but_not_its_breaker() -> None:
    async def story() -> None:
        steady = Steadiness("a", clock=clock)
        limits = Limits(rpm=10)
        one = steady.lane("cheap", spec(limits=limits))
        other = steady.lane("cheap", spec(model="openai/cheap-2", limits=limits))
        for _ in range(5):
            await visit(one, error=failure())
        await visit(other)
        assert [each.breaker for each in steady.figures().services] == ["open", "closed"]
        assert {each.requests_left for each in steady.figures().services} == {4}

    run(story())


def test_a_service_keeps_its_lane() -> None:
    steady = Steadiness("a")
    assert steady.lane("cheap", spec()) is steady.lane("cheap", spec())
    assert steady.figures().gateway == "a"


def test_of_several_gateways_each_keeps_its_share() -> None:
    steady = Steadiness("a", gateways=4)
    assert steady.lane("cheap", spec(limits=Limits(rpm=100))).figures().requests_left == 25

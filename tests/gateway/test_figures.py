"""Live figures: what is told is what happened, of several gateways too, and what nobody knows is null."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.gateway.figures import ENOUGH, Record
from schemas.figures import ACCURACY, Figures, ServiceFigures, bucket_of, merge, quantile_ms
from schemas.message import now
from tests.gateway.virtual import Clock

LATENCIES_MS = st.lists(st.floats(0.01, 1e7), min_size=1, max_size=60)


def sketch_of(latencies_ms: list[float]) -> tuple[tuple[int, int], ...]:
    counts: dict[int, int] = {}
    for latency in latencies_ms:
        counts[bucket_of(latency)] = counts.get(bucket_of(latency), 0) + 1
    return tuple(counts.items())


def figures(gateway: str, service: str = "cheap", **changed: object) -> Figures:
    fields = {"service": service, "model": "openai/cheap-1", "window_s": 600.0, "calls": 0, "errors": 0, **changed}
    return Figures(gateway=gateway, at=now(), services=(ServiceFigures.model_validate(fields),))


# -- quantiles -----------------------------------------------------------------------------------------------------


@given(latencies_ms=LATENCIES_MS, q=st.floats(0, 1))
def test_a_quantile_lies_within_two_percent_of_the_true_one(latencies_ms: list[float], q: float) -> None:
    true = sorted(latencies_ms)[int(q * (len(latencies_ms) - 1))]
    told = quantile_ms(sketch_of(latencies_ms), q)
    assert told == pytest.approx(true, rel=ACCURACY + 1e-9)


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile_ms((), 0.5) is None


@pytest.mark.parametrize("latency_ms", [0.0, 1e-9, 1e12, float("inf")])
def test_absurd_latencies_do_not_make_a_sketch_larger(latency_ms: float) -> None:
    assert bucket_of(0.01) <= bucket_of(latency_ms) <= bucket_of(1e8)
    assert bucket_of(1e8) - bucket_of(0.01) < 600


# -- several gateways ----------------------------------------------------------------------------------------------


@given(parts=st.lists(LATENCIES_MS, min_size=2, max_size=4))
def test_the_quantiles_of_several_gateways_are_those_of_all_calls_together(parts: list[list[float]]) -> None:
    # Given gateways that each saw some calls
    said = [
        figures(f"gateway-{n}", calls=len(part), latencies=sketch_of(part), p95_ms=quantile_ms(sketch_of(part), 0.95))
        for n, part in enumerate(parts)
    ]
    # When their figures are merged
    merged = merge(said)["cheap"]
    # Then it is as if one had seen them all
    everything = sorted(latency for part in parts for latency in part)
    assert merged.calls == len(everything)
    assert merged.p95_ms == pytest.approx(everything[int(0.95 * (len(everything) - 1))], rel=ACCURACY + 1e-9)
    assert merged.p50_ms == pytest.approx(everything[int(0.5 * (len(everything) - 1))], rel=ACCURACY + 1e-9)


def test_counts_and_what_is_left_add_up() -> None:
    one = figures("a", calls=8, errors=2, in_flight=1, waiting=3, requests_left=10, timed_tokens=10, timed_ms=100.0)
    other = figures("b", calls=2, errors=2, in_flight=2, requests_left=5, timed_tokens=30, timed_ms=60.0)
    merged = merge([one, other])["cheap"]
    assert (merged.calls, merged.errors, merged.error_rate) == (10, 4, 0.4)
    assert (merged.in_flight, merged.waiting, merged.requests_left) == (3, 3, 15)
    assert merged.ms_per_token == 4


def test_what_no_gateway_knows_stays_unknown() -> None:
    merged = merge([figures("a"), figures("b")])["cheap"]
    unknown = ("error_rate", "p50_ms", "p95_ms", "ms_per_token", "requests_left", "tokens_left", "places_left")
    assert [getattr(merged, name) for name in unknown] == [None] * len(unknown)


def test_of_several_breakers_the_worst_stands_and_says_where() -> None:
    merged = merge(
        [
            figures("a", breaker="closed"),
            figures("b", breaker="open", breaker_reason="HTTP 503", retry_after_s=7.0),
            figures("c", breaker="half_open", breaker_reason="HTTP 500"),
        ]
    )["cheap"]
    assert (merged.breaker, merged.breaker_reason) == ("open", "b: HTTP 503")
    # And it may be asked now, for one gateway lets calls through
    assert merged.retry_after_s is None


def test_services_are_told_apart() -> None:
    merged = merge([figures("a", "cheap", calls=1), figures("a", "dear", calls=2), figures("b", "dear", calls=3)])
    assert {name: each.calls for name, each in merged.items()} == {"cheap": 1, "dear": 5}


# -- one record ----------------------------------------------------------------------------------------------------


def test_an_outcome_counts_where_it_belongs() -> None:
    record = Record(Clock())
    for outcome in ("answered", "failed", "denied", "refused", "limited", "outrun", "cancelled"):
        record.add(outcome, 1.0)  # type: ignore[arg-type]
    lately = record.lately()
    assert (lately.calls, lately.errors, lately.refused, lately.limited) == (4, 2, 1, 1)
    # And only what was answered, or would have been, tells how fast it is
    assert lately.latencies.total() == 2


def test_what_is_older_than_ten_minutes_is_forgotten() -> None:
    clock = Clock(0.0)
    record = Record(clock)
    record.add("answered", 1.0)
    clock.now = 539
    assert record.lately().calls == 1
    clock.now = 661
    assert record.lately().calls == 0


def test_memory_does_not_grow_with_calls() -> None:
    clock = Clock(0.0)
    record = Record(clock)
    rng = random.Random(1)
    for _ in range(20_000):
        clock.now += 0.2
        record.add("answered", rng.lognormvariate(0, 1), 100)
    assert len(record._slots) <= 11
    assert sum(len(counts.latencies) for _, counts in record._slots) < 11 * 200


def test_the_speed_is_that_of_all_tokens_whose_number_is_known() -> None:
    record = Record(Clock())
    record.add("answered", 1.0, 10)
    record.add("answered", 3.0, 30)
    record.add("answered", 99.0, None)
    lately = record.lately()
    assert lately.timed_ms / lately.timed_tokens == 100


def test_nobody_says_what_is_usual_before_enough_is_known() -> None:
    clock = Clock()
    record = Record(clock)
    for _ in range(ENOUGH - 1):
        record.add("answered", 2.0)
    assert record.usual_s() is None
    record.add("answered", 2.0)
    clock.now += 1
    assert record.usual_s() == pytest.approx(2.0, rel=ACCURACY)


def test_hedges_do_not_make_the_next_hedge_come_sooner() -> None:
    # Given a service of which one call in ten takes 10 seconds, and hedges that cut those off
    clock = Clock()
    record = Record(clock)
    for n in range(1000):
        usual_s = record.usual_s()
        took_s = 10.0 if n % 10 == 0 else 1.0
        if usual_s is not None and took_s > usual_s:
            record.add("outrun", usual_s + 1.0)
        else:
            record.add("answered", took_s)
        clock.now += 0.3
    # Then after a thousand calls it still counts as slow as it is, or nearly
    usual_s = record.usual_s()
    assert usual_s is not None
    assert usual_s > 1.5

"""How the services are doing just now, as each gateway sees it: speed, failures, what is left of their limits.

Quantiles cannot be merged, the counts behind them can. So each gateway sends its latencies as a sketch, and whoever
reads several gateways adds the sketches up before looking for a quantile: `merge` does.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from schemas.message import Message, Moment

BreakerState = Literal["closed", "open", "half_open"]
"""`closed` lets calls through, `open` lets none through, `half_open` lets one through to see whether it is answered."""

ACCURACY = 0.02
"""A quantile that a sketch tells lies within this fraction of the true one."""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
_SHORTEST_MS, _LONGEST_MS = 0.01, 1e8
"""Shorter and longer ones count as these, so that a sketch has fewer than 600 buckets."""
_WORST: tuple[BreakerState | None, ...] = ("open", "half_open", "closed", None)


def bucket_of(latency_ms: float) -> int:
    """The bucket of a sketch that a latency in milliseconds falls into.

    Source:
        Masson, Rim & Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees",
        PVLDB 12(12), 2019: bucket i holds what is above gamma^(i-1) and at most gamma^i.
    """
    return math.ceil(math.log(min(max(latency_ms, _SHORTEST_MS), _LONGEST_MS)) / _LOG_GAMMA)


def quantile_ms(sketch: Iterable[tuple[int, int]], q: float) -> float | None:
    """The latency in milliseconds below which a fraction `q` of a sketch lies; None of an empty one.

    Args:
        sketch: (bucket, count) pairs, each bucket once, in any order.
        q: a fraction in [0, 1].
    """
    pairs = sorted(sketch)
    rank = q * (sum(count for _, count in pairs) - 1)
    seen = 0
    for bucket, count in pairs:
        seen += count
        if seen > rank:
            return 2 * _GAMMA**bucket / (_GAMMA + 1)
    return None


class ServiceFigures(Message):
    """One service as seen lately. What is not known is `null`, never 0."""

    service: str
    model: str
    window_s: float
    """Seconds that the counts, the latencies and the rates look back."""
    calls: int
    """Attempts that ended in the window and tell how the service is doing: answered, outrun by a hedge, or failed."""
    errors: int
    """Those of `calls` in which the service failed: unreachable, 5xx, timeouts, nonsense, our key denied."""
    refused: int = 0
    """Attempts that it turned down for what was asked (4xx); they say nothing about how it is doing. Not in `calls`."""
    limited: int = 0
    """Attempts that it answered with 429. Not in `calls`."""
    error_rate: float | None = None
    """`errors / calls`, a fraction in [0, 1]; `null` before any call."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    """Of answered attempts, from the question to the end of the answer; those outrun by a hedge count with the time
    they had taken until then."""
    ms_per_token: float | None = None
    """Time to the end of the answer over the tokens of the answer, all answers of the window together."""
    in_flight: int = 0
    """Attempts under way now."""
    waiting: int = 0
    """Calls that wait now for room under its limits."""
    breaker: BreakerState | None = None
    """`null`: it has none, as an embedded model. One that reads `half_open` should be asked, or it never closes."""
    breaker_reason: str | None = None
    """Why it is not closed."""
    retry_after_s: float | None = None
    """Seconds until it may be asked again, after a breaker opened or the provider asked for a pause; `null`: now."""
    requests_left: int | None = None
    """Requests that its limit has room for now; `null`: it has no limit that we know."""
    tokens_left: int | None = None
    places_left: int | None = None
    """Calls that may go on at once beside those in flight; `null`: no limit that we know."""
    latencies: tuple[tuple[int, int], ...] = ()
    """The sketch behind the quantiles: pairs of `bucket_of` a latency and a count."""
    timed_tokens: int = 0
    """Tokens of answers whose length the provider told, and the time these took: what `ms_per_token` is made of."""
    timed_ms: float = 0.0


class Figures(Message):
    """The services as one gateway sees them: those it was asked for since it started."""

    kind: Literal["gateway.figures"] = "gateway.figures"
    version: Literal[1] = 1
    gateway: str
    at: Moment
    services: tuple[ServiceFigures, ...] = ()


def merge(figures: Sequence[Figures]) -> dict[str, ServiceFigures]:
    """One account of each service, by name, from several gateways.

    Counts, sketches and what is left of the limits add up (each gateway has its own share of a limit), and the
    quantiles are those of all latencies together. Of breakers the worst stands, for they all look at one provider.
    """
    seen: dict[str, list[tuple[str, ServiceFigures]]] = {}
    for one in sorted(figures, key=lambda each: each.at):
        for service in one.services:
            seen.setdefault(service.service, []).append((one.gateway, service))
    return {name: parts[0][1] if len(parts) == 1 else _merged(parts) for name, parts in seen.items()}


def _merged(parts: Sequence[tuple[str, ServiceFigures]]) -> ServiceFigures:
    all_of = [part for _, part in parts]
    calls, errors = sum(p.calls for p in all_of), sum(p.errors for p in all_of)
    sketch: Counter[int] = Counter()
    for part in all_of:
        for bucket, count in part.latencies:
            sketch[bucket] += count
    tokens, ms = sum(p.timed_tokens for p in all_of), sum(p.timed_ms for p in all_of)
    breaker = min((p.breaker for p in all_of), key=_WORST.index)
    said = [f"{gateway}: {p.breaker_reason}" for gateway, p in parts if p.breaker_reason and p.breaker == breaker]
    return ServiceFigures(
        service=all_of[-1].service,
        model=all_of[-1].model,
        window_s=max(p.window_s for p in all_of),
        calls=calls,
        errors=errors,
        refused=sum(p.refused for p in all_of),
        limited=sum(p.limited for p in all_of),
        error_rate=errors / calls if calls else None,
        p50_ms=quantile_ms(sketch.items(), 0.5),
        p95_ms=quantile_ms(sketch.items(), 0.95),
        ms_per_token=ms / tokens if tokens else None,
        in_flight=sum(p.in_flight for p in all_of),
        waiting=sum(p.waiting for p in all_of),
        breaker=breaker,
        breaker_reason="; ".join(said) or None,
        retry_after_s=_soonest([p.retry_after_s for p in all_of]),
        requests_left=_sum([p.requests_left for p in all_of]),
        tokens_left=_sum([p.tokens_left for p in all_of]),
        places_left=_sum([p.places_left for p in all_of]),
        latencies=tuple(sorted(sketch.items())),
        timed_tokens=tokens,
        timed_ms=ms,
    )


def _soonest(waits: Sequence[float | None]) -> float | None:
    """When the first of them may be asked again; one that says nothing may be asked now."""
    known = [wait for wait in waits if wait is not None]
    return min(known) if len(known) == len(waits) else None


def _sum(parts: Sequence[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None

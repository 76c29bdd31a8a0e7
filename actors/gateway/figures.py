"""How one model at one service has done lately, in bounded memory: counts and latencies of the last ten minutes."""

import math
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from actors.gateway.breaker import Outcome
from actors.gateway.limits import Clock
from schemas.figures import bucket_of, quantile_ms

WINDOW_S = 600.0
_SLOT_S = 60.0
FRESH_S = 1.0
"""A quantile this young is told again: it takes some 20 µs to look for one, and every call of a hedged service asks."""
ENOUGH = 20
"""Latencies that a hedge wants to see: the 95th percentile of fewer is the slowest of them."""


@dataclass(slots=True)
class Counts:
    """What happened in some stretch of time."""

    calls: int = 0
    errors: int = 0
    refused: int = 0
    limited: int = 0
    timed_tokens: int = 0
    timed_ms: float = 0.0
    latencies: Counter[int] = field(default_factory=Counter)

    def add(self, other: "Counts") -> None:
        self.calls += other.calls
        self.errors += other.errors
        self.refused += other.refused
        self.limited += other.limited
        self.timed_tokens += other.timed_tokens
        self.timed_ms += other.timed_ms
        self.latencies.update(other.latencies)


class Record:
    """What attempts at one model at one service came to.

    It keeps ten slots of a minute: fewer than 600 counters each, some 40 where latencies are alike.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._slots: deque[tuple[int, Counts]] = deque()
        self._told: tuple[float, float | None] = (-math.inf, None)
        self.in_flight = 0

    def add(self, outcome: Outcome, latency_s: float, completion_tokens: int | None = None) -> None:
        """Count an attempt that ended.

        An attempt that a hedge outran counts as slow as it was until then. Left out, the slow ones would vanish from
        the latencies, each hedge would make the next come sooner, and in the end every call would be made twice.

        Args:
            latency_s: seconds from the question to the end of the answer.
            completion_tokens: of the answer, where the provider told.
        """
        if outcome == "cancelled":
            return  # it says when somebody lost patience
        counts = self._now()
        match outcome:
            case "answered":
                counts.calls += 1
                counts.latencies[bucket_of(latency_s * 1000)] += 1
                if completion_tokens:
                    counts.timed_tokens += completion_tokens
                    counts.timed_ms += latency_s * 1000
            case "outrun":
                counts.calls += 1
                counts.latencies[bucket_of(latency_s * 1000)] += 1
            case "failed" | "denied":
                counts.calls += 1
                counts.errors += 1
            case "refused":
                counts.refused += 1
            case "limited":
                counts.limited += 1

    def lately(self) -> Counts:
        """All of the last ten minutes, of which the present one has only begun."""
        self._expire()
        total = Counts()
        for _, counts in self._slots:
            total.add(counts)
        return total

    def usual_s(self) -> float | None:
        """The 95th percentile of the latencies in seconds, at most a second old; None until there are 20."""
        now = self._clock()
        told_at, usual_s = self._told
        if now - told_at < FRESH_S:
            return usual_s
        latencies = self.lately().latencies
        p95_ms = quantile_ms(latencies.items(), 0.95) if latencies.total() >= ENOUGH else None
        usual_s = None if p95_ms is None else p95_ms / 1000
        self._told = (now, usual_s)
        return usual_s

    def _now(self) -> Counts:
        slot = math.floor(self._clock() / _SLOT_S)
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, Counts()))
            self._expire()
        return self._slots[-1][1]

    def _expire(self) -> None:
        gone = math.floor((self._clock() - WINDOW_S) / _SLOT_S)
        while self._slots and self._slots[0][0] <= gone:
            self._slots.popleft()

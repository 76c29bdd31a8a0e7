"""Circuit breakers: whoever keeps failing is left alone for a while, then asked once, and used again when it answers.

Source:
    Michael Nygard, "Release It!", 2nd edition, 2018, chapter 5; martinfowler.com/bliki/CircuitBreaker.html.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from actors.gateway.limits import Clock, NotNow
from schemas.figures import BreakerState

Outcome = Literal["answered", "failed", "denied", "refused", "limited", "outrun", "cancelled"]
"""How an attempt ended, as far as it says something about the service.

answered: as it should, in the end. failed: unreachable, 5xx, out of time, a broken stream, nonsense. denied: 401 or
402, our key or our credit is not accepted, which no other call can do better. refused: any other 4xx, by which it
turned down what was asked. limited: 429. outrun: a hedge was faster. cancelled: nobody wanted the answer any more.
"""


@dataclass(frozen=True)
class BreakerPolicy:
    """When a breaker opens, and for how long."""

    in_a_row: int = 5
    """Failures one after another, however slowly they come."""
    at_least: int = 5
    share: float = 0.5
    """Or so many failures, and this share, among the last `last` outcomes within `within_s` seconds."""
    last: int = 20
    within_s: float = 30.0
    first_s: float = 2.0
    """Seconds that it stays open at first; twice as long each time that it opens anew."""
    longest_s: float = 120.0
    jitter: float = 0.2
    """The fraction by which these vary, so that gateways do not all try at the same moment."""


class Resting(NotNow):
    """A breaker is open: the service failed lately, and is not asked for now."""

    code = "resting"
    title = "The service has been failing and is left alone for now"
    http_status = 503


@dataclass(frozen=True)
class Change:
    """A breaker's state changed."""

    before: BreakerState
    after: BreakerState
    reason: str
    retry_after_s: float | None = None
    """Seconds until it lets a call through to try; None: now."""


class Breaker:
    """The breaker of one model at one service. Whoever is let in must say how it ended, once.

    - closed: all may enter. It opens by `BreakerPolicy`, and at once when the service denies us.
    - open: nobody may enter, until its time is over.
    - half open: exactly one may enter. If it is answered, also with a refusal or a 429, the breaker closes; if it
      fails, it opens for longer; if it is cancelled or outrun, the next may try.

    Outcomes of calls that began before the last change tell of another time: they change nothing.
    """

    def __init__(
        self,
        clock: Clock = time.monotonic,
        changed: Callable[[Change], None] | None = None,
        policy: BreakerPolicy = BreakerPolicy(),
        rng: Callable[[], float] = random.random,
    ) -> None:
        """`rng` gives a fraction in [0, 1)."""
        self._clock, self._changed, self._policy, self._rng = clock, changed, policy, rng
        self._state: BreakerState = "closed"
        self._epoch = 0
        self._probing = False
        self._recent: deque[tuple[float, bool]] = deque(maxlen=policy.last)  # when it ended, and whether it failed
        self._row = 0
        self._opened_n = 0
        self._rest_s = 0.0
        self._until = 0.0
        self._closed_at = clock()
        self._reason = ""

    @property
    def state(self) -> BreakerState:
        """An open one whose time is over counts as half open: the next call is let in."""
        return "half_open" if self._state == "open" and self._clock() >= self._until else self._state

    @property
    def reason(self) -> str | None:
        """Why it is not closed."""
        return None if self._state == "closed" else self._reason

    @property
    def retry_after_s(self) -> float | None:
        """Seconds until it lets a call in; None: now, or nobody knows (as long as a probe takes)."""
        left_s = self._until - self._clock()
        return left_s if self._state == "open" and left_s > 0 else None

    def refusal(self) -> Resting | None:
        """Why nobody may enter now; None: somebody may. Changes nothing."""
        if self._state == "closed":
            return None
        if self._state == "open":
            left_s = self._until - self._clock()
            return Resting(f"left alone: {self._reason}", left_s) if left_s > 0 else None
        return Resting(f"being tried again: {self._reason}") if self._probing else None

    def enter(self) -> int:
        """Let a call in; what it returns is for `leave`.

        Raises:
            Resting: nobody may enter now.
        """
        if self._state == "closed":
            return self._epoch
        if (refusal := self.refusal()) is not None:
            raise refusal
        if self._state == "open":
            self._turn("half_open", self._reason)
        self._probing = True
        return self._epoch

    def leave(self, entered: int, outcome: Outcome, reason: str = "") -> None:
        """Say how a call ended. `reason` is for people: what went wrong."""
        if entered != self._epoch:
            return
        if self._state == "closed":
            self._count(outcome, reason)
            return
        self._probing = False
        match outcome:
            case "answered" | "refused" | "limited":
                self._close()
            case "failed" | "denied":
                self._open(reason or outcome)
            case _:
                pass

    def _count(self, outcome: Outcome, reason: str) -> None:
        match outcome:
            case "denied":
                self._open(reason or outcome)
            case "failed":
                self._row += 1
                self._recent.append((self._clock(), True))
                if self._row >= self._policy.in_a_row or self._failing():
                    self._open(reason or outcome)
            case "answered":
                self._row = 0
                self._recent.append((self._clock(), False))
            case _:
                pass

    def _failing(self) -> bool:
        since = self._clock() - self._policy.within_s
        recent = [failed for at, failed in self._recent if at >= since]
        failures = sum(recent)
        return failures >= self._policy.at_least and failures >= self._policy.share * len(recent)

    def _open(self, reason: str) -> None:
        now = self._clock()
        if self._state == "closed" and now - self._closed_at >= self._rest_s:
            self._opened_n = 0  # it held at least as long as it had rested
        self._opened_n += 1
        # 30 doublings pass every cap and no float.
        rest_s = min(self._policy.longest_s, self._policy.first_s * 2.0 ** min(self._opened_n - 1, 30))
        self._rest_s = rest_s * (1 + self._policy.jitter * (2 * self._rng() - 1))
        self._until = now + self._rest_s
        self._turn("open", reason, self._rest_s)

    def _close(self) -> None:
        self._closed_at = self._clock()
        self._turn("closed", "it was answered again")

    def _turn(self, state: BreakerState, reason: str, retry_after_s: float | None = None) -> None:
        before, self._state, self._reason = self._state, state, reason
        self._epoch += 1
        self._probing = False
        self._row = 0
        self._recent.clear()
        if self._changed is not None:
            self._changed(Change(before, state, reason, retry_after_s))

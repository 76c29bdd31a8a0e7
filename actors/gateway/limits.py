"""What one service allows: requests and tokens a minute, calls at once. Who finds no room waits in line, or is told.

The requests of any 60 seconds are never more than the limit, wherever the 60 seconds begin, and neither are the tokens,
as far as they are estimated from above. So it suits providers that count by fixed minutes, by sliding ones, or by a
bucket that refills; a bucket on our side, which allows a full burst after a full minute, would suit only the last. The
price is that whoever used the whole limit at once waits for a whole minute. Only what this process sent is known: of
several gateways each keeps to its share.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from schemas.errors import Unavailable
from schemas.service import Limits

Clock = Callable[[], float]
"""Seconds that never run backwards."""

MAX_WAITING = 1000
"""Calls that may wait for one service: a team of a thousand agents fits, and the memory that they take is bounded."""
LONGEST_PAUSE_S = 3600.0
"""A provider that asks for a longer pause is asked again after this one; it may have been wrong, or restocked."""
_FIRST_PAUSE_S, _LONGEST_OWN_PAUSE_S = 1.0, 60.0
_MINUTE_S = 60
_SMOOTHING = 0.1


class NotNow(Unavailable):
    """A service should not be asked now. `retry_after_s` says when it may be; None: nobody knows."""

    code = "not_now"
    title = "The service should not be asked now"
    http_status = 429

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.args = (reason, retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.reason if self.retry_after_s is None else f"{self.reason}; again in {self.retry_after_s:.3g} s"


class AtLimit(NotNow):
    """A service has no room for a call in the time that it would wait. With `ever` False it will never have room."""

    code = "at_limit"
    title = "The service is at its limit"

    def __init__(self, reason: str, retry_after_s: float | None = None, ever: bool = True) -> None:
        super().__init__(reason, retry_after_s)
        self.args = (reason, retry_after_s, ever)
        self.ever = ever


class Window:
    """At most `limit` units in any 60 seconds, in constant memory.

    Source:
        The moving window of the `limits` library (limits.readthedocs.io, "Strategies"), with moments rounded to whole
        seconds. A second counts until its end is 60 seconds ago, so that the rounding errs on the safe side: room
        comes up to a second late, never early.
    """

    __slots__ = ("_seconds", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._seconds: deque[list[int]] = deque()  # [second, units], oldest first, none twice, 61 at most

    def left(self, now: float) -> int:
        """Units that there is room for."""
        self._expire(now)
        return max(0, self.limit - self.used)

    def wait_s(self, now: float, units: int) -> float:
        """Seconds until so many units could have been taken, as early as possible and by nobody else; 0.0: now.

        What a whole line of callers wants may be more than the limit: a minute for every further limit's worth.
        """
        self._expire(now)
        if units <= 0:
            return 0.0
        minutes, rest = divmod(units - 1, self.limit)
        missing = self.used + rest + 1 - self.limit
        freed_s = 0.0
        for second, taken in self._seconds:
            if missing <= 0:
                break
            missing -= taken
            freed_s = second + 1 + _MINUTE_S - now
        return minutes * _MINUTE_S + freed_s

    def take(self, now: float, units: int) -> int:
        """Take units; the second that they count in is for `correct`."""
        second = math.floor(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += units
        else:
            self._seconds.append([second, units])
        self.used += units
        return second

    def correct(self, second: int, units: int) -> None:
        """Add units to what was taken in a second, or give some back with a negative number; too late, no matter."""
        for kept in reversed(self._seconds):
            if kept[0] <= second:
                if kept[0] == second:
                    kept[1] += units
                    self.used += units
                return

    def _expire(self, now: float) -> None:
        gone = math.floor(now) - _MINUTE_S
        while self._seconds and self._seconds[0][0] < gone:
            self.used -= self._seconds.popleft()[1]


class Place:
    """A call's room under the limits, held until it leaves."""

    __slots__ = ("_entered", "_limiter", "_second", "_tokens")

    def __init__(self, limiter: "Limiter | None", entered: float = 0.0, second: int = 0, tokens: int = 0) -> None:
        self._limiter, self._entered, self._second, self._tokens = limiter, entered, second, tokens

    def leave(self, tokens: int | None = None) -> None:
        """Make room for the next. Leaving twice is leaving once.

        Args:
            tokens: what the call really took, in place of the estimate; None: nobody knows, the estimate stands.
        """
        if self._limiter is not None:
            limiter, self._limiter = self._limiter, None
            limiter._leave(self._entered, self._second, 0 if tokens is None else tokens - self._tokens, 0)

    def give_back(self) -> None:
        """Leave without having asked the service anything."""
        if self._limiter is not None:
            limiter, self._limiter = self._limiter, None
            limiter._leave(None, self._second, -self._tokens, -1)


_UNBOUND = Place(None)


@dataclass(eq=False, slots=True)
class _Waiter:
    """One who stands in line."""

    whose: object
    tokens: int
    until: float
    placed: "asyncio.Future[Place]"
    gives_up: asyncio.TimerHandle | None = None


class Limiter:
    """The limits of one service, as one process keeps them. Whoever waits is served in the order of coming.

    Because of that order a call with many tokens holds up the smaller ones behind it; they may give up, it never
    starves. A service without limits costs one comparison.
    """

    def __init__(self, limits: Limits, gateways: int = 1, clock: Clock = time.monotonic) -> None:
        """Of several gateways each takes an equal share of the limits: at least 1 of each, and of the calls at once
        the whole number above."""
        self._clock = clock
        self._requests = Window(max(1, limits.rpm // gateways)) if limits.rpm else None
        self._tokens = Window(max(1, limits.tpm // gateways)) if limits.tpm else None
        self._places = math.ceil(limits.concurrency / gateways) if limits.concurrency else None
        self._unlimited = limits == Limits()
        share = f", of which this gateway has one part in {gateways}" if gateways > 1 else ""
        self._reasons = {
            "requests": f"at its limit of {limits.rpm or 0:,} requests a minute{share}",
            "tokens": f"at its limit of {limits.tpm or 0:,} tokens a minute{share}",
            "places": f"at its limit of {limits.concurrency or 0:,} calls at once{share}",
            "pause": "it asked for a pause",
        }
        self._inside = 0
        self._held_s: float | None = None
        self._line: deque[_Waiter] = deque()
        self._line_tokens = 0
        self._wakes: asyncio.TimerHandle | None = None
        self._paused_until = -math.inf
        self._own_pause_s = _FIRST_PAUSE_S

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    @property
    def requests_left(self) -> int | None:
        return None if self._requests is None else self._requests.left(self._clock())

    @property
    def tokens_left(self) -> int | None:
        return None if self._tokens is None else self._tokens.left(self._clock())

    @property
    def places_left(self) -> int | None:
        return None if self._places is None else max(0, self._places - self._inside)

    @property
    def paused_s(self) -> float:
        """Seconds that the pause still takes; 0.0 without one."""
        return max(0.0, self._paused_until - self._clock())

    async def enter(self, tokens: int = 0, patience_s: float = 0.0, whose: object = None) -> Place:
        """A place, at once or after waiting in line.

        Args:
            tokens: what the call may take, question and answer together.
            patience_s: seconds that the caller will wait at most.
            whose: whom `dismiss` may later name.

        Raises:
            AtLimit: there will be no room in that time (at once where that is known, else after it), the line is
                full, or the call is larger than the whole limit.
            NotNow: dismissed while waiting.
        """
        if self._unlimited and self._paused_until == -math.inf:
            return _UNBOUND
        now = self._clock()
        wait_s, reason = self._known_wait(now, tokens)
        if self._tokens is not None and tokens > self._tokens.limit:
            raise AtLimit(f"{tokens:,} tokens never fit: {self._reasons['tokens']}", ever=False)
        if wait_s > patience_s:
            raise AtLimit(self._reasons[reason], wait_s)
        if not self._line and wait_s <= 0 and (self._places is None or self._inside < self._places):
            return self._place(now, tokens)
        if patience_s <= 0:
            raise AtLimit(self._reasons[reason], self._expected_s(wait_s))
        if len(self._line) >= MAX_WAITING:
            raise AtLimit(f"{self._reasons[reason]}, and {MAX_WAITING:,} wait already", self._expected_s(wait_s))
        return await self._queue(now, tokens, patience_s, whose)

    def pause(self, seconds: float | None = None) -> None:
        """Let nobody in for a while, as the provider asked. Those who would not wait so long are told now.

        Args:
            seconds: None: it did not say for how long; then a second, and twice as long each time it happens again
                before anything was answered, a minute at most.
        """
        now = self._clock()
        if seconds is None:
            if now < self._paused_until:
                return  # an answer to what was asked before the pause
            seconds = self._own_pause_s
            self._own_pause_s = min(2 * seconds, _LONGEST_OWN_PAUSE_S)
        if not seconds > 0:
            return
        self._paused_until = max(self._paused_until, now + min(seconds, LONGEST_PAUSE_S))
        for waiter in [w for w in self._line if w.until < self._paused_until]:
            self._send_away(waiter, AtLimit(self._reasons["pause"], self._paused_until - now))
        self._admit()

    def dismiss(self, whose: object, reason: Callable[[], NotNow]) -> None:
        """Send away all of somebody's who stand in line, each with a reason of its own, for there is no point."""
        for waiter in [w for w in self._line if w.whose is whose]:
            self._send_away(waiter, reason())
        self._admit()

    def answered(self) -> None:
        """The service answered something: the next pause is short again."""
        self._own_pause_s = _FIRST_PAUSE_S

    # -- the line --------------------------------------------------------------------------------------------------

    async def _queue(self, now: float, tokens: int, patience_s: float, whose: object) -> Place:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(whose, tokens, now + patience_s, loop.create_future())
        waiter.gives_up = loop.call_later(patience_s, self._give_up, waiter)
        self._line.append(waiter)
        self._line_tokens += tokens
        self._admit()
        try:
            return await waiter.placed
        except asyncio.CancelledError:
            if not waiter.placed.done() or waiter.placed.cancelled():
                self._remove(waiter)
                self._admit()
            elif waiter.placed.exception() is None:
                waiter.placed.result().give_back()
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        wait_s, reason = self._known_wait(self._clock(), 0)
        self._send_away(waiter, AtLimit(self._reasons[reason], self._expected_s(wait_s)))
        self._admit()

    def _send_away(self, waiter: _Waiter, error: NotNow) -> None:
        self._remove(waiter)
        if not waiter.placed.done():
            waiter.placed.set_exception(error)

    def _remove(self, waiter: _Waiter) -> None:
        if waiter.gives_up is not None:
            waiter.gives_up.cancel()
            waiter.gives_up = None
            self._line.remove(waiter)
            self._line_tokens -= waiter.tokens

    def _admit(self) -> None:
        """Let in from the head of the line whoever has room, and wake again when the next may have it."""
        if self._wakes is not None:
            self._wakes.cancel()
            self._wakes = None
        while self._line and (self._places is None or self._inside < self._places):
            head, now = self._line[0], self._clock()
            if (wait_s := self._wait_of(now, 1, head.tokens)[0]) > 0:
                if now + wait_s <= head.until:
                    self._wakes = asyncio.get_running_loop().call_later(wait_s, self._admit)
                return
            self._remove(head)
            if not head.placed.done():
                head.placed.set_result(self._place(now, head.tokens))

    def _place(self, now: float, tokens: int) -> Place:
        second = math.floor(now)
        if self._requests is not None:
            self._requests.take(now, 1)
        if self._tokens is not None:
            self._tokens.take(now, tokens)
        self._inside += 1
        return Place(self, now, second, tokens)

    def _leave(self, entered: float | None, second: int, tokens: int, requests: int) -> None:
        self._inside -= 1
        if entered is not None:
            held_s = self._clock() - entered
            self._held_s = held_s if self._held_s is None else self._held_s + _SMOOTHING * (held_s - self._held_s)
        if self._tokens is not None and tokens:
            self._tokens.correct(second, tokens)
        if self._requests is not None and requests:
            self._requests.correct(second, requests)
        if self._line:
            self._admit()

    # -- how long --------------------------------------------------------------------------------------------------

    def _known_wait(self, now: float, tokens: int) -> tuple[float, str]:
        """Seconds that a newcomer waits at the least, behind all who stand in line, and for what."""
        return self._wait_of(now, len(self._line) + 1, self._line_tokens + tokens)

    def _wait_of(self, now: float, requests: int, tokens: int) -> tuple[float, str]:
        waits = [(self._paused_until - now, "pause")]
        if self._requests is not None:
            waits.append((self._requests.wait_s(now, requests), "requests"))
        if self._tokens is not None:
            waits.append((self._tokens.wait_s(now, tokens), "tokens"))
        if self._paused_until <= now:
            self._paused_until = -math.inf
        wait_s, reason = max(waits)
        return (wait_s, reason) if wait_s > 0 else (0.0, "places")

    def _expected_s(self, known_s: float) -> float | None:
        """When there may be room for a newcomer, judging by how long calls have lately held their places."""
        if self._places is None or self._held_s is None:
            return known_s or None
        return max(known_s, self._held_s * (len(self._line) + 1) / self._places)

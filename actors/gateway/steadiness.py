"""What keeps a gateway steady when services are slow, full or down: limits, breakers and live figures of each service.

The gateway takes a `Lane` for every service that it asks, and enters it before each attempt:

    lane = steadiness.lane(name, spec)
    with await lane.enter(tokens, patience_s) as visit:     # NotNow: pass over to the next service
        try:
            served = await provider.complete(attempt)
        except UpstreamError as error:
            visit.failed(error, given_s=attempt.timeout_s)
            raise
        visit.answered(served.prompt_tokens, served.completion_tokens)

A visit that ends without a word was cancelled.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from actors.gateway.breaker import Breaker, Change, Outcome, Resting
from actors.gateway.figures import WINDOW_S, Record
from actors.gateway.limits import Clock, Limiter, Place
from schemas.errors import UpstreamError
from schemas.figures import Figures, ServiceFigures, quantile_ms
from schemas.message import now
from schemas.service import ServiceSpec

Changed = Callable[[str, str, Change], None]
"""Told of a service and its model whose breaker changed; must return at once."""

_DENIED = (401, 402)
_NOT_FOR_THE_ASKER = (404, 405, 408, 409, 425)
"""Statuses below 500 that tell of the service: its model is gone, or it did not manage in time."""
_FAIR_S = 30.0
"""A service that nothing is known of has failed when it was given so long, or as long as its entry says."""


def outcome_of(error: UpstreamError) -> Outcome:
    """What a failure says about the service.

    403 counts as the asker's making: providers use it for questions that their moderation turns down, and nobody
    should be able to shut a service for everybody else by asking such. So does every other 4xx not named here.
    """
    if error.status is None:
        return "failed" if error.again or error.spent is None else "refused"
    if error.status == 429:
        return "limited"
    if error.status in _DENIED:
        return "denied"
    if error.status in _NOT_FOR_THE_ASKER or not 400 <= error.status < 500:
        return "failed"
    return "refused"


class Visit:
    """One attempt inside a lane. Say once how it ended, while its `with` block goes on."""

    __slots__ = ("_began", "_entered", "_lane", "_open", "_place")

    def __init__(self, lane: "Lane", place: Place, entered: int | None, began: float) -> None:
        self._lane, self._place, self._entered, self._began = lane, place, entered, began
        self._open = True

    def answered(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """It was answered; tokens as the provider told them."""
        known = prompt_tokens is not None and completion_tokens is not None
        self._end("answered", (prompt_tokens or 0) + (completion_tokens or 0) if known else None, completion_tokens)

    def failed(self, error: UpstreamError, given_s: float | None = None) -> None:
        """It was not.

        Args:
            given_s: seconds that the attempt was given. One that used them up, given less than the service mostly
                needs, tells of the asker's deadline and not of the service.
        """
        outcome = outcome_of(error)
        if outcome == "failed" and given_s is not None and self._lane.cut_short(self.took_s, given_s):
            outcome = "cancelled"
        self._end(outcome, 0 if error.spent is False else None, None, str(error.reason), error.retry_after_s)

    def outrun(self) -> None:
        """Its hedge was faster."""
        self._end("outrun", None, None)

    def withdraw(self) -> None:
        """Nobody was called after all: what it would have taken is left for others."""
        if self._open:
            self._open = False
            self._place.give_back()
            self._lane.left(self._entered, "cancelled", self.took_s, None, "", None)

    @property
    def took_s(self) -> float:
        """Seconds since it entered."""
        return self._lane.clock() - self._began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._end("cancelled", None, None)

    def _end(
        self,
        outcome: Outcome,
        tokens: int | None,
        completion_tokens: int | None,
        reason: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        if self._open:
            self._open = False
            self._place.leave(tokens)
            self._lane.left(self._entered, outcome, self.took_s, completion_tokens, reason, retry_after_s)


class Lane:
    """The way to one model at one service: its breaker, then its limits.

    An embedded model has no breaker. It stands last in every order, its actor comes back within seconds of a failure,
    and the gateway's retries wait for that; a breaker would only make the last resort fail sooner.
    """

    def __init__(
        self, service: str, spec: ServiceSpec, limiter: Limiter, clock: Clock, changed: Changed | None = None
    ) -> None:
        self.service, self.model, self.clock = service, spec.model, clock
        self._spec, self._limiter = spec, limiter
        self._record = Record(clock)
        self._changed = changed
        self._breaker = None if spec.model.startswith("embedded/") else Breaker(clock, self._turned)

    async def enter(self, tokens: int = 0, patience_s: float = 0.0) -> Visit:
        """Go in, at once or after waiting for room.

        Args:
            tokens: what the call may take, question and answer together, estimated from above.
            patience_s: seconds that the caller will wait at most.

        Raises:
            AtLimit: there will be no room in that time.
            Resting: the breaker is open, or opened while it waited.
        """
        breaker = self._breaker
        if breaker is not None and (refusal := breaker.refusal()) is not None:
            raise refusal  # before any waiting
        place = await self._limiter.enter(tokens, patience_s, self)
        entered = None
        if breaker is not None:
            try:
                entered = breaker.enter()
            except BaseException:
                place.give_back()
                raise
        self._record.in_flight += 1
        return Visit(self, place, entered, self.clock())

    def hedge_after_s(self) -> float | None:
        """Seconds after which a second attempt pays: the 95th percentile of this service's own latencies.

        None where its entry asks for no hedges, where too few latencies are known, and while its breaker is not
        closed, for then one call is enough.
        """
        if not self._spec.hedge or (self._breaker is not None and self._breaker.state != "closed"):
            return None
        return self._record.usual_s()

    def cut_short(self, took_s: float, given_s: float) -> bool:
        """Whether an attempt ended because its asker gave it less time than is fair."""
        usual_s = self._record.usual_s()
        fair_s = min(self._spec.timeout, _FAIR_S if usual_s is None else max(1.0, 2 * usual_s))
        return given_s < fair_s and took_s >= 0.95 * given_s

    def left(
        self,
        entered: int | None,
        outcome: Outcome,
        took_s: float,
        completion_tokens: int | None,
        reason: str,
        retry_after_s: float | None,
    ) -> None:
        """A visit ended: what a `Visit` calls."""
        self._record.in_flight -= 1
        self._record.add(outcome, took_s, completion_tokens)
        if outcome == "limited" or (outcome == "failed" and retry_after_s is not None):
            self._limiter.pause(retry_after_s)
        elif outcome == "answered":
            self._limiter.answered()
        if self._breaker is not None and entered is not None:
            self._breaker.leave(entered, outcome, reason)

    def _turned(self, change: Change) -> None:
        if change.after == "open":
            self._limiter.dismiss(self, lambda: Resting(f"left alone: {change.reason}", change.retry_after_s))
        if self._changed is not None:
            self._changed(self.service, self.model, change)

    def figures(self) -> ServiceFigures:
        """How it is doing now."""
        lately, limiter, breaker = self._record.lately(), self._limiter, self._breaker
        sketch = tuple(sorted(lately.latencies.items()))
        waits = [limiter.paused_s, (breaker.retry_after_s if breaker else None) or 0.0]
        return ServiceFigures(
            service=self.service,
            model=self.model,
            window_s=WINDOW_S,
            calls=lately.calls,
            errors=lately.errors,
            refused=lately.refused,
            limited=lately.limited,
            error_rate=lately.errors / lately.calls if lately.calls else None,
            p50_ms=quantile_ms(sketch, 0.5),
            p95_ms=quantile_ms(sketch, 0.95),
            ms_per_token=lately.timed_ms / lately.timed_tokens if lately.timed_tokens else None,
            in_flight=self._record.in_flight,
            waiting=limiter.waiting,
            breaker=breaker.state if breaker else None,
            breaker_reason=breaker.reason if breaker else None,
            retry_after_s=max(waits) or None,
            requests_left=limiter.requests_left,
            tokens_left=limiter.tokens_left,
            places_left=limiter.places_left,
            latencies=sketch,
            timed_tokens=lately.timed_tokens,
            timed_ms=lately.timed_ms,
        )


class Steadiness:
    """The lanes of one gateway, each made when it is first asked for."""

    def __init__(
        self, gateway: str, gateways: int = 1, changed: Changed | None = None, clock: Clock = time.monotonic
    ) -> None:
        """`gateways`: how many share the limits of the services."""
        self._gateway, self._gateways, self._changed, self._clock = gateway, gateways, changed, clock
        self._limiters: dict[str, Limiter] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}

    def lane(self, service: str, spec: ServiceSpec) -> Lane:
        """The way to a service; its limits hold for all its models together."""
        lane = self._lanes.get((service, spec.model))
        if lane is None:
            limiter = self._limiters.get(service)
            if limiter is None:
                limiter = self._limiters[service] = Limiter(spec.limits, self._gateways, self._clock)
            lane = self._lanes[service, spec.model] = Lane(service, spec, limiter, self._clock, self._changed)
        return lane

    def figures(self) -> Figures:
        """All services that were asked for since the start."""
        return Figures(gateway=self._gateway, at=now(), services=tuple(lane.figures() for lane in self._lanes.values()))

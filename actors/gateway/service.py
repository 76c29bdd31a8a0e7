"""Asking one service: its lane, its reservation, its record, the call itself and what it came to."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from actors.catalogue import Catalogue, key_variable, no_images_because, price_of, unavailable_because
from actors.gateway import charges
from actors.gateway.account import Account, Kind, in_time
from actors.gateway.breaker import Resting
from actors.gateway.hedging import race
from actors.gateway.limits import AtLimit, NotNow
from actors.gateway.providers import Attempt, Heard, Provider, Served
from actors.gateway.purse import Purse
from actors.gateway.steadiness import Lane, Visit
from bus.journal import Overtaken
from schemas.budget import BudgetRefused, Reservation
from schemas.completion import Complete, Delta, ToolCallPiece
from schemas.errors import UpstreamError
from schemas.message import now
from schemas.receipt import Call
from schemas.service import ServiceSpec

PATIENCE_S = 2.0
"""How long a call waits for room at a service that is not the last of its order."""

Told = Callable[[Complete, Delta], None]
"""Told of a piece of a streamed answer to a call."""

log = structlog.get_logger()


@dataclass(frozen=True)
class RetryPolicy:
    """Attempts at one service before the next of the order."""

    attempts: int = 3
    base_s: float = 0.25
    cap_s: float = 2.0
    obey_up_to_s: float = 10.0
    """A longer `Retry-After` moves on to the next service instead."""

    def delay_s(self, attempt: int, retry_after_s: float | None) -> float | None:
        """Seconds to wait after failed attempt number `attempt`, counted from 1; None: try the next service."""
        if attempt >= self.attempts:
            return None
        if retry_after_s is not None:
            return retry_after_s if retry_after_s <= self.obey_up_to_s else None
        # Full jitter: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
        return random.uniform(0, min(self.cap_s, self.base_s * 2**attempt))


CLOUD = RetryPolicy()
EMBEDDED = RetryPolicy(attempts=40, base_s=0.25, cap_s=1.0)
"""The embedded model's actor needs some seconds to start anew; it is the last of every order."""


@dataclass(eq=False)
class _Try:
    """One attempt that has begun, and what it holds until it is over."""

    call: Call
    """As it began, its cost the reservation."""
    visit: Visit
    reservation: Reservation | None
    heard: Heard
    attempt: Attempt
    began: float
    over: bool = False

    @property
    def latency_ms(self) -> float:
        return round((time.perf_counter() - self.began) * 1000, 3)


class Service:
    """One service of an order, asked for one account."""

    def __init__(
        self,
        name: str,
        spec: ServiceSpec,
        account: Account[Complete],
        *,
        lane: Lane,
        purse: Purse,
        provider_of: Callable[[ServiceSpec], Provider],
        api_key: str | None,
        is_last: bool,
        told: Told,
    ) -> None:
        self._name, self._spec, self._account, self._ask = name, spec, account, account.ask
        self._lane, self._purse, self._provider_of, self._api_key = lane, purse, provider_of, api_key
        self._is_last, self._told = is_last, told
        self._price, self._unknown = price_of(name, spec)
        self._retries: list[str] = []
        self._tries: list[_Try] = []

    async def serve(self) -> Served | None:
        """The answer, after retries if need be; None when it was passed over, for the reason that the account then has.

        Raises:
            DeadlineExceeded: the call's time is over.
            BudgetExceeded: it was answered, at more than a budget allowed.
        """
        policy = EMBEDDED if self._spec.model.startswith("embedded/") else CLOUD
        attempt = 0
        while True:
            attempt += 1
            in_time(self._ask.deadline_at)
            try:
                return await self._attempt()
            except NotNow as busy:
                self._pass_over_busy(busy)
                return None
            except BudgetRefused as refused:
                reason = str(refused) if self._unknown is None else f"{refused} ({self._unknown})"
                self._account.pass_over(self._name, self._why(f"another try {reason}", reason), "budget")
                return None
            except UpstreamError as error:
                delay_s = policy.delay_s(attempt, error.retry_after_s) if error.again else None
                log.info("attempt failed", service=self._name, attempt=attempt, reason=error.reason, again_in_s=delay_s)
                if delay_s is None or (self._ask.deadline_at - now()).total_seconds() <= delay_s:
                    limited = error.status == HTTPStatus.TOO_MANY_REQUESTS  # its own limit, which we may not know
                    kind: Kind = "busy" if limited else "failed"
                    self._account.pass_over(self._name, self._why(error.reason), kind, error.retry_after_s)
                    return None
                await asyncio.sleep(delay_s)

    def _pass_over_busy(self, busy: NotNow) -> None:
        never = isinstance(busy, AtLimit) and not busy.ever
        kind: Kind = "unfit" if never else "failed" if isinstance(busy, Resting) else "busy"
        self._account.pass_over(self._name, self._why(str(busy)), kind, busy.retry_after_s)

    def _why(self, last: str, only: str | None = None) -> str:
        """Why it was passed over, after all free failures; `only`: said in place of `last` where there were none."""
        return "; ".join(dict.fromkeys((*self._retries, last))) if self._retries else only or last

    # -- one attempt, and its hedge ----------------------------------------------------------------------------

    async def _attempt(self) -> Served:
        left_s = (self._ask.deadline_at - now()).total_seconds()
        first = await self._enter(left_s if self._is_last else min(left_s, PATIENCE_S))
        after_s = self._lane.hedge_after_s()
        try:
            return await (self._alone(first) if after_s is None else self._raced(first, after_s))
        except UpstreamError:
            if self._account.to_settle:
                await self._account.note()
                await self._account.settle(self._purse)
            raise
        finally:
            for each in self._tries:
                self._cut(each, "cancelled")  # those that nobody has ended yet
            self._tries.clear()

    async def _called(self, one: _Try) -> Served:
        try:
            return await self._provider_of(self._spec).complete(one.attempt, one.heard)
        except UpstreamError as error:
            self._failed(one, error)
            raise

    async def _alone(self, first: _Try) -> Served:
        return self._answered(first, await self._called(first))

    async def _raced(self, first: _Try, after_s: float) -> Served:
        async def second() -> Served:
            # It waits for nothing: where there is no room or no money for a hedge, there is none.
            return await self._called(await self._enter(0.0, hedged=True))

        ran = await race(self._called(first), after_s, second)
        failure: Exception | None = None
        winner: tuple[_Try, Served] | None = None
        for each, how in zip(self._tries[:], ran, strict=False):
            if how is None:
                continue
            if how.value is not None:
                winner = each, how.value
            elif how.outrun:
                each.visit.outrun()
                self._cut(each, "outrun")
            else:
                failure = failure or how.error
        if winner is not None:
            return self._answered(*winner)
        if failure is None:
            raise asyncio.CancelledError
        raise failure

    async def _enter(self, patience_s: float, hedged: bool = False) -> _Try:
        """Get a place and the money for it, and write down that the provider is about to be called."""
        ask, account = self._ask, self._account
        visit = await self._place(patience_s)
        most = charges.most_usd(self._price, ask)
        call = Call(
            step=ask.step,
            agent=ask.agent,
            service=self._name,
            model=self._spec.model.split("/", 1)[1],
            region=self._spec.region,
            fallback_from=tuple(account.passed),
            retries=tuple(self._retries),
            hedged=hedged,
            outcome="failed",
            cost_usd=most,
            cost_estimated=bool(most),
            cost_unknown_reason=self._unknown,
        )
        try:
            reservation = await account.set_out(call, self._purse, charges.most_tokens(ask))
        except BaseException:
            visit.withdraw()  # nobody was called
            raise
        begun = _Try(
            call, visit, reservation, self._hear(account.attempts), self._attempt_of(), began=time.perf_counter()
        )
        self._tries.append(begun)
        return begun

    async def _place(self, patience_s: float) -> Visit:
        """A place at the service. Whoever has to wait for one looks first whether the question is answered already."""
        account, tokens = self._account, charges.likely_tokens(self._ask)
        try:
            return await self._lane.enter(tokens, 0.0)
        except NotNow:
            if patience_s <= 0:
                raise
        if account.seq == 0 and (await account.journal.read(account.key)).entry is not None:
            raise Overtaken(str(account.key))
        return await self._lane.enter(tokens, patience_s)

    def _hear(self, attempt: int) -> Heard:
        if not self._ask.stream:
            return Heard()
        offset = 0

        def tell(piece: str, call: ToolCallPiece | None = None) -> None:
            nonlocal offset
            delta = Delta(step=self._ask.step, attempt=attempt, offset=offset, text=piece, tool_call=call)
            self._told(self._ask, delta)
            offset += len(piece)

        return Heard(tell, lambda call: tell("", call))

    def _attempt_of(self) -> Attempt:
        ask = self._ask
        left_s = (ask.deadline_at - now()).total_seconds()
        return Attempt(
            service=self._name,
            spec=self._spec,
            api_key=self._api_key,
            messages=ask.messages,
            temperature=ask.temperature,
            max_tokens=ask.max_tokens,
            json_schema=ask.json_schema,
            timeout_s=max(0.05, min(self._spec.timeout, left_s)),
            request_id=secrets.token_hex(16),
            tools=ask.tools,
            tool_choice=ask.tool_choice,
            parallel_tool_calls=ask.parallel_tool_calls,
            sampling=ask.sampling,
            stream=ask.stream,
        )

    # -- how it ended ------------------------------------------------------------------------------------------

    def _answered(self, one: _Try, served: Served) -> Served:
        one.visit.answered(served.prompt_tokens, served.completion_tokens)
        call = charges.answered(one.call, self._ask, served, self._price, one.latency_ms)
        if len(self._retries) > len(call.retries):  # the other of two failed meanwhile
            call = call.model_copy(update={"retries": tuple(self._retries)})
        self._over(one, call)
        charges.keep_to(one.reservation, one.call, call)
        return served

    def _failed(self, one: _Try, error: UpstreamError) -> None:
        one.visit.failed(error, given_s=one.attempt.timeout_s)
        if error.spent is False:
            self._retries.append(error.reason)
            self._over(one, None)
            return
        call = charges.cut_off(one.call, self._ask, one.heard, self._price, "failed", one.latency_ms)
        self._over(one, call.model_copy(update={"reason": error.reason}))

    def _cut(self, one: _Try, outcome: str) -> None:
        """It was stopped from here; what the provider did until then is charged, as far as anybody can know it."""
        if one.over:
            return
        with one.visit:
            pass
        self._over(one, charges.cut_off(one.call, self._ask, one.heard, self._price, outcome, one.latency_ms))

    def _over(self, one: _Try, became: Call | None) -> None:
        one.over = True
        self._account.end(one.call, became, one.reservation)


def unsuitable(
    name: str, spec: ServiceSpec, ask: Complete, catalogue: Catalogue, environ: Mapping[str, str]
) -> str | None:
    """Why a service cannot serve this call, whatever its state; None when it can."""
    if (reason := unavailable_because(name, spec, environ, catalogue.services)) is not None:
        return reason
    if spec.kind != "chat":
        return f"serves {spec.kind}, not chat"
    return no_images_because(name, spec) if any(m.images for m in ask.messages) else None


def key_of(spec: ServiceSpec, environ: Mapping[str, str]) -> str | None:
    """The service's key. Read from a file, a key often ends with a line break, which no header may have."""
    variable = key_variable(spec)
    key = environ.get(variable) if variable else None
    return key.strip() if key else None

"""The gateway's trade: one question, an order of services, an honest account of every attempt."""

import asyncio
import json
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from actors.catalogue import Catalogue, cost_usd, key_variable, price_of, supports_images, unavailable_because
from actors.gateway.providers import Attempt, Provider, Served
from bus.journal import Entry, JournalStore, Overtaken, in_doubt, key_of
from bus.subjects import CallJournal
from schemas.completion import Complete, Completion
from schemas.errors import BusUnavailable, Cancelled, DeadlineExceeded, NoService, UpstreamError
from schemas.message import now
from schemas.problem import Problem
from schemas.receipt import Call
from schemas.service import Price, ServiceSpec

log = structlog.get_logger()

IMAGE_TOKENS = 16_384
"""More than any provider of the catalogue counts for one image at its finest."""
PROMPT_OVERHEAD_TOKENS = 16
"""Per message, for the wrapping that providers add; with a token never shorter than a byte, an upper bound."""


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


def reservation_usd(price: Price | None, ask: Complete) -> float | None:
    """The most that a call can cost in US dollars, or None when the price is unknown."""
    if price is None:
        return None
    size = sum(len(m.content.encode()) + PROMPT_OVERHEAD_TOKENS + IMAGE_TOKENS * len(m.images) for m in ask.messages)
    size += len(json.dumps(ask.json_schema)) if ask.json_schema else 0
    return cost_usd(price, size, ask.max_tokens)


@dataclass
class _Work:
    """One call under way, and how many wait for it."""

    task: asyncio.Task[Completion]
    waiting: int = 0


@dataclass
class _Account:
    """What one journalled call has come to so far."""

    key: CallJournal
    ask: Complete
    seq: int
    calls: tuple[Call, ...] = ()
    passed: list[str] = field(default_factory=list)


class Gateway:
    """Completes what it is asked, once: repeated questions join the call under way or get the recorded answer."""

    def __init__(
        self,
        instance: str,
        catalogue: Catalogue,
        environ: Mapping[str, str],
        journal: JournalStore,
        provider_of: Callable[[ServiceSpec], Provider],
        works: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        """`works` says whether the gateway of that instance name lives and works on the call of that key."""
        self._instance, self._catalogue, self._environ = instance, catalogue, environ
        self._journal, self._provider_of, self._works = journal, provider_of, works
        self._under_way: dict[str, _Work] = {}

    def works_on(self, key: str) -> bool:
        """Whether the call of that journal key is under way here."""
        return key in self._under_way

    async def complete(self, ask: Complete) -> Completion:
        """The answer, with every attempt that was or may have been charged. Cancelled when nobody waits any more."""
        key = key_of(ask)
        work = self._under_way.get(str(key))
        if work is None:
            work = _Work(asyncio.create_task(self._work(key, ask)))
            self._under_way[str(key)] = work
            work.task.add_done_callback(lambda _: self._under_way.pop(str(key), None))
        work.waiting += 1
        try:
            return await asyncio.shield(work.task)
        except asyncio.CancelledError:
            if work.waiting > 1:
                raise
            work.task.cancel()
            return await asyncio.shield(work.task)
        finally:
            work.waiting -= 1

    async def _work(self, key: CallJournal, ask: Complete) -> Completion:
        while True:
            try:
                account = await self._open(key, ask)
                if isinstance(account, Completion):
                    return account
                return await self._serve(account)
            except Overtaken:
                if _cancelled():
                    raise asyncio.CancelledError from None  # the other gateway's account holds; nobody waits for ours
                log.info("another gateway wrote to this entry; reading it again", key=str(key))

    async def _open(self, key: CallJournal, ask: Complete) -> _Account | Completion:
        """The recorded answer, or an account to go on with."""
        while True:
            kept = await self._journal.read(key)
            entry = kept.entry
            if entry is None:
                return _Account(key, ask, 0)
            if entry.completion is not None:
                if _is_answer(entry.completion):
                    return entry.completion
                return _Account(key, ask, kept.seq, entry.calls)
            if entry.gateway != self._instance and await self._works(entry.gateway, str(key)):
                _in_time(ask.deadline_at)
                await asyncio.sleep(0.2)  # it is at work; its answer will be found here
                continue
            doubtful = (in_doubt(entry.open),) if entry.open is not None else ()
            return _Account(key, ask, kept.seq, entry.calls + doubtful)

    async def _serve(self, account: _Account) -> Completion:
        ask = account.ask
        problem: Problem | None = None
        served: Served | None = None
        try:
            for name in ask.services:
                served = await self._try_service(account, name)
                if served is not None:
                    break
            else:
                _in_time(ask.deadline_at)
                reason = f"none of {', '.join(ask.services)} could serve"
                problem = Problem.of(NoService(reason, tuple(account.passed)))
        except DeadlineExceeded as error:
            problem = Problem.of(error)
        except asyncio.CancelledError:
            problem = Problem.of(Cancelled(f"step {ask.step!r}", "aborted by its caller"))
        completion = Completion(
            text=served.text if served else None,
            finish_reason=served.finish_reason if served else None,
            calls=account.calls,
            problem=problem,
        )
        ended = Entry(state="ended", gateway=self._instance, began_at=now(), calls=account.calls, completion=completion)
        await self._write_surely(account, ended)
        return completion

    async def _begin(self, account: _Account, call: Call) -> None:
        """Record an attempt before it is made, and only then go on: a record whose acknowledgement was lost would
        later be taken for a call that was made. A cancellation waits for it too."""
        begun = Entry(state="begun", gateway=self._instance, began_at=now(), open=call, calls=account.calls)
        writing = asyncio.ensure_future(self._write_surely(account, begun))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await writing
            raise
        _in_time(account.ask.deadline_at)

    async def _write_surely(self, account: _Account, entry: Entry) -> None:
        """Record an entry however long the bus takes, for a minute at most."""
        give_up = time.monotonic() + 60
        while True:
            try:
                account.seq = await asyncio.shield(self._journal.write(account.key, entry, account.seq))
                return
            except BusUnavailable as error:
                if time.monotonic() > give_up:
                    raise
                log.warning("recording again", key=str(account.key), error=str(error))
                await asyncio.sleep(0.2)

    async def _try_service(self, account: _Account, name: str) -> Served | None:
        """One service with its retries; None when it was passed over, the reason then stands in `account.passed`."""
        ask = account.ask
        spec = self._catalogue.services.get(name)
        price, unknown = price_of(name, spec) if spec else (None, None)
        reserved = reservation_usd(price, ask)
        reason = self._unsuitable(ask, name, spec, reserved, unknown, account)
        if spec is None or reason is not None:
            account.passed.append(f"{name}: {reason}")
            return None
        policy = EMBEDDED if spec.model.startswith("embedded/") else CLOUD
        attempt = 0
        while True:
            attempt += 1
            _in_time(ask.deadline_at)
            call = Call(
                step=ask.step,
                agent=ask.agent,
                service=name,
                model=spec.model.split("/", 1)[1],
                region=spec.region,
                fallback_from=tuple(account.passed),
                outcome="failed",
                cost_usd=reserved,
                cost_estimated=bool(reserved),
                cost_unknown_reason=unknown,
            )
            await self._begin(account, call)
            started = time.perf_counter()
            try:
                served = await self._provider_of(spec).complete(self._attempt(ask, name, spec))
            except asyncio.CancelledError:
                # How much arrived at the provider is unknown: charged at the reservation, and said to be estimated.
                account.calls += (call.model_copy(update={"outcome": "cancelled", "latency_ms": _ms(started)}),)
                raise
            except UpstreamError as error:
                if error.spent is None:
                    account.calls += (call.model_copy(update={"latency_ms": _ms(started)}),)
                delay_s = policy.delay_s(attempt, error.retry_after_s) if error.again else None
                reason = error.reason
                if delay_s is not None and (over := _over_limit(ask, reserved, unknown, account)) is not None:
                    reason, delay_s = f"{reason}; another try {over}", None
                log.info("attempt failed", service=name, attempt=attempt, reason=reason, again_in_s=delay_s)
                if delay_s is None or (ask.deadline_at - now()).total_seconds() <= delay_s:
                    account.passed.append(f"{name}: {reason}")
                    return None
                await asyncio.sleep(delay_s)
                continue
            account.calls += (_settled(call, served, price, unknown, started),)
            return served

    def _unsuitable(
        self,
        ask: Complete,
        name: str,
        spec: ServiceSpec | None,
        reserved: float | None,
        unknown: str | None,
        account: _Account,
    ) -> str | None:
        if spec is None:
            return "unknown service"
        if (reason := unavailable_because(name, spec, self._environ, self._catalogue.services)) is not None:
            return reason
        if spec.kind != "chat":
            return f"serves {spec.kind}, not chat"
        if any(m.images for m in ask.messages) and not supports_images(spec):
            return "takes no images"
        return _over_limit(ask, reserved, unknown, account)

    def _attempt(self, ask: Complete, name: str, spec: ServiceSpec) -> Attempt:
        left_s = (ask.deadline_at - now()).total_seconds()
        variable = key_variable(spec)
        key = self._environ.get(variable) if variable else None
        return Attempt(
            service=name,
            spec=spec,
            # Read from a file, a key often ends with a line break, which no header may have.
            api_key=key.strip() if key else None,
            messages=ask.messages,
            temperature=ask.temperature,
            max_tokens=ask.max_tokens,
            json_schema=ask.json_schema,
            timeout_s=max(0.05, min(spec.timeout_s, left_s)),
            request_id=secrets.token_hex(16),
        )


def _over_limit(ask: Complete, reserved: float | None, unknown: str | None, account: _Account) -> str | None:
    """Why the caller's cost limit allows no attempt that reserves so much; None when it does."""
    if ask.max_cost_usd is None:
        return None
    if reserved is None:
        return f"price unknown ({unknown}), so a cost limit cannot be kept"
    spent = sum(c.cost_usd or 0.0 for c in account.calls)
    if spent + reserved > ask.max_cost_usd:
        left = max(0.0, ask.max_cost_usd - spent)
        return f"may cost ${reserved:.6f}, ${left:.6f} is left"
    return None


def _is_answer(completion: Completion) -> bool:
    """Whether a recorded completion answers a repeated question.

    One that was aborted does not: of a task that was cancelled nobody asks again, so the one who asked had to end.
    """
    return completion.problem is None or completion.problem.code != Cancelled.code


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _settled(call: Call, served: Served, price: Price | None, unknown: str | None, started: float) -> Call:
    """The attempt that served, at what the provider reported."""
    counted = served.prompt_tokens is not None and served.completion_tokens is not None
    if price is None:
        cost, reason = None, unknown or "price unknown"
    elif counted:
        cost, reason = cost_usd(price, served.prompt_tokens or 0, served.completion_tokens or 0), None
    elif price.input_per_mtok == 0 and price.output_per_mtok == 0:
        cost, reason = 0.0, None
    else:
        cost, reason = None, "the provider reported no usage"
    return call.model_copy(
        update={
            "outcome": "answered",
            "model": served.model or call.model,
            "prompt_tokens": served.prompt_tokens,
            "completion_tokens": served.completion_tokens,
            "cost_usd": cost,
            "cost_estimated": False,
            "cost_unknown_reason": reason,
            "latency_ms": _ms(started),
        }
    )


def _ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


def _in_time(deadline: datetime) -> None:
    if (left := (deadline - now()).total_seconds()) <= 0:
        raise DeadlineExceeded("the call", max(0.0, left))

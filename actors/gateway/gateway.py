"""The gateway's trade: one question, an order of services, an honest account of every attempt."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from actors.gateway.account import Account
from actors.gateway.providers import Served
from actors.gateway.service import Service, in_time, key_of, unsuitable
from actors.gateway.surroundings import Surroundings
from bus.cache import Cached, call_of
from bus.journal import Overtaken, question_of
from bus.journal import key_of as journal_key_of
from bus.subjects import CallJournal
from schemas.budget import IN_DOUBT, NEVER_BEGAN, Outcome, Reservation
from schemas.completion import Complete, Completion
from schemas.errors import (
    BudgetExceeded,
    BusUnavailable,
    Cancelled,
    DevSkyyError,
    NoService,
    TooBusy,
)
from schemas.problem import Problem
from schemas.service import ServiceSpec

log = structlog.get_logger()


@dataclass
class _Work:
    """One call under way, and how many wait for it."""

    task: asyncio.Task[Completion]
    waiting: int = 0
    recording: asyncio.Task[None] | None = None
    """The answer on its way into the journal."""


class Gateway:
    """Completes what it is asked, once: repeated questions join the call under way or get the recorded answer."""

    def __init__(self, instance: str, surroundings: Surroundings) -> None:
        self._instance, self._with = instance, surroundings
        self._under_way: dict[str, _Work] = {}

    def works_on(self, key: str) -> bool:
        """Whether the call of that journal key is under way here."""
        return key in self._under_way

    async def complete(self, ask: Complete) -> Completion:
        """The answer, with every attempt that was or may have been charged. Cancelled when nobody waits any more."""
        question = question_of(ask)
        key = journal_key_of(ask, question)
        name = str(key)
        while True:
            work = self._under_way.get(name) or self._begin(
                name, Account(ask, key, question, self._instance, self._with.journal)
            )
            work.waiting += 1
            try:
                completion = await asyncio.shield(work.task)
            except asyncio.CancelledError:
                if not _cancelled():  # the call was, by somebody who has left; this one asks for it anew
                    if work.recording is not None:
                        await asyncio.wait([work.recording])
                    await asyncio.sleep(0)
                    continue
                if work.waiting > 1 or work.task.cancelling():
                    raise
                work.task.cancel()
                return await asyncio.shield(work.task)
            finally:
                work.waiting -= 1
            if not work.task.cancelling() or _is_answer(completion):
                return completion
            # Those who had asked before had left already, and this one came while their call was being ended.

    def _begin(self, name: str, account: Account) -> _Work:
        work = self._under_way[name] = _Work(asyncio.create_task(self._work(account)))
        work.task.add_done_callback(lambda _: self._leave(name, work))
        return work

    def _leave(self, name: str, work: _Work) -> None:
        """The call is under way until its answer is in the journal: until then, whoever asks again is told here."""
        if work.recording is None or work.recording.done():
            self._under_way.pop(name, None)
        else:
            work.recording.add_done_callback(lambda _: self._under_way.pop(name, None))

    async def _work(self, account: Account) -> Completion:
        """Begin as if nobody had asked before, as is nearly always so; who did has left a mark that stops the first
        write, which comes before any call."""
        while True:
            try:
                return await self._serve(account)
            except Overtaken:
                if _cancelled():
                    raise asyncio.CancelledError from None  # the other gateway's account holds; nobody waits for ours
                log.info("another gateway wrote to this entry; reading it again", key=str(account.key))
            if (recorded := await self._read(account)) is not None:
                return recorded

    async def _read(self, account: Account) -> Completion | None:
        """The recorded answer; None when the account is to be gone on with."""
        while True:
            kept = await self._with.journal.read(account.key)
            entry = kept.entry
            if entry is None:
                account.go_on_from(0, None)
                return None
            if entry.completion is not None:
                if _is_answer(entry.completion):
                    return entry.completion
                account.go_on_from(kept.seq, entry)
                return None
            if entry.gateway != self._instance and await self._with.works(entry.gateway, str(account.key)):
                in_time(account.ask.deadline_at)
                await asyncio.sleep(0.2)  # it is at work; its answer will be found here
                continue
            account.go_on_from(kept.seq, entry)
            return None

    # -- one question ------------------------------------------------------------------------------------------

    async def _serve(self, account: Account) -> Completion:
        completion: Completion | None = None
        problem: Problem | None = None
        attempts = account.attempts
        try:
            completion = await self._replayed(account) if account.ask.replay else await self._asked(account)
        except asyncio.CancelledError:
            problem = Problem.of(Cancelled(f"step {account.ask.step!r}", "aborted by its caller"))
        except Exception as error:
            if not isinstance(error, DevSkyyError) or isinstance(error, Overtaken | BusUnavailable):
                await account.forsake(self._with.purse)
                raise
            problem = Problem.of(error)
        if completion is None:
            completion = Completion(calls=account.calls, problem=problem)
        paid_for = completion.problem is None and account.attempts > attempts
        recording = asyncio.create_task(self._recorded(account, completion, paid_for))
        self._under_way[str(account.key)].recording = recording
        self._with.keep(recording)
        # Who gets an answer that was paid for need not wait: should both fail now, the call is in doubt, as it was a
        # moment before. What was found in the cache may be recorded otherwise already. And what a budget holds is to
        # be given back before the asker's next call.
        if not paid_for or account.to_settle:
            await asyncio.shield(recording)
        return completion

    async def _recorded(self, account: Account, completion: Completion, paid_for: bool) -> None:
        """Record what came of it; of an answer that was paid for, it is given even where that fails."""
        try:
            await account.close(completion)
        except Exception as error:
            await account.forsake(self._with.purse)
            if isinstance(error, Overtaken | BusUnavailable) and not paid_for:
                raise
            log.warning("an outcome was not recorded", key=str(account.key), error=repr(error))
        await account.settle(self._with.purse)

    async def _replayed(self, account: Account) -> Completion:
        completion = await self._with.recordings.answer(account.ask, account.question)
        account.calls += completion.calls
        if account.ask.stream and completion.text:
            self._with.told(account.ask, 1, 0, completion.text)
        return completion

    async def _asked(self, account: Account) -> Completion:
        """The first answer along the order.

        Raises:
            BudgetExceeded, TooBusy, NoService: nobody could; the account says why.
            DeadlineExceeded: the call's time is over.
        """
        ask = account.ask
        for place, name in enumerate(ask.services, start=1):
            spec = self._with.catalogue.services.get(name)
            if spec is None:
                account.pass_over(name, "unknown service", "unfit")
                continue
            reason = unsuitable(name, spec, ask, self._with.catalogue, self._with.environ)
            if reason is not None:
                account.pass_over(name, reason, "unfit")
                continue
            max_age_s = ask.cache_s or spec.cache_s
            if max_age_s is not None and (hit := await self._cached(account, name, spec, max_age_s)) is not None:
                return hit
            service = Service(
                name,
                spec,
                account,
                lane=self._with.steadiness.lane(name, spec),
                purse=self._with.purse,
                provider_of=self._with.provider_of,
                api_key=key_of(spec, self._with.environ),
                is_last=place == len(ask.services),
                told=self._with.told,
            )
            if (served := await service.serve()) is not None:
                completion = _completion(account, served)
                if max_age_s is not None:
                    self._cache(account, name, spec, completion, max_age_s)
                return completion
        in_time(ask.deadline_at)
        raise _nobody(account)

    # -- the cache ---------------------------------------------------------------------------------------------

    async def _cached(self, account: Account, name: str, spec: ServiceSpec, max_age_s: float) -> Completion | None:
        ask, began = account.ask, time.perf_counter()
        hit = await self._with.cache.get(ask.tenant, name, spec.identity, account.question, max_age_s)
        if hit is None:
            return None
        found_ms = round((time.perf_counter() - began) * 1000, 3)
        account.calls += (call_of(hit, ask, name, tuple(account.passed), found_ms),)
        if ask.stream and hit.text:
            self._with.told(ask, account.attempts + 1, 0, hit.text)
        return hit.completion(account.calls)

    def _cache(self, account: Account, name: str, spec: ServiceSpec, completion: Completion, keep_s: float) -> None:
        if (worth := Cached.of(completion)) is not None:
            tenant = account.ask.tenant
            put = self._with.cache.put(tenant, name, spec.identity, account.question, worth, keep_s)
            self._with.keep(asyncio.create_task(put))

    # -- what dead gateways left -------------------------------------------------------------------------------

    async def outcome_of(self, reservation: Reservation) -> Outcome:
        """What the journal says of the attempt that a reservation was made for.

        Raises:
            BusUnavailable: the journal did not answer.
        """
        if not reservation.journal_key:
            return IN_DOUBT
        entry = (await self._with.journal.read(CallJournal.parse(reservation.journal_key))).entry
        if entry is None or reservation.id not in entry.held:
            return NEVER_BEGAN
        spent = entry.held[reservation.id]
        return IN_DOUBT if spent is None else Outcome(began=True, cost_usd=spent.cost_usd, tokens=spent.tokens)


def _completion(account: Account, served: Served) -> Completion:
    return Completion(
        text=served.text,
        tool_calls=served.tool_calls,
        finish_reason=served.finish_reason,
        calls=account.calls,
    )


def _nobody(account: Account) -> DevSkyyError:
    """Why nobody served, in the one word that tells the asker what to do about it."""
    passed = tuple(account.passed)
    reason = f"none of {', '.join(account.ask.services)} could serve"
    tried = {kind for kind in account.kinds if kind != "unfit"}
    if tried == {"budget"}:
        return BudgetExceeded(f"{reason} ({'; '.join(passed)})")
    kind = TooBusy if tried == {"busy"} else NoService
    return kind(reason, passed, min(account.retry_after_s, default=None))


def _is_answer(completion: Completion) -> bool:
    """Whether a recorded completion answers a repeated question.

    One that was aborted does not: of a task that was cancelled nobody asks again, so the one who asked had to end.
    """
    return completion.problem is None or completion.problem.code != Cancelled.code


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

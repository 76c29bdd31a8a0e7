"""The gateway's trade: one question, an order of services, an honest account of every attempt."""

import asyncio
import time

from actors.gateway.account import Account, in_time
from actors.gateway.once import Once, is_answer
from actors.gateway.providers import Served
from actors.gateway.service import Service, key_of, unsuitable
from bus.cache import Cached, call_of
from bus.journal import Entry
from schemas.completion import Complete, Completion, Delta
from schemas.errors import BudgetExceeded, DevSkyyError, NoService, TooBusy
from schemas.problem import Problem
from schemas.receipt import Call
from schemas.service import ServiceSpec


class Gateway(Once[Complete, Completion]):
    """Completes what it is asked, once: repeated questions join the call under way or get the recorded answer."""

    async def complete(self, ask: Complete) -> Completion:
        """The answer, with every attempt that was or may have been charged. Cancelled when nobody waits any more."""
        return await self.answer(ask)

    async def _make(self, account: Account[Complete]) -> Completion:
        return await self._replayed(account) if account.ask.replay else await self._asked(account)

    async def _find(self, entry: Entry) -> Completion | None:
        return entry.completion if entry.completion is not None and is_answer(entry.completion) else None

    def _none(self, calls: tuple[Call, ...], problem: Problem) -> Completion:
        return Completion(calls=calls, problem=problem)

    async def _replayed(self, account: Account[Complete]) -> Completion:
        completion = await self._with.recordings.answer(account.ask, account.question)
        account.calls += completion.calls
        if account.ask.stream and completion.text:
            self._with.told(account.ask, Delta(step=account.ask.step, attempt=1, offset=0, text=completion.text))
        return completion

    async def _asked(self, account: Account[Complete]) -> Completion:
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

    async def _cached(
        self, account: Account[Complete], name: str, spec: ServiceSpec, max_age_s: float
    ) -> Completion | None:
        ask, began = account.ask, time.perf_counter()
        hit = await self._with.cache.get(ask.tenant, name, spec.identity, account.question, max_age_s)
        if hit is None:
            return None
        found_ms = round((time.perf_counter() - began) * 1000, 3)
        account.calls += (call_of(hit, ask, name, tuple(account.passed), found_ms),)
        if ask.stream and hit.text:
            self._with.told(ask, Delta(step=ask.step, attempt=account.attempts + 1, offset=0, text=hit.text))
        return hit.completion(account.calls)

    def _cache(
        self, account: Account[Complete], name: str, spec: ServiceSpec, completion: Completion, keep_s: float
    ) -> None:
        if (worth := Cached.of(completion)) is not None:
            tenant = account.ask.tenant
            put = self._with.cache.put(tenant, name, spec.identity, account.question, worth, keep_s)
            self._with.keep(asyncio.create_task(put))


def _completion(account: Account[Complete], served: Served) -> Completion:
    return Completion(
        text=served.text,
        tool_calls=served.tool_calls,
        finish_reason=served.finish_reason,
        calls=account.calls,
    )


def _nobody(account: Account[Complete]) -> DevSkyyError:
    """Why nobody served, in the one word that tells the asker what to do about it."""
    passed = tuple(account.passed)
    reason = f"none of {', '.join(account.ask.services)} could serve"
    tried = {kind for kind in account.kinds if kind != "unfit"}
    if tried == {"budget"}:
        return BudgetExceeded(f"{reason} ({'; '.join(passed)})")
    kind = TooBusy if tried == {"busy"} else NoService
    return kind(reason, passed, min(account.retry_after_s, default=None))

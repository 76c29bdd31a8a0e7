"""Vectors: one service, one try, journalled and paid like every other call."""

import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus

from actors.catalogue import most_cost_usd, price_of, tokens, unavailable_because
from actors.gateway import charges
from actors.gateway.account import Account
from actors.gateway.once import Once, is_answer
from actors.gateway.providers import EmbedAttempt, Embedded
from actors.gateway.service import key_of
from actors.gateway.steadiness import Visit
from bus.journal import Entry
from schemas.budget import Reservation
from schemas.completion import Embed, Embeddings
from schemas.errors import InvalidRequest, NoService, UpstreamError
from schemas.message import now
from schemas.problem import Problem
from schemas.receipt import Call
from schemas.service import Price, ServiceSpec

PATIENCE_S = 10.0
"""How long a call waits for room."""


@dataclass(frozen=True)
class _Try:
    """The one attempt, begun."""

    call: Call
    """As it began, its cost the reservation."""
    price: Price | None
    most_tokens: int
    reservation: Reservation | None


class Embedding(Once[Embed, Embeddings]):
    """Asks for vectors. No second try and nobody else: another service's vectors mean other things.

    Those that cost something are kept apart from the entry, which only names them. Those that cost nothing are not
    kept: whoever asks again has them made again, and that is not counted again.
    """

    async def embed(self, ask: Embed) -> Embeddings:
        """A vector for each text, and what it cost; or why there are none."""
        return await self.answer(ask)

    async def _make(self, account: Account[Embed]) -> Embeddings:
        """Vectors, made now.

        Raises:
            InvalidRequest: a text is empty, or the service takes it for none that it could use.
            NoService: there is no such service, or it cannot serve.
            NotNow, BudgetExceeded, UpstreamError: it has no room, no budget allows it, or it failed.
            DeadlineExceeded: the call's time is over.
        """
        ask = account.ask
        for place, text in enumerate(ask.texts):
            if not text:
                raise InvalidRequest(f"texts.{place}", "is empty; there is nothing to embed")
        spec = self._service(ask.service)
        price, unknown = price_of(ask.service, spec)
        most_tokens = tokens.most_tokens(sum(len(text.encode()) for text in ask.texts), len(ask.texts))
        most_usd = None if price is None else most_cost_usd(price, most_tokens, 0)
        call = Call(
            step=ask.step,
            agent=ask.agent,
            service=ask.service,
            model=spec.model.split("/", 1)[1],
            region=spec.region,
            outcome="failed",
            cost_usd=most_usd,
            cost_estimated=bool(most_usd),
            cost_unknown_reason=unknown,
        )
        left_s = max(0.0, (ask.deadline_at - now()).total_seconds())
        lane = self._with.steadiness.lane(ask.service, spec)
        with await lane.enter(tokens.likely_tokens(most_tokens), min(PATIENCE_S, left_s)) as visit:
            try:
                free = price is not None and price.free
                reservation = await account.set_out(call, self._with.purse, most_tokens, free)
            except BaseException:
                visit.withdraw()  # nobody was called
                raise
            made = await self._called(account, spec, _Try(call, price, most_tokens, reservation), visit)
        return Embeddings.of(made.vectors, model=account.calls[-1].model, calls=account.calls)

    def _service(self, name: str) -> ServiceSpec:
        services = self._with.catalogue.services
        spec = services.get(name)
        if spec is None:
            raise NoService(f"{name} cannot serve", (f"{name}: unknown service",))
        reason = unavailable_because(name, spec, self._with.environ, services)
        if reason is None and spec.kind != "embeddings":
            reason = f"serves {spec.kind}, not embeddings"
        if reason is not None:
            raise NoService(f"{name} cannot serve", (f"{name}: {reason}",))
        return spec

    async def _called(self, account: Account[Embed], spec: ServiceSpec, one: _Try, visit: Visit) -> Embedded:
        ask, began = account.ask, time.perf_counter()
        attempt = EmbedAttempt(
            service=ask.service,
            spec=spec,
            api_key=key_of(spec, self._with.environ),
            texts=ask.texts,
            timeout_s=max(0.05, min(spec.timeout, (ask.deadline_at - now()).total_seconds())),
            request_id=secrets.token_hex(16),
        )
        # Cut off, nobody knows what the provider did: it stays at its reservation.
        became: Call | None = one.call.model_copy(update={"outcome": "cancelled"})
        try:
            made = await self._with.provider_of(spec).embed(attempt)
            took_ms = round((time.perf_counter() - began) * 1000, 3)
            visit.answered(made.prompt_tokens, 0)
            became = charges.embedded(one.call, made, one.most_tokens, one.price, took_ms)
            charges.keep_to(one.reservation, one.call, became)
        except UpstreamError as error:
            visit.failed(error, given_s=attempt.timeout_s)
            took_ms = round((time.perf_counter() - began) * 1000, 3)
            became = None
            if error.spent is not False:
                became = one.call.model_copy(update={"reason": error.reason, "latency_ms": took_ms})
            if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                raise InvalidRequest("texts", str(error)) from None
            raise
        finally:
            account.end(one.call, became, one.reservation)
        return made

    # -- what is kept ------------------------------------------------------------------------------------------

    async def _recorded(self, account: Account[Embed], reply: Embeddings, paid_for: bool) -> None:
        """Vectors first, so that the entry names what is there. What came to nothing is not recorded: it may be asked
        again, and a refusal takes no room."""
        if account.seq == 0 and not reply.calls:
            return
        if reply.packed and reply.calls[-1].cost_usd != 0:
            reply = reply.model_copy(update={"blob": await self._with.vectors.put(reply.packed)})
        await super()._recorded(account, reply, paid_for)

    async def _find(self, entry: Entry) -> Embeddings | None:
        found = entry.embeddings
        if found is None:
            return None
        if found.problem is not None:
            # What failed at no cost may be tried again.
            return found if found.calls and is_answer(found) else None
        packed = None if found.blob is None else await self._with.vectors.get(found.blob)
        return None if packed is None else found.model_copy(update={"packed": packed, "blob": None})

    def _none(self, calls: tuple[Call, ...], problem: Problem) -> Embeddings:
        return Embeddings(calls=calls, problem=problem)

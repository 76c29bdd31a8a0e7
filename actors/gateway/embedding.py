"""Vectors: one service, one try, under the same limits and budgets as every other call."""

import secrets
import time
from dataclasses import dataclass

from actors.catalogue import cost_usd, most_cost_usd, price_of, tokens, unavailable_because
from actors.gateway import charges
from actors.gateway.providers import EmbedAttempt
from actors.gateway.service import key_of
from actors.gateway.surroundings import Surroundings
from schemas.completion import Embed, Embeddings
from schemas.errors import NoService, UpstreamError
from schemas.receipt import Call

PATIENCE_S = 10.0
"""How long a call waits for room."""


@dataclass(frozen=True)
class Embedding:
    """Asks for vectors. No second try and nobody else: another service's vectors mean other things."""

    surroundings: Surroundings

    async def embed(self, ask: Embed) -> Embeddings:
        """A vector for each text, and what it cost.

        Raises:
            NoService: there is no such service, or it cannot serve.
            NotNow, BudgetRefused, UpstreamError: it has no room, no budget allows it, or it failed.
        """
        around, name = self.surroundings, ask.service
        services = around.catalogue.services
        spec = services.get(name)
        if spec is None:
            raise NoService(f"{name} cannot serve", (f"{name}: unknown service",))
        reason = unavailable_because(name, spec, around.environ, services)
        if reason is None and spec.kind != "embeddings":
            reason = f"serves {spec.kind}, not embeddings"
        if reason is not None:
            raise NoService(f"{name} cannot serve", (f"{name}: {reason}",))
        price, unknown = price_of(name, spec)
        most_tokens = tokens.most_tokens(sum(len(text.encode()) for text in ask.texts), len(ask.texts))
        most_usd = None if price is None else most_cost_usd(price, most_tokens, 0)
        cost, told = most_usd, None
        lane, asked = around.steadiness.lane(name, spec), time.perf_counter()
        with await lane.enter(tokens.likely_tokens(most_tokens), min(PATIENCE_S, ask.timeout_s)) as visit:
            try:
                reservation = await around.purse.reserve(ask, name, most_usd, most_tokens, "", 1)
            except BaseException:
                visit.withdraw()
                raise
            began = time.perf_counter()
            attempt = EmbedAttempt(
                service=name,
                spec=spec,
                api_key=key_of(spec, around.environ),
                texts=ask.texts,
                timeout_s=max(0.05, min(spec.timeout, ask.timeout_s - (began - asked))),
                request_id=secrets.token_hex(16),
            )
            try:
                embedded = await around.provider_of(spec).embed(attempt)
                latency_ms = round((time.perf_counter() - began) * 1000, 3)
                visit.answered(embedded.prompt_tokens, 0)
                if (told := embedded.prompt_tokens) is not None and price is not None:
                    cost = cost_usd(price, told, 0)
            except UpstreamError as error:
                visit.failed(error, given_s=attempt.timeout_s)
                if error.spent is False:
                    cost, told = 0.0, 0
                raise
            finally:
                await around.purse.settle(reservation, cost, told)
        if price is not None and told is None and most_usd:
            unknown = charges.NO_USAGE
        call = Call(
            step="embed",
            agent=ask.agent,
            service=name,
            model=embedded.model or spec.model.split("/", 1)[1],
            region=spec.region,
            prompt_tokens=told,
            completion_tokens=0,
            cost_usd=None if unknown else cost,
            cost_unknown_reason=unknown,
            overrun=(told or 0) > most_tokens,
            latency_ms=latency_ms,
        )
        return Embeddings(model=call.model, dimensions=len(embedded.vectors[0]), vectors=embedded.vectors, call=call)

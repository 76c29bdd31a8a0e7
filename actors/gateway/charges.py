"""What a call may cost before it is made, and what it cost after: of an answer, of a part of one, of nothing."""

import json

from actors.catalogue import cost_usd, most_cost_usd, tokens
from actors.gateway.providers import Embedded, Heard, Served
from actors.gateway.scopes import nano
from schemas.budget import Reservation
from schemas.completion import Complete
from schemas.errors import BudgetExceeded
from schemas.receipt import Call
from schemas.service import Price

TOOLS_TOKENS = 1024
"""More than the instructions that providers add where there are tools."""
NO_USAGE = "the provider reported no usage"


def most_tokens(ask: Complete) -> int:
    """The most tokens that a call can take, question and answer together."""
    return _most_prompt_tokens(ask) + ask.max_tokens


def likely_tokens(ask: Complete) -> int:
    """About how many tokens a call takes if it uses all that it may, question and answer together."""
    return tokens.likely_tokens(_most_prompt_tokens(ask)) + ask.max_tokens


def most_usd(price: Price | None, ask: Complete) -> float | None:
    """The most that a call can cost in US dollars, or None when the price is unknown."""
    return None if price is None else most_cost_usd(price, _most_prompt_tokens(ask), ask.max_tokens)


def _most_prompt_tokens(ask: Complete) -> int:
    size = sum(
        len(m.content.encode()) + sum(len(wish.name) + len(wish.arguments) for wish in m.tool_calls)
        for m in ask.messages
    )
    size += len(json.dumps(ask.json_schema)) if ask.json_schema else 0
    size += len(json.dumps(ask.tools)) + TOOLS_TOKENS if ask.tools else 0
    return tokens.most_tokens(size, len(ask.messages), sum(len(m.images) for m in ask.messages))


def answered(call: Call, ask: Complete, served: Served, price: Price | None, latency_ms: float) -> Call:
    """The attempt that served, at what the provider reported.

    Args:
        call: as it began, its cost the reservation.
    """
    cost, reason = _cost(call, served.prompt_tokens, served.completion_tokens, price)
    return call.model_copy(
        update={
            "outcome": "answered",
            "model": served.model or call.model,
            "prompt_tokens": served.prompt_tokens,
            "completion_tokens": served.completion_tokens,
            "cost_usd": cost,
            "cost_estimated": False,
            "cost_unknown_reason": reason,
            "dropped": served.dropped,
            "latency_ms": latency_ms,
            "overrun": _overran(call, ask, cost, (served.prompt_tokens or 0) + (served.completion_tokens or 0)),
        }
    )


def embedded(call: Call, made: Embedded, most: int, price: Price | None, latency_ms: float) -> Call:
    """The attempt that brought vectors, at what the provider reported.

    Args:
        call: as it began, its cost the reservation.
        most: tokens that it could take.
    """
    cost, reason = _cost(call, made.prompt_tokens, 0, price)
    return call.model_copy(
        update={
            "outcome": "answered",
            "model": made.model or call.model,
            "prompt_tokens": made.prompt_tokens,
            "completion_tokens": 0,
            "cost_usd": cost,
            "cost_estimated": False,
            "cost_unknown_reason": reason,
            "latency_ms": latency_ms,
            "overrun": (made.prompt_tokens or 0) > most,
        }
    )


def _cost(
    call: Call, prompt_tokens: int | None, completion_tokens: int | None, price: Price | None
) -> tuple[float | None, str | None]:
    """What an answer cost, or why nobody knows."""
    if price is None:
        return None, call.cost_unknown_reason or "price unknown"
    if prompt_tokens is not None and completion_tokens is not None:
        return cost_usd(price, prompt_tokens, completion_tokens), None
    return (0.0, None) if price.free else (None, NO_USAGE)


def cut_off(call: Call, ask: Complete, heard: Heard, price: Price | None, outcome: str, latency_ms: float) -> Call:
    """An attempt that ended before its answer was whole, at what had arrived of it.

    Where nothing had, nobody knows what the provider did meanwhile: it stays at its reservation. Otherwise the tokens
    are the provider's as far as it had told them, and else estimated from the text.
    """
    update: dict[str, object] = {"outcome": outcome, "latency_ms": latency_ms}
    if heard.began and price is not None:
        prompt = heard.prompt_tokens
        if prompt is None:
            prompt = tokens.likely_tokens(_most_prompt_tokens(ask))
        written = tokens.likely_tokens(len(heard.text.encode()) + heard.unsaid)
        # An estimate is no proof that it wrote more than it was allowed to.
        completion = heard.completion_tokens or 0
        if not heard.final:
            completion = max(min(written, ask.max_tokens), completion)
        cost = cost_usd(price, prompt, completion)
        update |= {
            "model": heard.model or call.model,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cost_usd": cost,
            "cost_estimated": not (heard.final or price.free),
            "overrun": _overran(call, ask, cost, prompt + completion),
        }
    return call.model_copy(update=update)


def _overran(call: Call, ask: Complete, cost: float | None, taken: int) -> bool:
    """Whether it came to more than it could; `call` as it began, its cost the reservation."""
    return (cost is not None and call.cost_usd is not None and cost > call.cost_usd) or taken > most_tokens(ask)


def keep_to(reservation: Reservation | None, begun: Call, call: Call) -> None:
    """See that an answered call took no more than was held for it in every budget.

    Raises:
        BudgetExceeded: it did, which only its provider can bring about; it is charged.
    """
    if reservation is None or not call.overrun:
        return
    cost, taken = call.cost_usd or 0.0, (call.prompt_tokens or 0) + (call.completion_tokens or 0)
    if any((nano(cost) if hold.unit == "usd" else taken) > hold.amount for hold in reservation.holds):
        raise BudgetExceeded(
            f"{call.service} took ${cost:.6f} and {taken:,} tokens, allowed were "
            f"${begun.cost_usd or 0:.6f} and {reservation.tokens:,} tokens"
        )

"""What a call may cost before it is made, and what it cost after: of an answer, of a part of one, of nothing."""

import json

from actors.catalogue import cost_usd, most_cost_usd, tokens
from actors.gateway.providers import Heard, Served
from actors.gateway.scopes import nano
from schemas.budget import Reservation
from schemas.completion import Complete
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
    counted = served.prompt_tokens is not None and served.completion_tokens is not None
    cost: float | None
    if price is None:
        cost, reason = None, call.cost_unknown_reason or "price unknown"
    elif counted:
        cost, reason = cost_usd(price, served.prompt_tokens or 0, served.completion_tokens or 0), None
    elif price.free:
        cost, reason = 0.0, None
    else:
        cost, reason = None, NO_USAGE
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


def exceeds(reservation: Reservation, call: Call) -> bool:
    """Whether a call took more than is held for it in some budget."""
    cost, taken = call.cost_usd or 0.0, (call.prompt_tokens or 0) + (call.completion_tokens or 0)
    return any((nano(cost) if hold.unit == "usd" else taken) > hold.amount for hold in reservation.holds)

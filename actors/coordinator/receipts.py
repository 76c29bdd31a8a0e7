"""The receipt of a task: what its calls came to, and what one call of the premium service would have cost."""

from collections.abc import Iterable

from actors.catalogue import Catalogue, cost_usd, price_of
from schemas.receipt import Call, Receipt
from schemas.task import TaskRequest
from schemas.team import Contribution


def receipt(
    catalogue: Catalogue, request: TaskRequest, calls: tuple[Call, ...], wall_ms: float, *, answered: bool = True
) -> Receipt:
    """The receipt of a task that one agent or service answered.

    Args:
        answered: whether there is an answer, which one premium call could have given.
    """
    name = catalogue.routing.premium_service
    price, unknown = price_of(name, catalogue.services[name])
    cost = tokens = None
    if price is not None:
        served = next((c for c in reversed(calls) if c.outcome == "answered"), None) if answered else None
        if served is None:
            unknown = "there is no answer to compare"
        elif served.prompt_tokens is None or served.completion_tokens is None:
            unknown = f"{served.service} reported no usage"
        else:
            # At the tokens that the serving call counted; of its prompt the task's share by length.
            agent = catalogue.agents.get(served.agent)
            theirs = _characters(request)
            share = round(served.prompt_tokens * theirs / (theirs + (len(agent.prompt) if agent else 0)))
            tokens = (share, served.completion_tokens)
            cost = cost_usd(price, *tokens)
    return Receipt.of(calls, wall_ms, name, cost, unknown, tokens)


def team_receipt(
    catalogue: Catalogue,
    request: TaskRequest,
    calls: tuple[Call, ...],
    wall_ms: float,
    answer: str,
    contributions: Iterable[Contribution],
) -> Receipt:
    """The receipt of a team's answer.

    No one call has the task's prompt and the answer's length, so both are reckoned by length, at the characters a
    token that the team's own texts had.
    """
    name = catalogue.routing.premium_service
    price, unknown = price_of(name, catalogue.services[name])
    cost = premium = None
    if price is not None:
        characters, tokens = 0, 0
        for each in contributions:
            served = each.calls[-1] if each.calls else None
            if each.usable and each.kind != "judgement" and served is not None and served.completion_tokens:
                characters += len(each.text or "")
                tokens += served.completion_tokens
        if not characters:
            unknown = "no service of the team reported its usage"
        else:
            rate = tokens / characters
            premium = (round(rate * _characters(request)), round(rate * len(answer)))
            cost = cost_usd(price, *premium)
    return Receipt.of(calls, wall_ms, name, cost, unknown, premium)


def _characters(request: TaskRequest) -> int:
    """Of all that the task's caller said."""
    own = len(request.prompt) + sum(len(turn.content) for turn in (*request.history, *request.later))
    return own + sum(len(item.text_content()) for item in request.inputs if item.kind != "image")

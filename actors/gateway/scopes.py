"""The scopes of a budget: which limits a call comes under, in which order, and how amounts are counted and said."""

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bus.subjects import PurseCounter
from schemas.budget import Budget, Budgets, Scope, Unit
from schemas.completion import Complete, Embed

NANO = 10**9
"""Counted money in one dollar."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One unit of one budget."""

    scope: Scope
    name: str
    unit: Unit
    limit: int
    counter: str

    def __str__(self) -> str:
        match self.scope:
            case "day":
                return "the day's budget"
            case "tree":
                return "the task's budget"
            case "workflow":
                return "the workflow's budget"
            case _:
                return f"the day's budget of {self.scope} {self.name}"


def limits_of(budgets: Budgets, ask: Complete | Embed | None, service: str | None, at: datetime) -> list[Limit]:
    """What limits a call, in the order in which it is reserved: the day, the service, the key, the workflow, the task.

    Args:
        ask: None for what limits no tree in particular.
        service: None for every service and key there is a budget for.
        at: decides which day it is, in UTC.
    """
    day = at.date().isoformat()
    found: list[Limit] = []
    if (whole := budgets.day) is not None:
        found += _of("day", day, "all", whole.usd, whole.tokens)
    for name, budget in budgets.services.items():
        if service is None or name == service:
            found += _of("service", day, name, budget.usd, budget.tokens)
    keys = budgets.keys if service is None else {}
    if ask is not None and ask.key is not None:
        own = Budget.stricter(budgets.keys.get(ask.key), ask.key_budget)
        keys = keys if own is None else {**keys, ask.key: own}
    for name, budget in keys.items():
        found += _of("key", day, name, budget.usd, budget.tokens)
    if isinstance(ask, Complete) and ask.workflow is not None and ask.workflow_budget is not None:
        shared = ask.workflow_budget
        found += _of("workflow", ask.tenant, ask.workflow, shared.usd, shared.tokens)
    if ask is not None:
        found += _of("tree", ask.tenant, ask.root or ask.task_id, ask.max_cost_usd, ask.max_total_tokens)
    return found


def _of(scope: Scope, within: str, name: str, usd: float | None, tokens: int | None) -> list[Limit]:
    limits: list[tuple[Unit, int]] = []
    if usd is not None and math.isfinite(usd):
        # Rounded down, noise apart: a limit is never exceeded, not even by a billionth.
        limits.append(("usd", math.floor(Decimal(str(round(usd, 12))) * NANO)))
    if tokens is not None:
        limits.append(("tokens", tokens))
    shown = within if scope == "day" else name
    return [Limit(scope, shown, unit, limit, str(PurseCounter(scope, within, name, unit))) for unit, limit in limits]


def nano(usd: float) -> int:
    """Dollars as whole billionths, rounded up, but for what is only noise of the sum: less than a thousandth of one."""
    return math.ceil(Decimal(str(round(usd, 12))) * NANO)


def said(unit: Unit, amount: int) -> str:
    """An amount for people: `$0.012`, `1,200 tokens`."""
    if unit == "tokens":
        return f"{amount:,} token{'' if amount == 1 else 's'}"
    return f"${(Decimal(amount) / NANO).normalize():f}"


def is_or_are(unit: Unit, amount: int) -> str:
    return "are" if unit == "tokens" and amount != 1 else "is"

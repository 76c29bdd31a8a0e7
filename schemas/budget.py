"""Budgets: what may be spent, what a call holds of it, and what is left."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from schemas.errors import BudgetExceeded
from schemas.message import Message, Moment, Strict

Unit = Literal["usd", "tokens"]
"""Dollars are counted in whole billionths, tokens one by one: sums of many are then exact."""
Scope = Literal["day", "service", "key", "workflow", "tree"]


class Budget(Strict):
    """The most that may be spent; what is left out has no limit."""

    usd: float | None = Field(default=None, ge=0, le=1_000_000_000, allow_inf_nan=False)
    tokens: int | None = Field(default=None, ge=0)
    """Questions and answers together."""

    @model_validator(mode="after")
    def _limits_something(self) -> "Budget":
        if self.usd is None and self.tokens is None:
            raise ValueError("states no limit; give usd, tokens or both")
        return self

    @classmethod
    def stricter(cls, *budgets: "Budget | None") -> "Budget | None":
        """The one that keeps to all of them; none where there is none."""
        usd = min((each.usd for each in budgets if each is not None and each.usd is not None), default=None)
        tokens = min((each.tokens for each in budgets if each is not None and each.tokens is not None), default=None)
        return None if usd is None and tokens is None else cls(usd=usd, tokens=tokens)


class Budgets(Strict):
    """The overlay's section `budgets`. Each is for one day in UTC and for the whole platform."""

    day: Budget | None = None
    services: dict[str, Budget] = {}
    keys: dict[str, Budget] = {}
    """By the API key's id."""

    def with_keys(self, stored: Mapping[str, Budget]) -> "Budgets":
        """These, and what keys may spend by themselves."""
        both = {key: Budget.stricter(self.keys.get(key), stored.get(key)) for key in (*self.keys, *stored)}
        return self.model_copy(update={"keys": {key: budget for key, budget in both.items() if budget is not None}})


class Hold(Message):
    """What a reservation takes from one counter."""

    counter: str
    """The counter's subject."""
    unit: Unit
    amount: int
    """In billionths of a dollar, or in tokens."""


class Reservation(Message):
    """What one attempt at a call may cost, held in every budget that limits it. Kept until it is settled."""

    id: str
    instance: str
    """The gateway that made it."""
    journal_key: str
    attempt: int
    """Which attempt of that journal entry it is for."""
    opened_at: Moment
    cost_nano: int | None = None
    """The most that the call can cost in billionths of a dollar; None: nobody knows."""
    tokens: int
    """The most that it can take."""
    holds: tuple[Hold, ...] = ()
    """In the order in which they are taken; none where nothing is limited."""


class Outcome(Message):
    """What became of the attempt that a reservation was made for. What is None nobody knows: it stays as reserved."""

    began: bool
    """Whether the provider may have been called."""
    cost_usd: float | None = None
    tokens: int | None = None


NEVER_BEGAN = Outcome(began=False)
IN_DOUBT = Outcome(began=True)


class Left(Message):
    """One limit and what it has come to, in billionths of a dollar or in tokens."""

    scope: Scope
    name: str
    """The service, the key's id, the workflow, or the root of the tree of tasks; for the whole day its date."""
    unit: Unit
    limit: int
    used: int
    """Reserved and spent together. For an instant it also holds what is about to be refused."""

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


class BudgetLeft(Message):
    """A budget of this day and what it has come to: dollars, or tokens."""

    scope: Scope
    name: str
    """The service, or the key's id; for the whole day its date."""
    unit: Unit
    limit: float
    used: float
    """Reserved and spent together."""
    left: float

    @classmethod
    def of(cls, left: Left) -> "BudgetLeft":
        """As people count: not in billionths."""
        one = 1e9 if left.unit == "usd" else 1
        limit, used = left.limit / one, left.used / one
        return cls(scope=left.scope, name=left.name, unit=left.unit, limit=limit, used=used, left=left.left / one)


class BudgetList(Message):
    budgets: tuple[BudgetLeft, ...]


class BudgetRefused(BudgetExceeded):
    """A call does not fit into what is left of a budget; `scope` says of which. Nothing is held for it."""

    code = "budget_refused"

    def __init__(self, reason: str, scope: str) -> None:
        super().__init__(reason)
        self.args = (reason, scope)
        self.scope = scope

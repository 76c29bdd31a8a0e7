"""What was spent, summed from the ledger. What nobody knows is never taken for zero: it is counted beside the sum."""

from datetime import date
from typing import Literal

from schemas.message import Message

CostKey = Literal["day", "agent", "service", "task", "key"]
"""`key`: the API key that asked."""


class CostSums(Message):
    """Every sum is of what is known, and says beside it how much is not."""

    calls: int = 0
    """Calls that were or may have been charged, and those that needed no service."""
    cached_calls: int = 0
    """Those of `calls` that the cache answered. They cost nothing, and their tokens are in no sum."""
    replayed_calls: int = 0
    """Those of `calls` that a recording answered. What they cost and took when they were recorded is in no sum."""
    spent_usd: float = 0.0
    estimated_usd: float = 0.0
    """The part of `spent_usd` that is estimated: cut streams, calls in doubt."""
    unknown_calls: int = 0
    """Calls whose cost nobody knows; they are not in `spent_usd`."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls_without_tokens: int = 0
    """Calls that reported no usage, or half of it; what they did not report is in neither sum."""
    premium_cost_usd: float | None = None
    """What one call of the premium service would have cost, over the tasks where that is known; null: for none.

    Replayed tasks are in neither this nor `saved_usd`: nothing was spent on them, so nothing was saved.
    """
    saved_usd: float | None = None
    """Premium less spent, over the tasks where both are known; null: for none."""


class CostRow(CostSums):
    """The sums of one day (UTC), agent, service, task or API key. Only days and tasks have a premium side."""

    key: str
    """Of API keys the id; empty: asked without one."""
    tasks_without_premium: int | None = None


class Costs(CostSums):
    by: CostKey
    since: date | None = None
    """First day, in UTC; null: from the beginning."""
    until: date | None = None
    """Last day, in UTC; null: to the end."""
    tasks_without_premium: int = 0
    """Tasks that ended and whose premium cost nobody knows; they are not in `premium_cost_usd`."""
    rows: tuple[CostRow, ...] = ()
    """Days in order; agents, services and tasks dearest first."""
    rows_left_out: int = 0
    """How many more there are: older days, or cheaper agents, services or tasks. The sums hold them."""

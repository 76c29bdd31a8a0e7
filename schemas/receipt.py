"""The honest receipt: who served, what it cost, what one premium model would have cost."""

from typing import Annotated, Self

from pydantic import Field

from schemas.message import Message

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Of tokens; whatever keeps them, SQL too, has 64 bits for it."""
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]

JUDGE = "judge"
"""The agent that judges' calls go under. It contributes nothing to an answer, so receipts do not count it."""


class Call(Message):
    """One call of a model. Unknown is `null` with a reason, never 0."""

    step: str
    agent: str
    service: str
    model: str
    region: str | None = None
    fallback_from: tuple[str, ...] = ()
    """`service: reason` for every service of the order that was tried or passed over before this one."""
    cached: bool = False
    """The cache answered: it cost nothing, and its tokens are the answer's, as counted when it was first given."""
    replayed: bool = False
    """A recording answered: tokens and cost are those of the recorded call, and nothing was spent."""
    in_doubt: bool = False
    """A crash made the outcome unknowable; it is charged at its reservation and was tried again."""
    outcome: str = "answered"
    """`answered`, `cancelled`, `failed`, `outrun` (its hedge was faster) or `in_doubt`."""
    reason: str | None = None
    """What went wrong, of a call that did not answer."""
    retries: tuple[str, ...] = ()
    """Why earlier attempts at this service failed that cost nothing."""
    hedged: bool = False
    """A second attempt, made because the first took longer than the service mostly does."""
    overrun: bool = False
    """The provider charged more than the call was allowed to cost."""
    dropped: tuple[str, ...] = ()
    """Parameters of the question that were not passed on, for the model takes none; `temperature` mostly."""
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cost_usd: Amount | None = None
    cost_estimated: bool = False
    cost_unknown_reason: str | None = None
    latency_ms: Amount | None = None


class Receipt(Message):
    """What a task took, summed over its calls. A sum with an unknown part is unknown, and says why."""

    cost_usd: float | None = None
    cost_estimated: bool = False
    cost_unknown_reason: str | None = None
    premium_cost_usd: float | None = None
    """One call of the premium service with the task's prompt and the final answer's length."""
    premium_service: str | None = None
    premium_unknown_reason: str | None = None
    premium_prompt_tokens: int | None = None
    premium_completion_tokens: int | None = None
    """What that call would have taken, as `premium_cost_usd` reckons it; `null` where that is."""
    saved_usd: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_unknown_reason: str | None = None
    agents: int
    """How many agents contributed to the answer; judges do not count."""
    wall_ms: float
    calls: tuple[Call, ...] = Field(default=())

    @classmethod
    def of(
        cls,
        calls: tuple[Call, ...],
        wall_ms: float,
        premium_service: str | None = None,
        premium_cost_usd: float | None = None,
        premium_unknown_reason: str | None = None,
        premium_tokens: tuple[int, int] | None = None,
    ) -> Self:
        """
        Args:
            premium_tokens: of the premium call's prompt and of its answer.
        """
        unknown = [f"{c.service}: {c.cost_unknown_reason or 'unknown'}" for c in calls if c.cost_usd is None]
        cost = None if unknown else sum(c.cost_usd or 0.0 for c in calls)
        saved = None if cost is None or premium_cost_usd is None else premium_cost_usd - cost
        asked, written = premium_tokens or (None, None)
        return cls(
            cost_usd=cost,
            cost_estimated=any(c.cost_estimated for c in calls),
            cost_unknown_reason="; ".join(unknown) or None,
            premium_cost_usd=premium_cost_usd,
            premium_service=premium_service,
            premium_unknown_reason=premium_unknown_reason,
            premium_prompt_tokens=asked,
            premium_completion_tokens=written,
            saved_usd=saved,
            prompt_tokens=_sum([c.prompt_tokens for c in calls]),
            completion_tokens=_sum([c.completion_tokens for c in calls]),
            tokens_unknown_reason=_untold(calls),
            agents=len({c.agent for c in calls if c.outcome == "answered"} - {JUDGE}),
            wall_ms=wall_ms,
            calls=calls,
        )


def _untold(calls: tuple[Call, ...]) -> str | None:
    """Which calls leave the sums of tokens unknown."""
    silent = [f"{c.service}: {c.outcome}" for c in calls if c.prompt_tokens is None or c.completion_tokens is None]
    return "tokens were not reported by " + "; ".join(silent) if silent else None


def _sum(parts: list[int | None]) -> int | None:
    return None if any(p is None for p in parts) else sum(p or 0 for p in parts)

"""What a tool gives back: as data for programs, and in words. Both are short, for their reader pays by the token."""

import math
from typing import Self

from schemas.costs import CostKey, Costs
from schemas.message import Message, Moment
from schemas.problem import Problem
from schemas.quality import Quality
from schemas.receipt import JUDGE, Receipt
from schemas.task import Status, Task, Tier
from schemas.team import Progress

MOST_ROWS = 10


class Paid(Message):
    """A task's receipt in short."""

    cost_usd: float | None
    cost_estimated: bool = False
    cost_unknown_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    services: tuple[str, ...]
    """Who answered."""
    agents: int
    wall_s: float

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        answered = [call.service for call in receipt.calls if call.outcome == "answered" and call.agent != JUDGE]
        return cls(
            cost_usd=receipt.cost_usd,
            cost_estimated=receipt.cost_estimated,
            cost_unknown_reason=receipt.cost_unknown_reason,
            prompt_tokens=receipt.prompt_tokens,
            completion_tokens=receipt.completion_tokens,
            services=tuple(dict.fromkeys(answered)),
            agents=receipt.agents,
            wall_s=round(receipt.wall_ms / 1000, 3),
        )


class Saved(Message):
    """Against one call of the premium service, which would have read the prompt and written the answer itself."""

    usd: float | None
    premium_service: str | None
    premium_cost_usd: float | None
    premium_prompt_tokens: int | None
    premium_completion_tokens: int | None
    """Premium tokens that were not written."""
    unknown_reason: str | None

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        return cls(
            usd=receipt.saved_usd,
            premium_service=receipt.premium_service,
            premium_cost_usd=receipt.premium_cost_usd,
            premium_prompt_tokens=receipt.premium_prompt_tokens,
            premium_completion_tokens=receipt.premium_completion_tokens,
            unknown_reason=receipt.premium_unknown_reason or receipt.cost_unknown_reason,
        )


class Measured(Message):
    """How good the answer is, by the platform's own measure."""

    overall: float | None
    met: bool | None
    """Whether the `min_quality` asked for was reached."""

    @classmethod
    def of(cls, quality: Quality) -> Self:
        return cls(overall=quality.overall, met=quality.met)


class Standing(Message):
    """How far a task is."""

    task_id: str
    status: Status
    tier: Tier | None
    created_at: Moment
    finished_at: Moment | None
    progress: Progress | None
    """Of a team that is at work: its phase, and its steps."""

    @classmethod
    def of(cls, task: Task) -> Self:
        return cls.model_validate(task.model_dump(include=set(cls.model_fields)))

    @property
    def words(self) -> str:
        return f"task {self.task_id} {_how_far(self.status, self.progress)}"


class Answer(Message):
    """A task as it is when a tool stops waiting for it."""

    task_id: str
    status: Status
    answer: str | None
    tier: Tier | None
    quality: Measured | None
    receipt: Paid | None
    saved: Saved | None
    error: Problem | None
    progress: Progress | None

    @classmethod
    def of(cls, task: Task) -> Self:
        return cls(
            task_id=task.task_id,
            status=task.status,
            answer=task.answer,
            tier=task.tier,
            quality=Measured.of(task.quality) if task.quality else None,
            receipt=Paid.of(task.receipt) if task.receipt else None,
            saved=Saved.of(task.receipt) if task.receipt and task.status == "completed" else None,
            error=task.error,
            progress=task.progress,
        )

    @property
    def words(self) -> str:
        about = f"[devskyy: {', '.join([f'task {self.task_id} {self.status}', *self._facts()])}]"
        match self.status:
            case "completed":
                return f"{self.answer or ''}\n\n{about}"
            case "failed" | "cancelled":
                why = in_words(self.error) if self.error else "no reason was recorded"
                return f"{why}\n{about}"
            case _:
                far = _how_far(self.status, self.progress)
                return f"Task {self.task_id} {far}. Call `result` with this task_id to wait on, or `cancel` to stop it."

    def _facts(self) -> list[str]:
        told = []
        if self.quality is not None and self.quality.overall is not None:
            missed = ", under the min_quality asked for" if self.quality.met is False else ""
            told.append(f"quality {self.quality.overall:.2f}{missed}")
        if self.receipt is not None:
            by = f" by {', '.join(self.receipt.services)}" if self.receipt.services else ""
            told.append(f"cost {usd(self.receipt.cost_usd)}{by}")
        if self.saved is not None and self.saved.usd is not None:
            tokens = self.saved.premium_completion_tokens
            written = f" and the writing of {tokens:,} premium tokens" if tokens is not None else ""
            told.append(f"saved {usd(self.saved.usd)}{written} against {self.saved.premium_service}")
        return told


def _how_far(status: Status, progress: Progress | None) -> str:
    if progress is None:
        return {"accepted": "is accepted and not yet begun", "running": "is running"}.get(status, f"is {status}")
    ended = progress.answered + progress.failed + progress.left_out
    return f"is running: {progress.phase}, {ended:,} of {progress.asked:,} steps ended"


class Who(Message):
    """An agent or a service."""

    name: str
    state: str
    why: str | None = None
    """Why it is not fully there."""
    capabilities: tuple[str, ...] = ()


class There(Message):
    """Who is there to delegate to."""

    agents: tuple[Who, ...]
    services: tuple[Who, ...]
    agents_left_out: int
    services_left_out: int
    """How many that cannot serve now are not listed."""

    @property
    def words(self) -> str:
        told = ["agents:", *map(_line, self.agents), "services:", *map(_line, self.services)]
        if self.agents_left_out or self.services_left_out:
            out = f"{self.agents_left_out} agents and {self.services_left_out} services"
            told.append(f"{out} cannot serve now; unavailable=true lists them with the reason")
        return "\n".join(told)


def _line(who: Who) -> str:
    able = f" ({', '.join(who.capabilities)})" if who.capabilities else ""
    return f"- {who.name}: {who.state}{able}{f': {who.why}' if who.why else ''}"


class SpentOn(Message):
    key: str
    spent_usd: float
    calls: int
    saved_usd: float | None
    """Only days and tasks have it."""


class Spending(Message):
    """What was spent, what one premium model would have cost, and what nobody knows."""

    by: CostKey
    spent_usd: float
    calls: int
    unknown_calls: int
    """Calls of unknown cost; `spent_usd` is without them."""
    prompt_tokens: int
    completion_tokens: int
    premium_cost_usd: float | None
    saved_usd: float | None
    tasks_without_premium: int
    """Tasks whose premium cost nobody knows; `premium_cost_usd` and `saved_usd` are without them."""
    rows: tuple[SpentOn, ...]
    rows_left_out: int

    @classmethod
    def of(cls, costs: Costs) -> Self:
        rows = costs.rows[-MOST_ROWS:] if costs.by == "day" else costs.rows[:MOST_ROWS]
        told = costs.model_dump(include=set(cls.model_fields) - {"rows", "rows_left_out"})
        kept = [row.model_dump(include=set(SpentOn.model_fields)) for row in rows]
        return cls(**told, rows=kept, rows_left_out=costs.rows_left_out + len(costs.rows) - len(rows))

    @property
    def words(self) -> str:
        unknown = f", and {self.unknown_calls:,} calls of unknown cost" if self.unknown_calls else ""
        told = [f"spent {usd(self.spent_usd)} in {self.calls:,} calls{unknown}"]
        told.append(f"one premium model would have cost {usd(self.premium_cost_usd)}; saved {usd(self.saved_usd)}")
        if self.tasks_without_premium:
            told.append(f"that leaves out {self.tasks_without_premium:,} tasks whose premium cost is unknown")
        told += [f"- {row.key or 'none'}: {usd(row.spent_usd)} in {row.calls:,} calls" for row in self.rows]
        if self.rows_left_out:
            told.append(f"{self.rows_left_out:,} more rows are not shown; the sums hold them")
        return "\n".join(told)


def usd(amount: float | None) -> str:
    """US dollars with three significant digits."""
    if amount is None:
        return "unknown"
    places = 2 if amount == 0 else max(2, 2 - math.floor(math.log10(abs(amount))))
    return f"{'-' if amount < 0 else ''}${abs(amount):.{min(places, 12)}f}"


REMEDIES = {
    "unauthorized": "`devskyy keys create` makes a key; set it as DEVSKYY_API_KEY, or send it as a bearer token",
    "forbidden": "use a key with the scope `write`",
    "budget_exceeded": "raise max_cost_usd, or wait for the next day's budget; `devskyy budgets` says what is left",
    "no_service": "`list` with unavailable=true says why no service can serve",
    "deadline_exceeded": "give it more timeout_s, or a smaller task",
    "not_found": "take a task_id that `delegate` returned",
}
"""What to do about a problem whose detail does not say so itself."""


def in_words(problem: Problem) -> str:
    """A problem with its remedy."""
    told = f"{problem.title}: {problem.detail}"
    remedy = REMEDIES.get(problem.code)
    if remedy is None and problem.retryable:
        after = problem.retry_after_s
        remedy = f"try again in {math.ceil(after)} s" if after is not None else "try again in a while"
    return told if remedy is None or "remedy:" in told else f"{told}\nremedy: {remedy}"

"""How good an answer is, on five metrics."""

from typing import Literal

from pydantic import Field

from schemas.message import Message, Moment

Means = Literal["checks", "embeddings", "judge"]
"""By what a score came about: rules that look, vectors that compare, or a language model that was asked."""


class Evidence(Message):
    """One thing that a score rests on."""

    check: str
    """The rule's name, `arithmetic` for one."""
    text: str
    severity: float | None = Field(default=None, ge=0, le=1)
    """How bad it is, a fraction; absent for what speaks for the answer or only measures it."""
    quote: str | None = None
    start: int | None = None
    """The first character of the place in the answer; absent where something is missing."""
    end: int | None = None
    proposal: str | None = None
    """What would mend it."""


class Quality(Message):
    """Each metric is a fraction in [0, 1], or `null` with its reason under `reasons`."""

    overall: float | None = None
    relevance: float | None = None
    accuracy: float | None = None
    completeness: float | None = None
    innovation: float | None = None
    clarity: float | None = None
    met: bool | None = None
    """Whether `overall` reached the `min_quality` asked for; `null` when nothing was asked or nothing is known."""
    reasons: dict[str, str] = {}
    evidence: dict[str, tuple[Evidence, ...]] = {}
    """By metric what its score rests on, the worst first."""
    means: dict[str, tuple[Means, ...]] = {}
    """By metric how its score came about."""


QualityBy = Literal["agent", "kind"]


class QualityRow(Message):
    """How good the answers of an agent, or to a kind of work, were so far."""

    agent: str | None = None
    """`null` in rows that are of a kind of work alone."""
    kind: str | None = None
    """The kind of work; `null`: nobody said, or the row is of an agent alone."""
    n: int
    """Answers that were measured."""
    mean: float
    """Of their overall quality, a fraction."""
    last_at: Moment


class QualityList(Message):
    by: QualityBy | None = None
    """`null`: rows of each agent and kind of work."""
    rows: tuple[QualityRow, ...] = ()
    """Those with the most answers first."""


def unmeasured(reason: str) -> Quality:
    """No metric could be computed, and why."""
    metrics = ("overall", "relevance", "accuracy", "completeness", "innovation", "clarity")
    return Quality(reasons=dict.fromkeys(metrics, reason))

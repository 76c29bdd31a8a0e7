"""How good an answer is, on five metrics."""

from schemas.message import Message


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


def unmeasured(reason: str) -> Quality:
    """No metric could be computed, and why."""
    metrics = ("overall", "relevance", "accuracy", "completeness", "innovation", "clarity")
    return Quality(reasons=dict.fromkeys(metrics, reason))

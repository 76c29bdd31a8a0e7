"""What a check says: what is wrong, how badly, where, and what would mend it."""

from dataclasses import dataclass
from typing import Literal

from actors.quality.text import Place

Metric = Literal["relevance", "accuracy", "completeness", "innovation", "clarity"]
METRICS: tuple[Metric, ...] = ("relevance", "accuracy", "completeness", "innovation", "clarity")


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    metric: Metric
    severity: float
    """A fraction in (0, 1]: 1 means that nothing of the answer's worth in this respect is left."""
    message: str
    proposal: str
    place: Place | None = None
    """In the answer; `None` where something is missing, which has no place."""

    def __post_init__(self) -> None:
        if not 0 < self.severity <= 1:
            raise ValueError(f"a severity lies in (0, 1], not at {self.severity}")

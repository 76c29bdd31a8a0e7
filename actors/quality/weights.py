"""placeholder"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    bias: float
    of: dict[str, float]


WITH_EMBEDDINGS = Weights(
    0.0, {"whole": 2.0, "sentences": 3.0, "focus": 2.0, "coverage": 1.0, "no stranger": 1.0, "novelty": 1.0}
)
WITHOUT_EMBEDDINGS = Weights(0.0, {"focus": 2.0, "coverage": 1.0, "no stranger": 1.0})

"""What each feature counts. Written by `python -m bench.quality fit`; fitted, none below 0."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """Of the logit of the overall score."""

    bias: float
    of: dict[str, float]


WITH_EMBEDDINGS = Weights(-0.617, {"coverage": 1.205, "no stranger": 0.93, "no preamble": 0.281, "concrete": 0.33})
WITHOUT_EMBEDDINGS = Weights(-0.453, {"coverage": 0.94, "no stranger": 0.911, "no preamble": 0.281, "concrete": 0.426})

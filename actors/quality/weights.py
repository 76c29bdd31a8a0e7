"""What each feature counts. Written by `python -m bench.quality fit`; fitted, none below 0."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """Of the logit of the overall score."""

    bias: float
    of: dict[str, float]


WITH_EMBEDDINGS = Weights(-0.616, {"coverage": 1.387, "no stranger": 0.627, "sentences": 0.55, "novelty": 0.198, "no preamble": 0.183, "concrete": 0.308})
WITHOUT_EMBEDDINGS = Weights(-0.518, {"coverage": 1.42, "no stranger": 0.654, "focus": 0.305, "novelty": 0.169, "no preamble": 0.188, "concrete": 0.303})

"""What each feature counts. Written by `python -m bench.quality fit`; fitted, none below 0."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """Of the logit of the overall score."""

    bias: float
    of: dict[str, float]


WITH_EMBEDDINGS = Weights(-0.195, {"coverage": 0.818, "no stranger": 0.717, "no preamble": 0.285, "concrete": 0.371})
WITHOUT_EMBEDDINGS = Weights(
    -0.287, {"coverage": 0.774, "no stranger": 0.717, "novelty": 0.235, "no preamble": 0.229, "concrete": 0.449}
)

"""How hard a task is, how sure that is, and what it is about."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.coordinator.classifier.extent import Extent
from actors.coordinator.classifier.fields import touched
from actors.coordinator.classifier.model import Demand
from actors.coordinator.classifier.reading import Reading
from actors.coordinator.classifier.reasons import reasons
from actors.coordinator.classifier.tiers import HIGHEST, LOWEST, confidence, difficulty_of, tier_of
from schemas.task import Input, TaskRequest, Tier

Feature = int | float | list[str]

_SHOWN = 12
"""So many cues of a kind are kept among the features; the counts are of all."""

_DILUTION = 0.05 * (HIGHEST - LOWEST)
"""Levels that easier things in the same prompt may take from the hardest."""


@dataclass(frozen=True)
class Classification:
    """What a prompt looks like."""

    tier: Tier
    """What the work would deserve, whether or not this version can run it."""
    difficulty: float
    """A fraction in [0, 1]; it orders tasks and means nothing else."""
    domains: tuple[str, ...]
    """Trades that it touches, the one with most terms first."""
    features: dict[str, Feature] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    """Sentences for people, what counted most first."""
    confidence: float = 0.0
    """The probability that the tier is right, as far as labels reach."""


def classify(request: TaskRequest) -> Classification:
    """Classify a task. The same request always gives the same classification."""
    return classify_text(request.prompt, request.inputs)


def classify_text(prompt: str, inputs: Sequence[Input] = ()) -> Classification:
    """Classify a prompt with what comes with it; any text will do, none too.

    However many lines that ask for something follow a prompt that asks for something, its difficulty never falls by
    more than 0.05: the most demanding of the beginnings holds the whole up, and the extent never shrinks.
    """
    reading = Reading()
    demand, hardest, most = Demand(reading), 0.0, 0.0
    for _ in reading.follow(prompt):
        level = demand.level()
        most = max(level, hardest - _DILUTION)
        hardest = max(hardest, level)
    terms = reading.terms()
    kinds = sorted({part.kind for part in inputs})
    domains = touched(
        reading,
        terms,
        {
            # What demands reasoning wants an agent that is good at it, whatever the question is.
            "reasoning": 1 if reading.reasoning else 0,
            "code": 1 if "code" in kinds or "```" in prompt else 0,
            "data": 1 if "data" in kinds else 0,
        },
    )
    extent = Extent(
        asked=max(1, reading.asked),
        dependencies=len(reading.dependencies),
        reasoning=len(reading.reasoning),
        constraints=len(reading.constraints),
        domains=len(terms.keys() - {"reasoning"}),
        size=len(prompt.encode("utf-8", "surrogatepass")) + sum(part.size for part in inputs),
        kinds=len(kinds),
    )
    level = most + sum(extent.parts().values())
    tier = tier_of(level)
    features: dict[str, Feature] = {
        "deliverables": extent.asked,
        "dependencies": reading.dependencies[:_SHOWN],
        "reasoning": reading.reasoning[:_SHOWN],
        "terms": list(dict.fromkeys(term for domain in domains for term in terms.get(domain, ())))[:_SHOWN],
        "constraints": reading.constraints[:_SHOWN],
        "bytes": extent.size,
        "inputs": len(inputs),
        "kinds": [str(kind) for kind in kinds],
        "demand": round(most, 3),
    }
    why = reasons(reading, demand.pulls(), extent, domains, kinds, len(inputs), level, tier)
    return Classification(tier, difficulty_of(level), domains, features, tuple(why), round(confidence(level, tier), 4))

"""How hard a task is, how sure that is, and what it is about."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.coordinator.classifier.fields import meant
from actors.coordinator.classifier.lexicon import DOMAINS
from actors.coordinator.classifier.model import TIERS, Demand, Extent, confidence, difficulty_of, tier_of
from actors.coordinator.classifier.reading import Reading, read
from actors.coordinator.classifier.reasons import reasons
from schemas.errors import InvalidRequest
from schemas.task import Input, TaskRequest, Tier

Feature = int | float | list[str]

_SHOWN = 12
"""So many cues of a kind are kept among the features; the counts are of all."""


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

    One more line that asks for something never lowers the difficulty of a prompt that asks for something: the most
    demanding of the beginnings counts, and nothing that more text adds to the extent is ever taken away.
    """
    demand, most, before = Demand(), 0.0, 0.0
    for beginning in read(prompt):
        reading, before = beginning, most
        most = max(most, demand.level(reading))
    terms = reading.terms()
    domains = _domains(reading, terms, prompt, inputs)
    kinds = sorted({part.kind for part in inputs})
    extent = Extent(
        asked=max(1, reading.asked),
        dependencies=len(reading.dependencies),
        constraints=len(reading.constraints),
        domains=len(terms.keys() - {"reasoning"}),
        prompt_bytes=len(prompt.encode("utf-8", "surrogatepass")),
        input_bytes=sum(part.size for part in inputs),
        kinds=len(kinds),
    )
    level = most + sum(extent.parts().values())
    tier = tier_of(level)
    sure = round(confidence(level, tier), 4)
    features: dict[str, Feature] = {
        "deliverables": extent.asked,
        "dependencies": reading.dependencies[:_SHOWN],
        "reasoning": reading.reasoning[:_SHOWN],
        "terms": list(dict.fromkeys(term for domain in domains for term in terms.get(domain, ())))[:_SHOWN],
        "constraints": reading.constraints[:_SHOWN],
        "bytes": extent.prompt_bytes + extent.input_bytes,
        "inputs": len(inputs),
        "kinds": [str(kind) for kind in kinds],
        "demand": round(most, 3),
    }
    why = reasons(reading, demand, most, extent, domains, kinds, level, tier, sure)
    return Classification(tier, difficulty_of(level), domains, features, tuple(why), sure)

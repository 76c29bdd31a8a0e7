"""The trades that a reading touches: by their terms, and by words that mean nearly the same."""

from actors.coordinator.classifier.lexicon import DOMAINS
from actors.coordinator.classifier.parameters import fitted
from actors.coordinator.classifier.reading import Reading

_PLACES = {domain: place for place, domain in enumerate(DOMAINS)}
_ENOUGH = 2
"""So many words near to a trade's terms touch it; one alone is often a figure of speech."""


def touched(reading: Reading, terms: dict[str, list[str]], more: dict[str, int]) -> tuple[str, ...]:
    """Domains, the one that most stands for first; the order of `DOMAINS` breaks ties.

    Args:
        terms: for each domain its terms that occur.
        more: what else speaks for a domain.
    """
    near: dict[str, int] = {}
    fields = fitted().fields
    for word in reading.distinct:
        if (domain := fields.get(word)) is not None:
            near[domain] = near.get(domain, 0) + 1
    weights: dict[str, float] = {}
    for domain in {**terms, **near, **more}:
        found = len(terms.get(domain, ()))
        # A term is mostly near to itself, and counts once.
        beside = max(0, near.get(domain, 0) - found)
        weight = found + more.get(domain, 0)
        if weight or beside >= _ENOUGH:
            weights[domain] = weight + beside / 2
    return tuple(sorted(weights, key=lambda domain: (-weights[domain], _PLACES[domain])))

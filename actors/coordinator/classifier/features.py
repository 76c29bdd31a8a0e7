"""The features of a reading that a weight was fitted to, each one number."""

from math import log1p

from actors.coordinator.classifier.lexicon import DOMAINS
from actors.coordinator.classifier.reading import Reading

NAMES = (
    "words",
    "asked",
    "dependencies",
    "reasoning",
    "constraints",
    "terms",
    "domains",
    "closed",
    "letters_per_word",
    "long_words",
    "repetition",
    "personal",
    "capitals",
    "digits",
    "formulas",
    "code",
    "quotes",
    "questions",
    "sentences",
    "lines",
)


def measure(reading: Reading) -> tuple[float, ...]:
    """One number for each of `NAMES`, in their order. Counts are logarithms or bounded, shares are fractions."""
    words = reading.words or 1
    cues = reading.cues
    terms = [len(found) for name, found in cues.items() if name in DOMAINS]
    return (
        log1p(reading.words),
        log1p(max(1, reading.asked)),
        min(4, len(cues.get("dependence cue", ()))),
        min(5, len(cues.get("reasoning cue", ()))),
        min(5, len(cues.get("constraint cue", ()))),
        log1p(sum(terms)),
        min(4, len(terms)),
        min(2, len(cues.get("closed cue", ()))),
        reading.letters / words,
        reading.long / words,
        1 - len(reading.distinct) / words,
        reading.personal / words,
        reading.capitals / words,
        reading.digits / (reading.size or 1),
        log1p(reading.formulas),
        log1p(reading.code),
        log1p(reading.quotes),
        log1p(reading.questions),
        log1p(reading.sentences),
        log1p(reading.lines),
    )

"""How demanding a prompt is, by what was fitted to labels: 1 for everyday knowledge to 5 for an expert's."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest
from math import sqrt

from actors.coordinator.classifier.features import measure
from actors.coordinator.classifier.parameters import fitted, token_key
from actors.coordinator.classifier.reading import Reading

MOST_DEVIATION = 3.0
"""So many standard deviations from the mean a feature counts at most."""


@dataclass(frozen=True, slots=True)
class Pulls:
    """Levels by which each feature made a prompt more demanding, or less where it is negative."""

    features: dict[str, float]
    wording: float


class Demand:
    """Follows one reading, and says at any time how demanding what was read so far is."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._meaning = self._wording = 0.0
        self._worded, self._moved = 0.0, [0.0] * len(fitted().features)

    def level(self) -> float:
        """The label to be expected, 1 to 5 or a little beyond. Words that were weighed before cost nothing again."""
        self._take_new()
        reading, known, words = self._reading, fitted(), len(self._reading.distinct)
        if words:
            self._worded = self._meaning / sqrt(words) + self._wording / sqrt(words + len(reading.pairs))
        self._moved = [
            weight.value * min(MOST_DEVIATION, max(-MOST_DEVIATION, (value - weight.mean) / weight.scale))
            for value, weight in zip(measure(reading), known.features, strict=True)
        ]
        return known.offset + known.slope * (known.intercept + self._worded + sum(self._moved))

    def pulls(self) -> Pulls:
        """What moved the last level away from that of a prompt like most."""
        known = fitted()
        features = {weight.name: known.slope * moved for weight, moved in zip(known.features, self._moved, strict=True)}
        return Pulls(features, known.slope * (self._worded - known.usual_wording))

    def _take_new(self) -> None:
        reading, tokens = self._reading, fitted().tokens
        for word in reading.new_words:
            meaning, wording = weights(word)
            self._meaning += meaning
            self._wording += wording
        for before, word in reading.new_pairs:
            self._wording += tokens.get(token_key(before or "^", word), 0.0)
        reading.new_words.clear()
        reading.new_pairs.clear()


@lru_cache(maxsize=16_384)
def weights(word: str) -> tuple[float, float]:
    """What a word weighs by its embedding, and by itself.

    By its embedding a word outside the vocabulary weighs as much as the pieces that it is made of do on average.
    """
    known = fitted()
    meaning = known.meanings.get(word)
    if meaning is None:
        found = [known.meanings[piece] for piece in pieces(word, known.meanings)]
        meaning = sum(found) / len(found) if found else 0.0
    return meaning, known.tokens.get(token_key("", word), 0.0)


def pieces(word: str, known: Container[str]) -> Iterator[str]:
    """The longest known pieces of a word, from left to right; a hyphen stands before one that begins no word."""
    start, most = 0, 16
    while start < len(word):
        lead = "-" if start else ""
        for end in range(min(len(word), start + most), start, -1):
            if (piece := lead + word[start:end]) in known:
                yield piece
                start = end
                break
        else:
            start += 1


def telling(words: Iterable[str], sign: int) -> list[str]:
    """The three words that speak most for a demanding prompt, or with a sign of -1 for an easy one."""
    told = ((sign * sum(weights(word)), word) for word in words if len(word) > 3)
    return [word for weight, word in nlargest(3, told) if weight > 0]

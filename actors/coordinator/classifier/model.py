"""How demanding a prompt is, by what was fitted to labels: 1 for everyday knowledge to 5 for an expert's."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest
from math import sqrt

from actors.coordinator.classifier.features import measure
from actors.coordinator.classifier.parameters import Weight, fitted, token_key
from actors.coordinator.classifier.reading import Reading

_MOST_DEVIATION = 3.0


@dataclass(frozen=True, slots=True)
class Pulls:
    """Levels by which each feature made a prompt more demanding, or less where it is negative."""

    features: dict[str, float]
    wording: float


class Demand:
    """Follows one reading, and says at any time how demanding what was read so far is."""

    def __init__(self) -> None:
        self._meaning = self._wording = 0.0

    def level(self, reading: Reading) -> float:
        """The label to be expected, 1 to 5 or a little beyond. Words that were weighed before cost nothing again."""
        self._take_new(reading)
        known = fitted()
        raw = known.intercept + self._worded(reading)
        for value, weight in zip(measure(reading), known.features, strict=True):
            raw += weight.value * deviation(value, weight)
        return known.offset + known.slope * raw

    def _worded(self, reading: Reading) -> float:
        words = len(reading.distinct)
        return self._meaning / sqrt(words) + self._wording / sqrt(words + len(reading.pairs)) if words else 0.0

    def pulls(self, reading: Reading) -> Pulls:
        """What moved the level of all that was read away from that of a prompt like most."""
        known, slope = fitted(), fitted().slope
        features = {
            weight.name: slope * weight.value * deviation(value, weight)
            for value, weight in zip(measure(reading), known.features, strict=True)
        }
        return Pulls(features, slope * (self._worded(reading) - known.usual_wording))

    def _take_new(self, reading: Reading) -> None:
        tokens = fitted().tokens
        for word in reading.new_words:
            self._meaning += meaning(word)
            self._wording += tokens.get(token_key("", word), 0.0)
        for before, word in reading.new_pairs:
            self._wording += tokens.get(token_key(before or "^", word), 0.0)
        reading.new_words.clear()
        reading.new_pairs.clear()


def deviation(value: float, weight: Weight) -> float:
    return min(_MOST_DEVIATION, max(-_MOST_DEVIATION, (value - weight.mean) / weight.scale))


@lru_cache(maxsize=16_384)
def meaning(word: str) -> float:
    """A word's weight by its embedding; where the vocabulary has it not, the mean of the pieces it is made of."""
    known = fitted().meanings
    if word in known:
        return known[word]
    found = [known[piece] for piece in pieces(word, known)]
    return sum(found) / len(found) if found else 0.0


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
    tokens = fitted().tokens
    told = ((sign * (meaning(word) + tokens.get(token_key("", word), 0.0)), word) for word in words if len(word) > 3)
    return [word for weight, word in nlargest(3, told) if weight > 0]

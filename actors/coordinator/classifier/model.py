"""The level of a reading: 1 for everyday knowledge to 5 for an expert's, and beyond that what its extent adds."""

from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, log1p, sqrt

from actors.coordinator.classifier.features import measure
from actors.coordinator.classifier.parameters import Parameters, Weight, fitted, token_key
from actors.coordinator.classifier.reading import Reading

_MOST_DEVIATION = 3.0
_UNKNOWN_MEANING = 0.0


class Scale:
    """Follows one reading, and says at any time how demanding what was read so far is."""

    def __init__(self, reading: Reading, parameters: Parameters | None = None) -> None:
        self._reading = reading
        self._known = parameters or fitted()
        self._meaning = self._wording = 0.0

    def level(self) -> float:
        """What is to be expected of a label, 1 to 5 or a little beyond. It takes time for what is new only."""
        reading, known = self._reading, self._known
        self._take_new()
        words = len(reading.distinct)
        raw = known.intercept
        if words:
            raw += self._meaning / sqrt(words) + self._wording / sqrt(words + len(reading.pairs))
        for value, weight in zip(measure(reading), known.features, strict=True):
            raw += weight.value * deviation(value, weight)
        return known.offset + known.slope * raw

    def _take_new(self) -> None:
        reading, tokens = self._reading, self._known.tokens
        for word in reading.new_words:
            self._meaning += meaning(word) if self._known is fitted() else _meaning_in(word, self._known.meanings)
            self._wording += tokens.get(token_key("", word), 0.0)
        for before, word in reading.new_pairs:
            self._wording += tokens.get(token_key(before or "^", word), 0.0)
        reading.new_words.clear()
        reading.new_pairs.clear()


def deviation(value: float, weight: Weight) -> float:
    return min(_MOST_DEVIATION, max(-_MOST_DEVIATION, (value - weight.mean) / weight.scale))


@lru_cache(maxsize=16_384)
def meaning(word: str) -> float:
    """A word's weight by its embedding; that of a word outside the vocabulary is the mean of its longest pieces'."""
    return _meaning_in(word, fitted().meanings)

"""The level of a task: 1 for everyday knowledge to 5 for an expert's, and beyond that what its extent adds."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, log1p, sqrt

from actors.coordinator.classifier.features import measure
from actors.coordinator.classifier.parameters import Weight, fitted, token_key
from actors.coordinator.classifier.reading import Reading
from schemas.task import Tier

TIERS: tuple[Tier, ...] = ("simple", "moderate", "complex", "mega")
"""From the smallest team to the largest."""

LOWEST, HIGHEST = 1.0, 7.0
"""The levels between which difficulty is 0 and 1."""

LEVELS: dict[Tier, float] = {"simple": LOWEST, "moderate": 3.5, "complex": 4.5, "mega": 6.0}
"""Where the tiers begin. A label of 4 is moderate and one of 5 complex; beyond the labels only extent leads."""

_MOST_DEVIATION = 3.0


class Demand:
    """Follows one reading, and says at any time how demanding what was read so far is."""

    def __init__(self) -> None:
        self._meaning = self._wording = 0.0

    def level(self, reading: Reading) -> float:
        """The label to be expected, 1 to 5 or a little beyond. Words that were weighed before cost nothing again."""
        self._take_new(reading)
        known, words = fitted(), len(reading.distinct)
        raw = known.intercept
        if words:
            raw += self._meaning / sqrt(words) + self._wording / sqrt(words + len(reading.pairs))
        for value, weight in zip(measure(reading), known.features, strict=True):
            raw += weight.value * deviation(value, weight)
        return known.offset + known.slope * raw

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


@dataclass(frozen=True, slots=True)
class Extent:
    """How much work a task is, whatever each part of it demands."""

    asked: int
    dependencies: int
    constraints: int
    domains: int
    size: int
    """Bytes of prompt and inputs."""
    kinds: int
    """Kinds of inputs beside the prompt."""

    def parts(self) -> dict[str, float]:
        """Levels that each of them adds; none ever takes away. Set by hand: the labels are of single questions."""
        return {
            # Each thing asked for can go wrong by itself; the second adds more than the twelfth.
            "asked": 0.5 * log(max(1, self.asked)),
            # A step that builds on another inherits its mistakes.
            "dependencies": 0.12 * min(5, self.dependencies),
            # Each rule is one more thing to break.
            "constraints": 0.06 * min(6, self.constraints),
            # Several trades need somebody who sees all of them, or several who do.
            "domains": 0.12 * min(5, max(0, self.domains - 1)),
            # Much to read costs attention only: 64 KiB add 0.44, 20 MB add 1.6.
            "size": 0.2 * log1p(self.size / 8192),
            # Other material than text asks for other abilities.
            "kinds": 0.15 * min(3, self.kinds),
        }


def tier_of(level: float) -> Tier:
    return max((tier for tier in TIERS if level >= LEVELS[tier] or tier == TIERS[0]), key=TIERS.index)


def confidence(level: float, tier: Tier) -> float:
    """The probability that the true tier is this one, where this level was foreseen."""
    place = TIERS.index(tier)
    above = 0.0 if place + 1 == len(TIERS) else _reaches(TIERS[place + 1], level)
    # Each bound was fitted by itself, so one may cross another far out.
    return max(0.0, (1.0 if place == 0 else _reaches(tier, level)) - above)


def _reaches(tier: Tier, level: float) -> float:
    """The probability that the true level is at least where the tier begins."""
    bound = fitted().bounds[tier]
    return 1 / (1 + exp(-max(-30.0, min(30.0, (level - bound.centre) / bound.spread))))


def difficulty_of(level: float) -> float:
    """A fraction in [0, 1], with four digits."""
    return round(min(1.0, max(0.0, (level - LOWEST) / (HIGHEST - LOWEST))), 4)


def level_at(difficulty: float) -> float:
    return LOWEST + difficulty * (HIGHEST - LOWEST)

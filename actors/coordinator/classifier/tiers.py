"""Levels, the tiers they belong to, and how sure that is.

A level of 1 is everyday knowledge and 5 an expert's, as the labels were; beyond that only the extent of a task leads.
"""

from math import exp

from actors.coordinator.classifier.parameters import fitted
from schemas.task import TIERS, Tier

LOWEST, HIGHEST = 1.0, 8.0
"""The levels between which difficulty is 0 and 1."""

LEVELS: dict[Tier, float] = {"simple": LOWEST, "moderate": 4.0, "complex": 5.0, "mega": 7.0}
"""Where the tiers begin: moderate in the middle of what a label of 4 stands for, complex in that of 5, mega beyond."""


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


THRESHOLDS: dict[Tier, float] = {tier: difficulty_of(level) for tier, level in LEVELS.items()}
"""The difficulties at which the tiers begin."""

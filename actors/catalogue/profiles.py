"""Profiles: for each kind of work, which capabilities matter, and how much quality, cost and latency weigh."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from actors.catalogue.entry import entry
from schemas.message import Strict
from schemas.service import ServiceSpec

PROFILES = Path(__file__).parent.parent / "gateway" / "profiles.yaml"

GENERAL = "general"
"""The capability that stands in for one that a service says nothing about."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Weighing(Strict):
    """What counts for how much when services are compared; sums to 1."""

    quality: Share
    cost: Share
    latency: Share

    @model_validator(mode="after")
    def _whole(self) -> "Weighing":
        _check_whole((self.quality, self.cost, self.latency))
        return self


class Profile(Strict):
    """A kind of work as data: one entry of `profiles.yaml` or of the overlay."""

    why: str = Field(min_length=1)
    """A sentence for whoever asks why these weights."""
    capabilities: dict[str, Share] = Field(min_length=1)
    """How much each capability matters; sums to 1."""
    weighs: Weighing

    @field_validator("capabilities")
    @classmethod
    def _whole(cls, weights: dict[str, float]) -> dict[str, float]:
        _check_whole(weights.values())
        return weights


def _check_whole(shares: Iterable[float]) -> None:
    total = math.fsum(shares)
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise ValueError(f"the weights sum to {total:.6g}; they must sum to 1")


FALLBACK = "writing"
"""For work that shows no trade: text is what everybody gets, whatever it is about."""

# Trades as the classifier names them. Review, extraction, translation, summary and vision are no trades: what is to be
# done with a text or a picture does not show in its terms, so these are for callers that know.
_PROFILE_OF = {
    "architecture": "architecture",
    "code": "code",
    "security": "security",
    "privacy": "security",
    "data": "data",
    "finance": "data",
    "analysis": "reasoning",
    "reasoning": "reasoning",
    "mathematics": "reasoning",
    "science": "reasoning",
    "medicine": "reasoning",
    "legal": "reasoning",
    "marketing": "marketing",
    "design": "marketing",
    "documentation": "writing",
    "writing": "writing",
}


def lay_over(before: Mapping[str, Profile], section: Mapping[str, Mapping[Any, Any]], file: str) -> dict[str, Profile]:
    """Profiles with one file's section over them.

    Raises:
        ConfigError: an entry breaks a rule.
    """
    after = dict(before)
    for name, fields in section.items():
        kept = after[name].model_dump(exclude_unset=True) if name in after else {}
        after[name] = entry(Profile, {**kept, **fields}, file, f"profiles.{name}", after)
    return after


def profile_for(domains: Sequence[str]) -> str:
    """The built-in profile for work that touches these trades.

    The first trade with a profile decides, being the one with most terms.

    Args:
        domains: as the classifier names them, the weightiest first.
    """
    return next((_PROFILE_OF[domain] for domain in domains if domain in _PROFILE_OF), FALLBACK)


def match(profile: Profile, service: ServiceSpec) -> float:
    """How well a service's capabilities fit a kind of work: their scores, weighted. A fraction in [0, 1].

    A capability that the service says nothing about counts as its general one; where it has none either, as 0.
    """
    general = service.capabilities.get(GENERAL, 0.0)
    scores = (weight * service.capabilities.get(name, general) for name, weight in profile.capabilities.items())
    # Weights may miss 1 by a rounding.
    return min(1.0, math.fsum(scores))

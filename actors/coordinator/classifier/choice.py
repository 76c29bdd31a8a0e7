"""The tier to run, of those that are built."""

from actors.coordinator.classifier.classify import Classification
from actors.coordinator.classifier.tiers import TIERS
from schemas.errors import InvalidRequest
from schemas.task import Tier


def choose(classification: Classification, asked: Tier | None, built: tuple[Tier, ...]) -> tuple[Tier, tuple[str, ...]]:
    """The tier to run, and why.

    Args:
        asked: what the caller named; it is run or refused, never replaced.
        built: what this version can run; not empty.

    Raises:
        InvalidRequest: the tier asked for is not built.
    """
    if asked is not None:
        if asked not in built:
            raise InvalidRequest("tier", f"{asked!r} is not built yet; this version runs {_quoted(built)}")
        return asked, (f"{asked!r} was asked for",)
    deserved = classification.tier
    if deserved in built:
        return deserved, classification.reasons
    smaller = [tier for tier in built if TIERS.index(tier) < TIERS.index(deserved)]
    # Where only larger shapes are built, the smallest of them still does the work.
    tier = max(smaller, key=TIERS.index) if smaller else min(built, key=TIERS.index)
    place = "smallest" if not smaller else "largest" if len(smaller) == len(built) else "nearest smaller"
    why = f"deserves {deserved!r}; {tier!r} is the {place} shape this version runs"
    return tier, (*classification.reasons, why)


def _quoted(tiers: tuple[Tier, ...]) -> str:
    return ", ".join(repr(tier) for tier in tiers)

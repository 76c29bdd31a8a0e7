"""The tier to run."""

from actors.coordinator.classifier.classify import Classification
from schemas.task import TEAM_SIZES, TIERS, Tier


def choose(classification: Classification, asked: Tier | None, agents: int | None) -> tuple[Tier, tuple[str, ...]]:
    """The tier to run, and why.

    Args:
        asked: what the caller named; it is never replaced.
        agents: the team's size that the caller named. Where it named no tier, the nearest to the deserved one that can
            have such a team is run.
    """
    if asked is not None:
        return asked, (f"{asked!r} was asked for",)
    deserved = classification.tier
    if agents is None or TEAM_SIZES[deserved][0] <= agents <= TEAM_SIZES[deserved][1]:
        return deserved, classification.reasons
    able = [tier for tier in TIERS if TEAM_SIZES[tier][0] <= agents <= TEAM_SIZES[tier][1]]
    tier = min(able, key=lambda tier: (abs(TIERS.index(tier) - TIERS.index(deserved)), -TIERS.index(tier)))
    why = f"deserves {deserved!r}; {tier!r} is the nearest shape for {agents} agents"
    return tier, (*classification.reasons, why)

"""Services: what can serve a call, at what price, under what limits."""

from itertools import pairwise
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from schemas.figures import BreakerState, ServiceFigures
from schemas.message import Message, Strict

LOCAL = "local"
LOCAL_EMBEDDINGS = "local-embeddings"
NO_KEY_NEEDED = "none"

ServiceKind = Literal["chat", "embeddings", "image", "design", "agent"]
"""What a service hands back: text, vectors, pictures, drawings as SVG, or changes to a repository."""

USUAL_TIMEOUT_S: dict[ServiceKind, float] = {
    "chat": 120.0,
    "embeddings": 30.0,
    "image": 300.0,
    "design": 180.0,
    "agent": 600.0,
}
"""Seconds that one attempt may take where its service's entry states none."""


class PriceTier(Strict):
    """What a long call costs: US dollars for a million tokens, every token of it, not only those over the line."""

    tokens: int = Field(gt=0)
    """Reached by prompts of more tokens than this."""
    input_per_mtok: float = Field(ge=0, allow_inf_nan=False)
    output_per_mtok: float = Field(ge=0, allow_inf_nan=False)


class Price(Strict):
    """US dollars for a million tokens."""

    input_per_mtok: float = Field(ge=0, allow_inf_nan=False)
    output_per_mtok: float = Field(ge=0, allow_inf_nan=False)
    above: tuple[PriceTier, ...] = ()
    """Where long prompts cost something else: its tiers, by rising `tokens`; the last one reached is what counts."""
    source: str = "stated"
    """Where the figures come from."""

    @property
    def free(self) -> bool:
        rates: tuple[Price | PriceTier, ...] = (self, *self.above)
        return all(rate.input_per_mtok == 0 and rate.output_per_mtok == 0 for rate in rates)

    @field_validator("above")
    @classmethod
    def _rising(cls, tiers: tuple[PriceTier, ...]) -> tuple[PriceTier, ...]:
        for before, after in pairwise(tiers):
            if before.tokens >= after.tokens:
                raise ValueError(f"{after.tokens} follows {before.tokens}; tokens must rise from tier to tier")
        return tiers


class Limits(Strict):
    rpm: int | None = Field(default=None, gt=0)
    """Requests a minute."""
    tpm: int | None = Field(default=None, gt=0)
    """Tokens a minute."""
    concurrency: int | None = Field(default=None, gt=0)


class ServiceSpec(Strict):
    """A service as data: one entry of `services.yaml` or of the overlay."""

    model: str = Field(pattern=r"^[^/\s]+/\S+$")
    """litellm's model string, `provider/model`; `embedded/…` runs in this platform."""
    kind: ServiceKind = "chat"
    api_base: str | None = Field(default=None, pattern=r"^https?://")
    api_key_env: str | None = Field(default=None, pattern=r"^\w+$")
    """Environment variable that holds the key, or `none` for a server without keys."""
    region: str | None = None
    capabilities: dict[str, float] = {}
    """Prior score of each capability, a fraction in [0, 1]."""
    price: Price | None = None
    """Left out: litellm's table; unknown there: unknown."""
    limits: Limits = Limits()
    depends_on: tuple[str, ...] = ()
    """Services without which this one cannot work: it is unavailable while any of them is."""
    context_tokens: int | None = Field(default=None, gt=0)
    """How many tokens a prompt may have. Left out: litellm's table; unknown there: unknown."""
    images: bool | None = None
    """Whether a prompt may hold images. Left out: litellm's table; unknown there: whether `vision` scores over 0."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Seconds that one attempt may take; left out: what is usual for its kind. `timeout` gives the one that holds."""
    hedge: bool = False
    """Whether a call that takes longer than 95 of 100 lately did is made a second time beside it. Both are paid for."""
    cache_s: float | None = Field(default=None, gt=0, le=30 * 86400, allow_inf_nan=False)
    """Seconds that an answer serves equal questions again, where the question does not say itself; left out: never."""

    @property
    def timeout(self) -> float:
        """Seconds that one attempt may take."""
        return USUAL_TIMEOUT_S[self.kind] if self.timeout_s is None else self.timeout_s

    @property
    def identity(self) -> str:
        """What answers: the model, and where it is asked if not at its provider's own address."""
        return self.model if self.api_base is None else f"{self.model} {self.api_base}"

    @field_validator("hedge")
    @classmethod
    def _twice_is_harmless(cls, hedge: bool, info: ValidationInfo) -> bool:
        kind = info.data.get("kind", "chat")
        if hedge and kind != "chat":
            raise ValueError(f"must be false for kind {kind}: only chat is hedged")
        return hedge

    @field_validator("api_base")
    @classmethod
    def _without_a_password(cls, api_base: str | None) -> str | None:
        if api_base is not None and "@" in api_base.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "must hold no user name or password; a key belongs into the variable that api_key_env names"
            )
        return api_base

    @field_validator("capabilities")
    @classmethod
    def _fractions(cls, scores: dict[str, float]) -> dict[str, float]:
        for name, score in scores.items():
            if not 0 <= score <= 1:
                raise ValueError(f"{name} is {score}; a score lies between 0 and 1")
        return scores


class ServiceStatus(Message):
    """One row of `devskyy services`."""

    name: str
    kind: str
    model: str
    state: Literal["available", "unavailable"]
    reason: str | None = None
    region: str | None = None
    capabilities: dict[str, float] = {}
    """Score of each capability, a fraction in [0, 1]."""
    capabilities_from: Literal["prior", "learned"] = "prior"
    """Where the scores come from: estimated beforehand, or learned from outcomes. This version has learned none."""
    context_tokens: int | None = None
    """How many tokens a prompt may have; `null`: nobody says."""
    images: bool | None = None
    """Whether a prompt may hold images; `null`: nobody says, and none is sent to it."""
    price: Price | None = None
    price_unknown_reason: str | None = None
    limits: Limits = Limits()
    depends_on: tuple[str, ...] = ()
    breaker: BreakerState | None = None
    """Whether it is left alone after failures; `null`: nobody knows, or it has no breaker."""
    figures: ServiceFigures | None = None
    """How it is doing; `null`: no gateway has asked it lately, or none tells."""

"""Services: what can serve a call, at what price, under what limits."""

from typing import Literal

from pydantic import Field, field_validator

from schemas.message import Message, Strict

LOCAL = "local"
LOCAL_EMBEDDINGS = "local-embeddings"
NO_KEY_NEEDED = "none"

ServiceKind = Literal["chat", "embeddings", "image", "design", "agent"]
"""What a service hands back: text, vectors, pictures, drawings as SVG, or changes to a repository."""


class Price(Strict):
    """US dollars for a million tokens."""

    input_per_mtok: float = Field(ge=0, allow_inf_nan=False)
    output_per_mtok: float = Field(ge=0, allow_inf_nan=False)
    source: str = "stated"
    """Where the figures come from."""


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
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds that one attempt may take."""

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
    price: Price | None = None
    price_unknown_reason: str | None = None
    limits: Limits = Limits()
    depends_on: tuple[str, ...] = ()

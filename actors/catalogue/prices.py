"""What a service costs and can take: its entry's own word, else litellm's table, else unknown with the reason.

litellm itself is not imported for it (2.3 s, 174 MB): its wheel carries the table as a file.
"""

import importlib.metadata
import importlib.util
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from actors.catalogue.availability import EMBEDDED, on_own_machine
from actors.catalogue.endpoints import provider_of
from actors.catalogue.known import EMBEDDED_DIMENSIONS
from schemas.service import Price, PriceTier, ServiceKind, ServiceSpec

TABLE = "model_prices_and_context_window_backup.json"
HERE = Price(input_per_mtok=0, output_per_mtok=0, source="runs on this machine")

_TIER = re.compile(r"(?:in|out)put_cost_per_token_above_((\d+)(k?)_tokens)")
_FROM_THE_LINE_ON = frozenset({"xai"})
"""Providers whose higher price begins with the line itself, not with the first token over it.

Source: litellm's `_uses_inclusive_token_thresholds`.
"""

_WRITES = frozenset({"chat", "completion", "responses"})
_MODES: dict[ServiceKind, frozenset[str]] = {
    "chat": _WRITES,
    "embeddings": frozenset({"embedding"}),
    "image": frozenset({"image_generation"}),
    "design": _WRITES,
    "agent": _WRITES,
}


class _Tier(NamedTuple):
    tokens: int
    """Reached by prompts of more tokens than this."""
    input_usd: float | None
    """For one token; None: as before. So is `output_usd`."""
    output_usd: float | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What we use of one model in litellm's table; None where the table says nothing usable."""

    provider: str
    mode: str | None
    input_usd: float | None
    """For one token."""
    output_usd: float | None
    """For one token; of a picture where pictures are what comes out."""
    context_tokens: int | None
    images: bool | None
    dimensions: int | None
    """Of a vector."""
    tiers: tuple[_Tier, ...]
    """By rising tokens."""


def price_of(name: str, spec: ServiceSpec) -> tuple[Price | None, str | None]:
    """A service's price, or None with the reason why it is unknown.

    A zero in the table is no price where the provider charges: the table has them for previews and for models whose
    price nobody entered.
    """
    if spec.price is not None:
        return spec.price, None
    if provider_of(spec) == EMBEDDED:
        return HERE, None
    listed = _listed(spec)
    remedy = f"state services.{name}.price"
    if listed is None:
        return None, f"no price is stated and litellm's table has none for {spec.model}; {remedy}"
    if listed.mode not in _MODES[spec.kind]:
        return None, f"litellm's table lists {spec.model} under {listed.mode or 'no mode'}, not {spec.kind}; {remedy}"
    given, taken = listed.input_usd, listed.output_usd
    if spec.kind == "embeddings":
        taken = taken or 0.0  # no output, so nothing to charge for
    free = given == 0 or (taken == 0 and spec.kind != "embeddings")
    if given is None or taken is None or (free and not on_own_machine(spec)):
        return None, f"litellm's table has a zero or nothing as the price of {spec.model}; {remedy}"
    base = Price(input_per_mtok=_per_mtok(given), output_per_mtok=_per_mtok(taken), source=_source())
    return base.model_copy(update={"above": _above(base, listed.tiers)}), None


def cost_usd(price: Price, prompt_tokens: int, completion_tokens: int) -> float:
    """What a call costs in US dollars, all of it at the price of the last tier that its prompt reaches.

    Source: litellm, whose price of a tier is that of "all token types"; so providers charge.
    """
    rate: Price | PriceTier = next((tier for tier in reversed(price.above) if prompt_tokens > tier.tokens), price)
    return (prompt_tokens * rate.input_per_mtok + completion_tokens * rate.output_per_mtok) / 1_000_000


def most_cost_usd(price: Price, prompt_tokens: int, completion_tokens: int) -> float:
    """The most that a call with no more tokens than these can cost in US dollars, whichever tier its prompt reaches."""
    # Within a tier the longest prompt costs most, and a tier may be cheaper than the one before.
    longest = (prompt_tokens, *(tier.tokens for tier in price.above if tier.tokens < prompt_tokens))
    return max(cost_usd(price, tokens, completion_tokens) for tokens in longest)


def context_of(spec: ServiceSpec) -> int | None:
    """How many tokens a prompt may have; None when nobody says."""
    if spec.context_tokens is not None:
        return spec.context_tokens
    listed = _listed(spec)
    return listed.context_tokens if listed else None


def dimensions_of(spec: ServiceSpec) -> int | None:
    """How many floats each vector of a service has; None when nobody says."""
    if provider_of(spec) == EMBEDDED:
        return EMBEDDED_DIMENSIONS.get(spec.model.partition("/")[2])
    listed = _listed(spec)
    return listed.dimensions if listed else None


def supports_images(spec: ServiceSpec) -> bool | None:
    """Whether a prompt may hold images; None when nobody says: neither entry nor table, nor a score for `vision`."""
    if provider_of(spec) == EMBEDDED:
        return False
    if spec.images is not None:
        return spec.images
    listed = _listed(spec)
    if listed is not None and listed.images is not None:
        return listed.images
    seeing = spec.capabilities.get("vision")
    return None if seeing is None else seeing > 0


def no_images_because(name: str, spec: ServiceSpec) -> str | None:
    """Why a prompt with images cannot go to a service; None when it can. What nobody says is not tried: it may cost."""
    if (takes := supports_images(spec)) is None:
        return f"not known to take images; state services.{name}.images"
    return None if takes else "takes no images"


def _listed(spec: ServiceSpec) -> _Entry | None:
    """The table's keys are `provider/model` for most providers, the bare model for the oldest ones."""
    provider, _, model = spec.model.partition("/")
    if (listed := _table().get(spec.model)) is not None:
        return listed
    listed = _table().get(model)
    # `vertex_ai` is split by model family (`vertex_ai-anthropic_models`); `azure_ai` is another provider than `azure`.
    ours = listed is not None and (listed.provider == provider or listed.provider.startswith(f"{provider}-"))
    return listed if ours else None


@cache
def _table() -> dict[str, _Entry]:
    """litellm's table; empty where litellm is not installed. 50 ms once."""
    found = importlib.util.find_spec("litellm")
    for folder in (found.submodule_search_locations or ()) if found else ():
        file = Path(folder) / TABLE
        if file.is_file():
            models = json.loads(file.read_bytes())
            return {key: _entry(fields) for key, fields in models.items() if isinstance(fields, dict)}
    return {}


def _entry(fields: dict[str, Any]) -> _Entry:
    mode, images, context = fields.get("mode"), fields.get("supports_vision"), fields.get("max_input_tokens")
    dimensions = fields.get("output_vector_size")
    output = "output_cost_per_image_token" if mode == "image_generation" else "output_cost_per_token"
    return _Entry(
        provider=str(fields.get("litellm_provider")),
        mode=mode if isinstance(mode, str) else None,
        input_usd=_usd(fields.get("input_cost_per_token")),
        output_usd=_usd(fields.get(output)),
        context_tokens=context if isinstance(context, int) and context > 0 else None,
        images=images if isinstance(images, bool) else None,
        dimensions=dimensions if isinstance(dimensions, int) and dimensions > 0 else None,
        tiers=_tiers(fields),
    )


def _tiers(fields: dict[str, Any]) -> tuple[_Tier, ...]:
    """What the table says of long prompts, by `…put_cost_per_token_above_128k_tokens`."""
    ends = {
        int(found[2]) * (1000 if found[3] else 1): found[1]
        for key in fields
        if "_above_" in key and (found := _TIER.fullmatch(key))
    }
    early = fields.get("litellm_provider") in _FROM_THE_LINE_ON
    return tuple(
        _Tier(
            tokens - early,
            _usd(fields.get(f"input_cost_per_token_above_{ends[tokens]}")),
            _usd(fields.get(f"output_cost_per_token_above_{ends[tokens]}")),
        )
        for tokens in sorted(ends)
    )


def _above(base: Price, tiers: tuple[_Tier, ...]) -> tuple[PriceTier, ...]:
    """The table's tiers; where it has a zero or nothing, a token costs what it did before."""
    above: list[PriceTier] = []
    before: Price | PriceTier = base
    for tier in tiers:
        before = PriceTier(
            tokens=tier.tokens,
            input_per_mtok=_per_mtok(tier.input_usd) if tier.input_usd else before.input_per_mtok,
            output_per_mtok=_per_mtok(tier.output_usd) if tier.output_usd else before.output_per_mtok,
        )
        above.append(before)
    return tuple(above)


def _usd(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1 else None


def _per_mtok(usd: float) -> float:
    """Rounded, so that binary fractions leave no trail of digits behind."""
    return round(usd * 1_000_000, 9)


@cache
def _source() -> str:
    return f"litellm {importlib.metadata.version('litellm')}"

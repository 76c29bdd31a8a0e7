"""What a service costs and can take: its entry's own word, else litellm's table, else unknown with the reason.

litellm itself is not imported for it (2.3 s, 174 MB): its wheel carries the table as a file.
"""

import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from actors.catalogue.availability import EMBEDDED, on_own_machine, provider_of
from schemas.service import Price, ServiceKind, ServiceSpec

TABLE = "model_prices_and_context_window_backup.json"
HERE = Price(input_per_mtok=0, output_per_mtok=0, source="runs on this machine")

_WRITES = frozenset({"chat", "completion", "responses"})
_MODES: dict[ServiceKind, frozenset[str]] = {
    "chat": _WRITES,
    "embeddings": frozenset({"embedding"}),
    "image": frozenset({"image_generation"}),
    "design": _WRITES,
    "agent": _WRITES,
}


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
    return Price(input_per_mtok=_per_mtok(given), output_per_mtok=_per_mtok(taken), source=_source()), None


def cost_usd(price: Price, prompt_tokens: int, completion_tokens: int) -> float:
    """What a call costs in US dollars."""
    return (prompt_tokens * price.input_per_mtok + completion_tokens * price.output_per_mtok) / 1_000_000


def context_of(spec: ServiceSpec) -> int | None:
    """How many tokens a prompt may have; None when nobody says."""
    if spec.context_tokens is not None:
        return spec.context_tokens
    listed = _listed(spec)
    return listed.context_tokens if listed else None


def supports_images(spec: ServiceSpec) -> bool | None:
    """Whether a prompt may hold images; None when nobody says."""
    if provider_of(spec) == EMBEDDED:
        return False
    listed = _listed(spec)
    return listed.images if listed else None


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
    output = "output_cost_per_image_token" if mode == "image_generation" else "output_cost_per_token"
    return _Entry(
        provider=str(fields.get("litellm_provider")),
        mode=mode if isinstance(mode, str) else None,
        input_usd=_usd(fields.get("input_cost_per_token")),
        output_usd=_usd(fields.get(output)),
        context_tokens=context if isinstance(context, int) and context > 0 else None,
        images=images if isinstance(images, bool) else None,
    )


def _usd(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1 else None


def _per_mtok(usd: float) -> float:
    """Rounded, so that binary fractions leave no trail of digits behind."""
    return round(usd * 1_000_000, 9)


@cache
def _source() -> str:
    return f"litellm {importlib.metadata.version('litellm')}"

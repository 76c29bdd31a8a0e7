"""Which services may judge an answer."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from actors.catalogue import Catalogue, price_of, unavailable_because
from actors.catalogue.availability import EMBEDDED
from actors.catalogue.endpoints import provider_of
from actors.catalogue.profiles import GENERAL
from schemas.service import ServiceSpec

CAPABLE = 0.7
"""The prior general capability from which on a service may judge. A weak judge is worse than none: of LLMBar's
adversarial pairs GPT-4 judges 83 % right and ChatGPT 31 %, as published."""
LONGER = 5
"""How many tokens a judge reads for each that it writes, roughly: its price is reckoned so."""


def judges(
    catalogue: Catalogue,
    environ: Mapping[str, str],
    exclude: Collection[str] = (),
    down: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, ...]:
    """The services that may judge, the cheapest first: an order for the gateway; empty where none is capable.

    All of them are good enough, so the price decides; one whose price is unknown comes last. Embedded models never
    judge, and neither does what `routing.services` does not allow.

    Args:
        exclude: the services that wrote the answer. They, and others of the same model, judge only where nobody else
            can: models prefer their own words.
        down: why a service is known not to answer just now; by name.
    """
    services = catalogue.services
    allowed = catalogue.routing.services
    capable = [
        name
        for name, spec in services.items()
        if spec.kind == "chat"
        and provider_of(spec) != EMBEDDED
        and spec.capabilities.get(GENERAL, 0.0) >= CAPABLE
        and (allowed is None or name in allowed)
        and unavailable_because(name, spec, environ, services, down) is None
    ]
    writers = {services[name].model for name in exclude if name in services}
    others = [name for name in capable if services[name].model not in writers]
    return tuple(sorted(others or capable, key=lambda name: _price(name, services[name])))


def _price(name: str, spec: ServiceSpec) -> float:
    """US dollars for a million tokens of judging."""
    price, _ = price_of(name, spec)
    return float("inf") if price is None else (LONGER * price.input_per_mtok + price.output_per_mtok) / (LONGER + 1)

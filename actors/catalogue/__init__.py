"""The catalogue: which services and agents there are, who may serve whom, at what price. Data, read once."""

from actors.catalogue.availability import key_variable, unavailable_because
from actors.catalogue.catalogue import Catalogue, Routing, load
from actors.catalogue.prices import context_of, cost_usd, price_of, supports_images

__all__ = [
    "Catalogue",
    "Routing",
    "context_of",
    "cost_usd",
    "key_variable",
    "load",
    "price_of",
    "supports_images",
    "unavailable_because",
]

"""The catalogue: which services, agents and kinds of work there are, who may serve whom and at what price. Data."""

from actors.catalogue.availability import key_variable, unavailable_because
from actors.catalogue.catalogue import Catalogue, Routing, load
from actors.catalogue.endpoints import Endpoint, base_of, endpoint_of
from actors.catalogue.prices import (
    context_of,
    cost_usd,
    dimensions_of,
    most_cost_usd,
    no_images_because,
    price_of,
    supports_images,
)
from actors.catalogue.profiles import Profile, match, profile_for

__all__ = [
    "Catalogue",
    "Endpoint",
    "Profile",
    "Routing",
    "base_of",
    "context_of",
    "cost_usd",
    "dimensions_of",
    "endpoint_of",
    "key_variable",
    "load",
    "match",
    "most_cost_usd",
    "no_images_because",
    "price_of",
    "profile_for",
    "supports_images",
    "unavailable_because",
]

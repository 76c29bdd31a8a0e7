"""The overlay's section `budgets`: what may be spent in a day, by whom."""

from collections.abc import Iterable, Mapping
from typing import Any

from actors.catalogue.document import mapping, named
from actors.catalogue.entry import dotted, entry, nearest
from schemas.budget import Budget, Budgets
from schemas.errors import ConfigError


def read_budgets(section: Mapping[Any, Any], services: Iterable[str], file: str) -> Budgets:
    """The section as budgets.

    Args:
        services: the names of all there are.

    Raises:
        ConfigError: the first thing that is wrong; names the file, the dotted key and the rule.
    """
    for key in section:
        if key not in Budgets.model_fields:
            rule = f"unknown key; {nearest(key, Budgets.model_fields)}"
            raise ConfigError(file, dotted("budgets", [key]), rule)
    known = set(services)
    each = {
        kind: named(mapping(section.get(kind), file, f"budgets.{kind}"), file, f"budgets.{kind}")
        for kind in ("services", "keys")
    }
    for name in each["services"]:
        if name not in known:
            rule = f"there is no such service; {nearest(name, known)}"
            raise ConfigError(file, f"budgets.services.{name}", rule)
    day = entry(Budget, mapping(section["day"], file, "budgets.day"), file, "budgets.day") if "day" in section else None
    services_, keys = (
        {name: entry(Budget, fields, file, f"budgets.{kind}.{name}") for name, fields in each[kind].items()}
        for kind in ("services", "keys")
    )
    return Budgets(day=day, services=services_, keys=keys)

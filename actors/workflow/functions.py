"""Functions that workflows may call in the engine's process, as the overlay names them."""

import importlib
from collections.abc import Mapping

from actors.workflow.workers import Function
from schemas.errors import ConfigError


def load_functions(named: Mapping[str, str], file: str) -> dict[str, Function]:
    """Import each.

    Args:
        named: `module:function` by the name that workflows know it by.
        file: the overlay, for what is wrong with it.

    Raises:
        ConfigError: one cannot be imported, or is none.
    """
    found: dict[str, Function] = {}
    for name, where in named.items():
        module, _, attribute = where.partition(":")
        try:
            function = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(file, f"functions.{name}", f"{where!r} cannot be imported: {error}") from None
        if not callable(function):
            raise ConfigError(file, f"functions.{name}", f"{where!r} is a {type(function).__name__}, and no function")
        found[name] = function
    return found

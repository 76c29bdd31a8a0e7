"""What is refused by name: an answer other than the one asked for must not look like it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import InvalidRequest

Kept = Mapping[str, Sequence[Any] | None]
"""Fields that change nothing: at any value (None), or at these. Set to anything else, a field is refused, and so is
every field that is not named."""


def refuse_unkept(said: Mapping[str, Any], kept: Kept, place: str = "") -> None:
    """
    Args:
        place: what holds these fields, with a dot at its end.

    Raises:
        InvalidRequest: one of them would change the answer, and cannot be kept.
    """
    for name, value in said.items():
        harmless = kept.get(name, ())
        if value is None or harmless is None or value in harmless:
            continue
        remedy = "leave it out" + "".join(f", or set it to {json.dumps(each)}" for each in harmless[:1])
        raise InvalidRequest(f"{place}{name}", f"cannot be kept by this version; {remedy}")

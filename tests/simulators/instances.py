"""An answer that fits a schema."""

import math
from typing import Any

FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "someone@example.com",
    "uri": "https://example.com/",
}


def smallest_instance(schema: Any, root: Any) -> Any:
    """A small JSON value that fits: required properties only, as few items as allowed, `null` where it may be.

    Args:
        root: the whole schema, in which `$ref` points (`#/…` only). What it does not look at: `allOf`, `not`,
            `pattern`, `multipleOf`, `exclusiveMaximum`.

    Raises:
        RecursionError: a value would have to contain itself.
    """
    match schema:
        case {"$ref": reference}:
            return smallest_instance(_pointed_at(reference, root), root)
        case {"const": value} | {"enum": [value, *_]}:
            return value
        case {"anyOf": options} | {"oneOf": options}:
            return smallest_instance({"type": "null"} if {"type": "null"} in options else options[0], root)
        case {"type": [*kinds]}:
            return smallest_instance({**schema, "type": "null" if "null" in kinds else kinds[0]}, root)
        case {"type": "object"} | {"properties": _}:
            properties = schema.get("properties", {})
            return {name: smallest_instance(properties.get(name), root) for name in schema.get("required", ())}
        case {"type": "array"}:
            return [smallest_instance(schema.get("items"), root) for _ in range(schema.get("minItems", 0))]
        case {"type": "integer" | "number"}:
            at_least = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf) + 1)
            return min(max(0, at_least), schema.get("maximum", math.inf))
        case {"type": "boolean"}:
            return True
        case {"type": "null"}:
            return None
        case {"type": "string"}:
            text = FORMATS.get(schema.get("format", ""), "text").ljust(schema.get("minLength", 0), "x")
            return text[: schema.get("maxLength")]
    return "text"  # no type, or none at all: anything fits


def _pointed_at(reference: str, root: Any) -> Any:
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found

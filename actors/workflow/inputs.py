"""The inputs of a workflow against the JSON Schemas that it declares for them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from time import monotonic
from typing import Any, cast

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from actors.catalogue.entry import nearest
from schemas.message import check_plain

Finding = tuple[str, str]
"""A dotted path, and a sentence about what is there."""
Schemas = Mapping[str, Mapping[str, Any]]
"""By the input's name."""

MAX_FINDINGS = 20
"""Of one input."""
MAX_REFERENCES = 100_000
"""`$ref`s that are followed for one value: a short schema can ask for any number of them."""
PATTERNS_S = 0.5
"""Seconds that all uses of `pattern` may take for one value."""

_PHRASES = {"string": "text", "object": "an object", "array": "an array", "integer": "a whole number",
            "number": "a number", "boolean": "true or false", "null": "null"}  # fmt: skip


class _Unusable(Exception):
    """The schema, not the value, is to blame."""


def check_schema(schema: Mapping[str, Any]) -> str | None:
    """Why this is no JSON Schema that can be used here; None: it is one."""
    try:
        return _refusal(json.dumps(schema, sort_keys=True))
    except (RecursionError, TypeError, ValueError):
        return "is no JSON Schema: it is nested too deep, or holds what JSON cannot say"


_KNOWN: dict[bytes, str | None] = {}
"""By the digest of the schema: looking through one takes 8 ms, and most come with a template, again and again."""


def _refusal(text: str) -> str | None:
    digest = sha256(text.encode()).digest()
    if digest not in _KNOWN:
        if len(_KNOWN) >= 10_000:
            _KNOWN.clear()
        _KNOWN[digest] = _looked_through(json.loads(text))
    return _KNOWN[digest]


def _looked_through(schema: Any) -> str | None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(map(str, error.absolute_path))
        return f"is no JSON Schema: {where + ': ' if where else ''}{error.message[:200]}"
    return _unusable(schema)


def _unusable(schema: Any) -> str | None:
    """Looks for what validation could not bear, within schemas and not within the names of their properties."""
    todo = [schema]
    while todo:
        one = todo.pop()
        if isinstance(one, list):
            todo += one
        if not isinstance(one, dict):
            continue
        if "patternProperties" in one:
            return "uses patternProperties, which are not supported; use propertyNames or additionalProperties"
        if isinstance(one.get("pattern"), str):
            try:
                regex.compile(one["pattern"])
            except regex.error as error:
                return f"has the pattern {one['pattern'][:80]!r}, which is no regular expression: {error}"
        for key, value in one.items():
            named = key in ("properties", "$defs", "definitions", "dependentSchemas") and isinstance(value, dict)
            if key not in ("default", "examples", "enum", "const"):
                todo += value.values() if named else [value]
    return None


def check_values(
    values: Mapping[str, Any], declared: Schemas, place: str, settled: bool = True, given: bool = True
) -> Iterator[Finding]:
    """What is wrong with inputs.

    Args:
        place: where they stand.
        settled: whether texts with `${` in them are what they are; else they stand for what is not known yet.
        given: whether these are all that will be given, so that others are missing.
    """
    for name in values:
        if name not in declared:
            yield f"{place}.{name}", f"there is no such input; {nearest(name, declared)}"
    for name, schema in declared.items():
        if name in values:
            yield from check_value(values[name], schema, f"{place}.{name}", settled)
        elif given and "default" not in schema:
            yield f"{place}.{name}", "is missing"


def check_value(value: Any, schema: Mapping[str, Any], place: str, settled: bool = True) -> Iterator[Finding]:
    """What is wrong with one; nothing is said of schemas that `check_schema` refuses."""
    if check_schema(schema) is not None:
        return
    try:
        check_plain(value)
        found = _validator()(schema, registry=Registry()).iter_errors(value)
        errors = [error for error in islice(found, MAX_FINDINGS) if settled or not _holds_expression(error.instance)]
    except Unresolvable as error:
        yield place, f"cannot be checked: its schema refers to {str(error.ref)[:200]!r}, which is not in it"
    except RecursionError:
        yield place, "cannot be checked: its schema refers to itself without end"
    except (_Unusable, ValueError) as error:
        yield place, str(error)
    else:
        yield from dict.fromkeys(finding for error in errors for finding in _findings(error, place))


def filled(values: Mapping[str, Any], declared: Schemas) -> dict[str, Any]:
    """Inputs with the defaults of what is left out, those of an object's properties too."""
    whole = {name: _filled(value, declared.get(name, {})) for name, value in values.items()}
    for name, schema in declared.items():
        if name not in values and "default" in schema:
            whole[name] = _filled(schema["default"], schema)
    return whole


def _filled(value: Any, schema: Any) -> Any:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(value, dict) or not isinstance(properties, dict):
        return value
    return filled(value, {name: each for name, each in properties.items() if isinstance(each, dict)})


def schema_at(declared: Schemas, path: Sequence[str]) -> Mapping[str, Any] | str:
    """The schema of what a path of names leads to; where it can lead nowhere, a sentence that says so.

    Args:
        path: not empty, the input's name first; that is declared.
    """
    schema: Any = declared[path[0]]
    for at, name in enumerate(path[1:], start=1):
        where = ".".join(path[:at])
        kinds = types_of(schema)
        if kinds and "object" not in kinds:
            return f"{where} is declared as {phrase(kinds)}, and has no {name!r}"
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        if name not in known and schema.get("additionalProperties") is False:
            return f"{where} has no {name!r}; {nearest(name, known)}"
        schema = known.get(name)
        schema = schema if isinstance(schema, dict) else {}
    return cast("Mapping[str, Any]", schema)


def types_of(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """JSON's kinds of value that a schema allows, as far as it says; empty: it does not."""
    kinds = schema.get("type", ())
    return (kinds,) if isinstance(kinds, str) else tuple(kinds) if isinstance(kinds, list) else ()


def phrase(kinds: Sequence[str]) -> str:
    return " or ".join(_PHRASES.get(kind, str(kind)) for kind in kinds)


def kind_of(value: Any) -> str:
    """Of a value, in JSON's words."""
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", tuple: "array"}
    return "null" if value is None else names.get(type(value), "object")


# -- what jsonschema says ----------------------------------------------------------------------------------------------


def _validator() -> Any:
    """Draft 2020-12 in bounded time; a new one for each value, because it counts."""
    followed, left_s = 0, PATTERNS_S

    def ref(validator: Any, where: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        nonlocal followed
        followed += 1
        if followed > MAX_REFERENCES:
            raise _Unusable(f"cannot be checked: its schema follows more than {MAX_REFERENCES:,} references")
        yield from Draft202012Validator.VALIDATORS["$ref"](validator, where, instance, schema)

    def pattern(_: Any, wanted: str, instance: Any, __: Any) -> Iterator[ValidationError]:
        nonlocal left_s
        if not isinstance(instance, str):
            return
        since = monotonic()
        try:
            matches = regex.search(wanted, instance, timeout=max(left_s, 0.001))
        except TimeoutError:
            raise _Unusable(f"cannot be checked: the pattern {wanted[:80]!r} takes too long") from None
        left_s -= monotonic() - since
        if not matches:
            yield ValidationError(f"must match {wanted[:200]!r}")

    return extend(Draft202012Validator, {"$ref": ref, "$dynamicRef": ref, "pattern": pattern})


def _findings(error: ValidationError, place: str) -> Iterator[Finding]:
    where = ".".join([place, *(str(part)[:128] for part in error.absolute_path)])
    rule, value = error.validator_value, error.instance
    match error.validator:
        case "type":
            kinds = [rule] if isinstance(rule, str) else list(rule)
            yield where, f"must be {phrase(kinds)}, and is {phrase([kind_of(value)])}"
        case "required":
            yield from ((f"{where}.{name}", "is missing") for name in rule if name not in value)
        case "additionalProperties" if rule is False:
            known = error.schema.get("properties", {})
            for name in value:
                if name not in known:
                    yield f"{where}.{str(name)[:128]}", f"there is no such field; {nearest(name, known)}"
        case "enum":
            yield where, f"must be one of {', '.join(map(repr, rule))[:400]}"
        case _:
            message, told = error.message, repr(value)
            if len(told) > 60 and message.startswith(told):  # the value itself is long, and known to whoever sent it
                message = f"it{message.removeprefix(told)}"
            yield where, message[:300]


def _holds_expression(value: Any) -> bool:
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str) and "${" in one:
            return True
        if isinstance(one, (dict, list)):
            todo += one.values() if isinstance(one, dict) else one
    return False

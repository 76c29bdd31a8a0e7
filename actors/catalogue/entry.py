"""One entry of a file against its schema: the value, or a sentence that names file, key and rule."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from schemas.errors import ConfigError
from schemas.message import Strict

S = TypeVar("S", bound=Strict)
Path = tuple[Any, ...]

NOT_A_KEY = "must be the name of an environment variable that holds the key, never the key itself"

MOST_NAMED = 40
"""Names that a sentence lists."""

_PATTERNS = {
    "model": "must be a litellm model string, provider/model",
    "api_base": "must start with http:// or https://",
    "api_key_env": NOT_A_KEY,
}
_RULES = {
    "missing": "is missing",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "invalid_key": "a key must be text; put it in quotes",
}


def entry(schema: type[S], fields: Mapping[Any, Any], file: str, key: str, known: Iterable[str] = ()) -> S:
    """Read one entry.

    Args:
        fields: as YAML gave them.
        key: where the entry stands in the file, dotted; a field's own name is added to it.
        known: names of other entries of its section, one of which may have been meant where a field is missing.

    Raises:
        ConfigError: the first thing that is wrong. A misspelt key goes before one that is missing, being its cause.
    """
    try:
        value = schema.model_validate(fields)
    except ValidationError as error:
        findings = error.errors(include_url=False)
        first = next((f for f in findings if f["type"] == "extra_forbidden"), findings[0])
        rule = _rule(schema, dict(first))
        if first["type"] == "missing" and len(first["loc"]) == 1 and (near := _near(key.rpartition(".")[2], known)):
            rule += f"; or did you mean {near!r}, which is there?"
        raise ConfigError(file, dotted(key, first["loc"]), rule) from None
    for path, rule in _misread(fields, value.model_dump()):
        raise ConfigError(file, dotted(key, path), rule)
    return value


def nearest(word: object, words: Iterable[str]) -> str:
    """`did you mean 'x'?`, or what there is when none is near."""
    known = sorted(words)
    if near := _near(word, known):
        return f"did you mean {near!r}?"
    if len(known) > MOST_NAMED:
        known = [*known[:MOST_NAMED], f"{len(known) - MOST_NAMED:,} more"]
    return f"there are {', '.join(known)}" if known else "there are none"


def _near(word: object, words: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(str(word)[:128], list(words), n=1)), None)


def dotted(key: str, path: Iterable[Any]) -> str:
    parts = [key, *(str(part)[:128] for part in path if part != "[key]")]
    return ".".join(part for part in parts if part)


def _rule(schema: type[BaseModel], finding: Mapping[str, Any]) -> str:
    kind, path, given = str(finding["type"]), tuple(finding["loc"]), finding["input"]
    if kind == "extra_forbidden":
        return f"unknown key; {nearest(path[-1], _fields_at(schema, path[:-1]))}"
    if kind == "string_type":
        return "must be text; put it in quotes" + (
            ", else YAML reads yes, no, on and off as true and false" if isinstance(given, bool) else ""
        )
    if kind == "string_pattern_mismatch" and path[-1] in _PATTERNS:
        return _PATTERNS[path[-1]]
    if isinstance(given, float) and not math.isfinite(given):
        return _RULES["finite_number"]
    message = str(finding["msg"]).removeprefix("Value error, ").replace("Input should ", "must ", 1)
    return _RULES.get(kind, message)


def _fields_at(schema: type[BaseModel], path: Path) -> list[str]:
    """The names that are valid at a place inside a schema."""
    for part in path:
        if isinstance(part, int):  # an item of a list, whose schema its field named
            continue
        annotation = schema.model_fields[str(part)].annotation
        schema = next(
            t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and issubclass(t, BaseModel)
        )
    return list(schema.model_fields)


def _misread(written: Any, meant: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """What pydantic lets through: `true` as the number 1, and infinity where only a lower bound is asked."""
    if isinstance(written, bool) and not isinstance(meant, bool):
        yield path, "must be a number, not true or false"
    elif isinstance(meant, float) and not math.isfinite(meant):
        yield path, _RULES["finite_number"]
    elif isinstance(written, Mapping) and isinstance(meant, Mapping):
        for name in written:
            yield from _misread(written[name], meant.get(name), (*path, name))
    elif isinstance(written, Sequence) and isinstance(meant, Sequence) and not isinstance(written, str):
        for index, (one, other) in enumerate(zip(written, meant, strict=False)):
            yield from _misread(one, other, (*path, index))

"""Texts with `${expression}` in them: what they refer to, and what they come to."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from actors.catalogue.entry import nearest
from actors.workflow.query import Names, Query, end_of, query
from schemas.errors import ExpressionError
from schemas.message import MAX_DEPTH
from schemas.workflow import MAX_OUTPUT_BYTES

__all__ = [
    "Context",
    "ExpressionError",
    "Names",
    "bare",
    "escaped",
    "evaluate",
    "names",
    "queries",
    "references",
    "resolve",
    "texts",
    "truth",
]

MAX_KEPT = 4000
"""Characters of a text that is kept cut."""

Context = Mapping[str, Any]
"""`inputs`; `tasks`: each with its output, status and problem; `workflow`: its id and name; in a mapped task `item` and
`index`; in a compensation `output`. All of it plain."""


def references(value: Any) -> Names:
    """What a value refers to: every `${expression}` of every text in it.

    Raises:
        ValueError: an expression cannot be read; says where and why.
    """
    return Names.of_all(found.names for _, text in texts(value) for found in queries(text))


def names(expression: str) -> Names:
    """What an expression refers to, with or without `${}` around it.

    Raises:
        ValueError: it cannot be read.
    """
    return query(bare(expression)).names


def queries(text: str) -> list[Query]:
    """Every `${expression}` of a text, parsed.

    Raises:
        ValueError: one cannot be read.
    """
    return [part for part in _parts(text) if isinstance(part, Query)]


def resolve(value: Any, context: Context) -> Any:
    """A value with every expression in it replaced by what it gives.

    A text that is one `${expression}` and nothing else becomes what that gives, null included. In any other, texts are
    set in as they are and other values as compact JSON. `$${` stands for `${`. Keys are left as they are. What comes
    back shares its parts with the context, and is not to be changed.

    Raises:
        ExpressionError: an expression within a text gives nothing, one cannot be evaluated, or all is too large.
        ValueError: an expression cannot be read.
    """
    return _Resolution(context).of(value)


def evaluate(expression: str, context: Context) -> Any:
    """What an expression gives, with or without `${}` around it; null where there is nothing.

    Raises:
        ExpressionError: it cannot be evaluated.
        ValueError: it cannot be read.
    """
    return _search(query(bare(expression)), context)


def truth(expression: str, context: Context) -> bool:
    """Whether a condition holds, as JMESPath has it: false, null and whatever is empty are false; 0 is true.

    Raises:
        ExpressionError: it cannot be evaluated.
        ValueError: it cannot be read.
    """
    value = evaluate(expression, context)
    return value is not None and value is not False and value not in ("", [], {})


def bare(expression: str) -> str:
    """An expression without the `${}` that may stand around it.

    Raises:
        ValueError: there is more beside the `${}`.
    """
    text = expression.strip()
    if not text.startswith("${"):
        return text
    end = end_of(text, 2)
    if end != len(text) - 1:
        raise ValueError(f"put the whole expression into one ${{…}}; after the first comes {text[end + 1 :][:40]!r}")
    return text[2:end]


def escaped(text: str) -> str:
    """A text that `resolve` turns into this one."""
    return text.replace("${", "$${")


def texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a value, with its place as a dotted path.

    Raises:
        ValueError: it is nested too deep.
    """
    todo = [(place, value, 0)]
    while todo:
        where, one, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(one, str):
            yield where, one
        elif isinstance(one, (dict, list, tuple)):
            items: Iterable[tuple[Any, Any]] = one.items() if isinstance(one, dict) else enumerate(one)
            inner = [(f"{where}.{key}" if where else str(key), part, depth + 1) for key, part in items]
            todo += reversed(inner)


_OPENING = re.compile(r"\$\$\{|\$\{")


def _parts(text: str) -> tuple[str | Query, ...]:
    """A text cut into what stands there and what is to be evaluated."""
    return _kept(text) if len(text) <= MAX_KEPT else tuple(_cut(text))


@lru_cache(maxsize=2048)
def _kept(text: str) -> tuple[str | Query, ...]:
    return tuple(_cut(text))


def _cut(text: str) -> Iterator[str | Query]:
    at = 0
    while (found := _OPENING.search(text, at)) is not None:
        if found.start() > at:
            yield text[at : found.start()]
        if found[0] == "$${":
            yield "${"
            at = found.end()
        else:
            end = end_of(text, found.end())
            yield query(text[found.end() : end])
            at = end + 1
    if at < len(text):
        yield text[at:]


def _search(found: Query, context: Context) -> Any:
    try:
        return found.search(context)
    except ValueError as error:
        raise ExpressionError(found.text, str(error)) from None


class _Resolution:
    """One value being resolved; counts what it comes to, for one output can be referred to very often."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._left = MAX_OUTPUT_BYTES
        self._sizes: dict[int, tuple[Any, int]] = {}
        """Of each value that was measured, by its identity; the value is kept, so that no other can have that."""

    def of(self, value: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(value, str):
            return self._text(value) if "${" in value else value
        if isinstance(value, dict):
            return {key: self.of(part, depth + 1) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(part, depth + 1) for part in value]
        return value

    def _text(self, text: str) -> Any:
        parts = _parts(text)
        if len(parts) == 1 and isinstance(parts[0], Query):
            return self._value(parts[0])
        return "".join(part if isinstance(part, str) else self._within(part) for part in parts)

    def _within(self, part: Query) -> str:
        value = self._value(part)
        if value is None:
            raise ExpressionError(part.text, f"gives nothing{_missing(part, self._context)}")
        if isinstance(value, str):
            return value
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    def _value(self, part: Query) -> Any:
        value = _search(part, self._context)
        if isinstance(value, str):
            self._left -= len(value)
        elif isinstance(value, (dict, list)):
            if id(value) not in self._sizes:
                self._sizes[id(value)] = value, _size(value)
            self._left -= self._sizes[id(value)][1]
        if self._left < 0:
            raise ExpressionError(part.text, f"makes this larger than {MAX_OUTPUT_BYTES:,} bytes")
        return value


def _size(value: Any) -> int:
    """Roughly the bytes of a value's JSON, and never more."""
    size, todo = 0, [value]
    while todo:
        one = todo.pop()
        size += 1
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, list):
            todo += one
        elif isinstance(one, dict):
            todo += one.keys()
            todo += one.values()
    return size


def _missing(part: Query, context: Context) -> str:
    """Why a plain path gives nothing; goes on from that."""
    there: Any = context
    path = part.path or ()
    for at, name in enumerate(path):
        where = ".".join(path[:at])
        if there is None:
            return f"; {where} is null{_because(path, context)}"
        if not isinstance(there, Mapping):
            return f"; {where} is no object"
        if name not in there:
            return f"; {where or 'the context'} has no {name!r}: {nearest(name, there)}"
        there = there[name]
    return _because(path, context) if path else ""


def _because(path: Sequence[str], context: Context) -> str:
    """Where a task without an output is why."""
    if path[0] != "tasks" or len(path) < 2:
        return ""
    status = context["tasks"][path[1]].get("status", "completed")
    return "" if status == "completed" else f"; {path[1]} is {status}"

"""One JMESPath expression: parsed once, looked through for the names that it uses, evaluated within bounds."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jmespath.exceptions import (
    EmptyExpressionError,
    IncompleteExpressionError,
    JMESPathError,
    JMESPathTypeError,
    LexerError,
    ParseError,
)
from jmespath.functions import Functions
from jmespath.parser import Parser
from jmespath.visitor import TreeInterpreter

from actors.catalogue.entry import nearest
from schemas.message import check_plain

MAX_LENGTH = 4000
"""Characters."""
MAX_KEPT = 500
"""Characters of an expression that is kept parsed, which takes some hundred bytes for each."""
MAX_NESTING = 64
"""Of its parts within each other, and of the operators of a chain such as `a || b || c`."""
MAX_STEPS = 1_000_000
"""Of one evaluation: each part that is evaluated, and each value that is built, is one. About 1.5 s at most."""

ROOTS = ("inputs", "tasks", "workflow", "item", "index", "output")
TASK_FIELDS = ("output", "status", "problem")
"""What can be asked of a task."""
WORKFLOW_FIELDS = ("id", "name")

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Names:
    """What expressions refer to."""

    tasks: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()
    """Those of `ROOTS` that are used."""
    mistakes: tuple[str, ...] = ()
    """What refers to nothing that could ever be there, a sentence each."""

    @classmethod
    def of_all(cls, several: "Iterable[Names]") -> "Names":
        found = list(several)
        if len(found) <= 1:  # as most tasks have it, and a workflow may have a thousand
            return found[0] if found else _NONE
        mistakes = dict.fromkeys(mistake for names in found for mistake in names.mistakes)
        tasks, inputs, roots = (
            frozenset[str]().union(*sets)
            for sets in ((n.tasks for n in found), (n.inputs for n in found), (n.roots for n in found))
        )
        return cls(tasks, inputs, roots, tuple(mistakes))


_NONE = Names()


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    tree: Node
    names: Names
    path: tuple[str, ...] | None
    """The names of a plain path, `a.b.c`; None: it is more than that."""

    def search(self, context: Any) -> Any:
        """What it gives, null where there is nothing. Parts of it are parts of the context, and not to be changed.

        Raises:
            ValueError: it cannot be evaluated, or not within bounds; says why.
        """
        if self.path is not None:  # most are, and a walk takes a tenth of the time
            there: Any = context
            for name in self.path:
                there = there.get(name) if isinstance(there, dict) else None
            return there
        try:
            value = _Bounded().visit(self.tree, context)
            return check_plain(value)
        except JMESPathTypeError as error:
            taken, given = " or ".join(error.expected_types), _kind(error.current_value)
            raise ValueError(f"{error.function_name}() takes {taken}, and was given {given}") from None
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError):
            raise ValueError("compares or combines values of different kinds") from None


def query(text: str) -> Query:
    """Parse an expression.

    Raises:
        ValueError: it breaks a rule; says which, and where.
    """
    return _kept(text) if len(text) <= MAX_KEPT else _query(text)


@lru_cache(maxsize=2048)
def _kept(text: str) -> Query:
    return _query(text)


def _query(text: str) -> Query:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an expression has {MAX_LENGTH:,} characters at most; this one has {len(text):,}")
    if _PLAIN.fullmatch(text):
        tree = _plain(text)
    else:
        tree = _parsed(text)
        _check_tree(tree, text)
    names = _Names(text)
    names.use(names.follow(tree, _CONTEXT))
    return Query(text, tree, names.found, _path(tree))


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
"""A plain path. Most expressions are one, a workflow has thousands, and the library's parser takes ten times longer."""


def _plain(text: str) -> Node:
    """What the parser makes of a plain path."""
    fields = [{"type": "field", "children": [], "value": name} for name in text.split(".")]
    return fields[0] if len(fields) == 1 else {"type": "subexpression", "children": fields}


def _parsed(text: str) -> Node:
    for found in _pieces(text):
        if found[0].startswith("`"):
            _check_literal(found[0])
    try:
        tree: Node = _Parser().parse(text).parsed
    except RecursionError:
        raise ValueError(f"{_short(text)} is nested too deeply") from None
    except (JMESPathError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{_short(text)} cannot be read{_why(error)}") from None
    return tree


def _path(tree: Node) -> tuple[str, ...] | None:
    parts = tree["children"] if tree["type"] == "subexpression" else [tree]
    return tuple(part["value"] for part in parts) if all(part["type"] == "field" for part in parts) else None


class _Parser(Parser):  # type: ignore[misc]
    """Takes `!a.b` for `!(a.b)`, as its author meant it; the library takes it for `(!a).b`, which is never true."""

    BINDING_POWER = {**Parser.BINDING_POWER, "not": 8}  # above comparisons, below all that goes on from a value
    _MAX_SIZE = 0  # what is worth keeping is kept by `query`
    _CACHE: dict[str, Any] = {}


# -- reading ---------------------------------------------------------------------------------------------------------

_PIECE = re.compile(r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"|`[^`\\]*(?:\\.[^`\\]*)*`|['"`{}]""", re.S)


def end_of(text: str, start: int) -> int:
    """Where the `}` stands that closes the expression which begins at `start`.

    Raises:
        ValueError: it is never closed.
    """
    depth = 0
    for found in _pieces(text, start):
        if found[0] == "}" and depth == 0:
            return found.start()
        depth += {"{": 1, "}": -1}.get(found[0], 0)
    raise ValueError(f"the ${{ at character {start - 1} is never closed")


def _pieces(text: str, start: int = 0) -> Iterator[re.Match[str]]:
    """Texts, names and literals in their quotes, and single braces outside of them."""
    for found in _PIECE.finditer(text, start):
        if found[0] in ("'", '"', "`"):
            raise ValueError(f"the {found[0]} at character {found.start() + 1} of {_short(text)} is never closed")
        yield found


def _check_literal(piece: str) -> None:
    text = piece[1:-1].replace("\\`", "`")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(
            f"{_short(piece)} is no JSON, which backticks hold; a text stands in single quotes, as 'text'"
        ) from None
    try:
        check_plain(value)
    except ValueError as error:
        raise ValueError(f"{_short(piece)} {error}") from None


_REMEDIES = {
    "=": "to compare, write ==",
    "-": 'a name with - in it stands in double quotes, as "my-name", and JMESPath does not calculate',
    "$": "put the whole expression into one ${…}",
    **dict.fromkeys("+/%", "JMESPath does not calculate"),
}


def _why(error: Exception) -> str:
    """Goes on from "cannot be read"."""
    match error:
        case EmptyExpressionError():
            return ": it is empty"
        case IncompleteExpressionError():
            return ": it breaks off at its end"
        case LexerError():
            at, found = error.lexer_position, str(error.lexer_value)[:1]
        case ParseError():
            at, found = error.lex_position, str(error.token_value)
            if not found:
                return ": it breaks off at its end"
            if error.token_type == "NUMBER":
                return f" at character {at + 1}: a number stands in backticks, as `{found}`"
        case _:
            return ""
    remedy = f"; {_REMEDIES[found]}" if found in _REMEDIES else ""
    return f" at character {at + 1}: {found[:40]!r} does not belong there{remedy}"


_TAKE_EXPRESSIONS = ("map", "sort_by", "min_by", "max_by")


def _check_tree(tree: Node, text: str) -> None:
    """Bounds its depth, and looks for calls that could never work."""
    todo: list[tuple[Node, int, str]] = [(tree, 1, "")]
    while todo:
        node, depth, call = todo.pop()
        if depth > MAX_NESTING:
            raise ValueError(f"{_short(text)} is nested too deeply; {MAX_NESTING} parts within each other at most")
        if node["type"] == "expref" and call not in _TAKE_EXPRESSIONS:
            raise ValueError(f"{_short(text)}: & belongs into a call of {', '.join(_TAKE_EXPRESSIONS)}")
        call = ""
        if node["type"] == "function_expression":
            call = node["value"]
            _check_call(call, len(node["children"]), text)
        todo += [(child, depth + 1, call) for child in node["children"] if isinstance(child, dict)]


def _check_call(name: str, given: int, text: str) -> None:
    if name not in Functions.FUNCTION_TABLE:
        raise ValueError(f"{_short(text)}: there is no function {name}(); {nearest(name, Functions.FUNCTION_TABLE)}")
    signature = Functions.FUNCTION_TABLE[name]["signature"]
    variadic = bool(signature and signature[-1].get("variadic"))
    if given < len(signature) or (given > len(signature) and not variadic):
        takes = f"{len(signature)}{' or more' if variadic else ''} argument{'s' if len(signature) > 1 else ''}"
        raise ValueError(f"{_short(text)}: {name}() takes {takes}, and was given {given}")


# -- names -----------------------------------------------------------------------------------------------------------

_CONTEXT, _TASKS, _INPUTS, _WORKFLOW, _VALUE = "context", "tasks", "inputs", "workflow", "value"
"""What a part of an expression gives, as far as that can be told: all there is, all tasks, all inputs …, something."""
_TASK = "task "
"""One task, its id behind it."""

_LITERALS = ("true", "false", "null")


class _Names:
    """Follows what each part of an expression is applied to, for only a name at the root is one of ours."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tasks, self._inputs, self._roots = set[str](), set[str](), set[str]()
        self._mistakes: dict[str, None] = {}

    @property
    def found(self) -> Names:
        return Names(frozenset(self._tasks), frozenset(self._inputs), frozenset(self._roots), tuple(self._mistakes))

    def follow(self, node: Node, scope: str) -> str:
        """What a part gives when it is applied to something."""
        children: list[Any] = node["children"]
        match node["type"]:
            case "field":
                return self._field(node["value"], scope)
            case "identity" | "current":
                return scope
            case "subexpression" | "pipe" | "index_expression":
                for child in children:
                    scope = self.follow(child, scope)
                return scope
            case "or_expression" | "and_expression":
                either = {self.follow(child, scope) for child in children}
                return either.pop() if len(either) == 1 else self._all_used(either)
            case "projection" | "value_projection" | "filter_projection":
                self.use(self.follow(children[0], scope))
                return self._all_used(self.follow(child, _VALUE) for child in children[1:])
            case "expref":
                return self._all_used([self.follow(children[0], _VALUE)])
            case "literal":
                return _VALUE
            case "index" | "slice":
                return self._all_used([scope])
            case _:  # a comparison, a negation, a call, a list or an object of several
                return self._all_used([self.follow(child, scope) for child in children])

    def use(self, scope: str) -> None:
        """Something is used as a value."""
        if scope in (_CONTEXT, _TASKS):
            self._mistake("name each task, as tasks.its_id.output: whoever refers to all of them could never begin")

    def _all_used(self, scopes: Iterator[str] | Sequence[str] | set[str]) -> str:
        for scope in scopes:
            self.use(scope)
        return _VALUE

    def _field(self, name: str, scope: str) -> str:
        if scope == _CONTEXT:
            if name not in ROOTS:
                self._mistake(self._unknown(name))
                return _VALUE
            self._roots.add(name)
            return name if name in (_TASKS, _INPUTS, _WORKFLOW) else _VALUE
        if scope == _TASKS:
            self._tasks.add(name)
            return _TASK + name
        if scope == _INPUTS:
            self._inputs.add(name)
        elif scope == _WORKFLOW and name not in WORKFLOW_FIELDS:
            self._mistake(f"a workflow has {' and '.join(WORKFLOW_FIELDS)}, and no {name!r}")
        elif scope.startswith(_TASK) and name not in TASK_FIELDS:
            task = scope.removeprefix(_TASK)
            self._mistake(
                f"a task has {', '.join(TASK_FIELDS)}, and no {name!r}; did you mean tasks.{task}.output.{name}?"
            )
        return _VALUE

    def _unknown(self, name: str) -> str:
        if f'"{name}"' in self._text:
            return f'"{name}" in double quotes is a name, and there is none such; a text stands in single quotes'
        if name in _LITERALS:
            return f"{name} is read as a name here; the value stands in backticks, as `{name}`"
        return f"there is no {name!r}; an expression begins with one of {', '.join(ROOTS)}"

    def _mistake(self, sentence: str) -> None:
        self._mistakes[f"{_short(self._text)}: {sentence}"] = None


# -- evaluating ------------------------------------------------------------------------------------------------------


class _Bounded(TreeInterpreter):  # type: ignore[misc]
    """Counts its steps, for a short expression can ask for a value of any size: `[@, @][]|[@, @][]|…`."""

    def __init__(self) -> None:
        super().__init__()
        self._left = MAX_STEPS

    def visit(self, node: Node, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"takes more than {MAX_STEPS:,} steps")
        return super().visit(node, value)

    def visit_multi_select_list(self, node: Node, value: Any) -> Any:
        return self._built(super().visit_multi_select_list(node, value))

    def visit_multi_select_dict(self, node: Node, value: Any) -> Any:
        return self._built(super().visit_multi_select_dict(node, value))

    def visit_flatten(self, node: Node, value: Any) -> Any:
        return self._built(super().visit_flatten(node, value))

    def visit_function_expression(self, node: Node, value: Any) -> Any:
        return self._built(super().visit_function_expression(node, value))

    def _built(self, value: Any) -> Any:
        """A text counts as one for each 16 characters."""
        todo = [value]
        while todo and self._left >= 0:
            one = todo.pop()
            self._left -= 1
            if isinstance(one, str):
                self._left -= len(one) // 16
            elif isinstance(one, list):
                todo += one
            elif isinstance(one, dict):
                todo += one.values()
        return value


def _kind(value: Any) -> str:
    """Of a value, in JSON's words."""
    kinds = {
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return "nothing" if value is None else kinds.get(type(value), "something else")


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:99]}…")

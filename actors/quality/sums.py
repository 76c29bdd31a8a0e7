"""Calculations as they stand in prose: found token by token, in time that grows with the text and no faster."""

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

_MAX_POWER, _MAX_DIGITS, _MAX_TOKENS = 64, 24, 40


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TOKEN = re.compile(
    r"(?P<number>[$\u20ac\u00a3]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?%?)"
    r"|(?P<sign>\*\*|[-+*/^\u2212\u2013\u00d7\u22c5\u00b7\u00f7]|\\(?:times|cdot|div)\b|\b(?:plus|minus|times)\b"
    r"|\b(?:multiplied|divided) by\b|(?<=[\d ])x(?=[ \d$]))"
    r"|(?P<open>\()|(?P<close>\))"
    r"|(?P<equals>[=\u2248]|\b(?:is equal to|equals|is|are|makes|gives us|gives)\b)"
    r"|(?P<about>\b(?:about|approximately|roughly|only|just)\b|\\boxed\{)"
    r"|(?P<word>[^\W\d_]{1,60})|(?P<mark>\S)",
    re.I,
)
_SIGNS = {
    "\u2212": "-", "\u2013": "-", "\u00d7": "*", "\u22c5": "*", "\u00b7": "*", "x": "*", "\\times": "*", "\\cdot": "*",
    "\u00f7": "/", "\\div": "/", "^": "**", "plus": "+", "minus": "-", "times": "*", "multiplied by": "*",
    "divided by": "/",
}  # fmt: skip
_NO_UNITS = _words(
    "pi mod to and or of log ln sin cos tan remainder dozen each million billion thousand percent less more fewer then "
    "so which in as for with by than the a an if when because we it"
)
_ONE_LETTER_UNITS = frozenset("mgshl")
_CHANGES_IT = _words("million billion thousand dozen remainder r percent less more fewer times squared cubed mod")
_PART_OF_MORE = _words("of by than root")
_OPERATIONS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Stated:
    """What a text says that a calculation comes to."""

    start: int
    end: int
    result: float
    right: float
    about: bool
    written: str
    """The result as it is written."""
    divided: bool


def tokens_of(text: str) -> list[list[Token]]:
    """By line, as no calculation goes over the end of one; lines without a number are left out."""
    lines, at = [], 0
    for line in text.split("\n"):
        if any(char.isdecimal() for char in line):
            lines.append(
                [
                    Token(match.lastgroup or "", match[0], at + match.start(), at + match.end())
                    for match in _TOKEN.finditer(line)
                ]
            )
        at += len(line) + 1
    return lines


def stated(text: str, base: int) -> Iterator[Stated]:
    """Each "calculation = result" of a text that can be done again."""
    for line in tokens_of(text):
        for at, token in enumerate(line):
            if token.kind == "equals" and (found := _around(line, at, base)) is not None:
                yield found


def expressions(text: str, base: int) -> Iterator[tuple[int, int, float]]:
    """Each calculation of a text that has no result beside it: its place and what it comes to."""
    for line in tokens_of(text):
        at = 0
        while at < len(line):
            if line[at].kind not in ("number", "open"):
                at += 1
                continue
            end = _right_end(line, at)
            part = _trimmed(line[at:end])
            after = line[end] if end < len(line) else None
            known = after is not None and (
                after.kind == "equals" and end + 1 < len(line) and line[end + 1].kind == "number"
            )
            if part and _signs(part) and not known and _stands_alone(line, at, end):
                value = value_of(part, base)
                if value is not None:
                    yield part[0].start, part[-1].end, value
            at = max(end, at + 1)


def value_of(part: Sequence[Token], base: int) -> float | None:
    """What the tokens come to; `None` where they are no calculation of numbers."""
    if len(part) > _MAX_TOKENS:
        return None
    pieces = []
    for token in part:
        match token.kind:
            case "number":
                if "%" in token.text:
                    return None
                pieces.append(_digits(token.text.lstrip("$\u20ac\u00a3").replace(",", ""), base))
            case "sign":
                pieces.append(_SIGNS.get(token.text.lower(), token.text))
            case "open" | "close":
                pieces.append(token.text)
    try:
        value = _of_tree(ast.parse(" ".join(pieces), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None
    return value if math.isfinite(value) else None


def number_of(text: str, base: int = 10) -> float | None:
    """A number as it is written, its currency and its commas left out."""
    return value_of([Token("number", text, 0, len(text))], base)


def _around(line: list[Token], at: int, base: int) -> Stated | None:
    start, end = _left_start(line, at), at + 1
    about = line[at].text == "\u2248"
    if end < len(line) and line[end].kind == "about":
        about, end = about or line[end].text.lower() in ("about", "approximately", "roughly"), end + 1
    first, end = end, _right_end(line, end)
    left, result = _trimmed(line[start:at]), _trimmed(line[first:end])
    if not left or not result or not _signs(left) or not _stands_alone(line, start, end):
        return None
    worded = line[at].text[0].isalpha()
    if worded and not any(t.text.isalpha() or t.start > p.end for p, t in pairwise(left) if t.kind == "sign"):
        return None  # "10-12 is" may be a span
    if not _of_one_unit(left, result):
        return None
    right, value = value_of(left, base), value_of(result, base)
    if right is None or value is None:
        return None
    if _signs(result) and (running := value_of(result[:1], base)) is not None and abs(running - right) < 1e-9:
        value = running  # "2 + 3 = 5 + 1 = 6" runs on from result to result
    divided = any(_SIGNS.get(t.text.lower(), t.text) == "/" for t in left)
    return Stated(left[0].start, result[-1].end, value, right, about, result[0].text, divided)


def _is_unit(line: list[Token], at: int) -> bool:
    """A word that stands behind a number: "3 apples"."""
    token = line[at]
    if token.kind != "word" or at == 0 or line[at - 1].kind != "number":
        return False
    word = token.text.lower()
    return word not in _NO_UNITS and (len(word) > 1 or word in _ONE_LETTER_UNITS)


def _left_start(line: list[Token], at: int) -> int:
    start = at
    while start > 0 and at - start < _MAX_TOKENS:
        if line[start - 1].kind not in ("number", "sign", "open", "close") and not _is_unit(line, start - 1):
            break
        start -= 1
    return start


def _right_end(line: list[Token], at: int) -> int:
    end = at
    while end < len(line) and end - at < _MAX_TOKENS:
        if line[end].kind not in ("number", "sign", "open", "close") and not _is_unit(line, end):
            break
        if end > at and line[end].kind == "number" and line[end - 1].kind in ("number", "word"):
            break  # two numbers in a row: the second belongs to what comes next
        end += 1
    return end


def _trimmed(part: list[Token]) -> list[Token]:
    """Without marks around it: of bold type, of a list, of a bracket that holds it all."""
    part = list(part)
    while part and part[-1].kind == "sign" and part[-1].text in ("**", "*", "-", "\u2013"):
        part.pop()
    while part and part[0].text in ("**", "*", "\u2013", "-", "\u2212"):
        attached = len(part) > 1 and part[1].start == part[0].end
        if part[0].text in ("-", "\u2212") and attached:
            break  # a negative number
        part.pop(0)
    opened = sum(t.kind == "open" for t in part) - sum(t.kind == "close" for t in part)
    while opened > 0 and part and part[0].kind == "open":
        part, opened = part[1:], opened - 1
    while opened < 0 and part and part[-1].kind == "close":
        part, opened = part[:-1], opened + 1
    return part if opened == 0 else []


def _stands_alone(line: list[Token], start: int, end: int) -> bool:
    """No unknown and no larger calculation around it."""
    before = line[start - 1] if start > 0 else None
    after = line[end] if end < len(line) else None
    lead = line[start]
    if lead.kind == "sign" and before is not None and lead.text not in ("**", "-", "\u2212", "\u2013"):
        return False
    if before is not None:
        if (
            lead.kind == "sign"
            and lead.text != "**"
            and (before.kind in ("word", "mark") and before.text not in (":", ",", ".", ";"))
        ):
            return (
                before.kind == "word"
                and len(before.text) > 2
                and lead.start > before.end
                and line[start + 1].start == lead.end
            )
        if before.end == lead.start and (before.kind == "word" or before.text in "_\\}]%|.<>"):
            return False
        if before.text.lower() in _PART_OF_MORE or before.text in "<>|}!":
            return False
    if line[end - 1].kind == "sign" and line[end - 1].text not in ("**", "*"):
        return False
    if after is None:
        return True
    if after.kind == "word":
        if after.start == line[end - 1].end or after.text.lower() in _CHANGES_IT:
            return False
        return len(after.text) > 1 or after.text in ("a", "A", "I")
    return after.text not in "<>!\\{_[|%" or after.start > line[end - 1].end + 1


def _signs(part: Sequence[Token]) -> int:
    """How many signs stand between two operands."""
    return sum(t.kind == "sign" and at > 0 and part[at - 1].kind != "sign" for at, t in enumerate(part))


def _of_one_unit(left: Sequence[Token], result: Sequence[Token]) -> bool:
    """Sums in which the unit changes ("1 km + 500 m = 1500 m") are left alone."""
    units = {t.text.lower().rstrip("s") for t in (*left, *result) if t.kind == "word"}
    added = any(_SIGNS.get(t.text.lower(), t.text) in "+-" for t in left if t.kind == "sign")
    return len(units) <= 1 or not added


def _digits(text: str, base: int) -> str:
    whole, _, rest = text.partition(".")
    if len(text) > _MAX_DIGITS:
        return "0/0"  # more digits than can be done again exactly
    if base != 10 and not rest:
        value = 0
        for digit in whole:
            value = value * base + int(digit)
        return str(value)
    return f"{int(whole)}.{rest}" if rest else str(int(whole))


def _of_tree(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_of_tree(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            a, b = _of_tree(left), _of_tree(right)
            if isinstance(op, ast.Pow) and (abs(b) > _MAX_POWER or abs(a) > 1e6 or (a < 0 and not b.is_integer())):
                raise ValueError("too large to be done again")
            return _OPERATIONS[type(op)](a, b)
        case _:
            raise ValueError("no calculation of numbers alone")

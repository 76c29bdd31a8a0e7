"""Calculations that an answer states, done again."""

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from actors.quality.finding import Finding
from actors.quality.text import Place, Reading

MOST = 200
"""So many calculations are done again; an answer that states more is judged by these."""
_MAX_POWER, _MAX_DIGITS = 64, 24

_NUMBER = r"(?:[$\u20ac\u00a3]\s?)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_UNIT = (
    r"(?:[ \t]?%|[ \t]?(?!(?:x|pi|e|i|mod|to|and|or|of|is|log|ln|sin|cos|tan|remainder|dozen|each|"
    r"million|billion|thousand)\b)(?:[A-Za-z\u00b0]{2,}|m|g|s|h|l)(?:[\u00b2\u00b3]|"
    r"\^\d)?(?:/[A-Za-z]+)?(?![A-Za-z(]))?"
)
_OPERATOR = (
    r"(?:\+|-|\u2212|\u2013|\*\*?|\u00d7|\u22c5|\u00b7|/|\u00f7|\^|(?<=[\d ])x(?=[ \d$])|\\times|"
    r"\\cdot|\\div|plus|minus|times|multiplied by|divided by)"
)
_OPERAND = rf"[-\u2212]?\(*[ \t]?[-\u2212]?{_NUMBER}{_UNIT}[ \t]?\)*"
_SIDE = rf"{_OPERAND}(?:[ \t]*{_OPERATOR}[ \t]*{_OPERAND}){{0,12}}"
_EQUALS = r"(?:=|\u2248|~=|\bequals\b|\bis equal to\b|\bis\b|\bmakes\b|\bgives\b|\bgives us\b|\bare\b)"
_EQUATION = re.compile(
    rf"(?P<left>{_OPERAND}(?:[ \t]*{_OPERATOR}[ \t]*{_OPERAND}){{1,12}})[ \t]*(?P<sign>{_EQUALS})"
    rf"[ \t]*(?P<about>about |approximately |roughly |only |just |\\boxed\{{)?(?P<right>{_SIDE})",
    re.I,
)
_EXPRESSION = re.compile(rf"{_OPERAND}(?:[ \t]*{_OPERATOR}[ \t]*{_OPERAND}){{1,12}}", re.I)
_OF_TWO = re.compile(
    rf"\b(?P<what>sum|total|product|difference|quotient|average|mean) (?:of|between) (?P<a>{_NUMBER}),? (?:and|by) "
    rf"(?P<b>{_NUMBER}) (?:is|equals|=)[ \t]*(?P<result>{_NUMBER})",
    re.I,
)
_PERCENT = re.compile(
    rf"(?P<a>\d+(?:\.\d+)?)[ \t]?(?:%|percent) of (?P<b>{_NUMBER}) (?:is|equals|=)[ \t]*(?P<result>{_NUMBER})", re.I
)
_ROOT = re.compile(rf"square root of (?P<a>{_NUMBER}) (?:is|equals|=)[ \t]*(?P<result>{_NUMBER})", re.I)
_KIND = re.compile(
    r"(?<![\w.,])(?P<n>\d{1,9}) (?P<is>is|isn't|is not|are not) (?:an? |"
    r"considered )*(?P<not>not (?:an? )?)?(?P<kind>prime|composite|even|odd)\b",
    re.I,
)
_DIGITS_ASKED = re.compile(r"\bbase[- ]?(\d{1,2})\b", re.I)
_ASKED = re.compile(
    r"\b(?:what(?:'s| is| does)|calculate|compute|evaluate|work out|how much is|solve|add|find)\b[^.\n?]{0,30}$", re.I
)
_BOXED = re.compile(r"\\boxed\{\s*(-?[\d,.]+)\s*\}")
_NEGATED = re.compile(
    r"\b(?:not|isn't|wrong|incorrect|mistake|instead of|rather than|if|suppose|claims?|says?)\b[^.\n]{0,40}$", re.I
)
_SIGNS = {
    "\u2212": "-", "\u2013": "-", "\u00d7": "*", "\u22c5": "*", "\u00b7": "*", "x": "*", "X": "*", "\\times": "*",
    "\\cdot": "*", "\u00f7": "/", "\\div": "/", "^": "**", "plus": "+", "minus": "-", "times": "*",
    "multiplied by": "*", "divided by": "/",
}  # fmt: skip
_SIGN = re.compile(
    "|".join(
        re.escape(s) if not s[-1].isalpha() or s[0] == "\\" else rf"\b{s}\b"
        for s in sorted(_SIGNS, key=len, reverse=True)
    ),
    re.I,
)
_OPERATIONS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True, slots=True)
class Calculation:
    """One that was done again."""

    place: Place
    stated: float
    right: float
    holds: bool


def base_of(prompt: str) -> int:
    """The base in which the prompt says that numbers are written; 10 where it says nothing."""
    named = _DIGITS_ASKED.search(prompt)
    base = int(named[1]) if named else 10
    return base if 2 <= base <= 10 else 10


def calculations(reading: Reading, base: int = 10) -> list[Calculation]:
    """Those that the prose of an answer states, in its order, up to `MOST`."""
    found: list[Calculation] = []
    text = reading.prose
    if not any(char.isdigit() for char in text):
        return found
    for start, end, stated, right, about in _stated(text, base):
        if _NEGATED.search(text[max(0, start - 60) : start]):
            continue
        found.append(
            Calculation(reading.place(start, end), stated, right, _near(stated, right, text[start:end], about))
        )
        if len(found) >= MOST:
            break
    return found


def wrong(reading: Reading, prompt: str) -> list[Finding]:
    """What was miscalculated, and whether the calculation that the prompt asks for has its result in the answer."""
    base = base_of(prompt)
    done = calculations(reading, base)
    mistakes = [calculation for calculation in done if not calculation.holds]
    findings = [
        Finding(
            "arithmetic",
            "accuracy",
            # One mistake among many steps still spoils the result.
            round(min(1.0, 0.6 + 0.4 * len(mistakes) / len(done)), 4),
            f"{mistake.place.quote!r} does not hold: it is {_shown(mistake.right, base)}",
            "calculate it again, and what follows from it",
            mistake.place,
        )
        for mistake in mistakes[:10]
    ]
    findings += _kinds(reading)
    expected = asked_result(prompt, base)
    if expected is not None and not _holds_result(reading, expected, base):
        findings.append(
            Finding(
                "arithmetic",
                "accuracy",
                0.9,
                f"the result, {_shown(expected, base)}, is not in the answer",
                "calculate it again",
            )
        )
    return findings


def checked(reading: Reading, prompt: str) -> int:
    """How many statements about numbers could be checked."""
    base = base_of(prompt)
    kinds = sum(1 for _ in _KIND.finditer(reading.prose))
    return len(calculations(reading, base)) + kinds + (asked_result(prompt, base) is not None)


def asked_result(prompt: str, base: int = 10) -> float | None:
    """The result of the one calculation that a prompt asks for; `None` where it asks for none, or for several."""
    results = []
    for match in _EXPRESSION.finditer(prompt[:2000]):
        before, after = prompt[max(0, match.start() - 40) : match.start()], prompt[match.end() : match.end() + 12]
        if not _clear(prompt, match.start(), match.end()) or re.match(
            r"\s*(?:[=<>\u2264\u2265](?!\s*\??\s*$)|[A-Za-z(]*\()", after
        ):
            continue
        if re.fullmatch(r"\d+/\d+", match[0].strip()):
            continue  # a fraction, as in "2/3 of a cup"
        if _ASKED.search(before) and (value := _value(match[0], base)) is not None:
            results.append(value)
    return results[0] if len(results) == 1 else None


def _stated(text: str, base: int) -> Iterator[tuple[int, int, float, float, bool]]:
    for match in _EQUATION.finditer(text):
        if re.match(r"[-\u2212] ", match[0]) and text[: match.start()].rstrip(" \t")[-1:] in ("", "\n"):
            # The mark of a list, no sign.
            again = _EQUATION.match(text, match.start() + 2)
            match = again or match  # noqa: PLW2901
        about = match["sign"] in ("\u2248", "~=") or bool(
            match["about"] and match["about"].strip() in ("about", "approximately", "roughly")
        )
        if not _clear(text, match.start(), match.end()) or not _of_one_unit(match["left"], match["right"]):
            continue
        left, right = _value(match["left"], base), _value(match["right"], base)
        if left is None or right is None:
            continue
        if (first := re.match(_OPERAND, match["right"])) and first[0] != match["right"]:
            # "2 + 3 = 5 + 1 = 6" runs on from result to result.
            running = _value(first[0], base)
            right = running if running is not None and _near(running, left, first[0], about) else right
        yield match.start(), match.end(), right, left, about
    yield from _worded(text, base)


def _worded(text: str, base: int) -> Iterator[tuple[int, int, float, float, bool]]:
    for match in _OF_TWO.finditer(text):
        a, b, result = (_plain(match[name], base) for name in ("a", "b", "result"))
        if a is None or b is None or result is None or (match["what"].lower() == "quotient" and b == 0):
            continue
        what = match["what"].lower()
        doing = {"sum": operator.add, "total": operator.add, "product": operator.mul, "quotient": operator.truediv}
        value = abs(a - b) if what == "difference" else doing[what](a, b) if what in doing else (a + b) / 2
        yield match.start(), match.end(), result, value, False
    for match in _PERCENT.finditer(text):
        b, result = _plain(match["b"], 10), _plain(match["result"], 10)
        if b is not None and result is not None:
            yield match.start(), match.end(), result, float(match["a"]) * b / 100, False
    for match in _ROOT.finditer(text):
        a, result = _plain(match["a"], 10), _plain(match["result"], 10)
        if a is not None and result is not None:
            yield match.start(), match.end(), result, math.sqrt(a), False


def _clear(text: str, start: int, end: int) -> bool:
    """Whether the calculation stands by itself: no unknown, no larger expression around it."""
    before = re.sub(r"(?:^|(?<=\s))(?:\*\*|__)$", "", text[max(0, start - 24) : start]).rstrip(" \t")
    sign = before[-1:] in tuple("+-*/^=<>\u2212\u00d7\u00f7\u00b7.,|_)]}%\\") and not before.endswith(("**", ","))
    # A mark of a list ("- 2 + 2 = 4", "1. 2 + 2 = 4") is no operator, nor is the end of a sentence.
    listed = re.search(r"(?:^|\n)[ \t]*(?:[-*+|]|\d{1,2}[.)])$|[a-z]{2}[.,)]$|= ?$", before)
    if (sign or before[-1:].isdigit()) and not listed:
        return False
    if start and (text[start - 1].isalpha() or text[start - 1] in "_$\u00b0") and not text[start].isspace():
        return False
    if re.search(r"\b(?:[b-df-hj-zB-HJ-Z]|\d[a-z])[ \t]*$|\bof$|\bby$|\bthan$", before) and not re.search(
        r"[=:][ \t]*$", before
    ):
        return False
    after = re.sub(r"^(?:\*\*|__)", "", text[end : end + 12])
    return not re.match(
        r"[\d,]*\d|\.\d|[a-zA-Z]?\(|[ \t]*(?:\*|/|\^|\u00d7|\u00f7|\u00b7|\+[ \t]?\w|[-\u2212][ \t]?\d)|"
        r"[ \t]*[a-z]\b(?![ \t]\w)|[ \t]*(?:remainder|million|billion|thousand|dozen|r \d)|!|e[-+]?\d",
        after,
    )


def _of_one_unit(left: str, right: str) -> bool:
    """Sums in which units change ("1 km + 500 m = 1500 m") are left alone, and per cents of something."""
    if "%" in left + right:
        return False
    units = {unit.lower().rstrip("s") for unit in re.findall(r"\d[ \t]?([A-Za-z]{1,12})\b", left + " " + right)} - {
        "x",
        "time",
        "plu",
        "minu",
        "divided",
        "multiplied",
    }
    return len(units) <= 1 or not re.search(r"[-+\u2212]|plus|minus", left)


def _value(text: str, base: int) -> float | None:
    plain = _SIGN.sub(lambda sign: f" {_SIGNS[sign[0].lower()]} ", text)
    plain = re.sub(rf"({_NUMBER}){_UNIT}", lambda number: number[1], plain, flags=re.I)
    plain = re.sub(r"[$\u20ac\u00a3,]", "", plain).strip()
    if base != 10:
        try:
            plain = re.sub(r"\d+", lambda digits: str(int(digits[0], base)), plain)
        except ValueError:
            # A digit that the base has not: its worth is what the digit says.
            plain = re.sub(r"\d+", lambda digits: str(_of_digits(digits[0], base)), plain)
    plain = re.sub(r"\b0+(\d)", r"\1", plain)
    if len(plain) > 200 or re.search(rf"\d{{{_MAX_DIGITS},}}", plain):
        return None
    plain = plain.rstrip(")") if plain.count("(") == 0 else plain
    plain += ")" * (plain.count("(") - plain.count(")"))
    try:
        value = _of_tree(ast.parse(plain, mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None
    return value if math.isfinite(value) else None


def _of_digits(digits: str, base: int) -> int:
    value = 0
    for digit in digits:
        value = value * base + int(digit)
    return value


def _plain(text: str, base: int) -> float | None:
    return _value(text.rstrip(",."), base)


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


def _near(stated: float, right: float, written: str, about: bool) -> bool:
    """Equal as far as the stated number is written out: rounded or cut off."""
    last = re.findall(r"\d[\d,]*(?:\.(\d+))?", written)
    step = 10.0 ** -len(last[-1]) if last and last[-1] else 1.0
    whole = float(right).is_integer() and "/" not in written and "\u00f7" not in written
    tolerance = 1e-6 * max(1.0, abs(right)) if whole and step == 1 else 1e-9 + step * (1 if step < 1 else 0.51)
    if about:
        tolerance = max(tolerance, 0.05 * abs(right))
    return abs(stated - right) <= tolerance


def _shown(value: float, base: int) -> str:
    if base != 10 and value.is_integer() and 0 <= value < base**20:
        digits, rest = "", int(value)
        while rest:
            digits, rest = str(rest % base) + digits, rest // base
        return f"{digits or 0} in base {base}"
    return f"{value:.10g}"


def _holds_result(reading: Reading, expected: float, base: int) -> bool:
    boxed = _BOXED.findall(reading.shown)
    numbers = boxed[-1:] or re.findall(r"(?<![\w.])[-\u2212]?\d[\d,]*(?:\.\d+)?", reading.shown)[-400:]
    for number in numbers:
        value = _value(number.rstrip(",."), base)
        if value is not None and _near(value, expected, number, False):
            return True
    if not numbers:
        # "one hundred and sixty-one": numbers as words are not read.
        return bool(
            re.search(
                r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|hundred|zero|half|third)", reading.prose, re.I
            )
        )
    return False


def _kinds(reading: Reading) -> Iterator[Finding]:
    for match in _KIND.finditer(reading.prose):
        number = int(match["n"])
        claimed = match["is"].lower() in ("is", "are") and not match["not"]
        match match["kind"].lower():
            case "prime":
                true = _prime(number)
            case "composite":
                true = number > 3 and not _prime(number)
            case "even":
                true = number % 2 == 0
            case _:
                true = number % 2 == 1
        if true != claimed:
            place = reading.place(match.start(), match.end())
            yield Finding("arithmetic", "accuracy", 0.9, f"{place.quote!r} is not so", "check the number again", place)


def _prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))

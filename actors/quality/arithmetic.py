"""Calculations that an answer states, done again."""

import math
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass

from actors.quality.finding import Finding
from actors.quality.sums import expressions, number_of, stated
from actors.quality.text import Place, Reading

MOST = 200
"""So many calculations are done again; an answer that states more is judged by these."""

_NUMBER = r"(?:[$\u20ac\u00a3]\s?)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_OF_TWO = re.compile(
    rf"\b(?P<what>sum|total|product|difference|quotient|average|mean) (?:of|between) (?P<a>{_NUMBER}),? (?:and|by) "
    rf"(?P<b>{_NUMBER}) (?:is|equals|=)[ \t]{{0,4}}(?P<result>{_NUMBER})",
    re.I,
)
_PERCENT = re.compile(
    rf"(?<![\d.])(?P<a>\d{{1,9}}(?:\.\d{{1,6}})?)[ \t]?(?:%|percent) of (?P<b>{_NUMBER}) (?:is|equals|=)[ \t]{{0,4}}"
    rf"(?P<result>{_NUMBER})",
    re.I,
)
_ROOT = re.compile(rf"square root of (?P<a>{_NUMBER}) (?:is|equals|=)[ \t]{{0,4}}(?P<result>{_NUMBER})", re.I)
_KIND = re.compile(
    r"(?<![\w.,])(?P<n>\d{1,9}) (?P<is>is not|isn't|are not|is|are) (?P<not>not )?(?:considered )?(?:an? )?"
    r"(?P<kind>prime|composite|even|odd)\b",
    re.I,
)
_BASE = re.compile(r"\bbase[- ]?(\d{1,2})\b", re.I)
_ASKED = re.compile(
    r"\b(?:what(?:'s| is| does)|calculate|compute|evaluate|work out|how much is|solve|add|find)\b[^.\n?]{0,30}$", re.I
)
_BOXED = re.compile(r"\\boxed\{[ \t]{0,4}(-?[\d,.]{1,40})[ \t]{0,4}\}")
_NEGATED = re.compile(
    r"\b(?:not|isn't|wrong|incorrect|mistake|instead of|rather than|if|suppose|claims?|says?)\b[^.\n]{0,40}$", re.I
)
_IN_WORDS = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundred|zero|half|third|\w+teen|\w+ty)\b",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Calculation:
    """One that was done again."""

    place: Place
    stated: float
    right: float
    holds: bool


def base_of(prompt: str) -> int:
    """The base in which the prompt says that numbers are written; 10 where it says nothing."""
    named = _BASE.search(prompt)
    base = int(named[1]) if named else 10
    return base if 2 <= base <= 10 else 10


def calculations(reading: Reading, base: int = 10) -> list[Calculation]:
    """Those that the prose of an answer states, up to `MOST`."""
    found: list[Calculation] = []
    text = reading.prose
    for one in stated(text, base):
        if not _NEGATED.search(text[max(0, one.start - 60) : one.start]):
            holds = _near(one.result, one.right, one.written, one.about, one.divided)
            found.append(Calculation(reading.place(one.start, one.end), one.result, one.right, holds))
        if len(found) >= MOST:
            return found
    for start, end, result, right, written in _worded(text, base):
        found.append(Calculation(reading.place(start, end), result, right, _near(result, right, written, False, True)))
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
        said = f"the result, {_shown(expected, base)}, is not in the answer"
        findings.append(Finding("arithmetic", "accuracy", 0.9, said, "calculate it again"))
    return findings


def checked(reading: Reading, prompt: str) -> int:
    """How many statements about numbers could be checked."""
    base = base_of(prompt)
    kinds = len(_KIND.findall(reading.prose))
    return len(calculations(reading, base)) + kinds + (asked_result(prompt, base) is not None)


def asked_result(prompt: str, base: int = 10) -> float | None:
    """The result of the one calculation that a prompt asks for; `None` where it asks for none, or for several."""
    text = prompt[:2000]
    results = [
        value
        for start, end, value in expressions(text, base)
        # "2/3" is a fraction, as of a cup.
        if _ASKED.search(text[max(0, start - 40) : start]) and not re.fullmatch(r"\d+/\d+", text[start:end])
    ]
    return results[0] if len(results) == 1 else None


def _worded(text: str, base: int) -> Iterator[tuple[int, int, float, float, str]]:
    for match in _OF_TWO.finditer(text):
        a, b, result = (number_of(match[name].replace(" ", ""), base) for name in ("a", "b", "result"))
        if a is None or b is None or result is None or (match["what"].lower() == "quotient" and b == 0):
            continue
        what = match["what"].lower()
        doing = {"sum": operator.add, "total": operator.add, "product": operator.mul, "quotient": operator.truediv}
        value = abs(a - b) if what == "difference" else doing[what](a, b) if what in doing else (a + b) / 2
        yield match.start(), match.end(), result, value, match["result"]
    for match in _PERCENT.finditer(text):
        b, result = number_of(match["b"].replace(" ", "")), number_of(match["result"].replace(" ", ""))
        if b is not None and result is not None:
            yield match.start(), match.end(), result, float(match["a"]) * b / 100, match["result"]
    for match in _ROOT.finditer(text):
        a, result = number_of(match["a"].replace(" ", "")), number_of(match["result"].replace(" ", ""))
        if a is not None and result is not None:
            yield match.start(), match.end(), result, math.sqrt(a), match["result"]


def _near(result: float, right: float, written: str, about: bool, divided: bool) -> bool:
    """Equal as far as the result is written out: rounded or cut off there."""
    decimals = len(written.partition(".")[2].rstrip("%"))
    step = 10.0**-decimals
    cut = decimals > 0 or (divided and not right.is_integer())
    tolerance = step * 1.000001 if cut else 1e-9 * max(1.0, abs(right))
    if about:
        tolerance = max(tolerance, 0.05 * abs(right))
    return abs(result - right) <= tolerance


def _shown(value: float, base: int) -> str:
    if base != 10 and value.is_integer() and 0 <= value < base**20:
        digits, rest = "", int(value)
        while rest:
            digits, rest = str(rest % base) + digits, rest // base
        return f"{digits or 0} in base {base}"
    return f"{value:.10g}"


def _holds_result(reading: Reading, expected: float, base: int) -> bool:
    numbers = _BOXED.findall(reading.shown)[-1:] or re.findall(
        r"(?<![\w.])[-\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?", reading.shown
    )
    for number in numbers[-400:]:
        size = number_of(number.lstrip("-\u2212").rstrip(",."), base)
        value = None if size is None else -size if number[0] in "-\u2212" else size
        if value is not None and _near(value, expected, number.rstrip(",."), False, True):
            return True
    # "one hundred and sixty-one": numbers in words are not read.
    return not numbers and _IN_WORDS.search(reading.prose) is not None


def _kinds(reading: Reading) -> Iterator[Finding]:
    for match in list(_KIND.finditer(reading.prose))[:MOST]:
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

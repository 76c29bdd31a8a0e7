"""A number with its unit, in one way of writing."""

import re
from dataclasses import dataclass

from actors.quality.text import stem, words_of

_UNITS: dict[str, tuple[str, str, float]] = {
    name: (symbol, base, factor)
    for symbol, base, factor, names in (
        ("mm", "m", 1e-3, "mm millimetre millimetres millimeter millimeters"),
        ("cm", "m", 1e-2, "cm centimetre centimetres centimeter centimeters"),
        ("m", "m", 1.0, "m metre metres meter meters"),
        ("km", "m", 1e3, "km kms kilometre kilometres kilometer kilometers"),
        ("in", "in", 1.0, "inch inches"),
        ("ft", "in", 12.0, "ft foot feet"),
        ("yd", "in", 36.0, "yd yard yards"),
        ("mi", "in", 63360.0, "mi mile miles"),
        ("mg", "g", 1e-3, "mg milligram milligrams"),
        ("g", "g", 1.0, "g gram grams gramme grammes"),
        ("kg", "g", 1e3, "kg kgs kilo kilos kilogram kilograms"),
        ("t", "g", 1e6, "tonne tonnes"),
        ("oz", "oz", 1.0, "oz ounce ounces"),
        ("lb", "oz", 16.0, "lb lbs pound-weight"),
        ("ml", "l", 1e-3, "ml millilitre millilitres milliliter milliliters"),
        ("l", "l", 1.0, "l litre litres liter liters"),
        ("ms", "s", 1e-3, "ms millisecond milliseconds"),
        ("s", "s", 1.0, "s sec secs second seconds"),
        ("min", "s", 60.0, "min mins minute minutes"),
        ("h", "s", 3600.0, "h hr hrs hour hours"),
        ("d", "s", 86400.0, "day days"),
        ("week", "s", 604800.0, "week weeks"),
        ("month", "month", 1.0, "month months"),
        ("year", "month", 12.0, "year years yr yrs"),
        ("cent", "usd", 1e-2, "cent cents \u00a2"),
        ("usd", "usd", 1.0, "$ usd us$ dollar dollars bucks"),
        ("eur", "eur", 1.0, "\u20ac eur euro euros"),
        ("gbp", "gbp", 1.0, "\u00a3 gbp"),
        ("%", "%", 1.0, "% percent percentage"),
        ("\u00b0", "\u00b0", 1.0, "\u00b0 degree degrees"),
        ("\u00b0c", "\u00b0c", 1.0, "\u00b0c \u2103 celsius"),
        ("\u00b0f", "\u00b0f", 1.0, "\u00b0f \u2109 fahrenheit"),
        ("km/h", "km/h", 1.0, "km/h kmh kph"),
        ("mph", "mph", 1.0, "mph mi/h"),
        ("m/s", "m/s", 1.0, "m/s"),
    )
    for name in names.split()
}
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "dozen": 12.0}
_SPOKEN = {
    "zero": 0.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0, "seven": 7.0, "eight": 8.0,
    "nine": 9.0, "ten": 10.0, "eleven": 11.0, "twelve": 12.0, "thirteen": 13.0, "fourteen": 14.0, "fifteen": 15.0,
    "sixteen": 16.0, "seventeen": 17.0, "eighteen": 18.0, "nineteen": 19.0, "twenty": 20.0, "thirty": 30.0,
    "forty": 40.0, "fifty": 50.0, "sixty": 60.0, "seventy": 70.0, "eighty": 80.0, "ninety": 90.0, "hundred": 100.0,
}  # fmt: skip
_LATEX = (
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s?\{([^{}]{0,80})\}"), r"\1"),
    (re.compile(r"\\[dt]?frac\s?\{(-?\d{1,12})\}\s?\{(\d{1,12})\}"), r"\1/\2"),
    (re.compile(r"\^\s?\{?\\circ\}?"), "\u00b0"),
    (re.compile(r"(?<!\\)\$([^$\n]{1,80}?)(?<!\\)\$(?!\d)"), r"\1"),
    (re.compile(r"\\([$%#&])"), r"\1"),
    (re.compile(r"\\[,;:! ]|\\(?:quad|left|right)\b|~|\\[()\[\]]"), " "),
    (re.compile(r"[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}"), ""),
)
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,24})(?:\.\d{1,24})?|\.\d{1,24}"
_QUANTITY = re.compile(
    r"(?:(?:about|approximately|roughly|around)\s|[=\u2248]\s?)?"
    rf"(?P<sign>[-\u2212+]?)\s?(?P<money>US\$|[$\u20ac\u00a3])?\s?(?P<minus>[-\u2212]?)(?P<number>{_NUMBER})"
    r"(?:\s?/\s?(?P<under>\d{1,12})|\s?(?:\u00d7|\*|\\times|x)\s?10\s?(?:\^|\*\*)\s?\{?(?P<ten>[-\u2212]?\d{1,2})\}?|"
    r"e(?P<e>[-+]?\d{1,2})(?![a-z]))?(?P<rest>(?!\d|st\b|nd\b|rd\b|th\b).*)",
    re.I | re.S,
)
_UNIT = re.compile(
    r"(?:(?P<power>square|sq\.?|cubic|cu\.?)\s)?"
    r"(?P<unit>(?:[^\W\d_]{1,20}/)?[^\W\d_]{1,20}|[%\u00b0][cf]?|[\u00a2$\u20ac\u00a3\u2103\u2109])"
    r"(?:\s?(?P<two>\^\s?\{?[23]\}?|[\u00b2\u00b3]))?(?P<more>(?:\s[^\W\d_]{1,20}){0,4})",
    re.I,
)
_MARKS = "\"'\u201c\u201d\u2018\u2019"
_JOINING = frozenset(["and", "or", "to", "if", "plus", "minus", "times"])
"""Words behind a number that make it a part of more."""
_POWERS = {"s": "\u00b2", "c": "\u00b3", "2": "\u00b2", "3": "\u00b3", "\u00b2": "\u00b2", "\u00b3": "\u00b3"}


@dataclass(frozen=True, slots=True)
class Quantity:
    value: float
    unit: str = ""
    """A symbol, or the words that stand behind the number; empty where it stands alone."""

    def __str__(self) -> str:
        return f"{shown(self.value)} {self.unit}".strip()

    @property
    def key(self) -> tuple[str, str]:
        """Equal for what is the same in other units: the value in its base unit, and that unit."""
        _, base, factor = _UNITS.get(self.unit, ("", self.unit, 1.0))
        return shown(self.value * factor), base


def quantity_of(text: str, prompt: str = "") -> Quantity | None:
    """The number and unit that a short text is, and nothing else; `None` where it is more, or none.

    Words behind the number that the prompt has too are left out: "18 eggs" to "how many eggs" is 18.
    """
    text = plain(text)
    spoken = text.casefold().split()
    if spoken and spoken[0] in _SPOKEN:
        return _with_unit(_SPOKEN[spoken[0]], " ".join(spoken[1:]), prompt)
    match = _QUANTITY.fullmatch(text)
    value = _value(match) if match else None
    if match is None or value is None:
        return None
    rest = match["rest"].strip()
    for word, factor in _SCALES.items():
        if rest.casefold().split()[:1] == [word]:
            value, rest = value * factor, rest[len(word) :].strip()
    if match["money"]:
        rest = f"{match['money']} {rest.casefold().removeprefix('dollars').removeprefix('usd')}".strip()
    return _with_unit(value, rest, prompt)


def plain(text: str) -> str:
    """Without marks of type, of formulas, and what ends a sentence."""
    for pattern, by in _LATEX:
        text = pattern.sub(by, text)
    return " ".join(text.split()).rstrip(f"{_MARKS}.,;:! ").lstrip(f"{_MARKS},;:! ")


def shown(value: float) -> str:
    """Ten digits at most, as further ones are noise of dividing; no sign before zero."""
    return f"{value:.10g}" if value else "0"


def _value(match: re.Match[str]) -> float | None:
    value = float(match["number"].replace(",", ""))
    if match["under"]:
        if not float(match["under"]):
            return None
        value /= float(match["under"])
    if power := match["ten"] or match["e"]:
        value *= 10.0 ** int(power.replace("\u2212", "-"))
    if match["sign"] in ("-", "\u2212") or match["minus"]:
        value = -value
    return value


def _with_unit(value: float, rest: str, prompt: str) -> Quantity | None:
    if not rest:
        return Quantity(value)
    match = _UNIT.fullmatch(rest.removeprefix("US"))
    if match is None:
        return None
    known = _UNITS.get(match["unit"].casefold())
    # What stands behind a number that is spelled as a unit may be a word of its own: "5 in all".
    power = match["power"] or ""
    words = [*([] if known else [power, match["unit"]]), *match["more"].split()]
    if not _JOINING.isdisjoint(map(str.casefold, words)):
        return None
    there = {stem(word) for word in words_of(prompt)}
    own = [word for word in map(str.casefold, words) if word and stem(word) not in there]
    raised = _POWERS.get((power or (match["two"] or "").strip("^{} "))[:1].casefold(), "")
    return Quantity(value, " ".join([*([known[0] + raised] if known else []), *own]))

"""Small tasks whose result can be worked out: lists to sort, letters to count, units to convert, words that rhyme."""

import math
import re
from collections import Counter
from collections.abc import Iterator

from actors.quality.finding import Finding
from actors.quality.requirements import instruction_of
from actors.quality.text import Reading, words_of

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")
_SORT = re.compile(
    r"\b(?:sort|arrange|order|rank|put|organi[sz]e|reorder)\b[^.\n]{0,120}?\b(?P<how>ascending|"
    r"descending|alphabetical(?:ly)?|smallest to (?:largest|biggest)|"
    r"largest to smallest|biggest to smallest|lowest to highest|highest to lowest|increasing|decreasing|numerical)\b",
    re.I,
)
_KEEP = re.compile(
    r"\b(?:sort|arrange|rearrange|group|classify|categori[sz]e|alphabeti[sz]e|organi[sz]e|reorder|shuffle)\b", re.I
)
_ROW = re.compile(
    r"(?:^|[:.?!]\s+|\n)\s*\[?(?P<row>[^\n:.?!\[\],]{1,40}(?:,\s*(?:and\s+)?[^\n:.?!\[\],]{1,40}){2,40})\]?\s*(?=[.?!\n]|$)"
)
_HOW_MANY = re.compile(
    r"\bhow many (?P<what>words|letters|characters|vowels|consonants|"
    r"(?P<letter>[a-z])'?s)\b[^\"\u201c\n]{0,60}[\"\u201c](?P<text>[^\"\u201d]{1,600})[\"\u201d]",
    re.I,
)
_STATISTIC = re.compile(
    r"\b(?P<what>average|mean|median|sum|total|product|maximum|largest|minimum|smallest|range|gcd|"
    r"greatest common (?:divisor|factor)|lcm|least common multiple|lowest common multiple)\b"
    r"(?: (?:number|value))?\s+(?:of|in|from|between|"
    r"among)\b[^\d\n]{0,60}(?P<numbers>-?\d[\d.]*(?:,?\s+(?:and\s+)?-?\d[\d.]*|,-?\d[\d.]*){1,30})",
    re.I,
)
_CONVERT = re.compile(
    r"\b(?:convert|change|what is|how (?:many|"
    r"much)[^.\n]{0,40})\b[^.\n\d]{0,40}(?P<n>-?\d[\d,]*(?:\.\d+)?)\s*(?:\u00b0|"
    r"degrees? )?\s*(?P<a>[a-z]+)\s+(?:to|into|in)\s+(?:\u00b0|degrees? )?(?P<b>[a-z]+)",
    re.I,
)
_RHYME = re.compile(
    r"\brhym\w+\b[^.\n]{0,60}?(?:with|for|word|"
    r"of)[\s:.]*(?:the )?(?:following )?(?:words?)?[\s:.]*[\"'\u201c]?(?P<word>[A-Za-z]{3,14})[\"'\u201d]?\s*[.?]?\s*$",
    re.I,
)
_UNCHANGED = re.compile(
    r"\b(?:rewrite|rephrase|paraphrase|reword|edit|correct|fix|improve|modify|change|convert|"
    r"translate|transform|simplify|summari[sz]e|infer|combine|shorten|expand)\b",
    re.I,
)
_PRIMES = re.compile(r"\bprime numbers?\b", re.I)
_UNITS: dict[str, tuple[str, float]] = {
    name: (kind, size)
    for kind, sizes in {
        "length": "mm 0.001 millimeter 0.001 cm 0.01 centimeter 0.01 m 1 meter 1 metre 1 km 1000 kilometer 1000 "
        "kilometre 1000 inch 0.0254 inche 0.0254 ft 0.3048 foot 0.3048 feet 0.3048 yard 0.9144 mile "
        "1609.344 mi 1609.344",
        "mass": "mg 0.000001 g 0.001 gram 0.001 kg 1 kilogram 1 lb 0.45359237 pound 0.45359237 ounce 0.028349523 "
        "oz 0.028349523 ton 1000 tonne 1000",
        "time": "second 1 minute 60 hour 3600 day 86400 week 604800",
        "volume": "ml 0.001 milliliter 0.001 l 1 liter 1 litre 1 gallon 3.785411784 quart 0.946352946 pint "
        "0.473176473 cup 0.2365882365",
    }.items()
    for name, size in zip(sizes.split()[::2], map(float, sizes.split()[1::2]), strict=True)
}


def wrong(reading: Reading, prompt: str) -> list[Finding]:
    order = instruction_of(prompt)[0]
    return [
        *_row(reading, order),
        *_numbers(reading, order),
        *_rhymes(reading, order),
        *_unchanged(reading, prompt, order),
    ]


def _finding(severity: float, message: str, proposal: str = "work it out again") -> Finding:
    return Finding("puzzle", "accuracy", severity, message, proposal)


def _row(reading: Reading, order: str) -> Iterator[Finding]:
    """A list to sort or to group: nothing lost, nothing added, and in its order."""
    if not _KEEP.search(order) and not _SORT.search(order):
        return
    rows = [m["row"] for m in _ROW.finditer(order) if not _KEEP.search(m["row"])]
    if not rows:
        return
    items = [" ".join(words_of(re.sub(r"^\s*and\s+", "", part))) for part in rows[-1].split(",")]
    items = [item for item in items if item]
    if len(items) < 3 or any(item.count(" ") > 2 for item in items) or reading.blocks:
        return
    said = " " + " ".join(reading.words) + " "
    lost = [item for item in items if f" {item} " not in said and f" {item}s " not in said]
    if lost:
        yield _finding(
            round(min(0.8, 0.3 + 0.5 * len(lost) / len(items)), 4),
            f"{', '.join(map(repr, lost[:5]))} of the list is lost",
            "keep every item",
        )
        return
    numbers = [item for item in items if item.isdecimal()]
    if len(numbers) >= 3 and reading.word_count <= len(items) + 4:
        extra = Counter(w for w in reading.words if w.isdecimal()) - Counter(numbers)
        if extra:
            yield _finding(0.6, f"{', '.join(extra)} was not in the list", "add nothing")
    how = _SORT.search(order)
    if how is None or len(said.split()) > 4 * sum(len(item.split()) for item in items) + 30:
        return
    places = {item: said.rindex(f" {item} ") for item in set(items) if f" {item} " in said}
    shown = sorted(places, key=lambda item: places[item])
    down = re.search(r"descending|decreasing|largest to|biggest to|highest to", how["how"], re.I) is not None
    if "alphabet" in how["how"].lower():
        right = sorted(shown)
    elif all(re.fullmatch(r"\d+", item) for item in shown):
        right = sorted(shown, key=int, reverse=down)
    else:
        return
    if shown != right:
        yield _finding(0.8, f"it is not in {how['how']} order")


def _numbers(reading: Reading, order: str) -> Iterator[Finding]:
    for what, expected, tolerance in (*_counted(order), *_statistics(order), *_converted(order)):
        said = [float(n.replace(",", "")) for n in _NUMBER.findall(reading.shown)[:300]]
        if said and not any(abs(n - expected) <= tolerance for n in said):
            yield _finding(0.8, f"{what} is {expected:g}, which the answer does not say")
    if _PRIMES.search(order) and re.search(r"\b(?:list|give|name|generate|print|find)\b", order, re.I):
        # Only where the answer is a row of numbers and nothing else is each of them claimed to be one.
        row = [
            int(n)
            for n in re.findall(r"(?<![\w.])\d{1,6}(?=,|\s*$|\n|\s+and\b)", re.sub(r"^[^:\n]*:", "", reading.prose))
        ][:60]
        if len(row) >= 3:
            others = [n for n in row if n < 2 or any(n % d == 0 for d in range(2, math.isqrt(n) + 1))]
            if others:
                yield _finding(0.7, f"{', '.join(map(str, others[:5]))} is no prime")
            elif re.search(r"smallest|first", order, re.I) and 2 not in row:
                yield _finding(0.5, "the first prime number is 2")


def _counted(order: str) -> Iterator[tuple[str, float, float]]:
    for match in _HOW_MANY.finditer(order):
        text, what = match["text"], match["what"].lower()
        if what == "words":
            count = len([w for w in text.split() if any(c.isalnum() for c in w)])
        elif what == "characters":
            return
        elif match["letter"]:
            count = text.lower().count(match["letter"].lower())
        else:
            letters = [c for c in text.lower() if c.isalpha()]
            vowels = sum(c in "aeiou" for c in letters)
            count = {"letters": len(letters), "vowels": vowels, "consonants": len(letters) - vowels}[what]
        yield f"the number of {what}", float(count), 0.0


def _statistics(order: str) -> Iterator[tuple[str, float, float]]:
    found = list(_STATISTIC.finditer(order))
    if len(found) != 1:
        return
    match = found[0]
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", match["numbers"])]
    if not 2 <= len(numbers) <= 30 or max(map(abs, numbers)) > 1e9:
        return
    what, ordered = match["what"].lower(), sorted(numbers)
    whole = [int(n) for n in numbers]
    middle = len(ordered) // 2
    values: dict[str, float] = {
        "average": sum(numbers) / len(numbers), "mean": sum(numbers) / len(numbers),
        "median": ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2,
        "sum": sum(numbers), "total": sum(numbers), "product": math.prod(numbers),
        "maximum": ordered[-1], "largest": ordered[-1], "minimum": ordered[0], "smallest": ordered[0],
        "range": ordered[-1] - ordered[0],
    }  # fmt: skip
    value = values.get(what)
    if value is None:
        value = float(math.gcd(*whole) if "g" in what[:1] else math.lcm(*whole))
    if math.isfinite(value):
        yield f"the {what}", value, 0.06 if not value.is_integer() else 1e-9


def _converted(order: str) -> Iterator[tuple[str, float, float]]:
    for match in list(_CONVERT.finditer(order))[:1]:
        number, one, other = float(match["n"].replace(",", "")), match["a"].lower(), match["b"].lower()
        value = None
        if one[0] + other[0] in ("cf", "fc") and {one, other} <= {"c", "f", "celsius", "fahrenheit", "centigrade"}:
            value = number * 9 / 5 + 32 if one.startswith("c") else (number - 32) * 5 / 9
        else:
            a, b = (_UNITS.get(unit) or _UNITS.get(unit.removesuffix("s")) for unit in (one, other))
            if a and b and a[0] == b[0]:
                value = number * a[1] / b[1]
        if value is not None:
            yield f"{match['n']} {one} in {other}", value, max(0.006, 0.01 * abs(value))


def _rhymes(reading: Reading, order: str) -> Iterator[Finding]:
    match = _RHYME.search(order.strip())
    if match is None:
        return
    word = match["word"].lower()
    ending = _ending(word)
    said = [w for w in reading.words if w.isalpha() and w != word][-20:]
    if not said or len(said) > 20 or reading.word_count > 25:
        return
    odd = [w for w in said if _ending(w) != ending]
    if len(odd) > 0.5 * len(said):
        yield _finding(0.4, f"{', '.join(map(repr, odd[:4]))} may not rhyme with {word!r}", "find words that end alike")


def _ending(word: str) -> str:
    found = re.search(r"[aeiouy]+[^aeiouy]*e?$", word)
    return found[0] if found else word[-3:]


def _unchanged(reading: Reading, prompt: str, order: str) -> Iterator[Finding]:
    if (
        not _UNCHANGED.search(order)
        or not 4 <= len(reading.words) <= 400
        or re.search(r"\bif (?:needed|necessary|there)|\bif it", order, re.I)
    ):
        return
    if " ".join(reading.words) in " ".join(words_of(prompt[:30_000])):
        yield Finding("puzzle", "completeness", 0.6, "it gives back what it was given, unchanged", "change it as asked")

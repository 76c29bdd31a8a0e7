"""What a prompt asks of the form and content of its answer, each with its place in the prompt.

Rules of English prompts, found where the prompt gives orders: in its first and last part, outside quoted text and code.
What no rule finds is not known, and nothing is claimed about it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from actors.quality import phrases
from actors.quality.language import language_asked
from actors.quality.text import Place, words_of

Bound = Literal["exactly", "at least", "at most", "about"]
Kind = Literal[
    "count", "format", "code", "language", "must", "must not", "starts", "ends", "choice", "yes or no", "short",
    "example", "parts", "items", "original", "own words", "position", "first person", "form", "schema", "only",
]  # fmt: skip

_FRONT, _BACK = 1600, 600
Placing = Callable[[re.Match[str]], Place]
"""Where in the prompt a match lies."""
_PLAIN: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (phrases.YES_NO, "yes or no"),
    (phrases.SHORT, "short"),
    (phrases.EXAMPLE, "example"),
    (phrases.FIRST, "first person"),
    (phrases.ONLY, "only"),
    (phrases.SUMMARY, "own words"),
)
"""What is asked for or not, and nothing more."""


@dataclass(frozen=True, slots=True)
class Requirement:
    kind: Kind
    values: tuple[str, ...] = ()
    number: int = 0
    bound: Bound = "exactly"
    place: Place | None = None
    """In the prompt; `None` for what the request says beside it."""
    unit: str = ""


def instruction_of(prompt: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The part of a prompt that gives orders, and the pieces (start, end) of the prompt that it is made of."""
    if len(prompt) <= _FRONT + _BACK:
        pieces: tuple[tuple[int, int], ...] = ((0, len(prompt)),)
    else:
        pieces = ((0, _FRONT), (len(prompt) - _BACK, len(prompt)))
    text = "\n".join(prompt[start:end] for start, end in pieces)
    return re.sub(r"```.*?(?:```|\Z)", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S), pieces


def extract(prompt: str, json_schema: Mapping[str, Any] | None = None) -> tuple[Requirement, ...]:
    """What is asked, in the order of the rules; the same prompt always gives the same."""
    text, pieces = instruction_of(prompt)

    def place(match: re.Match[str]) -> Place:
        (_, front), shift = pieces[0], 0
        if len(pieces) > 1 and match.start() > front:
            shift = pieces[1][0] - front - 1
        return Place.of(prompt, match.start() + shift, match.end() + shift)

    found = [*_counts(text, place), *_words(text, place), *_shapes(text, place)]
    if json_schema is not None:
        found.append(Requirement("schema"))
    language, named = language_asked(text)
    if language is not None and named:
        found.append(Requirement("language", (language,)))
    unique: dict[tuple[object, ...], Requirement] = {}
    for requirement in found:
        unique.setdefault((requirement.kind, requirement.values, requirement.number, requirement.unit), requirement)
    return tuple(unique.values())[:60]


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else phrases.NUMBERS.get(word.lower(), 0)


def _counts(text: str, place: Placing) -> Iterator[Requirement]:
    for match in phrases.COUNT.finditer(text):
        number, unit = _number(match["n"]), match["unit"].lower().replace("-", " ").removesuffix("s")
        if (
            not number
            or (unit == "letter" and not match["bound"])
            or (unit in ("letter", "line", "point", "item", "word") and number == 1 and not match["bound"])
        ):
            continue
        if re.search(
            r"\b(?:first|last|next|following|these|those|the|of|between|from an?|from)\s+$", text[: match.start()][-12:]
        ):
            continue
        if re.match(r"\d+(?:st|nd|rd|th)", match["n"] + text[match.end("n") : match.end("n") + 2]) or re.match(
            r"\s*(?:changed|below|above|each)", text[match.end() :]
        ):
            continue
        unit = {
            "bullet point": "item",
            "bullet": "item",
            "point": "item",
            "step": "item",
            "verse": "stanza",
            "bulletpoint": "item",
        }.get(unit, unit)
        bound = _bound(match["bound"], match["after"])
        if match["m"] and (top := _number(match["m"])) > number:
            yield Requirement("count", (), number, "at least", place(match), unit)
            yield Requirement("count", (), top, "at most", place(match), unit)
            continue
        yield Requirement("count", (), number, bound, place(match), unit)
    for pattern in (phrases.THINGS, phrases.TOP):
        for match in pattern.finditer(text):
            number, what = _number(match["n"]), match["what"]
            noun = what.split()[0] if number == 1 else what
            if (
                1 <= number <= 100
                and not phrases.NOT_THINGS.search(what)
                and (number == 1 or re.search(r"s\b|people|words", noun))
            ):
                several: Bound = "at least" if re.search(r"at least", match[0], re.I) else "exactly"
                if number > 1:
                    yield Requirement("count", (what.lower(),), number, several, place(match), "thing")
                else:
                    yield Requirement("only", (what.lower(),), 1, "exactly", place(match))


def _bound(before: str | None, after: str | None) -> Bound:
    words = f"{before or ''} {after or ''}".lower()
    if re.search(r"at most|no more|not more|fewer than|less than|under|max|up to|within|or less|or fewer|limit", words):
        return "at most"
    if re.search(r"at least|no fewer|no less|more than|over|min|or more", words):
        return "at least"
    if re.search(r"about|around|approximately|roughly", words):
        return "about"
    return "exactly"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            found.strip(" ,.") or found.strip() for found in re.findall(phrases.QUOTED, text) if found.strip()
        )
    )


def _words(text: str, place: Placing) -> Iterator[Requirement]:
    positions = list(phrases.POSITION.finditer(text))
    for match in positions:
        values = _listed(match["list"])
        places = [int(number) for number in re.findall(r"\d+", match["places"])]
        for number, value in zip(places, values, strict=False):
            yield Requirement("position", (value,), number, "exactly", place(match))
    forbidden = list(phrases.MUST_NOT.finditer(text))
    for match in forbidden:
        unit = (
            "character"
            if re.search(r"\b(?:characters?|letters?)\b", match[0].split(match["list"])[0], re.I)
            else "word"
        )
        yield Requirement("must not", _listed(match["list"]), place=place(match), unit=unit)
    for match in phrases.MUST.finditer(text):
        if any(other.start() <= match.start() < other.end() for other in forbidden) or re.search(
            r"\b(?:not|n't|never|without|no)\s*$", text[: match.start()][-10:], re.I
        ):
            continue
        unit = (
            "character"
            if re.search(r"\b(?:characters?|letters?)\b", match[0].split(match["list"])[0], re.I)
            else "word"
        )
        if match[0].lower().startswith("with") and not re.search(
            r"\b(?:words?|phrases?|letters?|characters?)\b", match[0], re.I
        ):
            continue
        yield Requirement("must", _listed(match["list"]), place=place(match), unit=unit)
    for match in phrases.MUST_BARE.finditer(text):
        values = tuple(v.strip(" \"'.") for v in re.split(r",|\band\b", match["list"]) if v.strip(" \"'."))
        if 1 <= len(values) <= 10 and all(len(v.split()) <= 3 for v in values):
            yield Requirement("must", values, place=place(match), unit="word")
    for match in phrases.STARTS.finditer(text):
        yield Requirement("starts", (match[2].strip(),), place=place(match), unit=(match["unit"] or "word").lower())
    for match in phrases.ENDS.finditer(text):
        if "result" not in match[1]:
            yield Requirement("ends", (match[1].strip(),), place=place(match))


def _shapes(text: str, place: Placing) -> Iterator[Requirement]:
    for match in phrases.FORMAT.finditer(text):
        name = match["format"].lower()
        name = "items" if "bullet" in name or "list" in name else "table" if "table" in name else name
        around = text[max(0, match.start() - 12) : match.end()]
        if name != "table" or not re.search(r"\b(?:periodic|dinner|tennis|to the|on the|for the)\b", around, re.I):
            yield Requirement("format", (name,), place=place(match))
    code = phrases.CODE.search(text)
    if code and not phrases.NOT_CODE.search(code[0] + text[code.end() : code.end() + 20]):
        language = phrases.CODE_LANGUAGE.search(text)
        yield Requirement("code", (language["language"].lower(),) if language else (), place=place(code))
    chosen = phrases.CHOICE.search(text)
    if chosen and chosen["b"].lower() not in ("not", "no", "more", "less"):
        yield Requirement("choice", tuple(chosen[k].lower() for k in "acb" if chosen[k]), place=place(chosen))
    for pattern, kind in _PLAIN:
        if found := pattern.search(text):
            yield Requirement(kind, place=place(found))
    if found := phrases.FORM.search(text):
        yield Requirement("form", (found["form"].lower(),), place=place(found))
    yield from _lists(text, place)


def _lists(text: str, place: Placing) -> Iterator[Requirement]:
    if match := phrases.ITEMS.search(text):
        values = tuple(v.strip(" .\"'") for v in match["list"].split(",") if v.strip(" .\"'"))
        if all(len(value.split()) <= 4 for value in values):
            yield Requirement("items", values, place=place(match))
    if match := phrases.PARTS.search(text):
        parts = [v.strip() for v in re.split(r",|\band\b", match["list"]) if words_of(v)]
        parts = [part for part in parts if part not in ("etc", "etc.")]
        if 2 <= len(parts) <= 9:
            yield Requirement("parts", tuple(parts), place=place(match))

"""Whether an answer keeps to what its prompt asks for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from actors.quality.finding import Finding
from actors.quality.form import NotJson, json_of
from actors.quality.language import language_of
from actors.quality.requirements import Requirement
from actors.quality.text import STOP, Reading, stem, words_of


@dataclass(frozen=True, slots=True)
class Fulfilment:
    requirement: Requirement
    share: float
    """A fraction: how far it is kept."""
    weight: float
    """How sure the rule is of both the requirement and its being kept, a fraction."""
    finding: Finding | None


_WEIGHTS = {
    "count": 1.0, "format": 1.0, "code": 0.8, "language": 1.0, "must": 1.0, "must not": 1.0, "starts": 1.0, "ends": 1.0,
    "choice": 0.4, "yes or no": 0.1, "short": 0.1, "example": 0.4, "parts": 0.6, "items": 1.0, "own words": 0.5,
    "position": 1.0, "first person": 0.4, "form": 0.4, "only": 0.4,
}  # fmt: skip
_TOLERANCE = {"word": 0.02, "character": 0.02, "letter": 0.02}


def fulfilments(reading: Reading, prompt: Reading, requirements: Iterable[Requirement]) -> list[Fulfilment]:
    """One for each requirement that a rule can judge."""
    found = []
    for requirement in requirements:
        judged = _judge(requirement, reading, prompt)
        if judged is None:
            continue
        share, said = judged
        share = min(1.0, max(0.0, share))
        weight = _WEIGHTS[requirement.kind]
        finding = None
        if share < 0.999 and weight > 0.2:
            severity = round(max(0.05, (1 - share) * (0.35 + 0.5 * weight)), 4)
            finding = Finding("requirement", "completeness", severity, said, f"keep to {_asked(requirement)}")
        found.append(Fulfilment(requirement, share, weight, finding))
    return found


def _asked(requirement: Requirement) -> str:
    return repr(requirement.place.quote) if requirement.place else requirement.kind


def _judge(requirement: Requirement, reading: Reading, prompt: Reading) -> tuple[float, str] | None:
    match requirement.kind:
        case "count":
            return _count(requirement, reading)
        case "format":
            return _format(requirement.values[0], reading)
        case "code":
            return _code(reading)
        case "language":
            found, sure = language_of(reading.prose)
            if found is None or sure < 0.2:
                return None
            return float(found == requirement.values[0]), f"it is in {found!r}, not in {requirement.values[0]!r}"
        case "must":
            there = [value for value in requirement.values if _holds(reading, value, requirement.unit)]
            missing = [value for value in requirement.values if value not in there]
            return len(there) / len(
                requirement.values
            ), f"{_list(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        case "must not":
            there = [value for value in requirement.values if _holds(reading, value, requirement.unit, exact=True)]
            return (0.0 if there else 1.0), f"{_list(there)} must not be in it"
        case "starts":
            return _starts(requirement, reading)
        case "ends":
            want = " ".join(words_of(requirement.values[0]))
            return float(
                " ".join(words_of(reading.text[-len(requirement.values[0]) - 60 :])).endswith(want)
            ), f"it does not end with {requirement.values[0]!r}"
        case "position":
            pieces = re.findall(r"[\w'-]+", reading.shown[:60_000])
            at = pieces[requirement.number - 1].lower() if requirement.number <= len(pieces) else ""
            return float(
                at == requirement.values[0].lower()
            ), f"its word {requirement.number} is {at!r}, not {requirement.values[0]!r}"
        case _:
            return _judge_loosely(requirement, reading, prompt)


def _judge_loosely(requirement: Requirement, reading: Reading, prompt: Reading) -> tuple[float, str] | None:
    match requirement.kind:
        case "choice":
            named = [value for value in requirement.values if stem(value) in reading.stems]
            return (1.0 if named else 0.0), f"it names none of {_list(requirement.values)}"
        case "yes or no":
            said = re.search(
                r"\b(?:yes|no|true|false|not|never|depends|can|could|should|is|are|does|do|will|would|may|might|"
                r"correct)\b|n't",
                reading.prose[:400],
                re.I,
            )
            return (1.0 if said else 0.0), "it says neither yes nor no"
        case "short":
            words = reading.word_count
            return (
                1.0 if words <= 60 else max(0.0, 1 - (words - 60) / 200)
            ), f"it has {words} words though little is asked for"
        case "example":
            there = re.search(
                r"\b(?:example|e\.g|for instance|such as|like|imagine|say,|consider)\b|[\"\u201c`:]",
                reading.shown,
                re.I,
            )
            return float(there is not None), "it gives no example"
        case "parts" | "items":
            return _parts(requirement, reading)
        case "own words":
            return _own_words(reading, prompt)
        case "first person":
            about = re.search(
                r"\bI would (?:say|introduce|respond|reply|start|begin)\b|\bwould (?:probably )?(?:say|"
                r"introduce)\b|^As an? [\w ]{3,40}, I would",
                reading.prose[:500],
            )
            return (0.3 if about else 1.0), "it tells what it would say, and does not say it"
        case "form":
            return _form(requirement.values[0], reading)
        case "only":
            return _only(requirement, reading)
        case _:
            return None


def _count(requirement: Requirement, reading: Reading) -> tuple[float, str] | None:
    unit, wanted = requirement.unit, requirement.number
    match unit:
        case "word":
            found = reading.word_count
        case "sentence":
            if not reading.whole:
                return None
            found = len([s for s in reading.sentences if s.text.strip(" *#")])
        case "paragraph":
            found = len(reading.paragraphs)
        case "line":
            found = len(reading.lines)
        case "character" | "letter":
            found = len(reading.text.strip()) if unit == "character" else sum(c.isalpha() for c in reading.text)
            if reading.blocks and requirement.bound == "at most":
                found = min(found, *(len(block.code.strip()) for block in reading.blocks))
        case "stanza":
            found = len(reading.paragraphs)
        case _:
            counted = things(reading)
            if counted is None:
                return None
            found = counted
    if not reading.whole and unit not in ("word", "character"):
        return None
    share = _kept(found, wanted, requirement.bound, _TOLERANCE.get(unit, 0.0))
    return share, f"it has {found} {unit}{'' if found == 1 else 's'} where {requirement.bound} {wanted} are asked for"


def _kept(found: int, wanted: int, bound: str, tolerance: float) -> float:
    slack = max(0.0, tolerance * wanted) if wanted >= 40 else 0.0
    if bound == "about":
        slack = max(1.0, 0.15 * wanted)
    over, under = found - wanted - slack, wanted - found - slack
    off = max(0.0, over if bound == "at most" else under if bound == "at least" else max(over, under))
    if off == 0:
        return 1.0
    # One too many is as wrong as ten to a machine; to a reader it is less so.
    return max(0.0, 0.55 - 0.9 * off / max(1, wanted))


def things(reading: Reading) -> int | None:
    """How many things an answer gives: points of a list, blocks of lines, or names in a row; `None` where unclear."""
    if reading.items >= 2:
        return reading.items
    labelled = re.findall(
        r"^\W*(?:option|example|question|q|tip|idea|step|fact|reason|title|headline|day|statement|way)\s*#?\d{1,2}\b",
        reading.prose,
        re.I | re.M,
    )
    if len(labelled) >= 2:
        return len(labelled)
    lines = reading.lines
    if len(lines) == 1:
        text = re.sub(r"^[^:]{0,160}:\s", "", lines[0].strip())
        if len(re.findall(r"[.!?]\s", text)) == 0:
            named = re.search(r"\b(?:are|include|is)\b:?\s+(.*)$", text)
            row = named[1] if named and "," in named[1] else text
            parts = [p for p in re.split(r",\s*(?:and\s+|or\s+)?|\s+and\s+|;\s*", row.rstrip(".")) if p.strip()]
            if len(parts) >= 2 and sum(len(p.split()) for p in parts) / len(parts) <= 5:
                return len(parts)
        return None
    short = [line for line in lines if not line.rstrip().endswith(":")]
    if (
        len(short) >= 2
        and len({line.rstrip()[-1:] in ".!?" for line in short}) == 1
        and max(len(line) for line in short) < 200
    ):
        return len(short)
    return None


def _format(name: str, reading: Reading) -> tuple[float, str] | None:
    match name:
        case "json":
            try:
                json_of(reading.text)
            except NotJson:
                inner = re.search(r"[{\[].*[}\]]", reading.shown, re.S)
                try:
                    json_of(inner[0] if inner else "")
                except NotJson:
                    return 0.0, "it is no JSON"
                return 0.8, "there is more in it than JSON"
            return 1.0, ""
        case "items":
            return float(reading.items >= 2), "it is no list"
        case "table":
            rows = len(re.findall(r"^[^|\n]*\|[^\n]*\|", reading.shown, re.M))
            return float(
                rows >= 2 or "<table" in reading.shown or "\t" in reading.shown or reading.shown.count("+--") > 1
            ), "there is no table"
        case "csv":
            return float(sum("," in line or ";" in line for line in reading.shown.splitlines()) >= 2), "it is no CSV"
        case "xml" | "html":
            return float(re.search(r"<\w+[^>]*>", reading.shown) is not None), f"it is no {name.upper()}"
        case "yaml":
            return float(re.search(r"^[\w\" -]+:(?:\s|$)", reading.shown, re.M) is not None), "it is no YAML"
        case "markdown":
            return float(re.search(r"^#|\*\*|^[-*] |`", reading.shown, re.M) is not None), "it is no Markdown"
        case "latex":
            return float("\\" in reading.shown or "$" in reading.shown), "it is no LaTeX"
        case _:
            return None


_CODE_MARKS = re.compile(
    r"^\s*(?:def |class |import |from \w+ import|#include|public |function |const |let |var |for ?\(|"
    r"while ?\(|if ?\(|return\b|SELECT\b|<\w+|package |fn |print|"
    r"\w+\s*=\s*[\w\[{(\"']|\w+\(.*\);?\s*$|\}|\$)|[;{}]\s*$",
    re.I | re.M,
)


def _code(reading: Reading) -> tuple[float, str]:
    if (
        reading.blocks
        or len(_CODE_MARKS.findall(reading.shown)) >= 2
        or re.search(r"^\s*(?:def|while|for|function|SELECT)\b.*[:;({]", reading.shown, re.M)
    ):
        return 1.0, ""
    return 0.0, "there is no code"


def _holds(reading: Reading, value: str, unit: str, exact: bool = False) -> bool:
    text = reading.shown.casefold()
    if unit == "character" and len(value) <= 2:
        return value.casefold() in text
    if re.search(rf"(?<!\w){re.escape(value.casefold())}(?!\w)", text):
        return True
    return not exact and " " not in value and stem(value.casefold()) in reading.stems


def _starts(requirement: Requirement, reading: Reading) -> tuple[float, str]:
    value = requirement.values[0].casefold()
    text = reading.text[:4000].lstrip(" \n\t\"'*#\u201c").casefold()
    if len(value) == 1 and requirement.unit in ("letter", "character"):
        lines = [line.strip(" -*\u2022.)0123456789").casefold() for line in reading.lines]
        if len(lines) > 1:
            return sum(line.startswith(value) for line in lines) / len(lines), f"not all begin with {value!r}"
    return float(
        words_of(text[: 2 * len(value) + 20])[: len(words_of(value))] == words_of(value) or text.startswith(value)
    ), f"it does not start with {value!r}"


def _parts(requirement: Requirement, reading: Reading) -> tuple[float, str]:
    missing = []
    for value in requirement.values:
        stems = [stem(word) for word in words_of(value) if word not in STOP] or [stem(word) for word in words_of(value)]
        if stems and not any(part in reading.stems for part in stems):
            missing.append(value)
    return 1 - len(missing) / len(
        requirement.values
    ), f"{_list(missing)} {'is' if len(missing) == 1 else 'are'} missing"


def _own_words(reading: Reading, prompt: Reading) -> tuple[float, str] | None:
    given, said = prompt.words, reading.words
    if len(said) < 5:
        return None
    size = 6
    known = {tuple(given[at : at + size]) for at in range(len(given) - size + 1)}
    grams = [tuple(said[at : at + size]) for at in range(len(said) - size + 1)]
    copied = sum(gram in known for gram in grams) / max(1, len(grams))
    return 1 - max(0.0, copied - 0.2) / 0.8, f"{copied:.0%} of it is copied"


def _form(form: str, reading: Reading) -> tuple[float, str] | None:
    lines = reading.lines
    match form:
        case "poem" | "poetry" | "haiku" | "limerick":
            return float(len(lines) >= 3), f"it is no {form}"
        case "dialogue" | "dialog" | "conversation" | "script":
            turns = (
                len(re.findall(r"^\W*[A-Z][\w .'-]{0,40}\W*:", reading.prose, re.M))
                + len(re.findall(r"[\"\u201c]", reading.prose)) // 2
            )
            return (1.0 if turns >= 2 else 0.2), f"nobody speaks in this {form}"
        case "email" | "e-mail" | "letter":
            return (
                1.0
                if re.search(r"\b(?:dear|hi|hello|subject|greetings|to whom|regards|sincerely)\b", reading.prose, re.I)
                else 0.3
            ), f"it is no {form}"
        case "quiz" | "question":
            return float("?" in reading.shown), "it asks nothing"
        case "equation":
            return (1.0 if "=" in reading.shown else 0.0), "there is no equation"
        case "story":
            return (1.0 if len(reading.sentences) >= 3 else 0.4), "it is too short for a story"
        case "sentence" | "title" | "headline" | "nickname" | "slogan" | "metaphor" | "simile" | "proverb" | "tweet":
            sentences = len(reading.sentences)
            return (1.0 if sentences <= 3 or reading.items >= 2 else 0.5), f"it is longer than a {form}"
        case "list":
            return (1.0 if things(reading) is not None else 0.3), "it is no list"
        case _:
            return None


def _only(requirement: Requirement, reading: Reading) -> tuple[float, str] | None:
    if not requirement.values:
        return (
            1.0 if reading.word_count <= 40 or reading.blocks else 0.6
        ), "there is more in it than what was asked for"
    several = reading.items >= 2 or re.search(
        r"\b(?:it could also|another|other common|alternatively|others? include)\b|\b\w+, \w+, and \w+\b examples?",
        reading.prose,
        re.I,
    )
    return (0.4 if several else 1.0), "it gives several where one is asked for"


def _list(values: Iterable[str]) -> str:
    return ", ".join(repr(value) for value in list(values)[:6])

"""What an answer says that its inputs say."""

import re
from collections.abc import Sequence

from actors.quality.finding import Finding
from actors.quality.text import Reading

_QUOTED = re.compile(r"[\"\u201c]([^\"\u201c\u201d\n]{12,400})[\"\u201d]")
_SAYING = re.compile(
    r"\b(?:input|document|text|file|source|article|passage|report|data|page|author|it|which) (?:\w+ ){0,2}"
    r"(?:says?|states?|reads?|writes?|wrote|mentions?|notes?|reports?|according)\b|according to|\bquot|\bcite",
    re.I,
)
_INPUT = re.compile(r"\[(?:input|source|document|doc)?\s*#?(\d{1,3})\]", re.I)


def wrong(reading: Reading, inputs: Sequence[str]) -> list[Finding]:
    """Quotations that are in no input, and references to inputs that are not there.

    Args:
        inputs: the text of each input, the prompt among them as the first; a quotation may come from any.
    """
    findings = []
    given = len(inputs) - 1
    if given < 1:
        return []
    plain = _plain(" ".join(text[:400_000] for text in inputs))
    for match in list(_QUOTED.finditer(reading.prose))[:50]:
        if not _SAYING.search(reading.prose[max(0, match.start() - 90) : match.start()]):
            continue
        if _plain(match[1].rstrip(".,;")) not in plain:
            place = reading.place(*match.span())
            findings.append(
                Finding("citation", "accuracy", 0.6, f"{place.quote} is in no input", "quote word for word", place)
            )
    for match in list(_INPUT.finditer(reading.prose))[:50]:
        if not 1 <= int(match[1]) <= given:
            place = reading.place(*match.span())
            findings.append(
                Finding(
                    "citation", "accuracy", 0.6, f"{match[0]} names none of the {given} inputs", "name an input", place
                )
            )
    return findings[:10]


def cited(reading: Reading, inputs: Sequence[str]) -> int:
    """How many quotations and references could be looked up."""
    if len(inputs) < 2:
        return 0
    quoted = sum(
        bool(_SAYING.search(reading.prose[max(0, m.start() - 90) : m.start()])) for m in _QUOTED.finditer(reading.prose)
    )
    return quoted + len(_INPUT.findall(reading.prose))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))

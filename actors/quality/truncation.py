"""Whether an answer stops before its end."""

import re

from actors.quality.finding import Finding
from actors.quality.text import Place, Reading

_ENDS = re.compile(
    r"[.!?\u2026:;\u3002\uff01\uff1f\u061f\u0964)\]}>\"'\u201d\u2019`*_|$%~]\s*$|[\U0001f000-\U0001ffff\u2600-\u27bf\ufe0f]\s*$"
)
_DANGLING = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "in",
        "on",
        "for",
        "and",
        "or",
        "but",
        "nor",
        "with",
        "as",
        "at",
        "by",
        "from",
        "into",
        "about",
        "that",
        "which",
        "who",
        "whose",
        "because",
        "if",
        "when",
        "while",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "has",
        "have",
        "had",
        "will",
        "would",
        "can",
        "could",
        "should",
        "may",
        "might",
        "must",
        "do",
        "does",
        "did",
        "not",
        "this",
        "these",
        "those",
        "their",
        "its",
        "his",
        "her",
        "our",
        "your",
        "my",
        "than",
        "then",
        "such",
        "so",
        "very",
        "also",
        "including",
        "like",
        "between",
        "through",
        "during",
        "without",
    ]
)
_LINE_OF_ITS_OWN = re.compile(r"^\s*(?:[-*+\u2022]|\(?[\dA-Za-z]{1,3}[.):]|#+|\|)\s*|:\s|^\w+\s*=\s")
_CODE = re.compile(r"^\s*(?:def |return |import |#include|function |class |const |let |var )|```", re.M)
_SIGNATURE = re.compile(r"^\W*[\w\[\]' .,&-]{1,48}\W*$")


def wrong(reading: Reading) -> list[Finding]:
    text = reading.text.rstrip()
    if not text:
        return []
    end = reading.place(max(0, len(reading.shown.rstrip()) - 60), len(reading.shown.rstrip()))
    if any(not block.closed for block in reading.blocks):
        return [_finding(0.7, "a block of code is never closed", end)]
    if _of_brackets(reading) and not _ENDS.search(text[-4:]):
        return [_finding(0.6, "it ends inside a bracket", end)]
    if _ENDS.search(text[-4:]) and not re.search(r"\w-$", text):
        if text.endswith(":") and reading.word_count > 3:
            return [_finding(0.6, "it announces something and ends", end)]
        empty = re.search(r"\n[ \t]*(?:\d{1,3}[.)]|[-*\u2022])\s*$", text)
        return [_finding(0.5, "its last point is empty", end)] if empty else []
    if reading.blocks and reading.blocks[-1].end >= len(reading.shown.rstrip()):
        return []
    last_line = text.rsplit("\n", 1)[-1]
    if re.search(r"[()={}<>\[\]]|^\s*return\b|^\s{4}", last_line) and _CODE.search(text):
        return []
    return _of_sentence(reading, text, end)


def _of_sentence(reading: Reading, text: str, end: Place) -> list[Finding]:
    if re.search(r"\n[ \t]*(?:\d{1,3}[.)]?|[-\u2022])$", text):
        return [_finding(0.5, "its last point is empty", end)]
    last_line = text.rsplit("\n", 1)[-1]
    words = re.findall(r"[^\W_]+(?:['\u2019-][^\W_]+)*", last_line)
    if not words or (words[-1].casefold() in ("yes", "true", "false", "none") or words[-1] == "No"):
        return []
    if words[-1].isdecimal() and (
        len(words) < 4
        or words[-2].casefold() in ("is", "are", "was", "be", "answer", "total", "equals", "in", "of", "to", "than")
    ):
        return []
    if text[-1] in ",-\u2013\u2014(" or (words[-1].casefold() in _DANGLING and len(words) > 1):
        return [_finding(0.8, "it ends in the middle of a sentence", end)]
    ended = [sentence.ended for sentence in reading.sentences[:-1]]
    before = [line for line in reading.lines[:-1] if len(line.split()) >= 4]
    if ended and any(ended):
        # The other sentences end with a mark, this one does not; a heading, an item or a name needs none.
        lines_end = [bool(_ENDS.search(line[-4:])) for line in before]
        same_kind = sum(lines_end) / len(lines_end) if lines_end else 1.0
        inside = re.search(r"[.!?]\s", last_line) is not None
        if inside or (same_kind > 0.6 and len(words) > 3):
            return [_finding(0.7, "its last sentence has no end", end)]
        if same_kind > 0.6 and not _SIGNATURE.match(last_line):
            return [_finding(0.5, "its last sentence has no end", end)]
        return [_finding(0.2, "it may end too early", end)] if len(words) > 3 and same_kind > 0.3 else []
    if sum(map(str.isdecimal, words)) > 0.5 * len(words) or text.count(",") >= 0.5 * len(words):
        return []
    if len(words) >= 9 and not _LINE_OF_ITS_OWN.search(last_line) and not before:
        return [_finding(0.35, "its one sentence has no end", end)]
    return []


def _of_brackets(reading: Reading) -> bool:
    tail = reading.prose[-2000:]
    return any(tail.count(opens) > tail.count(closes) for opens, closes in ("()", "[]", "{}"))


def _finding(severity: float, message: str, place: Place) -> Finding:
    return Finding("truncation", "completeness", severity, message, "go on to the end", place)

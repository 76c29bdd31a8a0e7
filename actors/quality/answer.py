"""The final answer of a text to a closed question, and how far several texts agree."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from actors.quality.closed import LETTERS, QuestionKind, kind_of, options
from actors.quality.form import NotJson, json_of
from actors.quality.quantity import plain, quantity_of
from actors.quality.relevance import Embed
from actors.quality.requirements import instruction_of
from actors.quality.similarity import ALIKE, ALIKE_IN_WORDS, similarities
from actors.quality.text import Reading, words_of

MOST = 2 / 3
"""The share of texts that must have a final answer for these to be compared, not the contents."""
_LONGEST_PHRASE = 8
"""Words; what is longer is no short answer."""
_LONGEST_LINE = 400
"""Characters; a longer text is no short answer as a whole."""
_LONGEST_STRING, _LONGEST_JSON = 60, 2000
"""Characters. JSON with longer texts in it is prose in another coat, and no two writers make the same."""

_CHOSEN = re.compile(
    rf"\b(?:answer|choice|option|choose|select|pick)\b(?: (?:is|should be|would be|must be))?[ \t]*:?[ \t]*"
    rf"(?:option |choice |answer )?[*_]{{0,2}}[(\[]?([{LETTERS}])\b"
    r"(?:[)\].:,;*_]|\s*$|\s+(?=because|since|as\b|is\b|and\b))"
    rf"|\b(?:option |choice )?[*_]{{0,2}}\(?([{LETTERS}])\)?[*_]{{0,2}} is (?:the )?(?:correct|right|best|answer)\b",
    re.M,
)
_LONE_LETTER = re.compile(rf"[*_]{{0,2}}[(\[]?([{LETTERS}])(?:[)\].:][*_]{{0,2}}(?:\s.*)?|[*_]{{0,2}})")
_BOXED = re.compile(r"\\boxed\s?\{((?:[^{}]|\{[^{}]{0,80}\}){1,120})\}")
_HASHES = re.compile(r"^####[ \t]*(\S[^\n]{0,299})$", re.M)
_FINAL = re.compile(
    r"\bfinal (?:answer|result)(?: (?:is|was))?[ \t]*[:=]?[ \t]*\**[ \t]*(?:is )?\n?([^\n]{1,300})", re.I
)
_ANSWER = re.compile(
    r"(?:^|\n)[ \t#*_>]*(?:the )?(?:correct )?answer[*_]{0,2}[ \t]*:[ \t]*[*_]{0,2}[ \t]*\n?([^\n]{1,300})"
    r"|\b(?:answer|result|solution) (?:is|would be|equals)[ \t]*:?[ \t]*([^\n]{1,300})",
    re.I,
)
_BOLD_LAST = re.compile(r"(?:\*\*|__)([^*_\n]{1,120})(?:\*\*|__)[.!]?\s*$")
_CUT = re.compile(
    r"(?:,? (?:because|since|so that|as (?:it|the|this|they)|which (?:is|was|means)|given that)\b|; | \(|\.\s|! | - |"
    r" \u2014 ?|, (?:which|so|as|because|since|and so|making)\b).*",
    re.I | re.S,
)
_YES_NO = re.compile(r"[*_\"']{0,3}(yes|no|true|false)\b(?!-)", re.I)
_VALUE = re.compile(r"(?:US\$|[-\u2212$\u20ac\u00a3])?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?")
_ENUMERATION = re.compile(r"^\(?\d{1,3}[.):]\s")
_BOUND = re.compile(r"\b(?:at (?:least|most)|than|over|under|between|in|step|from|of)\s?$", re.I)
_ARTICLES = frozenset(["a", "an", "the", "it", "is", "its", "it's", "that", "would", "be"])


@dataclass(frozen=True, slots=True)
class Agreement:
    """How several answers to one prompt fall into groups that say the same."""

    clusters: tuple[tuple[int, ...], ...]
    """Indices of the texts, the heaviest group first; each index once."""
    share: float
    """The weight of the heaviest group, as a fraction of all; in (0, 1]."""
    similarity: float
    """The mean over all pairs, in [0, 1]: equal answers or not, or how alike the contents are. One text: 1."""
    by: Literal["answer", "content"]


def final_answer(prompt: str, text: str) -> str | None:
    """What a text answers to a closed question, in one way of writing: equal strings are equal answers.

    A letter of the choices that the prompt offers, `yes`, `no`, `true`, `false`, a number with its unit (`18 usd`),
    JSON with sorted keys, or a phrase of a few words. `None` for what is open-ended, or where no answer can be told.
    """
    text = text.strip()
    if not text:
        return None
    order = instruction_of(prompt)[0]
    offered = options(order)
    if offered:
        return _choice(text, offered)
    if (found := _json(text)) is not None:
        return found
    kind = kind_of(order)
    candidates = [*_marked(text, kind == "open")]
    if kind != "open" and "\n" not in text and len(text) <= _LONGEST_LINE:
        candidates.append(text)
    for candidate in candidates:
        if (normal := _normal(candidate, prompt, kind)) is not None:
            return normal
    if kind == "yes or no" and (said := _YES_NO.match(text)):
        return said[1].lower()
    return _last_number(text, prompt) if kind == "number" else None


def agreement(
    prompt: str, texts: Sequence[str], weights: Sequence[float] | None = None, embed: Embed | None = None
) -> Agreement:
    """Which answers say the same: by their final answers where most have one, else by their contents.

    Args:
        texts: at least one.
        weights: how much each counts, 0 or more; left out, or all 0: alike.
        embed: vectors for texts; left out, contents are compared by their words.

    Raises:
        ValueError: no texts, or weights that do not fit.
    """
    counts = _weights(len(texts), weights)
    answers = [final_answer(prompt, text) for text in texts]
    if sum(answer is not None for answer in answers) >= MOST * len(texts):
        groups = _equal(answers)
        pairs = len(texts) * (len(texts) - 1) // 2
        same = sum(len(group) * (len(group) - 1) // 2 for group in groups)
        return _agreement(groups, counts, same / pairs if pairs else 1.0, "answer")
    table = similarities(texts, embed)
    alike = ALIKE if embed is not None else ALIKE_IN_WORDS
    above = [table[i][j] for i in range(len(texts)) for j in range(i)]
    mean = math.fsum(above) / len(above) if above else 1.0
    return _agreement(_linked(table, alike), counts, mean, "content")


def _choice(text: str, offered: dict[str, str]) -> str | None:
    boxed = [plain(found).strip("()") for found in _BOXED.findall(text)]
    chosen = [one or other for one, other in _CHOSEN.findall(text)]
    begun = [match[1] for line in text.split("\n") if (match := _LONE_LETTER.fullmatch(line.strip()))]
    # Who goes through the choices line by line has not chosen the last of them.
    lone = begun[:1] if len(set(begun)) == 1 else []
    pointed: list[str] = [*boxed[-1:], *chosen[-1:], *lone]
    for letter in pointed:
        if letter in offered:
            return letter
    said = {_folded(found[:400]) for found in (*_marked(text, False), text)}
    equal = [letter for letter, words in offered.items() if _folded(words) in said]
    return equal[0] if len(equal) == 1 else None


def _json(text: str) -> str | None:
    if "{" not in text and "[" not in text:
        return None
    try:
        value = json_of(text)
        found = json.dumps(_whole(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (NotJson, ValueError, RecursionError):
        return None
    if not isinstance(value, dict | list) or len(found) > _LONGEST_JSON or not _terse(value):
        return None
    return found


def _whole(value: Any) -> Any:
    """1.0 is 1."""
    match value:
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _terse(value: Any) -> bool:
    match value:
        case dict():
            return all(_terse(item) for item in value.values())
        case list():
            return all(_terse(item) for item in value)
        case _:
            return not isinstance(value, str) or len(value) <= _LONGEST_STRING


def _marked(text: str, sure: bool) -> Iterator[str]:
    """What a text points out as its answer, the surest first.

    Args:
        sure: only marks that no prose has by chance.
    """
    for pattern in (_BOXED, _HASHES, _FINAL):
        yield from pattern.findall(text)[-1:]
    if not sure:
        yield from (one or other for one, other in _ANSWER.findall(text)[-1:])
        yield from _BOLD_LAST.findall(text)


def _normal(candidate: str, prompt: str, kind: QuestionKind) -> str | None:
    for said in (candidate, _CUT.sub("", candidate)):
        if kind != "yes or no" and (quantity := quantity_of(said, prompt)) is not None:
            return str(quantity)
        if kind != "number" and (match := _YES_NO.match(said.strip())):
            return match[1].lower()
        phrase = _folded(said) if kind in ("short", "open") else ""
        if phrase and len(phrase.split()) <= _LONGEST_PHRASE:
            return phrase
    return None


def _folded(said: str) -> str:
    words = words_of(plain(said))
    while words and words[0] in _ARTICLES:
        words.pop(0)
    # Signs are all that some answers are: "x > 3", "C++".
    signs = "".join(re.findall(r"[<>=+*/^|&%#-]", plain(said)))
    return f"{' '.join(words)} {signs}".strip()


def _last_number(text: str, prompt: str) -> str | None:
    """The number of a last sentence that has one alone, or behind its last sign of equality."""
    sentences = Reading(text).sentences
    if not sentences:
        return None
    last = plain(_ENUMERATION.sub("", sentences[-1].text))
    tail = last.rpartition("=")[2] if "=" in last else last
    numbers = list(_VALUE.finditer(tail))
    if len(numbers) != 1 or _BOUND.search(tail[: numbers[0].start()]):
        return None
    said = tail[numbers[0].start() :]
    shorter = (said, *(" ".join(said.split()[:most]) for most in (3, 2)), numbers[0][0])
    return next((str(quantity) for some in shorter if (quantity := quantity_of(some, prompt)) is not None), None)


def _equal(answers: Sequence[str | None]) -> list[list[int]]:
    """Equal answers together; a number without a unit goes with the one unit that others give it."""
    quantities = {answer: quantity_of(answer) for answer in answers if answer is not None}
    with_unit: dict[float, set[object]] = {}
    for quantity in quantities.values():
        if quantity is not None and quantity.unit:
            with_unit.setdefault(quantity.value, set()).add(quantity.key)
    groups: dict[object, list[int]] = {}
    for index, answer in enumerate(answers):
        quantity = None if answer is None else quantities[answer]
        key: object = ("none", index) if answer is None else answer
        if quantity is not None:
            units = with_unit.get(quantity.value, set())
            key = next(iter(units)) if not quantity.unit and len(units) == 1 else quantity.key
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _linked(table: Sequence[Sequence[float]], alike: float) -> list[list[int]]:
    """Single linkage: whoever is alike to one of a group belongs to it."""
    groups: list[list[int]] = []
    left = set(range(len(table)))
    while left:
        group, edge = [], [min(left)]
        left.discard(edge[0])
        while edge:
            at = edge.pop()
            group.append(at)
            near = [other for other in left if table[at][other] >= alike]
            left.difference_update(near)
            edge += near
        groups.append(sorted(group))
    return groups


def _agreement(
    groups: list[list[int]], weights: list[float], similarity: float, by: Literal["answer", "content"]
) -> Agreement:
    heavy = {tuple(group): math.fsum(weights[index] for index in group) for group in groups}
    clusters = tuple(sorted(heavy, key=lambda group: (-heavy[group], -len(group), group)))
    share = heavy[clusters[0]] / math.fsum(weights)
    return Agreement(clusters, min(1.0, share), min(1.0, max(0.0, similarity)), by)


def _weights(count: int, weights: Sequence[float] | None) -> list[float]:
    if not count:
        raise ValueError("there are no texts to agree")
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(given) != count:
        raise ValueError(f"{count} texts have {len(given)} weights")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given):
        raise ValueError("a weight is a number of at least 0")
    return given if any(given) else [1.0] * count

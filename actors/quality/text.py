"""An answer or a prompt as it is read: words, sentences, lines and blocks of code, each found once.

Of a text longer than `READ` characters the beginning and the end are read, so that a megabyte costs what a long page
costs. What was left out is said by `Reading.whole`, and no check claims anything about it.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache

READ = 24_000
"""Characters that are read in full; of a longer text the first two thirds and the last third of so many."""
MAX_SENTENCES = 400

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_SENTENCE_END = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]*_]*(?=\s|$)|[\u3002\uff01\uff1f]+|\n+")
_ABBREVIATION = re.compile(r"(?:\b(?:[A-Za-z]|e\.g|i\.e|etc|vs|Mr|Mrs|Ms|Dr|Prof|St|No|Inc|Ltd|approx)|^\s*\d{1,2})$")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*\1`*[ \t]*$|\Z)", re.M | re.S)
_ITEM = re.compile(r"^[ \t]*(?:[-*+\u2022\u2013]|\(?\d{1,3}[.):]|\(?[A-Za-z][.)])[ \t]+\S", re.M)
_NUMBERED = re.compile(r"^[ \t]*[*_#]*\(?\d{1,3}[.):][ \t]*\S", re.M)

STOP = frozenset(
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
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "am",
        "it",
        "its",
        "this",
        "that",
        "these",
        "those",
        "with",
        "as",
        "at",
        "by",
        "from",
        "into",
        "about",
        "over",
        "under",
        "between",
        "through",
        "i",
        "you",
        "he",
        "she",
        "we",
        "they",
        "me",
        "him",
        "her",
        "us",
        "them",
        "my",
        "your",
        "his",
        "our",
        "their",
        "what",
        "which",
        "who",
        "whom",
        "whose",
        "how",
        "why",
        "when",
        "where",
        "do",
        "does",
        "did",
        "done",
        "can",
        "could",
        "should",
        "would",
        "will",
        "shall",
        "may",
        "might",
        "must",
        "not",
        "no",
        "if",
        "then",
        "than",
        "so",
        "there",
        "here",
        "have",
        "has",
        "had",
        "having",
        "just",
        "also",
        "too",
        "very",
        "only",
        "other",
        "others",
        "more",
        "most",
        "some",
        "any",
        "all",
        "each",
        "both",
        "such",
        "same",
        "own",
        "please",
        "yes",
        "ok",
        "okay",
    ]
)
"""English words that carry no subject."""


@dataclass(frozen=True, slots=True)
class Place:
    """Characters `start` to `end` of a text, and what stands there, shortened."""

    start: int
    end: int
    quote: str

    @classmethod
    def of(cls, text: str, start: int, end: int) -> "Place":
        quote = " ".join(text[start : min(end, start + 160)].split())
        return cls(start, end, quote[:117] + "..." if len(quote) > 120 else quote)


@dataclass(frozen=True, slots=True)
class Sentence:
    start: int
    text: str
    ended: bool
    """Whether a mark of its own ends it, or only a line or the text does."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code."""

    start: int
    end: int
    language: str
    code: str
    closed: bool


class Reading:
    """A text, read as far as its limits allow."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.whole = len(text) <= READ
        tail = READ // 3
        self._tail_at = len(text) - tail
        self.shown = text if self.whole else text[: READ - tail] + "\n" + text[-tail:]

    def place(self, start: int, end: int) -> Place:
        """The place in the text itself of characters `start` to `end` of `shown`."""
        if not self.whole and start > READ - READ // 3:
            shift = self._tail_at - (READ - READ // 3 + 1)
            start, end = start + shift, end + shift
        return Place.of(self.text, start, end)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        found = []
        for match in _FENCE.finditer(self.shown):
            closed = match[0].rstrip().endswith(match[1]) and match[0].count(match[1]) > 1
            found.append(Block(match.start(), match.end(), match[2].lower(), match[3], closed))
        return tuple(found)

    @cached_property
    def prose(self) -> str:
        """What is shown without its blocks of code, each character where it was."""
        parts, last = [], 0
        for block in self.blocks:
            parts += [self.shown[last : block.start], re.sub(r"[^\n]", " ", self.shown[block.start : block.end])]
            last = block.end
        return "".join(parts) + self.shown[last:]

    @cached_property
    def words(self) -> list[str]:
        """Of the prose, folded. A script without spaces gives one word for each character."""
        return words_of(self.prose)

    @cached_property
    def content(self) -> list[str]:
        """The words that carry the subject, as stems."""
        return [stem(word) for word in self.words if word not in STOP]

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset(stem(word) for word in self.words)

    @cached_property
    def counted(self) -> Counter[str]:
        return Counter(self.content)

    @cached_property
    def word_count(self) -> int:
        """Of the whole text, as a person counts: what stands between spaces."""
        if _WIDE.search(self.shown):
            return len(words_of(self.text)) if self.whole else len(self.text)
        return len([piece for piece in self.text.split() if any(c.isalnum() for c in piece)])

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        found: list[Sentence] = []
        start = 0
        for mark in _SENTENCE_END.finditer(self.prose):
            if mark[0] == "." and _ABBREVIATION.search(self.prose[max(start, mark.start() - 12) : mark.start()]):
                continue
            ended = not mark[0].startswith("\n")
            self._sentence(found, start, mark.end() if ended else mark.start(), ended)
            start = mark.end()
            if len(found) >= MAX_SENTENCES:
                break
        else:
            self._sentence(found, start, len(self.prose), False)
        return tuple(found)

    def _sentence(self, found: list[Sentence], start: int, end: int, ended: bool) -> None:
        text = self.prose[start:end]
        if _WORD.search(text):
            lead = len(text) - len(text.lstrip())
            found.append(Sentence(start + lead, text.strip(), ended))

    @cached_property
    def lines(self) -> list[str]:
        return [line for line in self.prose.split("\n") if line.strip()]

    @cached_property
    def paragraphs(self) -> list[str]:
        return [part for part in re.split(r"\n[ \t]*\n", self.shown) if part.strip()]

    @cached_property
    def items(self) -> int:
        """How many points a list has; numbered ones where there are any, so that points under points do not count."""
        numbered = len(_NUMBERED.findall(self.prose))
        if numbered >= 2:
            return numbered
        return len(_ITEM.findall(self.prose))


def words_of(text: str) -> list[str]:
    found = _WORD.findall(text.casefold().replace("\u2019", "'"))
    if not _WIDE.search(text):
        return found
    words: list[str] = []
    for word in found:
        if _WIDE.search(word):
            words += [char for char in word if char.isalnum()]
        else:
            words.append(word)
    return words


_ENDINGS = ("ational", "ations", "ation", "ingly", "ments", "ment", "ness", "ings", "ing", "ies", "ied", "ers", "ed")
_SHORT_ENDINGS = ("es", "er", "ly", "al", "s", "e", "y")


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word without its commonest English endings; enough to see that two words are of one family."""
    word = word.removesuffix("'s")
    for endings, least in ((_ENDINGS, 4), (_SHORT_ENDINGS, 4)):
        for ending in endings:
            if word.endswith(ending) and len(word) - len(ending) >= least - (len(ending) < 3):
                return word[: -len(ending)]
    return word

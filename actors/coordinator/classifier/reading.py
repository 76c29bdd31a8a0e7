"""What stands in a prompt, counted line by line.

A reading only ever grows: what the first lines hold is still there after the last.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from actors.coordinator.classifier.asked import things_asked, words_of
from actors.coordinator.classifier.cues import Cues, Found
from actors.coordinator.classifier.lexicon import CLOSED, CONSTRAINTS, DEPENDENCE, DOMAINS, PERSONAL, REASONING

_CUES = Cues(
    {
        **DOMAINS,
        "dependence cue": DEPENDENCE,
        "reasoning cue": REASONING,
        "constraint cue": CONSTRAINTS,
        "closed cue": CLOSED,
    }
)
_PERSONAL = frozenset(PERSONAL.split())
_LONG = 9
"""Letters from which on a word counts as long."""
_UNSPACED, _USUAL_LETTERS = "\u2e80", 5
"""Scripts from here on stand without spaces between words: nothing is known of how long theirs are."""

_CAPITAL = re.compile(r"\b[A-Z]")
_DIGIT = re.compile(r"\d")
_FORMULA = re.compile(r"\$|\\[a-z]+|[\^=\u221a\u222b\u2264\u2265\u2211]")
_CODE = re.compile(r"[{}();<>]|=>|->|\bdef\b|\breturn\b")
_MARK = re.compile(r"\d|[$\\^=\u221a\u222b\u2264\u2265\u2211{}();<>]|->|\bdef\b|\breturn\b")
"""Without one of these a line has neither digits nor formulas nor code, and most have none."""
_FULL_STOP = re.compile(r"(?<![.!?])[.!?]+(?=\s|$)")
_FENCE = re.compile(r"\s*(?:```|~~~)")


@lru_cache(maxsize=16_384)
def _cues_of(text: str) -> Found:
    return _CUES.of(text)


class Reading:
    """Counts of what was read so far."""

    def __init__(self) -> None:
        self.asked = 0
        """Things asked for."""
        self.size = 0
        """Characters that are no spaces."""
        self.lines = self.words = self.letters = self.long = self.personal = self.capitals = 0
        self.digits = self.formulas = self.code = self.quotes = self.questions = self.sentences = 0
        self.distinct: dict[str, int] = {}
        """Each word and how often it stands there, in the order of the text."""
        self.pairs: set[tuple[str, str]] = set()
        """Words that stand side by side; the first word of a line stands beside nothing."""
        self.new_words: list[str] = []
        self.new_pairs: list[tuple[str, str]] = []
        """What was distinct and new since somebody emptied these lists."""
        self.cues: dict[str, dict[str, str]] = {}
        """For each table the cues met and how they were first written, in the order of the text."""

    def add(self, line: str, asked: int) -> None:
        """Read one more line, which asks for so many things."""
        self.lines += 1
        self.size += len(line) - line.count(" ")
        self.asked += asked
        self.capitals += len(_CAPITAL.findall(line))
        if _MARK.search(line):
            self.digits += len(_DIGIT.findall(line))
            self.formulas += len(_FORMULA.findall(line))
            self.code += len(_CODE.findall(line))
        self.quotes += line.count('"') + line.count("\u201c")
        self.questions += line.count("?") + line.count("\uff1f")
        self.sentences += len(_FULL_STOP.findall(line))
        self._add_words(words_of(line))

    def _add_words(self, words: list[str]) -> None:
        self.words += len(words)
        before = ""
        for place, word in enumerate(words):
            self.letters += len(word) if word < _UNSPACED else _USUAL_LETTERS
            times = self.distinct.get(word, 0)
            self.distinct[word] = times + 1
            if len(word) >= _LONG and word < _UNSPACED:
                self.long += 1
            elif word in _PERSONAL:
                self.personal += 1
            if not times:
                self.new_words.append(word)
                self._cue(word)
            if word in _CUES.firsts:
                for phrase in _CUES.phrases(words, place):
                    self._cue(phrase)
            pair = (before, word)
            if pair not in self.pairs:
                self.pairs.add(pair)
                self.new_pairs.append(pair)
            before = word

    def _cue(self, text: str) -> None:
        for name, cue in _cues_of(text):
            self.cues.setdefault(name, {}).setdefault(cue, text)

    def met(self, table: str) -> list[str]:
        """The cues of a table as they are written there, each once."""
        return list(self.cues.get(table, {}).values())

    @property
    def dependencies(self) -> list[str]:
        return self.met("dependence cue")

    @property
    def reasoning(self) -> list[str]:
        return self.met("reasoning cue")

    @property
    def constraints(self) -> list[str]:
        return self.met("constraint cue")

    def terms(self) -> dict[str, list[str]]:
        """For each domain that is touched, its terms, as they are written there."""
        return {name: list(found.values()) for name, found in self.cues.items() if name in DOMAINS}

    def follow(self, text: str) -> Iterator[None]:
        """Read a text; stops before each further line that asks for something, and at the end.

        Ends of lines that somebody wrote as a backslash and an n are ends of lines. Fenced code asks for nothing.
        """
        fenced = False
        for line in text.replace("\\n", "\n").splitlines():
            if not line or line.isspace():
                continue
            fence = _FENCE.match(line) is not None
            if fence:
                fenced = not fenced
            asked = 0 if fenced or fence else things_asked(line)
            if asked and self.asked:
                yield
            self.add(line, asked)
        yield

"""An answer beside its prompt in numbers, each larger where the answer is better as far as that number can tell.

None of them is its length, and none grows with length alone: they are shares, means and cosines.
"""

import re

from actors.quality import talk
from actors.quality.relevance import Likeness, coverage, focus, stranger, subject_of
from actors.quality.requirements import instruction_of
from actors.quality.text import Reading

TERSE_WORDS = 6
_USUAL = {"coverage": 0.6, "focus": 0.25, "whole": 0.5, "sentences": 0.4, "best": 0.6}
"""What answers of some length commonly have."""
_CONCRETE = re.compile(r"\d[\d.,:]*|(?<=[a-z,] )[A-Z][\w'-]+|`[^`]+`|\"[^\"\n]+\"")
_OPEN = re.compile(
    r"\b(?:explain|describe|how|why|write|tell|discuss|story|design|advice|compare|essay|analy[sz]e|provide|"
    r"differences?|summari[sz]e|create|generate)\b",
    re.I,
)
_CLOSED = re.compile(
    r"\b(?:which|what is the|how many|name|classify|identify|convert|calculate|title|sentence|word|one|single|detect|"
    r"sort|only|brief(?:ly)?|short|rewrite|complete)\b",
    re.I,
)
_ENOUGH_WORDS = 25


def of_words(prompt: Reading, reading: Reading, new: float | None) -> dict[str, float]:
    """
    Args:
        new: the answer's novelty.
    """
    subject = subject_of(prompt.text)
    covered, focused = coverage(subject, reading), focus(subject, reading)
    found = {
        "coverage": 0.5 if covered is None else covered,
        "focus": 0.2 if focused is None else min(focused, 0.6),
        "no stranger": 1 - stranger(subject, reading),
        "no preamble": 0.0 if talk.preamble(reading) else 1.0,
        "novelty": 0.6 if new is None else new,
        "concrete": min(1.0, 4 * len(_CONCRETE.findall(reading.prose)) / max(1, len(reading.words))),
        "enough": _enough(prompt, reading),
    }
    return _shrunk(found, reading)


def of_likeness(like: Likeness, reading: Reading) -> dict[str, float]:
    return _shrunk({"whole": like.whole, "sentences": like.sentences, "best": like.best}, reading)


def _enough(prompt: Reading, reading: Reading) -> float:
    """A fraction: an open question is not answered in a few words. Beyond some number more are worth nothing."""
    order = instruction_of(prompt.text)[0]
    if not _OPEN.search(order) or _CLOSED.search(order):
        return 1.0
    return min(1.0, len(set(reading.content)) / _ENOUGH_WORDS)


def _shrunk(features: dict[str, float], reading: Reading) -> dict[str, float]:
    """A few words share little with any prompt, be they right or wrong: each is drawn towards what is usual."""
    sure = len(reading.words) / (len(reading.words) + TERSE_WORDS)
    return {
        name: _USUAL[name] + sure * (value - _USUAL[name]) if name in _USUAL else value
        for name, value in features.items()
    }

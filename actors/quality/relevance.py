"""Whether an answer is about what was asked: by its words, and by the directions of its sentences."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from actors.quality.finding import Finding
from actors.quality.requirements import instruction_of
from actors.quality.text import STOP, Reading, stem, words_of

Vector = Sequence[float]
Embed = Callable[[list[str]], Sequence[Vector]]
"""A vector for each of some texts, none of them empty."""

MAX_EMBEDDED = 16
"""Sentences of an answer that are embedded: the first ones, and the last two."""
MAX_TEXT = 600
"""Characters of one text that are embedded."""
FEWEST_WORDS = 6
STRANGE = 0.3
"""A cosine under which two texts are of different subjects with these vectors."""
_ORDERS = frozenset(
    [
        "write",
        "give",
        "list",
        "name",
        "tell",
        "explain",
        "describe",
        "create",
        "generate",
        "make",
        "provide",
        "suggest",
        "find",
        "identify",
        "following",
        "given",
        "sentence",
        "text",
        "word",
        "answer",
        "question",
        "response",
        "step",
        "let",
        "think",
        "example",
        "use",
        "using",
        "include",
        "short",
        "brief",
        "new",
        "one",
        "two",
        "three",
        "four",
        "five",
        "ten",
        "help",
        "want",
        "need",
        "know",
        "like",
        "good",
        "best",
        "way",
        "ways",
        "come",
        "up",
        "output",
        "input",
        "user",
        "article",
        "passage",
    ]
)
"""Words of orders, which an answer need not repeat."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near an answer is to its prompt; each a cosine in [-1, 1]."""

    whole: float
    sentences: float
    """The mean over the answer's sentences."""
    best: float
    """The nearest sentence."""


def likeness(prompt: str, reading: Reading, embed: Embed) -> Likeness | None:
    """`None` where one of the two has nothing to embed."""
    answer = reading.shown.strip()
    if not prompt.strip() or not answer:
        return None
    texts = [s.text[:MAX_TEXT] for s in reading.sentences if any(c.isalnum() for c in s.text)]
    if len(texts) > MAX_EMBEDDED:
        texts = [*texts[: MAX_EMBEDDED - 2], *texts[-2:]]
    texts = texts or [answer[:MAX_TEXT]]
    # The least a model can make of a text is a vector of zeros; that is near nothing.
    vectors = embed([prompt.strip()[: 2 * MAX_TEXT], answer[: 3 * MAX_TEXT], *texts])
    table = np.nan_to_num(np.asarray(vectors, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    table = table / np.where(lengths > 0, lengths, 1.0)
    near = np.clip(table @ table[0], -1.0, 1.0)
    parts = near[2:]
    return Likeness(float(near[1]), float(parts.mean()), float(parts.max()))


def stray(subject: Counter[str], reading: Reading, like: Likeness | None) -> list[Finding]:
    """An answer that shares next to nothing with its prompt, neither words nor direction."""
    named = coverage(subject, reading)
    if named is None or named > 0.15 or len(reading.words) < FEWEST_WORDS:
        return []
    severity = 0.4
    if like is not None:
        near = max(like.whole, like.best, 0.0)
        if near >= STRANGE:
            return []
        # A story goes far from the sentence that it starts with, and is no stranger to it.
        severity = round(0.15 + 0.5 * (1 - near / STRANGE), 4)
    said = "it shares next to nothing with what was asked"
    return [Finding("off topic", "relevance", severity, said, "answer what was asked")]


def subject_of(prompt: str) -> Counter[str]:
    """The stems of a prompt that say what it is about, and how often."""
    text = instruction_of(prompt)[0]
    return Counter(stem(word) for word in words_of(text) if word not in STOP and word not in _ORDERS and len(word) > 1)


def coverage(subject: Counter[str], reading: Reading) -> float | None:
    """A fraction: how much of the prompt's subject the answer names; rarer, longer words count more."""
    if not subject:
        return None
    weights = {word: min(3.0, math.sqrt(len(word))) for word in subject}
    there = sum(weight for word, weight in weights.items() if word in reading.stems)
    return there / sum(weights.values())


def focus(subject: Counter[str], reading: Reading) -> float | None:
    """A fraction: how many of the answer's words are of the prompt's subject."""
    if not subject or not reading.content:
        return None
    return sum(count for word, count in reading.counted.items() if word in subject) / len(reading.content)


def stranger(subject: Counter[str], reading: Reading) -> float:
    """A fraction: how far a subject of its own outweighs the prompt's in the answer; 0 where none does."""
    own = max((count for word, count in reading.counted.items() if word not in subject and len(word) > 2), default=0)
    asked = max((count for word, count in reading.counted.items() if word in subject), default=0)
    return 0.0 if own <= 1 else own / (own + asked + 1)

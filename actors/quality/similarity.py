"""How alike the contents of texts are: the directions of their vectors or the words they share, and their numbers."""

import re
from collections.abc import Sequence

import numpy as np

from actors.quality.relevance import Embed
from actors.quality.text import READ, Reading

ALIKE, ALIKE_IN_WORDS = 0.85, 0.4
"""From here on two texts say the same, with vectors and without. The lowest at which at most 5 % of LLMBar's pairs, of
which one follows its prompt and the other does not, would count as such (`python -m bench.agreement`)."""
_DIFFERENT_NUMBERS = 0.5
"""What is left of their likeness where two texts share none of their numbers."""
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*")
_ENUMERATION = re.compile(r"^[ \t]*[*_#]*\(?\d{1,3}[.):](?=\s)", re.M)


def similarities(texts: Sequence[str], embed: Embed | None = None) -> list[list[float]]:
    """For each pair a fraction, 1 for equal texts; symmetric.

    Args:
        embed: vectors for texts; left out, the share of words that two texts have in common.
    """
    shown = [Reading(text[:READ]) for text in texts]
    table = _by_words(shown) if embed is None else _by_vectors(texts, embed)
    plain = [" ".join(text.split()) for text in texts]
    numbers = [frozenset(_NUMBER.findall(_ENUMERATION.sub("", one.text))) for one in shown]
    for i in range(len(texts)):
        table[i][i] = 1.0
        for j in range(i):
            if plain[i] == plain[j]:
                near = 1.0
            else:
                near = round(min(1.0, max(0.0, table[i][j])) * _of_numbers(numbers[i], numbers[j]), 6)
            table[i][j] = table[j][i] = near
    return table


def _by_vectors(texts: Sequence[str], embed: Embed) -> list[list[float]]:
    filled = [index for index, text in enumerate(texts) if text.strip()]
    table = np.zeros((len(texts), len(texts)))
    if filled:
        vectors = np.nan_to_num(np.asarray(embed([texts[index][:READ] for index in filled]), dtype=np.float64))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.where(lengths > 0, lengths, 1.0)
        table[np.ix_(filled, filled)] = vectors @ vectors.T
    near: list[list[float]] = table.tolist()
    return near


def _by_words(texts: Sequence[Reading]) -> list[list[float]]:
    words = [frozenset(text.content) or frozenset(text.words) for text in texts]
    return [[len(a & b) / len(a | b) if a or b else 0.0 for b in words] for a in words]


def _of_numbers(a: frozenset[str], b: frozenset[str]) -> float:
    if not a or not b:
        return 1.0
    shared = len(a & b) / len(a | b)
    return _DIFFERENT_NUMBERS + (1 - _DIFFERENT_NUMBERS) * shared

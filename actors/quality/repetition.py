"""What an answer says twice."""

import re
from collections import Counter
from itertools import pairwise

from actors.quality.finding import Finding
from actors.quality.text import Reading, Sentence

_FEWEST_WORDS = 4
_GRAM = 6


def wrong(reading: Reading, asked: bool = False) -> list[Finding]:
    """
    Args:
        asked: whether the prompt asks for something to be repeated; then nothing is found.
    """
    if asked:
        return []
    findings = [*_sentences(reading), *_doubled(reading)]
    return findings or _grams(reading)


def _key(sentence: Sentence) -> str:
    return " ".join(re.findall(r"\w+", re.sub(r"^\s*\(?\d{1,3}[.)]", "", sentence.text).casefold()))


def _sentences(reading: Reading) -> list[Finding]:
    seen: set[str] = set()
    again: list[Sentence] = []
    total = repeated = 0
    for sentence in reading.sentences:
        key = _key(sentence)
        size = len(key)
        total += size
        if key.count(" ") + 1 < _FEWEST_WORDS or (
            not sentence.ended and key.count(" ") < 7 and sentence.text[-1:] in ":])*"
        ):
            continue
        if key in seen:
            again.append(sentence)
            repeated += size
        seen.add(key)
    share = repeated / max(1, total)
    if not again or (share < 0.05 and len(again) == 1):
        return []
    # A refrain or a heading comes again in sound answers; most of a text does not.
    severity = round(min(1.0, 0.25 + 1.3 * share), 4)
    first = again[0]
    place = reading.place(first.start, first.start + len(first.text))
    return [
        Finding(
            "repetition",
            "clarity",
            severity,
            f"{share:.0%} of the answer repeats what it said before",
            "say it once",
            place,
        )
    ]


def _doubled(reading: Reading) -> list[Finding]:
    """The whole answer over again, whatever its sentences are like: a list, code, a word."""
    squeezed = re.sub(r"\s+", " ", reading.shown).strip().casefold()
    if len(squeezed) < 3 or not reading.whole:
        return []
    for times in (2, 3, 4, 5, 8, 10):
        size = (len(squeezed) + 1) / times
        if size == int(size) and int(size) >= 2:
            unit = squeezed[: int(size) - 1]
            if unit.strip() and any(c.isalpha() for c in unit) and " ".join([unit] * times) == squeezed:
                return [
                    Finding(
                        "repetition",
                        "clarity",
                        0.75,
                        f"the answer is the same text {times} times",
                        "say it once",
                        reading.place(0, len(reading.shown)),
                    )
                ]
    return []


def _grams(reading: Reading) -> list[Finding]:
    """Runs of words that come again and again, as of a model caught in a loop."""
    words = reading.words
    if len(words) >= 8:
        run = longest = 1
        for one, other in pairwise(words):
            run = run + 1 if one == other else 1
            longest = max(longest, run)
        if longest >= 5:
            return [
                Finding(
                    "repetition",
                    "clarity",
                    min(1.0, 0.3 + 0.05 * longest),
                    f"one word {longest} times in a row",
                    "say it once",
                )
            ]
    grams = Counter(tuple(words[at : at + _GRAM]) for at in range(len(words) - _GRAM + 1))
    extra = sum(count - 1 for count in grams.values() if count > 1)
    share = extra / max(1, len(words) - _GRAM + 1)
    if len(words) < 20 or share < 0.15:
        return []
    gram, count = grams.most_common(1)[0]
    return [
        Finding(
            "repetition",
            "clarity",
            round(min(1.0, 0.1 + share), 4),
            f"{' '.join(gram)!r} comes {count} times; {share:.0%} of the answer is such repeats",
            "say it once",
        )
    ]


def repetition_asked(prompt: str) -> bool:
    return bool(
        re.search(r"\b(?:repeat|refrain|chorus|over and over|times in a row|copy|echo|song|lyrics)\b", prompt, re.I)
    )

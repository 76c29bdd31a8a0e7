"""Measures from which likeness on two answers say the same: `python -m bench.agreement FILE.csv`.

On a table with `group, prompt, a, b, label`, for each threshold: how many pairs of which one answer follows its prompt
and the other does not would count as agreeing; how many pairs of two capable models' answers; and how many answers
would still agree with a copy of themselves: in another order, with fewer words, or with talk around it.
"""

import argparse
import csv
import random
from collections.abc import Callable
from pathlib import Path

from actors.quality.relevance import Embed
from actors.quality.similarity import similarities
from actors.quality.text import Reading
from actors.quality.vectors import wordllama_embed

Pairs = list[tuple[str, str]]
AT_ODDS = ("LLMBar", "CaseStudy/Normal", "CaseStudy/Constraint")
"""Groups by how their names begin in which one answer of each pair follows the prompt and the other does not."""
CAPABLE = ("Processed",)


def shuffled(text: str, chance: random.Random) -> str:
    """Its sentences in another order, one in five left out."""
    sentences = [sentence.text for sentence in Reading(text).sentences]
    chance.shuffle(sentences)
    return " ".join(sentences[: max(2, round(0.8 * len(sentences)))])


def thinned(text: str, chance: random.Random) -> str:
    """Without some 15 % of its words."""
    return " ".join(word for word in text.split() if chance.random() > 0.15)


def wrapped(text: str, _: random.Random) -> str:
    """With talk around it."""
    return f"Sure! Here is my answer to your question. {text} I hope this helps!"


def pairs(rows: list[dict[str, str]], seed: int) -> dict[str, Pairs]:
    chance = random.Random(seed)
    found: dict[str, Pairs] = {
        "at odds": [(r["a"], r["b"]) for r in rows if r["group"].startswith(AT_ODDS)],
        "capable": [(r["a"], r["b"]) for r in rows if r["group"].startswith(CAPABLE)],
    }
    sound = [r[r["label"]] for r in rows if r["group"].startswith((*AT_ODDS, *CAPABLE))]
    changes: tuple[Callable[[str, random.Random], str], ...] = (shuffled, thinned, wrapped)
    for change in changes:
        found[change.__name__] = [(text, change(text, chance)) for text in sound if len(text.split()) >= 10]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with args.file.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = pairs(rows, args.seed)
    means: tuple[tuple[str, Embed | None], ...] = (("vectors", wordllama_embed()), ("words", None))
    for name, embed in means:
        near = {kind: [similarities(pair, embed)[0][1] for pair in some] for kind, some in kinds.items()}
        print(f"\n{name:9}" + "".join(f"{kind:>10}" for kind in near))
        for step in range(30, 100, 5):
            shares = (sum(one >= step / 100 for one in some) / len(some) for some in near.values() if some)
            print(f"{step / 100:9.2f}" + "".join(f"{share:10.3f}" for share in shares))


if __name__ == "__main__":
    main()

"""Measures quality without a judge model: `python -m bench.quality fit|pairs|damage FILE.csv`.

`pairs` cross-validates: each pair is judged with weights that were fitted without it. `fit` writes the weights that the
product uses. `damage` judges answers beside damaged copies of themselves.
"""

import argparse
import csv
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.quality.relevance import Embed
from actors.quality.score import FAULTS, LEAST_SOUND, Examination, examine, overall
from actors.quality.vectors import wordllama_embed
from bench.damage import damage

Floats = NDArray[np.float64]
MEANS = {
    "with embeddings": ("coverage", "no stranger", "sentences", "novelty", "no preamble", "enough", "concrete"),
    "without embeddings": ("coverage", "no stranger", "focus", "novelty", "no preamble", "enough", "concrete"),
}
"""The features that are weighed; each weight is at least 0, so that none can turn against its meaning."""
RIDGE = 30.0
USUAL = math.log(0.75 / 0.25)
"""The logit of the score that the median preferred answer gets: this alone sets the level, which no pair can tell."""
FITTED_ON = ("LLMBar", "CaseStudy/Normal", "Processed/MT-Bench")
"""Groups by how their names begin. The others ask for one constraint each, or for bad answers."""
REPEATS, FOLDS = 10, 5


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Seen:
    """Pairs of answers as differences of features, the preferred answer's less the other's."""

    def __init__(self, rows: list[dict[str, str]], embed: Embed | None, names: Sequence[str]) -> None:
        self.groups = np.array([row["group"] for row in rows])
        self.better = [examine(row["prompt"], (), row[row["label"]], None, embed) for row in rows]
        self.worse = [examine(row["prompt"], (), row["b" if row["label"] == "a" else "a"], None, embed) for row in rows]
        one, other = self._table(self.better, names), self._table(self.worse, names)
        self.level, self.differences = one, one - other
        self.faults = self._faults(self.better) - self._faults(self.worse)
        self.lengths = np.array([math.log1p(x.reading.word_count) for x in self.better])
        self.lengths -= np.array([math.log1p(x.reading.word_count) for x in self.worse])

    @staticmethod
    def _table(seen: list[Examination], names: Sequence[str]) -> Floats:
        return np.array([[x.features[name] for name in names] for x in seen])

    @staticmethod
    def _faults(seen: list[Examination]) -> Floats:
        return np.array([FAULTS * math.log(max(LEAST_SOUND, x.sound)) for x in seen])


def fitted(differences: Floats, faults: Floats) -> Floats:
    """Weights of a logistic regression over pairs, none below 0, drawn towards 0."""
    scale = np.sqrt((differences**2).mean(axis=0)) + 1e-9
    table, weights = differences / scale, np.zeros(differences.shape[1])
    for _ in range(800):
        doubt = 1 / (1 + np.exp(table @ weights + faults))
        slope = -(table * doubt[:, None]).mean(axis=0) + RIDGE * weights / len(table)
        weights = np.maximum(weights - 0.5 * slope, 0)
    return np.asarray(weights / scale)


def fits(groups: NDArray[Any]) -> NDArray[np.bool_]:
    return np.array([str(group).startswith(FITTED_ON) for group in groups])


def family(group: str) -> str:
    return "natural" if "Natural" in group else "adversarial" if "Adversarial" in group else group


def right(scores: Floats) -> float:
    """A fraction; nothing to tell two answers apart counts as half."""
    return float(np.mean((scores > 0) + 0.5 * (scores == 0)))


def cross_validated(seen: Seen, seed: int = 0) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    found: dict[str, list[float]] = defaultdict(list)
    lengths = []
    families = np.array([family(str(group)) for group in seen.groups])
    for _ in range(REPEATS):
        fold = np.zeros(len(families), dtype=int)
        for name in sorted(set(families)):
            places = chance.permutation(np.where(families == name)[0])
            fold[places] = np.arange(len(places)) % FOLDS
        scores = np.zeros(len(families))
        for left_out in range(FOLDS):
            learn = (fold != left_out) & fits(seen.groups)
            weights = fitted(seen.differences[learn], seen.faults[learn])
            test = fold == left_out
            scores[test] = seen.differences[test] @ weights + seen.faults[test]
        for name in sorted(set(families)):
            found[name].append(right(scores[families == name]))
        lengths.append(float(np.corrcoef(scores, seen.lengths)[0, 1]))
    return {
        "groups": {
            name: {
                "accuracy": round(float(np.mean(values)), 3),
                "spread": round(float(np.std(values)), 3),
                "n": int((families == name).sum()),
                "longer wins": round(right(seen.lengths[families == name]), 3),
            }
            for name, values in found.items()
        },
        "correlation with length": round(float(np.mean(lengths)), 3),
    }


def pairs(rows: list[dict[str, str]]) -> dict[str, Any]:
    embed = wordllama_embed()
    return {
        name: cross_validated(Seen(rows, embed if name == "with embeddings" else None, names))
        for name, names in MEANS.items()
    }


def fit(rows: list[dict[str, str]], target: Path) -> dict[str, Any]:
    """Fit on all of the rows that are meant for it, and write the module of weights."""
    embed, found = wordllama_embed(), {}
    for name, names in MEANS.items():
        seen = Seen(rows, embed if name == "with embeddings" else None, names)
        learn = fits(seen.groups)
        weights = fitted(seen.differences[learn], seen.faults[learn])
        usual = float(np.median(seen.level[learn] @ weights))
        found[name] = (
            round(USUAL - usual, 3),
            {n: round(float(w), 3) for n, w in zip(names, weights, strict=True) if w > 1e-3},
        )
    target.write_text(
        '"""What each feature counts. Written by `python -m bench.quality fit`; fitted, none below 0."""\n\n'
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Weights:\n"
        '    """Of the logit of the overall score."""\n\n    bias: float\n    of: dict[str, float]\n\n\n'
        + "\n".join(
            f"{name.upper().replace(' ', '_')} = Weights({bias}, {json.dumps(of)})"
            for name, (bias, of) in found.items()
        )
        + "\n"
    )
    return {name: {"bias": bias, **of} for name, (bias, of) in found.items()}


def damaged(rows: list[dict[str, str]], count: int, seed: int) -> dict[str, Any]:
    embed = wordllama_embed()
    answers = list(dict.fromkeys((row["prompt"], row[row["label"]]) for row in rows))
    noticed: dict[str, list[bool]] = defaultdict(list)
    missed, started, assessed = [], time.perf_counter(), 0
    for pair in damage(answers, count, seed):
        one, other = (overall(examine(pair.prompt, (), text, None, embed)) for text in (pair.sound, pair.damaged))
        assessed += 2
        noticed[pair.kind].append(other < one)
        if other >= one:
            missed.append(
                {
                    "kind": pair.kind,
                    "prompt": pair.prompt[-200:],
                    "damaged": pair.damaged[-200:],
                    "scores": [round(one, 3), round(other, 3)],
                }
            )
    every = [hit for hits in noticed.values() for hit in hits]
    return {
        "noticed": round(sum(every) / len(every), 4),
        "kinds": {kind: {"noticed": round(sum(hits) / len(hits), 3), "n": len(hits)} for kind, hits in noticed.items()},
        "ms an assessment": round(1000 * (time.perf_counter() - started) / assessed, 2),
        "missed": missed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("fit", "pairs", "damage"))
    parser.add_argument("file", type=Path, help="CSV with the columns group, prompt, a, b, label")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show-missed", action="store_true")
    said = parser.parse_args()
    rows = read(said.file)
    match said.what:
        case "fit":
            result = fit(rows, Path(__file__).parent.parent / "actors" / "quality" / "weights.py")
        case "pairs":
            result = pairs(rows)
        case _:
            result = damaged(rows, said.count, said.seed)
            if not said.show_missed:
                result["missed"] = len(result["missed"])
    json.dump(result, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()

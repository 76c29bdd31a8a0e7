"""Fits the classifier's parameters to labelled prompts: `python -m bench.fit_complexity LABELS.csv [--write]`.

The level is linear in features of structure, in a mean of word embeddings, and in words and pairs of words; the three
share one ridge, solved in its dual form. Embeddings are needed here only: a linear weight of a mean of vectors is one
number for each word. Prints how well it does on prompts that were not learned from; with `--write` it replaces
the parameters. The same table gives the same parameters.
"""

import argparse
import csv
import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.coordinator.classifier.classify import classify_text
from actors.coordinator.classifier.features import NAMES, measure
from actors.coordinator.classifier.lexicon import DOMAINS
from actors.coordinator.classifier.model import MOST_DEVIATION, Demand, pieces
from actors.coordinator.classifier.parameters import FILE, token_key
from actors.coordinator.classifier.reading import Reading
from actors.coordinator.classifier.tiers import HIGHEST, LEVELS, LOWEST, TIERS
from schemas.task import Tier

Array = NDArray[np.float64]

# Variance that each part may explain, of a unit of noise. Half or twice of one moves the correlation by 0.02 at most.
STRUCTURE, MEANING, WORDING = 0.15, 0.3, 0.7
FOLDS, REPEATS = 10, 5
LARGE_GROUP = 40
PARAMETERS = Path(__file__).parents[1] / "actors" / "coordinator" / "classifier" / FILE


class Vocabulary:
    """wordllama's vectors for words of Latin letters, and for pieces of words with a hyphen before them."""

    def __init__(self) -> None:
        import wordllama

        model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
        rows: dict[str, list[int]] = {}
        for token, row in sorted(model.tokenizer.get_vocab().items(), key=lambda each: each[1]):
            if re.fullmatch(r"\u2581[A-Za-z]+", token):
                rows.setdefault(token[1:].lower(), []).append(row)
            elif re.fullmatch(r"[A-Za-z]{2,}", token):
                rows.setdefault("-" + token.lower(), []).append(row)
        self.words = list(rows)
        self.vectors: Array = np.array([model.embedding[found].mean(0) for found in rows.values()], dtype=float)
        self._rows = {word: place for place, word in enumerate(self.words)}

    @cache  # noqa: B019  one vocabulary for the whole run
    def of(self, word: str) -> Array:
        found = [word] if word in self._rows else list(pieces(word, self._rows))
        return np.mean([self.vectors[self._rows[each]] for each in found], 0) if found else np.zeros(256)


def tokens_of(reading: Reading) -> set[int]:
    singles = {token_key("", word) for word in reading.distinct}
    return singles | {token_key(before or "^", word) for before, word in reading.pairs}


def whole(prompt: str) -> Reading:
    reading = Reading()
    for _ in reading.follow(prompt):
        pass
    return reading


class Table:
    """Labelled prompts as matrices, one row for each prompt."""

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.prompts = [row["prompt"] for row in rows]
        self.labels: Array = np.array([float(row["difficulty"]) for row in rows])
        self.groups = np.array([row.get("group", "") for row in rows])
        readings = [whole(prompt) for prompt in self.prompts]
        measured = np.array([measure(reading) for reading in readings])
        self.means, spreads = measured.mean(0), measured.std(0)
        self.scales: Array = np.where(spreads > 1e-4, spreads, 1.0)
        self.structure = np.clip((measured - self.means) / self.scales, -MOST_DEVIATION, MOST_DEVIATION)
        self.meaning = np.array(
            [sum(map(vocabulary.of, r.distinct), np.zeros(256)) / np.sqrt(max(1, len(r.distinct))) for r in readings]
        )
        tokens = [tokens_of(reading) for reading in readings]
        counts = Counter(token for found in tokens for token in found)
        # What stands in one prompt only says nothing of another.
        self.tokens = sorted(token for token, count in counts.items() if count > 1)
        columns = {token: place for place, token in enumerate(self.tokens)}
        self.wording = np.zeros((len(rows), len(columns)))
        for place, found in enumerate(tokens):
            for token in found & columns.keys():
                rarity = np.log(len(rows) / counts[token])
                self.wording[place, columns[token]] = rarity / np.sqrt(max(1, len(found)))
        self.rarity: Array = np.log(len(rows) / np.array([counts[token] for token in self.tokens]))
        centred = self.meaning - self.meaning.mean(0)
        self.shares = {
            "structure": STRUCTURE / len(NAMES),
            "meaning": MEANING / np.mean(np.sum(centred**2, 1)),
            "wording": WORDING / np.mean(np.sum(self.wording**2, 1)),
        }
        self.kernel: Array = (
            self.shares["structure"] * self.structure @ self.structure.T
            + self.shares["meaning"] * centred @ centred.T
            + self.shares["wording"] * self.wording @ self.wording.T
        )

    def dual(self, learned: NDArray[np.int_]) -> Array:
        labels = self.labels[learned]
        system = self.kernel[np.ix_(learned, learned)] + np.eye(len(learned))
        found: Array = np.linalg.solve(system, labels - labels.mean())
        return found

    def foreseen(self, learned: NDArray[np.int_], asked: NDArray[np.int_]) -> Array:
        found: Array = self.labels[learned].mean() + self.kernel[np.ix_(asked, learned)] @ self.dual(learned)
        return found


def ranks(values: Array) -> Array:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def spearman(ours: Array, theirs: Array) -> float:
    return float(np.corrcoef(ranks(ours), ranks(theirs))[0, 1])


def unseen(table: Table, seed: int, by_group: bool = False) -> Array:
    """A prediction for each prompt from a fit that knew nothing of it, nor of its group where that is asked for."""
    random = np.random.default_rng(seed)
    names = sorted(set(table.groups))
    fold_of = dict(zip(names, random.permutation(len(names)) % FOLDS, strict=True))
    folds = (
        np.array([fold_of[name] for name in table.groups])
        if by_group
        else random.permutation(len(table.labels)) % FOLDS
    )
    found = np.zeros(len(table.labels))
    for fold in range(FOLDS):
        found[folds == fold] = table.foreseen(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
    return found


def calibrated(predictions: Array, labels: Array) -> dict[str, Any]:
    """The label to be expected for a prediction, and for each tier how likely a label is to reach it."""
    slope, offset = np.polyfit(predictions, labels, 1)
    levels = offset + slope * predictions
    bounds = {"moderate": logistic(levels, reached(labels, "moderate"))}
    # Few labels reach these: they are taken to begin where they begin, as sharply as the first.
    for tier in ("complex", "mega"):
        bounds[tier] = {"centre": LEVELS[tier], "spread": bounds["moderate"]["spread"]}
    return {"slope": round(float(slope), 4), "offset": round(float(offset), 4), "bounds": bounds}


def reached(labels: Array, tier: Tier) -> Array:
    """How much of a label lies in a tier or above: a label of 4 stands for levels from 3.5 to 4.5."""
    return np.clip(labels + 0.5 - LEVELS[tier], 0, 1)


def logistic(levels: Array, truth: Array) -> dict[str, float]:
    """Logistic regression on one variable, by Newton's steps."""
    columns, weights = np.stack([np.ones_like(levels), levels], 1), np.zeros(2)
    for _ in range(50):
        likely = 1 / (1 + np.exp(-columns @ weights))
        curve = (columns * (likely * (1 - likely))[:, None]).T @ columns
        weights += np.linalg.solve(curve, columns.T @ (truth - likely))
    return {"centre": round(float(-weights[0] / weights[1]), 4), "spread": round(float(1 / weights[1]), 4)}


def right(levels: Array, labels: Array, bounds: dict[str, dict[str, float]]) -> tuple[Array, Array]:
    """How sure each tier is, and how much of the label lies in it."""
    tiers = np.searchsorted([LEVELS[tier] for tier in TIERS[1:]], levels, "right")
    sure = [1 / (1 + np.exp(-(levels - bounds[t]["centre"]) / bounds[t]["spread"])) for t in TIERS[1:]]
    truth = [reached(labels, tier) for tier in TIERS[1:]]
    rows = np.arange(len(levels))

    def within(reaching: list[Array]) -> Array:
        edges = np.stack([np.ones_like(levels), *reaching, np.zeros_like(levels)], 1)
        found: Array = np.maximum(0, edges[rows, tiers] - edges[rows, tiers + 1])
        return found

    return within(sure), within(truth)


def calibration_error(sure: Array, correct: Array, bins: int = 10) -> float:
    """The expected calibration error over bins of equally many."""
    parts = np.array_split(np.argsort(sure, kind="stable"), bins)
    return float(sum(len(part) * abs(sure[part].mean() - correct[part].mean()) for part in parts) / len(sure))


def coded(weights: Array) -> dict[str, Any]:
    scale = float(np.abs(weights).max() / 127)
    return {"scale": scale, "weights": b64encode(np.round(weights / scale).astype(np.int8).tobytes()).decode()}


def fields(vocabulary: Vocabulary) -> dict[str, str]:
    """For each domain the words of the vocabulary that lie much nearer to its terms than to those of any other."""
    whole = [place for place, word in enumerate(vocabulary.words) if not word.startswith("-") and len(word) > 3]
    words = [vocabulary.words[place] for place in whole]
    vectors = unit(vocabulary.vectors[whole] - vocabulary.vectors[whole].mean(0))
    # Whitened in part: the directions in which all words differ most say least of what they mean.
    variances, directions = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    vectors = unit(vectors @ (directions / np.sqrt(variances + variances.mean())))
    near = []
    for cues in DOMAINS.values():
        exact = {part for cue in cues.split() if not cue.endswith("*") for part in cue.split("-")}
        stems = tuple(cue[:-1] for cue in cues.split() if cue.endswith("*"))
        terms = [place for place, word in enumerate(words) if word in exact or word.startswith(stems)]
        # A trade has several corners: it is enough to be near to some of its terms.
        near.append(np.sort(vectors @ vectors[terms].T, axis=1)[:, -8:].mean(1))
    closeness = np.array(near).T
    closeness = (closeness - closeness.mean(0)) / closeness.std(0)
    ordered, best = np.sort(closeness, axis=1), closeness.argmax(1)
    clear = (ordered[:, -1] > 3.5) & (ordered[:, -1] - ordered[:, -2] > 0.8)
    return {
        domain: " ".join(words[place] for place in np.flatnonzero(clear & (best == number)))
        for number, domain in enumerate(DOMAINS)
    }


def unit(vectors: Array) -> Array:
    lengths: Array = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


def document(table: Table, vocabulary: Vocabulary, calibration: dict[str, float]) -> dict[str, Any]:
    everything = np.arange(len(table.labels))
    dual = table.dual(everything)
    direction = table.shares["meaning"] * (table.meaning - table.meaning.mean(0)).T @ dual
    by_token = table.shares["wording"] * (table.wording.T @ dual) * table.rarity
    by_feature = table.shares["structure"] * table.structure.T @ dual
    meanings = coded(vocabulary.vectors @ direction)
    heard = np.abs(by_token) > np.abs(by_token).max() / 254
    keys = np.array(table.tokens, dtype="<u4")[heard]
    return {
        "made_by": "python -m bench.fit_complexity",
        "rows": len(table.labels),
        "intercept": float(table.labels.mean() - table.meaning.mean(0) @ direction),
        "usual_wording": float((table.meaning @ direction + table.wording @ (by_token / table.rarity)).mean()),
        "features": [
            {"name": name, "mean": round(float(mean), 5), "scale": round(float(scale), 5), "value": round(float(w), 5)}
            for name, mean, scale, w in zip(NAMES, table.means, table.scales, by_feature, strict=True)
        ],
        "calibration": calibration,
        "meanings": {**meanings, "words": " ".join(vocabulary.words)},
        "tokens": {**coded(by_token[heard]), "keys": b64encode(keys.tobytes()).decode()},
        "fields": fields(vocabulary),
    }


def report(table: Table) -> Iterator[str]:
    labels, groups = table.labels, table.groups
    lengths = np.array([float(len(prompt)) for prompt in table.prompts])

    def repeated(predict: Callable[[int], Array]) -> tuple[Array, str]:
        found = [predict(seed) for seed in range(REPEATS)]
        each = [spearman(prediction, labels) for prediction in found]
        return np.mean(found, 0), f"{np.mean(each):.3f} (spread {np.std(each):.3f} over {REPEATS} repeats)"

    yield f"prompts {len(labels)}, groups {len(set(groups))}"
    yield f"length alone: {spearman(lengths, labels):.3f}"
    mean, said = repeated(lambda seed: unseen(table, seed))
    yield f"unseen prompts, {FOLDS} folds: {said}"
    yield f"unseen groups, {FOLDS} folds: {repeated(lambda seed: unseen(table, seed, by_group=True))[1]}"
    everything = np.arange(len(labels))
    for group, size in Counter(groups).most_common():
        if size < LARGE_GROUP:
            break
        inside = groups == group
        alone = table.foreseen(everything[~inside], everything[inside])
        yield (
            f"  {group} ({size}): length {spearman(lengths[inside], labels[inside]):.3f}, unseen prompts "
            f"{spearman(mean[inside], labels[inside]):.3f}, unseen group {spearman(alone, labels[inside]):.3f}"
        )
    errors, accuracy = [], []
    for seed in range(REPEATS):
        found, folds = unseen(table, seed), np.random.default_rng(seed + 100).permutation(len(labels)) % FOLDS
        sure, correct = np.zeros(len(labels)), np.zeros(len(labels))
        for fold in range(FOLDS):
            out, within = folds == fold, folds != fold
            fit = calibrated(found[within], labels[within])
            sure[out], correct[out] = right(fit["offset"] + fit["slope"] * found[out], labels[out], fit["bounds"])
        errors.append(calibration_error(sure, correct))
        accuracy.append((float(correct.mean()), float(sure.mean())))
    yield f"tiers right {np.mean(accuracy, 0)[0]:.3f}, foreseen {np.mean(accuracy, 0)[1]:.3f}"
    random = np.random.default_rng(0)
    chance = np.mean([calibration_error(sure, (random.random(len(sure)) < sure).astype(float)) for _ in range(200)])
    yield f"expected calibration error {np.mean(errors):.3f}; {chance:.3f} by chance alone if it were perfect"


def with_extent(table: Table, predictions: Array) -> Iterator[str]:
    """What is left once the extent, and all else that the product adds to the fitted level, is added."""
    slope, offset = np.polyfit(predictions, table.labels, 1)
    levels: Array = offset + slope * predictions
    for place, prompt in enumerate(table.prompts):
        reading = Reading()
        demand = Demand(reading)
        for _ in reading.follow(prompt):
            pass
        level = LOWEST + (HIGHEST - LOWEST) * classify_text(prompt).difficulty
        levels[place] += level - demand.level()
    yield f"unseen prompts, as the product ranks them: {spearman(levels, table.labels):.3f}"
    yield f"at or above {', '.join(f'{tier} {np.mean(levels >= LEVELS[tier]):.3f}' for tier in TIERS[1:])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="columns prompt, difficulty (1 to 5) and, where known, group")
    parser.add_argument("--write", action="store_true", help=f"replace {PARAMETERS.name}")
    asked = parser.parse_args()
    vocabulary = Vocabulary()
    table = Table(asked.labels, vocabulary)
    for line in report(table):
        print(line)
    predictions: Array = np.mean([unseen(table, seed) for seed in range(REPEATS)], 0)
    if asked.write:
        written = json.dumps(document(table, vocabulary, calibrated(predictions, table.labels)), indent=1)
        PARAMETERS.write_text(written + "\n", encoding="utf-8")
        print(f"wrote {PARAMETERS.name}, {PARAMETERS.stat().st_size:,} bytes")
    for line in with_extent(table, predictions):
        print(line)


if __name__ == "__main__":
    main()

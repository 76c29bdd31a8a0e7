"""Fitting the classifier: what the product computes is what was fitted, and the figures are what they say."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.coordinator.classifier import model, parameters
from actors.coordinator.classifier.model import Demand
from bench.fit_complexity import Table, Vocabulary, calibrated, calibration_error, document, reached, spearman, whole

OPENINGS = ("Say", "Tell me about", "Explain", "Prove the theorem of", "Compare the costs of")
SUBJECTS = ("cats", "my dog", "entropy", "databases", "eigenvalues", "12 contracts", "inflation", "poems")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary()


@pytest.fixture
def table(tmp_path: Path, vocabulary: Vocabulary) -> Table:
    """Made-up prompts, more difficult the later their opening and their subject stand."""
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "difficulty", "group"])
        for hard, opening in enumerate(OPENINGS):
            for deep, subject in enumerate(SUBJECTS):
                writer.writerow([f"{opening} {subject}.", min(5, 1 + (hard + deep) // 2), opening])
    return Table(path, vocabulary)


@pytest.fixture
def fresh() -> Iterator[None]:
    model.weights.cache_clear()
    yield
    model.weights.cache_clear()


def test_the_product_computes_what_was_fitted(
    table: Table, vocabulary: Vocabulary, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given parameters fitted to a table, written and read again
    written = json.loads(json.dumps(document(table, vocabulary, calibrated_as_is())))
    known = parameters.of_document(written)
    monkeypatch.setattr(model, "fitted", lambda: known)
    # When the product says how demanding each prompt is
    everything = np.arange(len(table.prompts))
    ours = []
    for prompt in table.prompts:
        reading = whole(prompt)
        ours.append(Demand(reading).level())
    # Then it says what the fit foresaw, but for weights of eight bits
    assert ours == pytest.approx(list(table.foreseen(everything, everything)), abs=0.1)


def calibrated_as_is() -> dict[str, Any]:
    return {"slope": 1.0, "offset": 0.0, "bounds": {"moderate": {"centre": 4.0, "spread": 0.7}}}


def test_the_same_table_gives_the_same_parameters(table: Table, vocabulary: Vocabulary) -> None:
    once, again = (json.dumps(document(table, vocabulary, calibrated_as_is())) for _ in range(2))
    assert once == again


def test_no_prompt_stands_in_what_is_written(table: Table, vocabulary: Vocabulary) -> None:
    written = json.dumps(document(table, vocabulary, calibrated_as_is()))
    assert not any(prompt in written for prompt in table.prompts)
    assert not any(opening in written for opening in OPENINGS if " " in opening)


def test_a_label_reaches_a_tier_by_as_much_of_it_as_lies_there() -> None:
    labels = np.array([1.0, 3.0, 4.0, 5.0])
    assert list(reached(labels, "moderate")) == [0, 0, 0.5, 1]
    assert list(reached(labels, "complex")) == [0, 0, 0, 0.5]


def test_calibration_finds_the_line_and_the_bound_that_made_the_labels() -> None:
    # Given predictions that are half of the labels plus one, with some noise
    random = np.random.default_rng(1)
    predictions = random.uniform(1, 3.5, 20_000)
    labels = np.clip(np.round(2 * (predictions - 1) + random.logistic(0, 0.5, 20_000)), 1, 5)
    # When they are calibrated
    found = calibrated(predictions, labels)
    # Then a label is foreseen where it should be, and half of them are moderate or more at the bound
    assert found["offset"] + found["slope"] * 2.5 == pytest.approx(3, abs=0.1)
    assert found["bounds"]["moderate"]["centre"] == pytest.approx(4, abs=0.35)


def test_the_calibration_error_of_a_sure_mistake_is_one() -> None:
    assert calibration_error(np.ones(100), np.zeros(100)) == 1
    assert calibration_error(np.full(100, 0.5), np.tile([0.0, 1.0], 50)) == pytest.approx(0)


def test_equal_values_share_their_rank() -> None:
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(0.9486833)

"""`devskyy bench judge`."""

import csv
from pathlib import Path

import pytest

from tests.cli.conftest import Command, devskyy, home
from tests.quality.test_score import ANSWER, OTHER, PROMPT

__all__ = ["devskyy", "home"]


def table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_accuracy_is_printed_by_group(devskyy: Command, tmp_path: Path) -> None:
    # Given pairs of two groups, of which one is labelled the wrong way round
    right = {"group": "right", "prompt": PROMPT, "a": ANSWER, "b": OTHER, "label": "a"}
    path = table(tmp_path / "pairs.csv", [right, right, right | {"group": "wrong", "label": "b"}])
    # When they are judged
    ran = devskyy("bench", "judge", "--pairs", str(path), "--json")
    # Then each group has its share, and all of them together
    assert (ran.code, ran.document) == (
        0,
        {"groups": {"right": {"accuracy": 1.0, "n": 2}, "wrong": {"accuracy": 0.0, "n": 1}}, "overall": 2 / 3},
    )


def test_without_a_group_all_pairs_are_one_and_a_tie_counts_as_half(devskyy: Command, tmp_path: Path) -> None:
    path = table(tmp_path / "pairs.csv", [{"prompt": PROMPT, "a": ANSWER, "b": ANSWER, "label": "b"}])
    ran = devskyy("bench", "judge", "--pairs", str(path), "--json")
    assert ran.document == {"groups": {"all": {"accuracy": 0.5, "n": 1}}, "overall": 0.5}


def test_a_table_is_shown_to_people(devskyy: Command, tmp_path: Path) -> None:
    path = table(tmp_path / "pairs.csv", [{"prompt": PROMPT, "a": ANSWER, "b": OTHER, "label": "a"}])
    ran = devskyy("bench", "judge", "--pairs", str(path))
    assert ran.code == 0
    assert "1.000" in ran.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"prompt,a,b\nx,y,z\n", "no column 'label'"),
        (b"prompt,a,b,label\nx,y,z,c\n", "line 2: the label 'c' is neither 'a' nor 'b'"),
        (b"prompt,a,b,label\nx,y\n", "line 2: the label None"),
        (b"prompt,a,b,label\n", "has no rows"),
        (b"", "no column 'prompt'"),
        (b"prompt,a,b,label\n\xff,y,z,a\n", "is no UTF-8"),
    ],
)
def test_a_table_that_is_none_is_refused_by_name(devskyy: Command, tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    ran = devskyy("bench", "judge", "--pairs", str(path))
    assert ran.code == 2
    assert said in ran.err
    assert "pairs.csv" in ran.err


def test_a_file_that_is_not_there_is_named(devskyy: Command, tmp_path: Path) -> None:
    ran = devskyy("bench", "judge", "--pairs", str(tmp_path / "none.csv"))
    assert ran.code == 2
    assert "No such file" in ran.err

"""`devskyy bench complexity`: agreement with a table of labels, and what is wrong with a table that is none."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskyy.cli.bench.complexity import spearman
from tests.cli.conftest import Command

TABLE = """id,prompt,difficulty,comment
a,Say hello.,1,
b,"Write a Python function, please,
that counts vowels.",3.0,two lines
c,"Prove that the harmonic series diverges, and derive its rate.",5,
d,,1,no prompt at all
"""


def test_agreement_is_told_without_a_platform(devskyy: Command, home: Path, tmp_path: Path) -> None:
    # Given a table with more columns than are needed, a prompt of two lines, and one that is empty
    path = tmp_path / "labels.csv"
    path.write_text(TABLE)
    # When it is measured
    ran = devskyy("bench", "complexity", "--labels", str(path), "--json")
    # Then each row counts
    assert ran.code == 0
    assert set(ran.document) == {"spearman", "n"}
    assert ran.document["n"] == 4
    assert 0 < ran.document["spearman"] <= 1
    assert "over 4 prompts: 0." in devskyy("bench", "complexity", "--labels", str(path)).out


def test_a_table_of_another_program_is_read(devskyy: Command, home: Path, tmp_path: Path) -> None:
    # Given a table with a byte order mark, other line ends, and columns in another order
    path = tmp_path / "labels.csv"
    path.write_bytes("\ufeffdifficulty,prompt\r\n2,Hello\r\n4,Derive the wave equation.\r\n".encode())
    # When it is measured, Then it is as good as any
    assert devskyy("bench", "complexity", "--labels", str(path), "--json").document == {"spearman": 1.0, "n": 2}


def test_prompts_that_all_look_alike_have_no_order(devskyy: Command, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("prompt,difficulty\nHello,1\nHello,2\n")
    assert devskyy("bench", "complexity", "--labels", str(path), "--json").document == {"spearman": None, "n": 2}
    assert "unknown: all prompts seem equally difficult" in devskyy(
        "bench", "complexity", "--labels", str(path)
    ).out.replace("\n", " ")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "has no column 'prompt' and no column 'difficulty'; its columns are: none"),
        (b"text,difficulty\na,1\n", "has no column 'prompt'; its columns are: 'text', 'difficulty'"),
        (b"prompt,level\na,1\n", "has no column 'difficulty'; its columns are: 'prompt', 'level'"),
        (b"prompt,difficulty\n", "has no rows"),
        (b"prompt,difficulty\na,1\nb,hard\n", "line 3: the difficulty 'hard' is no number"),
        (b"prompt,difficulty\na,1\nb,\n", "line 3: the difficulty '' is no number"),
        (b"prompt,difficulty\na,1\nb\n", "line 3: the difficulty None is no number"),
        (b"prompt,difficulty\na,nan\nb,1\n", "line 2: the difficulty 'nan' is no number"),
        (b"prompt,difficulty\na,1\nb,1\n", "needs at least two different difficulties"),
        (b"prompt,difficulty\n\xff\xfe,1\n", "is no UTF-8 text"),
    ],
)
def test_a_table_that_is_none_is_a_mistake_with_its_reason(
    devskyy: Command, home: Path, tmp_path: Path, content: bytes, rule: str
) -> None:
    # Given a file, When it is measured
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    ran = devskyy("bench", "complexity", "--labels", str(path), "--json")
    # Then the command fails as a mistake in its use, and says what is wrong
    assert ran.code == 2
    (error,) = ran.document["errors"]
    assert error["field"] == "--labels"
    assert rule in error["message"]


@pytest.mark.parametrize(("name", "reason"), [("none.csv", "No such file"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_a_mistake(
    devskyy: Command, home: Path, tmp_path: Path, name: str, reason: str
) -> None:
    ran = devskyy("bench", "complexity", "--labels", str(tmp_path / name), "--json")
    assert ran.code == 2
    assert reason in ran.document["errors"][0]["message"]


# -- the correlation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ([1, 2, 3], [10, 20, 90], 1),
        ([1, 2, 3], [3, 2, 1], -1),
        ([106, 86, 100, 101, 99, 103, 97, 113, 112, 110], [7, 0, 27, 50, 28, 29, 20, 12, 6, 17], -0.17575757),
        ([1, 2, 2, 3], [1, 2, 3, 4], 0.9486833),
    ],
)
def test_spearman_of_known_tables(ours: Sequence[float], theirs: Sequence[float], found: float) -> None:
    assert spearman(ours, theirs) == pytest.approx(found)


@pytest.mark.parametrize(("ours", "theirs"), [([1, 1], [1, 2]), ([1], [1])])
def test_spearman_of_no_order_is_unknown(ours: Sequence[float], theirs: Sequence[float]) -> None:
    assert spearman(ours, theirs) is None


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2))
def test_spearman_depends_on_order_alone(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    found = spearman(ours, theirs)
    assert spearman([each**3 for each in ours], theirs) == (None if found is None else pytest.approx(found))

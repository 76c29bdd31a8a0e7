"""`devskyy classify`: no platform is needed to say how hard a task is."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.conftest import Command

QUESTION = "What colour do you get when you mix blue and yellow?"


def test_a_prompt_is_classified_without_a_platform(devskyy: Command, home: Path) -> None:
    # Given no platform, When a prompt is classified
    ran = devskyy("classify", QUESTION, "--json")
    # Then one document says its tier, how sure that is, how hard it is, and why
    assert ran.code == 0
    assert set(ran.document) == {"tier", "confidence", "difficulty", "reasons"}
    assert ran.document["tier"] == "simple"
    assert 0.5 < ran.document["confidence"] <= 1
    assert 0 <= ran.document["difficulty"] < 0.4
    assert ran.document["reasons"][-1].endswith("'simple'")


def test_people_read_the_same_in_words(devskyy: Command, home: Path) -> None:
    ran = devskyy("classify", QUESTION)
    first, _, *reasons = ran.out.splitlines()
    assert first.startswith("simple, difficulty 0.")
    assert first.endswith("% sure")
    assert "· asks for one thing" in reasons


def test_a_prompt_comes_from_standard_input(devskyy: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = devskyy("classify", QUESTION, "--json").document
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(QUESTION.encode())))
    assert devskyy("classify", "-", "--json").document == told


def test_files_that_come_along_count(devskyy: Command, home: Path, tmp_path: Path) -> None:
    # Given a file, When it comes with the prompt
    (tmp_path / "sales.csv").write_text("day,sum\n" * 100_000)
    alone = devskyy("classify", "Summarise this.", "--json").document
    full = devskyy("classify", "Summarise this.", "--file", str(tmp_path / "sales.csv"), "--json").document
    # Then it makes the task harder, and a reason names it
    assert full["difficulty"] > alone["difficulty"]
    assert "brings 1 input (data), 800 kB" in full["reasons"]


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_nothing_to_do_is_a_mistake(devskyy: Command, home: Path, prompt: str) -> None:
    ran = devskyy("classify", prompt, "--json")
    assert ran.code == 2
    assert ran.document["errors"][0]["field"] == "prompt"

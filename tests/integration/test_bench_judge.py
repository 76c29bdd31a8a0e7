"""`devskyy bench judge --judge` through the door of a real platform."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command, devskyy
from tests.live import LivePlatform
from tests.quality.test_command import PAIR, table
from tests.simulators.openai import Behaviour, OpenAISimulator

__all__ = ["devskyy"]

pytestmark = pytest.mark.platform


def test_a_service_of_the_platform_judges_and_its_cost_is_told(
    simulated: tuple[LivePlatform, OpenAISimulator],
    sim: OpenAISimulator,
    devskyy: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a judge that prefers whatever stands first
    live, _ = simulated
    monkeypatch.setenv("DEVSKYY_URL", live.url)
    said = json.dumps({"reason": "it stands first", "better": "first"})
    sim.behaviour = Behaviour(answer=said, prompt_tokens=1000, completion_tokens=100)
    # When a pair is judged with it
    ran = devskyy(
        "bench", "judge", "--pairs", str(table(tmp_path / "pairs.csv", [PAIR])), "--judge", "simulated", "--json"
    )
    # Then it is undecided, at the price of two calls
    assert ran.code == 0, ran.err
    found = ran.document["with_judge"]
    assert (found["undecided"], found["unjudged"], found["overall"]) == (1, 0, 0.5)
    assert found["cost_usd"] == pytest.approx(2 * (1000 * 1.0 + 100 * 2.0) / 1e6)


def test_a_judge_that_is_not_there_is_named(
    simulated: tuple[LivePlatform, OpenAISimulator],
    devskyy: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEVSKYY_URL", simulated[0].url)
    ran = devskyy("bench", "judge", "--pairs", str(table(tmp_path / "pairs.csv", [PAIR])), "--judge", "nobody")
    assert ran.code == 2
    assert "nobody" in ran.err

"""Teams on a real platform: a recorded one replays without anybody."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import LivePlatform
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = [pytest.mark.platform, pytest.mark.timeout(300)]

PROMPT = "Describe a leather handbag: the material, the lining, and the care."


def kinds(live: LivePlatform, task: dict[str, Any]) -> set[str]:
    streamed = httpx.get(f"{live.url}/api/v1/tasks/{task['task_id']}/events", params={"follow": "false"}, timeout=10)
    return {line.removeprefix("event: ") for line in streamed.text.splitlines() if line.startswith("event: ")}


@pytest.mark.parametrize("tier", ["complex", "mega"])
def test_a_recorded_team_replays_without_its_provider(
    tier: str, simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator, tmp_path: Path
) -> None:
    # Given a team whose run was recorded
    live, file = simulated[0], tmp_path / "run.jsonl"
    ran = live.cli("run", PROMPT, "--tier", tier, "--record", str(file), "--json", timeout_s=200)
    assert ran.returncode == 0, ran.stderr
    first = json.loads(ran.stdout)
    # When it is replayed while the provider answers nobody
    sim.behaviour, asked = Behaviour(fault="500"), len(sim.calls)
    again = live.cli("run", "--replay", str(file), "--json", timeout_s=200)
    assert again.returncode == 0, again.stderr + again.stdout
    second = json.loads(again.stdout)
    # Then there is the same answer at the same tokens and costs, after the same kinds of events, and nobody was asked
    assert len(sim.calls) == asked
    assert second["answer"] == first["answer"]
    sums = ("prompt_tokens", "completion_tokens", "cost_usd", "premium_cost_usd", "agents")
    assert {name: second["receipt"][name] for name in sums} == {
        name: pytest.approx(first["receipt"][name]) for name in sums
    }
    assert kinds(live, second) == kinds(live, first)
    assert all(call["replayed"] for call in second["receipt"]["calls"])

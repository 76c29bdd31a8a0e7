"""Members of a team, its strategist and its coordinator are killed with SIGKILL in the middle of its work."""

from collections import Counter
from typing import Any

import httpx
import pytest

from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator

PROMPT = "Describe a leather handbag for a shop window: its material, its lining, and the care that it needs."
ENDED = ("completed", "failed", "cancelled")

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

CASES = [
    ("complex", "ray::CoordinatorActor", 2),
    ("complex", "ray::AgentActor", 2),
    ("complex", "ray::CoordinatorActor", 6),
    # The strategist is the seat of an agent: killed while it plans, and while the parts are carried.
    ("mega", "ray::AgentActor", 1),
    ("mega", "ray::CoordinatorActor", 4),
    ("mega", "ray::SpecialistsActor", 9),
]
SHORT = CASES[2:5]
"""These are in every run; the others in the soak."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "victim" in metafunc.fixturenames:
        long = metafunc.config.getoption("--rounds")
        metafunc.parametrize(("tier", "victim", "after"), CASES if long else SHORT)


def test_a_team_ends_and_pays_no_journalled_call_twice(
    tier: str, victim: str, after: int, simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator
) -> None:
    live, _ = simulated
    until(live.ready, 90, "a platform that is ready")
    # Given a team whose provider takes its time
    sim.behaviour = Behaviour(latency_s=0.7)
    before = len(sim.calls)
    mark = f"{tier}-{victim}-{after}"
    request = {"prompt": f"{PROMPT} ({mark})", "tier": tier, "timeout_s": 200}
    task_id = httpx.post(f"{live.url}/api/v1/tasks", json=request, timeout=30).json()["task_id"]
    # When one of its parts is killed after some calls
    until(lambda: len(sim.calls) >= before + after, 90, f"{after} calls")
    live.process(victim).kill()

    # Then the task ends with an answer
    def ended() -> dict[str, Any] | None:
        try:
            task = httpx.get(f"{live.url}/api/v1/tasks/{task_id}", timeout=15).json()
        except httpx.HTTPError:
            return None
        return dict(task) if task["status"] in ENDED else None

    task = until(ended, 180, "the end of the task")
    assert (task["status"], task["tier"]) == ("completed", tier), task["error"]
    # And no call that was answered was made again; one that the death of a gateway left in doubt is marked and charged
    calls = task["receipt"]["calls"]
    doubtful = [c for c in calls if c["in_doubt"]]
    assert all(c["cost_usd"] > 0 and c["cost_estimated"] for c in doubtful)
    assert not doubtful or "Coordinator" in victim, "a gateway sits beside the coordinator, and beside no agent"
    steps = Counter(c["step"] for c in calls if c["outcome"] == "answered")
    assert [step for step, times in steps.items() if times > 1] == []
    made = Counter(str(c.body) for c in sim.calls[before:])
    assert sum(times - 1 for times in made.values()) <= len(doubtful)
    assert sum(made.values()) <= len(calls)
    # And its team is whole
    assert task["receipt"]["agents"] >= {"complex": 4, "mega": 13}[tier]

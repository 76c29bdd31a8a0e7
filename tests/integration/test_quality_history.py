"""How good answers were, after tasks on a real platform."""

import httpx
import pytest

from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = pytest.mark.platform

ANSWER = "A tote bag carries books to the library, and vegetables home from the market."


@pytest.mark.parametrize(("tier", "answers"), [("simple", 1), ("moderate", 3)])
def test_each_answer_that_a_task_measured_is_in_the_history_of_its_agent(
    simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator, tier: str, answers: int
) -> None:
    # Given a platform, and how many answers it has measured
    live, _ = simulated
    sim.behaviour = Behaviour(answer=ANSWER)

    def measured() -> int:
        rows = httpx.get(f"{live.url}/api/v1/quality", timeout=10).json()["rows"]
        assert all(0 <= row["mean"] <= 1 for row in rows)
        return sum(row["n"] for row in rows)

    before = measured()
    # When a task has ended
    asked = {"prompt": "Name a use of a tote bag.", "tier": tier}
    reply = httpx.post(f"{live.url}/api/v1/tasks", json=asked, headers={"Prefer": "wait=60"}, timeout=70).json()
    assert reply["status"] == "completed"
    # Then what its agents answered is counted
    until(lambda: measured() >= before + answers, 30, "the answers in the history")
    # And agents show it
    agents = httpx.get(f"{live.url}/api/v1/agents", timeout=10).json()["agents"]
    assert any(agent["quality"] is not None for agent in agents)

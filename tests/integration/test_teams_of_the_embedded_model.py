"""Teams on a real platform without any key: every shape runs on the embedded model."""

from typing import Any

import httpx
import pytest

from tests.live import LivePlatform

pytestmark = [pytest.mark.platform, pytest.mark.timeout(300)]

PROMPT = "Describe a leather handbag: the material, the lining, and the care."


def run(live: LivePlatform, **fields: Any) -> dict[str, Any]:
    reply = httpx.post(f"{live.url}/api/v1/tasks", json=fields, headers={"Prefer": "wait=240"}, timeout=250)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@pytest.mark.parametrize(
    ("tier", "shape", "agents"),
    [
        ("simple", "direct", range(1, 2)),
        ("moderate", "parallel", range(3, 5)),
        # These take most of a minute; thirteen agents, who write and read 10,000 tokens, two.
        pytest.param("complex", "coordinated", range(4, 5), marks=pytest.mark.soak),
        pytest.param("mega", "hierarchical", range(13, 46), marks=pytest.mark.soak),
    ],
)
def test_every_shape_runs_on_the_embedded_model(platform: LivePlatform, tier: str, shape: str, agents: range) -> None:
    # Given a platform without any key
    # When a task of a tier is run, with short answers so that the test is
    task = run(platform, prompt=PROMPT, tier=tier, max_tokens=24)
    # Then its team ends with an answer, at no cost, and as many agents as the shape has
    assert (task["status"], task["tier"], task["shape"]) == ("completed", tier, shape), task["error"]
    assert task["answer"]
    assert task["receipt"]["agents"] in agents
    assert (task["receipt"]["cost_usd"], task["receipt"]["premium_cost_usd"] > 0) == (0, True)
    assert {call["service"] for call in task["receipt"]["calls"]} == {"local"}
    assert task["quality"]["overall"] is not None

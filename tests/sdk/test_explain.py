import pytest

from devskyy import AsyncClient, Client, InvalidTask
from tests.simulators.platform import EXPLANATION, PlatformSimulator


def test_a_choice_is_explained(client: Client, platform: PlatformSimulator) -> None:
    # Given a platform, When it is asked which service would serve a task
    found = client.explain_services("Hi.", agent="writing", max_cost_usd=0.5)
    # Then its explanation comes back, and no task was handed in
    assert found == EXPLANATION
    assert [(seen.path, seen.body) for seen in platform.seen] == [
        ("/api/v1/services/explain", {"prompt": "Hi.", "agent": "writing", "max_cost_usd": 0.5})
    ]


async def test_a_choice_is_explained_to_async_code(async_client: AsyncClient) -> None:
    assert await async_client.explain_services("Hi.") == EXPLANATION


def test_a_task_that_cannot_be_is_not_sent(client: Client, platform: PlatformSimulator) -> None:
    with pytest.raises(InvalidTask, match="prompt"):
        client.explain_services("  ")
    assert platform.seen == []

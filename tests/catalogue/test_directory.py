"""What `devskyy services` says, with the broker and the actors replaced."""

from typing import Any, cast

import pytest

from actors.catalogue import load, unavailable_because
from bus.client import Bus
from schemas.service import ServiceStatus
from schemas.settings import Settings
from serve.directory import Directory
from tests.catalogue.conftest import Overlaid


class FoundActors:
    """As much of a bus as the directory needs: who answers."""

    def __init__(self, *names: str) -> None:
        self.names = names

    async def discover(self, expected: set[str]) -> dict[str, dict[str, Any]]:
        return {name: {} for name in self.names}


async def listed(catalogue: Any, *actors: str) -> dict[str, ServiceStatus]:
    directory = Directory(cast("Bus", FoundActors(*actors)), Settings(), catalogue)
    return {status.name: status for status in await directory.services()}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})


async def test_all_21_are_listed_with_the_reason_that_the_catalogue_gives() -> None:
    # Given a platform without keys whose actors answer
    catalogue = load()
    found = await listed(catalogue, "models")
    # Then each service is listed with the catalogue's own word
    assert len(found) == 21
    for name, status in found.items():
        reason = unavailable_because(name, catalogue.services[name], {}, catalogue.services)
        assert (status.reason, status.state) == (reason, "unavailable" if reason else "available")
        assert status.kind == catalogue.services[name].kind
    assert {name for name, status in found.items() if status.state == "available"} == {"local", "local-embeddings"}
    assert found["claude-artifacts"].depends_on == ("claude-sonnet",)


async def test_each_says_how_long_a_prompt_may_be_whether_it_takes_images_and_where_its_scores_come_from(
    overlaid: Overlaid,
) -> None:
    # Given services in litellm's table, on this machine, and of one's own
    found = await listed(overlaid("services: {mine: {model: openai/x}, seeing: {model: openai/y, images: true}}"))
    # Then each tells what is known, and nothing where nobody says
    assert (found["gemini-flash"].context_tokens, found["gemini-flash"].images) == (1_048_576, True)
    assert (found["local"].context_tokens, found["local"].images) == (8192, False)
    assert (found["mine"].context_tokens, found["mine"].images) == (None, None)
    assert found["seeing"].images is True
    assert {status.capabilities_from for status in found.values()} == {"prior"}


async def test_a_price_is_listed_with_its_tiers() -> None:
    price = (await listed(load()))["claude-haiku"].price
    assert price is not None
    assert [tier.tokens for tier in price.above] == [100_000]


async def test_without_their_actor_the_embedded_models_and_whatever_needs_them_are_unavailable(
    overlaid: Overlaid,
) -> None:
    # Given a service that depends on the embedded model, and no actor that answers
    found = await listed(overlaid("services: {mine: {model: openai/x, api_key_env: none, depends_on: [local]}}"))
    # Then all of them say so
    assert found["local"].reason == found["local-embeddings"].reason == "its actor does not answer"
    assert found["mine"].reason == "needs local: its actor does not answer"
    # And what that actor never runs keeps its own reason
    assert found["sdxl"].reason in ("needs a GPU and the gpu extra", "nothing in this version serves images")


async def test_a_key_alone_makes_nothing_available_that_nothing_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": "k"})
    found = await listed(load(), "models")
    assert found["gpt"].state == "available"
    assert found["openai-images"].reason == "nothing in this version serves images"

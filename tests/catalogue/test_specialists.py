"""The micro-specialists of our own, and those that an overlay changes or adds."""

from collections import Counter

import pytest

from actors.agents.specialists import EMBEDDED_TOKENS, brief
from actors.catalogue import Catalogue, load
from actors.coordinator.classifier import DOMAINS
from schemas.errors import ConfigError
from schemas.service import LOCAL
from tests.catalogue.conftest import Overlaid

PROVIDERS = ("cerebras", "groq", "scaleway")
SEE_PERSONAL_DATA = ("security-reviewer", "privacy-reviewer", "customer-experience-reviewer", "email-marketer")


def test_there_are_24_specialists_beside_the_four_agents() -> None:
    catalogue = load()
    assert len(catalogue.specialists) == 24
    assert list(catalogue.carriers) == ["cerebras-ultra", "gemini-flash", "groq-lightning", "scaleway-eu"]


def test_they_are_spread_over_three_providers_with_the_embedded_model_last() -> None:
    # Given the orders in which services may serve them
    orders = {name: spec.services for name, spec in load().specialists.items()}
    # Then each asks those three, but for those who see personal data, and every provider is the first for some
    for name, order in orders.items():
        asked = ("scaleway",) if name in SEE_PERSONAL_DATA else PROVIDERS
        assert sorted(order[:-1]) == sorted(asked), name
        assert order[-1] == LOCAL
    assert min(Counter(order[0] for order in orders.values()).values()) >= 6


@pytest.mark.parametrize("name", SEE_PERSONAL_DATA)
def test_personal_data_stays_in_the_european_union_or_here(name: str) -> None:
    catalogue = load()
    regions = [catalogue.services[service].region or "" for service in catalogue.order_for(name)]
    assert all(region.split("/")[0] in ("eu", "local") for region in regions)


def test_every_trade_of_the_classifier_concerns_somebody() -> None:
    capabilities = {skill for spec in load().specialists.values() for skill in spec.capabilities}
    assert capabilities >= set(DOMAINS)


def test_every_specialist_is_for_a_trade_that_the_classifier_or_a_service_knows() -> None:
    catalogue = load()
    known = set(DOMAINS) | set(catalogue.services["cerebras"].capabilities)
    for name, spec in catalogue.specialists.items():
        assert known.intersection(spec.capabilities), name


def test_prompts_are_short_and_no_two_are_alike() -> None:
    specialists = load().specialists
    prompts = [spec.prompt for spec in specialists.values()]
    assert max(len(prompt) for prompt in prompts) <= 400
    assert len(set(prompts)) == len({spec.role for spec in specialists.values()}) == 24
    assert all(spec.max_tokens <= 400 for spec in specialists.values())


def test_without_keys_their_findings_are_shorter_for_the_embedded_model_writes_slowly() -> None:
    # Given no key, and one key
    nothing, one = brief(load(), {}), brief(load(), {"GROQ_API_KEY": "k"})
    # Then whoever only the embedded model can serve has less room, and nothing else changes
    assert {spec.max_tokens for spec in nothing.specialists.values()} == {EMBEDDED_TOKENS}
    assert one.specialists["copy-editor"] == load().specialists["copy-editor"]
    assert one.specialists["privacy-reviewer"].max_tokens == EMBEDDED_TOKENS  # groq may not see personal data
    assert nothing.carriers == one.carriers == load().carriers


def test_an_overlay_adds_a_specialist_and_changes_ours(overlaid: Overlaid) -> None:
    # Given an overlay with a specialist of its own, and another prompt for one of ours
    catalogue = overlaid(
        "agents:\n"
        "  leather-expert: {kind: specialist, role: Leather expert, prompt: You know hides., services: [local]}\n"
        "  copy-editor: {prompt: Cut every second word.}\n"
    )
    # Then the one is there, and of the other everything else is kept
    assert len(catalogue.specialists) == 25
    ours, before = catalogue.specialists["copy-editor"], load().specialists["copy-editor"]
    assert ours == before.model_copy(update={"prompt": "Cut every second word."})


def test_an_overlay_that_leaves_nobody_to_carry_tasks_is_refused(overlaid: Overlaid) -> None:
    everybody = "".join(f"  {name}: {{kind: specialist}}\n" for name in load().carriers)
    with pytest.raises(ConfigError, match="one at least must carry tasks"):
        overlaid(f"agents:\n{everybody}")


@pytest.mark.parametrize(
    ("seat", "role"),
    [
        ("security-reviewer", "security-reviewer"),
        ("security-reviewer-3", "security-reviewer"),
        ("agent-2", "agent-2"),  # its own name, though there is an `agent` too
        ("agent-2-17", "agent-2"),
        ("agent-9", "agent"),
        ("long-gone-4", "long-gone-4"),
        ("security-reviewer-x", "security-reviewer-x"),
    ],
)
def test_a_seat_is_called_by_its_agents_name_and_a_number(seat: str, role: str, overlaid: Overlaid) -> None:
    mine = "{role: r, prompt: p, services: [local]}"
    catalogue: Catalogue = overlaid(f"agents: {{agent: {mine}, agent-2: {mine}}}")
    assert catalogue.role_of(seat) == role

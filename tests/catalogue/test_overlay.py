"""What an overlay changes and adds, and who may serve whom then."""

import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import Catalogue, load
from schemas.errors import NotFound
from schemas.service import Limits, Price
from tests.catalogue.conftest import MY_MODEL, Overlaid

BUILT_IN = load()
ROUTED = MY_MODEL + "routing: {services: [my-model, groq]}\n"


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "services:\nagents:\nrouting:\n", "{}"])
def test_an_overlay_without_entries_changes_nothing(overlaid: Overlaid, text: str) -> None:
    assert overlaid(text) == BUILT_IN


def test_the_example_of_the_documentation_loads(overlaid: Overlaid) -> None:
    # Given the overlay that users are shown
    text = """
    services:
      my-model:
        model: openai/anything            # a litellm model string
        api_base: http://127.0.0.1:9999/v1
        api_key_env: MY_KEY               # or the word none, for a server without keys
        capabilities: {general: 0.7, code: 0.6}
        price: {input_per_mtok: 0.1, output_per_mtok: 0.4}
        limits: {rpm: 600, tpm: 1000000, concurrency: 32}
    agents:
      my-agent: {role: "Mine", prompt: "Do it.", services: [my-model], temperature: 0.3}
    routing:
      services: [my-model]                # what may serve, in this order; nothing else, local neither
      premium_service: claude-opus
    """
    # When it is laid over our own
    catalogue = overlaid(text)
    # Then what it says is there
    mine = catalogue.services["my-model"]
    assert mine.price == Price(input_per_mtok=0.1, output_per_mtok=0.4)
    assert mine.limits == Limits(rpm=600, tpm=1_000_000, concurrency=32)
    # And it alone serves everybody
    assert {catalogue.order_for(agent) for agent in catalogue.agents} == {("my-model",)}
    # And our own entries are still known
    assert BUILT_IN.services.items() <= catalogue.services.items()


def test_an_entry_with_a_built_in_name_replaces_only_the_fields_it_names(overlaid: Overlaid) -> None:
    catalogue = overlaid("services: {groq: {region: eu}}\nagents: {groq-lightning: {temperature: 0}}\n")
    assert catalogue.services["groq"] == BUILT_IN.services["groq"].model_copy(update={"region": "eu"})
    before = BUILT_IN.agents["groq-lightning"]
    assert catalogue.agents["groq-lightning"] == before.model_copy(update={"temperature": 0.0})
    assert catalogue.services["cerebras"] == BUILT_IN.services["cerebras"]


def test_a_mapping_that_is_given_replaces_its_field_whole(overlaid: Overlaid) -> None:
    groq = overlaid("services: {groq: {capabilities: {poetry: 0.5}}}").services["groq"]
    assert groq.capabilities == {"poetry": 0.5}


def test_an_overlay_that_sets_a_field_to_null_takes_it_back(overlaid: Overlaid) -> None:
    assert overlaid("services: {groq: {region: null}}").services["groq"].region is None


def test_an_overlay_states_dependencies_on_services_of_its_own_and_of_ours(overlaid: Overlaid) -> None:
    # Given entries in any order, and one of ours that then needs one of them
    text = "services:\n  upper: {model: openai/a, depends_on: [lower, groq]}\n  lower: {model: openai/b}\n"
    services = overlaid(text + "  scaleway: {depends_on: [upper]}\n").services
    # Then they stand as stated
    assert services["upper"].depends_on == ("lower", "groq")
    assert services["scaleway"].depends_on == ("upper",)
    # And an empty list takes them back
    assert overlaid("services: {claude-artifacts: {depends_on: []}}").services["claude-artifacts"].depends_on == ()


def test_routing_keeps_what_the_overlay_does_not_name(overlaid: Overlaid) -> None:
    assert overlaid(ROUTED).routing.premium_service == BUILT_IN.routing.premium_service
    premium = overlaid("routing: {premium_service: cerebras}").routing
    assert (premium.services, premium.premium_service) == (None, "cerebras")


def test_merge_keys_work_and_what_stands_beside_them_wins(overlaid: Overlaid) -> None:
    text = "services:\n  one: &one {model: openai/a, region: eu}\n  two: {<<: *one, region: us}\n"
    services = overlaid(text).services
    assert (services["two"].model, services["two"].region) == ("openai/a", "us")


def test_without_routing_an_agent_keeps_its_own_order() -> None:
    assert all(BUILT_IN.order_for(name) == spec.services for name, spec in BUILT_IN.agents.items())
    assert BUILT_IN.passed_over_by_routing("cerebras-ultra") == ()


def test_with_routing_its_order_holds_for_every_built_in_agent(overlaid: Overlaid) -> None:
    catalogue = overlaid(ROUTED)
    assert {catalogue.order_for(agent) for agent in BUILT_IN.agents} == {("my-model", "groq")}


def test_an_agent_of_the_overlay_keeps_its_own_order_less_what_routing_forbids(overlaid: Overlaid) -> None:
    catalogue = overlaid(ROUTED + "agents: {mine: {role: r, prompt: p, services: [groq, local, my-model, cerebras]}}\n")
    assert catalogue.order_for("mine") == ("groq", "my-model")
    assert catalogue.passed_over_by_routing("mine") == (
        "local: not in routing.services",
        "cerebras: not in routing.services",
    )


def test_an_agent_of_the_overlay_that_routing_leaves_nothing_gets_the_order_of_routing(overlaid: Overlaid) -> None:
    catalogue = overlaid(ROUTED + "agents: {mine: {role: r, prompt: p, services: [local]}}\n")
    assert catalogue.order_for("mine") == ("my-model", "groq")


def test_a_built_in_agent_is_the_users_own_only_where_the_overlay_states_its_order(overlaid: Overlaid) -> None:
    # Given an overlay that changes one agent's temperature and another's order
    catalogue = overlaid(
        ROUTED + "agents: {gemini-flash: {temperature: 0}, groq-lightning: {services: [groq, my-model]}}\n"
    )
    # Then only the second keeps an order of its own
    assert catalogue.own_agents == {"groq-lightning"}
    assert catalogue.order_for("groq-lightning") == ("groq", "my-model")
    assert catalogue.order_for("gemini-flash") == ("my-model", "groq")


def test_of_services_asked_for_by_name_routing_leaves_what_it_allows(overlaid: Overlaid) -> None:
    catalogue = overlaid(ROUTED)
    assert catalogue.order_for(["cerebras", "groq"]) == ("groq",)
    assert catalogue.order_for(["cerebras"]) == ()
    assert catalogue.passed_over_by_routing(["cerebras"]) == ("cerebras: not in routing.services",)
    assert BUILT_IN.order_for(["cerebras", "groq"]) == ("cerebras", "groq")


def test_an_unknown_agent_or_service_has_no_order() -> None:
    with pytest.raises(NotFound, match="agent 'nobody'"):
        BUILT_IN.order_for("nobody")
    with pytest.raises(NotFound, match="service 'nothing'"):
        BUILT_IN.order_for(["nothing"])


names = st.lists(st.sampled_from(["cerebras", "groq", "scaleway", "local"]), min_size=1, unique=True).map(tuple)


@given(allowed=st.none() | names, own=names, is_own=st.booleans())
def test_an_order_never_holds_what_routing_forbids_and_ordering_it_again_changes_nothing(
    allowed: tuple[str, ...] | None, own: tuple[str, ...], is_own: bool
) -> None:
    # Given any routing and any agent
    agent = BUILT_IN.agents["scaleway-eu"].model_copy(update={"services": own})
    routing = BUILT_IN.routing.model_copy(update={"services": allowed})
    catalogue = Catalogue(BUILT_IN.services, {"one": agent}, routing, frozenset({"one"} if is_own else ()))
    # When its order is asked for
    order = catalogue.order_for("one")
    # Then somebody may serve, and nobody who must not
    assert order
    assert allowed is None or set(order) <= set(allowed)
    assert catalogue.order_for(order) == order


def test_a_catalogue_crosses_processes_as_itself(overlaid: Overlaid) -> None:
    catalogue = overlaid(ROUTED)
    assert pickle.loads(pickle.dumps(catalogue)) == catalogue


def test_a_byte_order_mark_is_no_part_of_the_text(overlay: Path) -> None:
    overlay.write_bytes(b"\xef\xbb\xbfservices: {groq: {region: eu}}\n")
    assert load(overlay).services["groq"].region == "eu"


def test_the_overlay_of_the_page_about_services_loads(overlaid: Overlaid) -> None:
    # Given the example that users are shown there
    page = (Path(__file__).parents[2] / "docs" / "services.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    # When it is laid over our own
    catalogue = overlaid(example)
    # Then what it says is there
    assert catalogue.services["midjourney"].api_base == "https://images.example.com"
    mine = catalogue.services["my-model"]
    assert mine.images
    assert mine.price is not None
    assert [tier.tokens for tier in mine.price.above] == [200_000]
    assert catalogue.order_for("my-agent") == ("my-model", "local")
    assert {"code", "poetry"} <= catalogue.profiles.keys()

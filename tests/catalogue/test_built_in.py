"""Our own services and agents, without an overlay."""

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from actors.catalogue import context_of, key_variable, load, price_of, prices, supports_images, unavailable_because
from actors.catalogue.availability import EMBEDDED
from actors.catalogue.endpoints import provider_of
from schemas.service import LOCAL

PAGE = Path(__file__).parents[2] / "docs" / "services.md"
NOT_LISTED = {"cursor", "midjourney", "sdxl"}
"""Services whose providers are not in litellm's table."""


def chat() -> list[str]:
    return [name for name, spec in load().services.items() if spec.kind == "chat"]


def test_there_are_21_services_of_five_kinds() -> None:
    kinds = Counter(spec.kind for spec in load().services.values())
    assert kinds == {"chat": 15, "image": 3, "agent": 1, "design": 1, "embeddings": 1}
    assert kinds.total() == 21


def test_every_service_says_where_it_computes_and_what_it_is_good_at() -> None:
    for spec in load().services.values():
        assert spec.region
        assert spec.capabilities


def test_every_model_that_a_listed_provider_serves_is_listed_and_not_deprecated() -> None:
    # Given litellm's own table as it lies in its wheel
    found = importlib.util.find_spec("litellm")
    assert found is not None and found.submodule_search_locations
    table: dict[str, Any] = json.loads((Path(found.submodule_search_locations[0]) / prices.TABLE).read_bytes())
    for name, spec in load().services.items():
        if name in NOT_LISTED or provider_of(spec) == EMBEDDED:
            continue
        # When a service's model is looked up there
        listed = table.get(spec.model) or table[spec.model.partition("/")[2]]
        # Then it is the provider's, has a price, and was not given an end by the day that we chose it
        assert listed["litellm_provider"] == provider_of(spec)
        assert listed["input_cost_per_token"] > 0
        assert listed.get("deprecation_date", "9999") > "2026-11-20", name


def test_what_is_not_listed_has_an_unknown_price_except_on_ones_own_gpu() -> None:
    services = load().services
    unknown = {name for name, spec in services.items() if price_of(name, spec)[0] is None}
    assert unknown == NOT_LISTED - {"sdxl"}
    sdxl, _ = price_of("sdxl", services["sdxl"])
    assert sdxl is not None and sdxl.input_per_mtok == sdxl.output_per_mtok == 0


def test_a_dependent_design_service_asks_the_model_that_it_depends_on() -> None:
    services = load().services
    artifacts = services["claude-artifacts"]
    assert artifacts.depends_on == ("claude-sonnet",)
    assert artifacts.model == services["claude-sonnet"].model
    # It has no key of its own, for that service's is used
    assert key_variable(artifacts) is None


def test_whatever_is_available_with_every_key_is_something_that_this_version_serves() -> None:
    services = load().services
    environ = {key: "k" for spec in services.values() if (key := key_variable(spec))} | {"CLOUDFLARE_ACCOUNT_ID": "a"}
    able = {n for n, s in services.items() if unavailable_because(n, s, environ, services) is None}
    assert able == {n for n, s in services.items() if s.kind in ("chat", "embeddings")}


def test_only_models_that_take_pictures_claim_to_see() -> None:
    for name in chat():
        spec = load().services[name]
        assert (spec.capabilities["vision"] > 0) == bool(supports_images(spec)), name


def test_every_chat_service_has_a_score_for_the_same_capabilities() -> None:
    services = load().services
    assert len({frozenset(services[name].capabilities) for name in chat()}) == 1


def test_every_service_is_in_the_page_about_services_with_its_model_and_kind() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` (\|.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    services = load().services
    assert rows.keys() == services.keys()
    for name, spec in services.items():
        assert f"| `{spec.model}` |" in rows[name]
        assert f"| {spec.kind} |" in rows[name]
        assert f"| {spec.region} |" in rows[name]
        needed = [variable] if (variable := key_variable(spec)) else []
        assert all(f"`{one}`" in rows[name] for one in (*needed, *spec.depends_on))


def test_everything_runs_without_any_key() -> None:
    # Given our own catalogue and an environment without keys
    catalogue = load()
    # When an agent's order is gone through
    for agent in catalogue.agents:
        able = [s for s in catalogue.order_for(agent) if unavailable_because(s, catalogue.services[s], {}) is None]
        # Then the embedded model serves it, and it only, for it is the last
        assert able == [LOCAL]
        assert catalogue.order_for(agent)[-1] == LOCAL


def test_the_four_agents_are_good_at_their_trades() -> None:
    agents = load().agents
    assert {"architecture", "code"} <= set(agents["cerebras-ultra"].capabilities)
    assert {"reasoning", "analysis"} <= set(agents["gemini-flash"].capabilities)
    assert {"documentation", "writing"} <= set(agents["groq-lightning"].capabilities)
    assert {"security", "privacy", "gdpr"} <= set(agents["scaleway-eu"].capabilities)


def test_every_agent_asks_its_own_service_first() -> None:
    first = {agent: load().order_for(agent)[0] for agent in load().carriers}
    assert first == {
        "cerebras-ultra": "cerebras",
        "gemini-flash": "gemini-flash",
        "groq-lightning": "groq",
        "scaleway-eu": "scaleway",
    }


def test_what_the_privacy_agent_sees_stays_in_the_european_union_or_here() -> None:
    catalogue = load()
    regions = [catalogue.services[s].region for s in catalogue.order_for("scaleway-eu")]
    assert all(region is not None and region.split("/")[0] in ("eu", "local") for region in regions)


def test_every_capability_of_an_agent_has_a_prior_score_in_all_its_services() -> None:
    catalogue = load()
    for agent in catalogue.carriers.values():
        for service in agent.services:
            assert set(agent.capabilities) <= set(catalogue.services[service].capabilities)


def test_the_embedded_model_claims_less_than_any_other() -> None:
    services = load().services
    local = services[LOCAL].capabilities
    for name in chat():
        if name != LOCAL:
            # Several do not see at all, as it does not
            assert all(services[name].capabilities[c] > score or score == 0 for c, score in local.items())


def test_every_chat_service_of_ours_has_a_known_price_and_a_known_context() -> None:
    for name in chat():
        spec = load().services[name]
        price, unknown = price_of(name, spec)
        assert price is not None and unknown is None
        assert (price.input_per_mtok == 0) == (provider_of(spec) == EMBEDDED)
        assert context_of(spec)


def test_the_premium_service_is_the_dearest() -> None:
    catalogue = load()
    listed = {name: price_of(name, catalogue.services[name])[0] for name in chat()}
    by_price = sorted(listed, key=lambda name: price.output_per_mtok if (price := listed[name]) else 0.0)
    assert catalogue.routing.premium_service == by_price[-1]


def test_reading_the_catalogue_and_its_prices_loads_neither_ray_nor_nats_nor_litellm() -> None:
    code = (
        "import sys\n"
        "from actors.catalogue import load, price_of, unavailable_because\n"
        "services = load().services\n"
        "assert all(price_of(n, s)[0] for n, s in services.items() if s.kind == 'chat')\n"
        "assert any(unavailable_because(n, s, {}, services) for n, s in services.items())\n"
        "print(sorted({'ray', 'nats', 'litellm', 'torch', 'diffusers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

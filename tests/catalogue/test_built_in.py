"""Our own services and agents, without an overlay."""

import subprocess
import sys

from actors.catalogue import context_of, load, price_of, unavailable_because
from actors.catalogue.availability import EMBEDDED, provider_of
from schemas.service import LOCAL, LOCAL_EMBEDDINGS


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
    first = {agent: load().order_for(agent)[0] for agent in load().agents}
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
    for agent in catalogue.agents.values():
        for service in agent.services:
            assert set(agent.capabilities) <= set(catalogue.services[service].capabilities)


def test_the_embedded_model_claims_less_than_any_other() -> None:
    services = load().services
    local = services[LOCAL].capabilities
    for name, spec in services.items():
        if name not in (LOCAL, LOCAL_EMBEDDINGS):
            assert all(spec.capabilities[capability] > score for capability, score in local.items())


def test_every_service_of_ours_has_a_known_price_and_every_chat_service_a_known_context() -> None:
    for name, spec in load().services.items():
        price, unknown = price_of(name, spec)
        assert price is not None and unknown is None
        assert (price.input_per_mtok == 0) == (provider_of(spec) == EMBEDDED)
        if spec.kind == "chat":
            assert context_of(spec)


def test_the_premium_service_is_the_dearest() -> None:
    catalogue = load()
    prices = {name: price_of(name, spec)[0] for name, spec in catalogue.services.items()}
    dearest = max(prices, key=lambda name: prices[name].output_per_mtok if prices[name] else 0.0)
    assert catalogue.routing.premium_service == dearest


def test_reading_the_catalogue_and_its_prices_loads_neither_ray_nor_nats_nor_litellm() -> None:
    code = (
        "import sys\n"
        "from actors.catalogue import load, price_of\n"
        "assert all(price_of(n, s)[0] for n, s in load().services.items())\n"
        "print(sorted({'ray', 'nats', 'litellm'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""What a service costs: stated, listed, or unknown with the reason; never a zero that nobody vouches for."""

import math
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import (
    context_of,
    cost_usd,
    load,
    most_cost_usd,
    no_images_because,
    price_of,
    prices,
    supports_images,
)
from actors.catalogue.availability import EMBEDDED
from actors.catalogue.endpoints import provider_of
from schemas.service import Price, PriceTier, ServiceSpec

LITELLM = f"litellm {version('litellm')}"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A table of the test's own in place of litellm's; an entry is what the file would hold."""
    table: dict[str, Any] = {}

    def entries() -> dict[str, Any]:
        return {key: prices._entry(fields) for key, fields in table.items()}

    monkeypatch.setattr(prices, "_table", entries)
    return table


def spec(model: str, **fields: Any) -> ServiceSpec:
    return ServiceSpec(model=model, **fields)


def entry(provider: str, given: float | None, taken: float | None, mode: str = "chat", **more: Any) -> dict[str, Any]:
    costs = {"input_cost_per_token": given, "output_cost_per_token": taken}
    return {"litellm_provider": provider, "mode": mode, **{k: v for k, v in costs.items() if v is not None}, **more}


def test_a_stated_price_goes_before_the_table() -> None:
    stated = Price(input_per_mtok=1, output_per_mtok=2)
    assert price_of("x", spec("cerebras/gpt-oss-120b", price=stated)) == (stated, None)


def test_a_stated_price_of_zero_is_believed() -> None:
    free = Price(input_per_mtok=0, output_per_mtok=0)
    assert price_of("x", spec("openai/anything", price=free)) == (free, None)


@pytest.mark.parametrize(
    ("model", "given", "taken"),
    [
        ("cerebras/gpt-oss-120b", 0.35, 0.75),  # listed as provider/model
        ("groq/openai/gpt-oss-20b", 0.075, 0.3),  # a model with a slash of its own
        ("anthropic/claude-opus-4-8", 5.0, 25.0),  # listed under the bare model
    ],
)
def test_a_price_that_is_not_stated_comes_from_litellms_table(model: str, given: float, taken: float) -> None:
    price, unknown = price_of("x", spec(model))
    assert price == Price(input_per_mtok=given, output_per_mtok=taken, source=LITELLM)
    assert unknown is None


def test_embedded_models_cost_nothing_and_say_why() -> None:
    price, _ = price_of("local", spec("embedded/smollm2-135m-instruct"))
    assert price == Price(input_per_mtok=0, output_per_mtok=0, source="runs on this machine")


def test_a_model_that_is_not_listed_has_an_unknown_price_with_the_remedy() -> None:
    assert price_of("mine", spec("openai/anything")) == (
        None,
        "no price is stated and litellm's table has none for openai/anything; state services.mine.price",
    )


def test_a_bare_model_counts_only_for_its_own_provider(listed: dict[str, Any]) -> None:
    listed["big-model"] = entry("azure_ai", 1e-6, 2e-6)
    assert price_of("x", spec("azure_ai/big-model"))[0] is not None
    assert price_of("x", spec("azure/big-model"))[0] is None
    listed["big-model"] = entry("vertex_ai-big_models", 1e-6, 2e-6)
    assert price_of("x", spec("vertex_ai/big-model"))[0] is not None


@pytest.mark.parametrize(
    ("given", "taken"), [(0.0, 0.0), (None, None), (None, 1e-6), (1e-6, None), (0.0, 1e-6), (1e-6, 0.0)]
)
def test_a_zero_or_a_gap_in_the_table_is_unknown_and_not_free(
    listed: dict[str, Any], given: float | None, taken: float | None
) -> None:
    listed["gemini/preview"] = entry("gemini", given, taken)
    price, unknown = price_of("mine", spec("gemini/preview"))
    assert price is None
    assert unknown is not None and "zero or nothing" in unknown and "services.mine.price" in unknown


@pytest.mark.parametrize("nonsense", [-1e-6, math.nan, math.inf, "free", [1], 5])
def test_nonsense_in_the_table_is_unknown(listed: dict[str, Any], nonsense: Any) -> None:
    listed["gemini/odd"] = entry("gemini", nonsense, 1e-6)
    assert price_of("x", spec("gemini/odd"))[0] is None


def test_a_zero_is_true_for_software_that_the_user_runs(listed: dict[str, Any]) -> None:
    listed["ollama/llama"] = entry("ollama", 0.0, 0.0)
    listed["ollama/big:120b-cloud"] = entry("ollama", 0.0, 0.0)
    assert price_of("x", spec("ollama/llama")) == (Price(input_per_mtok=0, output_per_mtok=0, source=LITELLM), None)
    # Ollama's cloud models only pass through it
    assert price_of("x", spec("ollama/big:120b-cloud"))[0] is None


def test_a_price_for_another_kind_of_work_is_not_taken(listed: dict[str, Any]) -> None:
    listed["gemini/painter"] = entry("gemini", 1e-6, 2e-6, mode="image_generation")
    _, unknown = price_of("x", spec("gemini/painter"))
    assert unknown is not None and "image_generation" in unknown


def test_embeddings_have_no_output_to_charge_for(listed: dict[str, Any]) -> None:
    listed["mistral/embed"] = entry("mistral", 1e-7, 0.0, mode="embedding")
    price, _ = price_of("x", spec("mistral/embed", kind="embeddings"))
    assert price is not None and (price.input_per_mtok, price.output_per_mtok) == (0.1, 0.0)


def test_a_picture_is_paid_by_its_own_tokens(listed: dict[str, Any]) -> None:
    of_images = entry("openai", 5e-6, None, mode="image_generation", output_cost_per_image_token=3e-5)
    listed["painter"], listed["vague"] = of_images, entry("openai", 5e-6, 1e-5, mode="image_generation")
    price, _ = price_of("x", spec("openai/painter", kind="image"))
    assert price is not None and (price.input_per_mtok, price.output_per_mtok) == (5.0, 30.0)
    # What its text would cost is not what a picture costs
    assert price_of("x", spec("openai/vague", kind="image"))[0] is None
    assert price_of("x", spec("openai/painter"))[0] is None


def test_a_design_costs_what_the_model_that_writes_it_costs(listed: dict[str, Any]) -> None:
    listed["writer"] = entry("anthropic", 2e-6, 1e-5)
    assert price_of("x", spec("anthropic/writer", kind="design")) == price_of("x", spec("anthropic/writer"))


def test_without_litellm_prices_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(prices, "_table", prices._table.__wrapped__)
    assert price_of("x", spec("cerebras/gpt-oss-120b"))[0] is None


def test_a_cost_is_tokens_times_price() -> None:
    price = Price(input_per_mtok=0.1, output_per_mtok=0.4)
    assert cost_usd(price, 1_000_000, 500_000) == pytest.approx(0.3)
    assert cost_usd(price, 0, 0) == 0.0


LONG = Price(
    input_per_mtok=1,
    output_per_mtok=2,
    above=(
        PriceTier(tokens=100, input_per_mtok=10, output_per_mtok=20),
        PriceTier(tokens=200, input_per_mtok=5, output_per_mtok=2),
    ),
)
"""A price whose second tier is cheaper than its first."""


@pytest.mark.parametrize(
    ("prompt", "usd"),
    [(99, 99 + 20), (100, 100 + 20), (101, 1010 + 200), (200, 2000 + 200), (201, 1005 + 20), (9999, 49995 + 20)],
)
def test_all_of_a_call_is_paid_at_the_price_of_the_tier_that_its_prompt_reaches(prompt: int, usd: float) -> None:
    assert cost_usd(LONG, prompt, 10) * 1e6 == pytest.approx(usd)


def test_the_most_is_what_the_dearest_tier_within_reach_comes_to() -> None:
    # Given a prompt of 250 tokens at the most, Then fewer of them may cost more
    assert most_cost_usd(LONG, 250, 10) == cost_usd(LONG, 200, 10) > cost_usd(LONG, 250, 10)
    # And what no prompt of so many reaches does not count
    assert most_cost_usd(LONG, 100, 10) == cost_usd(LONG, 100, 10)
    assert most_cost_usd(Price(input_per_mtok=1, output_per_mtok=2), 100, 10) * 1e6 == pytest.approx(120)


RATES = {"input_per_mtok": st.floats(0, 100), "output_per_mtok": st.floats(0, 100)}
TIERS = st.lists(st.builds(PriceTier, tokens=st.integers(1, 50), **RATES), max_size=4, unique_by=lambda t: t.tokens)


@given(price=st.builds(Price, above=TIERS.map(lambda tiers: sorted(tiers, key=lambda t: t.tokens)), **RATES))
def test_no_call_within_the_bounds_costs_more_than_the_most(price: Price) -> None:
    for most in range(0, 60, 7):
        bound = most_cost_usd(price, most, 10)
        assert all(cost_usd(price, tokens, completion) <= bound for tokens in range(most + 1) for completion in (0, 10))
        assert bound in [cost_usd(price, tokens, 10) for tokens in range(most + 1)]


def test_tiers_come_from_the_table_and_what_they_leave_out_costs_as_before(listed: dict[str, Any]) -> None:
    tiers: dict[str, Any] = {
        "output_cost_per_token_above_512k_tokens": 9e-6,
        "input_cost_per_token_above_128k_tokens": 3e-6,
        "output_cost_per_token_above_128k_tokens": 0.0,
        # of other things than a token of a plain call
        "input_cost_per_token_above_128k_tokens_batches": 1e-7,
        "cache_read_input_token_cost_above_64k_tokens": 1e-7,
        "input_cost_per_image_above_64k_tokens": 1e-3,
    }
    listed["gemini/long"] = entry("gemini", 1e-6, 2e-6, **tiers)
    listed["xai/long"] = entry("xai", 1e-6, 2e-6, **tiers)
    above = (
        PriceTier(tokens=128_000, input_per_mtok=3, output_per_mtok=2),
        PriceTier(tokens=512_000, input_per_mtok=3, output_per_mtok=9),
    )
    price = price_of("x", spec("gemini/long"))[0]
    assert price == Price(input_per_mtok=1, output_per_mtok=2, above=above, source=LITELLM)
    # And with xAI the higher price begins at the line itself
    price = price_of("x", spec("xai/long"))[0]
    assert price is not None
    assert [tier.tokens for tier in price.above] == [127_999, 511_999]


def test_every_model_of_ours_costs_what_litellm_itself_reckons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm  # seconds: nothing else here may pay for it
    from litellm.litellm_core_utils.llm_cost_calc import utils

    # At an hour when nobody takes less for being asked at night, which our prices leave out
    monkeypatch.setattr(utils, "current_billing_time", lambda: datetime(2026, 11, 18, 2, tzinfo=UTC))

    # Given every service that writes, and prompts under, on and over every line of its price
    tiered = set()
    for name, service in load().services.items():
        price, _ = price_of(name, service)
        if service.kind not in ("chat", "design") or provider_of(service) == EMBEDDED:
            continue
        assert price is not None
        lines = [tier.tokens + more for tier in price.above for more in (0, 1, 2)]
        for prompt in (1_000, 150_000, 250_000, 300_000, *lines):
            theirs = sum(litellm.cost_per_token(service.model, prompt_tokens=prompt, completion_tokens=1_000))
            # Then litellm reckons as much
            assert cost_usd(price, prompt, 1_000) == pytest.approx(theirs, rel=1e-9), (name, prompt)
        tiered |= {name} if price.above else set()
    assert tiered == {"claude-haiku", "gpt", "gpt-mini", "grok"}


def test_the_context_is_the_entrys_own_then_the_tables_then_unknown() -> None:
    assert context_of(spec("cerebras/gpt-oss-120b", context_tokens=1000)) == 1000
    assert context_of(spec("cerebras/gpt-oss-120b")) == 131_072
    assert context_of(spec("openai/anything")) is None


def test_whether_images_are_taken_is_said_only_where_it_is_known() -> None:
    assert supports_images(spec("gemini/gemini-2.5-flash")) is True
    assert supports_images(spec("embedded/smollm2-135m-instruct")) is False
    assert supports_images(spec("openai/anything")) is None


@pytest.mark.parametrize(
    ("fields", "takes"),
    [
        ({"images": True}, True),
        ({"images": False, "capabilities": {"vision": 0.9}}, False),
        ({"images": True, "capabilities": {"vision": 0.0}}, True),
        ({"capabilities": {"vision": 0.1}}, True),
        ({"capabilities": {"vision": 0.0}}, False),
        ({"capabilities": {"general": 0.9}}, None),
    ],
)
def test_of_a_model_that_is_not_listed_its_entry_says_whether_it_takes_images(
    fields: dict[str, Any], takes: bool | None
) -> None:
    assert supports_images(spec("openai/anything", **fields)) is takes


def test_what_the_table_says_of_images_goes_before_a_score_and_after_the_entry(listed: dict[str, Any]) -> None:
    listed["gemini/blind"] = entry("gemini", 1e-6, 1e-6, supports_vision=False)
    assert supports_images(spec("gemini/blind", capabilities={"vision": 0.9})) is False
    assert supports_images(spec("gemini/blind", images=True)) is True


def test_the_embedded_model_takes_no_images_whatever_is_stated() -> None:
    assert supports_images(spec("embedded/smollm2-135m-instruct", images=True)) is False


def test_a_service_that_is_not_known_to_take_images_says_what_to_state() -> None:
    assert no_images_because("mine", spec("openai/anything")) == (
        "not known to take images; state services.mine.images"
    )
    assert no_images_because("mine", spec("openai/anything", images=False)) == "takes no images"
    assert no_images_because("mine", spec("openai/anything", images=True)) is None

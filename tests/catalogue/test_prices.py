"""What a service costs: stated, listed, or unknown with the reason; never a zero that nobody vouches for."""

import math
from importlib.metadata import version
from typing import Any

import pytest

from actors.catalogue import context_of, cost_usd, price_of, prices, supports_images
from schemas.service import Price, ServiceSpec

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


def test_the_context_is_the_entrys_own_then_the_tables_then_unknown() -> None:
    assert context_of(spec("cerebras/gpt-oss-120b", context_tokens=1000)) == 1000
    assert context_of(spec("cerebras/gpt-oss-120b")) == 131_072
    assert context_of(spec("openai/anything")) is None


def test_whether_images_are_taken_is_said_only_where_it_is_known() -> None:
    assert supports_images(spec("gemini/gemini-2.5-flash")) is True
    assert supports_images(spec("embedded/smollm2-135m-instruct")) is False
    assert supports_images(spec("openai/anything")) is None

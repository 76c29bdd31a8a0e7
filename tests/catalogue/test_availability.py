"""Which services can be asked at all."""

import pytest

from actors.catalogue import key_variable, unavailable_because
from schemas.service import ServiceSpec


def test_a_service_without_its_key_says_which_variable_to_set() -> None:
    spec = ServiceSpec(model="cerebras/gpt-oss-120b", api_key_env="CEREBRAS_API_KEY")
    assert unavailable_because("cerebras", spec, {}) == "no key: set CEREBRAS_API_KEY"
    assert unavailable_because("cerebras", spec, {"CEREBRAS_API_KEY": "x"}) is None


@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_a_blank_key_is_no_key(value: str) -> None:
    spec = ServiceSpec(model="openai/x", api_key_env="MY_KEY")
    assert unavailable_because("x", spec, {"MY_KEY": value}) == "no key: set MY_KEY"


@pytest.mark.parametrize(
    "spec",
    [
        ServiceSpec(model="openai/x", api_key_env="none"),
        ServiceSpec(model="embedded/x"),
        ServiceSpec(model="embedded/x", api_key_env="MY_KEY"),
        ServiceSpec(model="ollama/llama"),
    ],
)
def test_what_needs_no_key_is_available_without(spec: ServiceSpec) -> None:
    assert key_variable(spec) is None
    assert unavailable_because("x", spec, {}) is None


@pytest.mark.parametrize(
    ("provider", "variable"),
    [
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("openai", "OPENAI_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("xai", "XAI_API_KEY"),
        ("cerebras", "CEREBRAS_API_KEY"),
        ("groq", "GROQ_API_KEY"),
        ("scaleway", "SCALEWAY_API_KEY"),
        ("cloudflare", "CLOUDFLARE_API_KEY"),
        ("cursor", "CURSOR_API_KEY"),
        ("midjourney", "MIDJOURNEY_API_KEY"),
    ],
)
def test_a_variable_that_is_not_named_is_the_providers_usual_one(provider: str, variable: str) -> None:
    spec = ServiceSpec(model=f"{provider}/x")
    assert key_variable(spec) == variable
    assert unavailable_because("x", spec, {}) == f"no key: set {variable}"
    assert unavailable_because("x", spec, {variable: "k"}) is None


def test_for_a_provider_we_do_not_know_the_variable_is_a_guess_and_said_to_be_one() -> None:
    spec = ServiceSpec(model="some-provider/x")
    reason = unavailable_because("mine", spec, {})
    assert reason == "no key: set SOME_PROVIDER_API_KEY, or name another in services.mine.api_key_env"


def test_a_cloud_model_behind_software_of_ones_own_needs_a_key() -> None:
    assert key_variable(ServiceSpec(model="ollama/big:120b-cloud")) == "OLLAMA_API_KEY"

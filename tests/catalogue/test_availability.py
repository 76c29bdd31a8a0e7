"""Which services can be asked at all."""

import subprocess
import sys
from typing import Any

import pytest

from actors.catalogue import availability, key_variable, load, unavailable_because
from actors.catalogue.known import EMBEDDED_MODELS
from actors.models.embedded import MODEL, EmbeddedEmbeddings
from schemas.service import ServiceKind, ServiceSpec
from tests.catalogue.conftest import Overlaid


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
        ServiceSpec(model="embedded/smollm2-135m-instruct"),
        ServiceSpec(model="embedded/wordllama-256", kind="embeddings", api_key_env="MY_KEY"),
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
        ("deepseek", "DEEPSEEK_API_KEY"),
        ("mistral", "MISTRAL_API_KEY"),
    ],
)
def test_a_variable_that_is_not_named_is_the_providers_usual_one(provider: str, variable: str) -> None:
    spec = ServiceSpec(model=f"{provider}/x", api_base="http://127.0.0.1:9999/v1")
    assert key_variable(spec) == variable
    assert unavailable_because("x", spec, {}) == f"no key: set {variable}"
    assert unavailable_because("x", spec, {variable: "k"}) is None


def test_for_a_provider_that_we_have_no_variable_of_it_is_a_guess_and_said_to_be_one() -> None:
    spec = ServiceSpec(model="docker_model_runner/x")
    reason = unavailable_because("mine", spec, {})
    assert reason == "no key: set DOCKER_MODEL_RUNNER_API_KEY, or name another in services.mine.api_key_env"


@pytest.mark.parametrize("environ", [{}, {"SOME_PROVIDER_API_KEY": "k"}])
def test_a_provider_that_nobody_knows_is_unavailable_whatever_its_key(environ: dict[str, str]) -> None:
    spec = ServiceSpec(model="some-provider/x", api_base="http://127.0.0.1:9999/v1")
    assert unavailable_because("mine", spec, environ) == (
        "no provider 'some-provider' is known; a server that speaks OpenAI's format is openai/… with an api_base"
    )


@pytest.mark.parametrize(
    ("model", "kind", "reason"),
    [
        ("embedded/gpt-6", "chat", "no embedded model 'gpt-6' for chat; there is smollm2-135m-instruct"),
        (
            "embedded/smollm2-135m-instruct",
            "embeddings",
            "no embedded model 'smollm2-135m-instruct' for embeddings; there is wordllama-256",
        ),
        ("embedded/coder", "agent", "no embedded model 'coder' for agent; there is none"),
    ],
)
def test_an_embedded_model_that_does_not_exist_is_unavailable(model: str, kind: ServiceKind, reason: str) -> None:
    assert unavailable_because("mine", ServiceSpec(model=model, kind=kind), {}) == reason


def test_the_embedded_models_are_those_that_are_served() -> None:
    assert EMBEDDED_MODELS["chat"] == (MODEL,)
    assert EMBEDDED_MODELS["embeddings"] == (EmbeddedEmbeddings.MODEL,)


def test_every_provider_of_litellms_is_known_and_litellm_is_not_imported_for_it() -> None:
    # Given a fresh interpreter
    code = """
import os, sys
from actors.catalogue.known import providers
known = providers()
assert "litellm" not in sys.modules
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
print({getattr(each, "value", each) for each in litellm.provider_list} - known)
"""
    # When litellm says itself whom it knows
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Then it is nobody more
    assert ran.stdout.strip() == "set()"


def test_a_cloud_model_behind_software_of_ones_own_needs_a_key() -> None:
    assert key_variable(ServiceSpec(model="ollama/big:120b-cloud")) == "OLLAMA_API_KEY"


def test_a_provider_whose_address_names_the_account_needs_that_too() -> None:
    spec, key = ServiceSpec(model="cloudflare/x"), {"CLOUDFLARE_API_KEY": "k"}
    reason = "no account: set CLOUDFLARE_ACCOUNT_ID, or state services.mine.api_base"
    assert unavailable_because("mine", spec, key) == reason
    assert unavailable_because("mine", spec, {**key, "CLOUDFLARE_ACCOUNT_ID": "a"}) is None
    assert unavailable_because("mine", spec.model_copy(update={"api_base": "http://x"}), key) is None


KEYS = dict.fromkeys(("ANTHROPIC_API_KEY", "CURSOR_API_KEY", "MIDJOURNEY_API_KEY", "OPENAI_API_KEY"), "k")


@pytest.mark.parametrize(
    ("service", "without_keys", "with_keys"),
    [
        ("openai-images", "no key: set OPENAI_API_KEY", "nothing in this version serves images"),
        ("cursor", "no key: set CURSOR_API_KEY", "nothing in this version runs coding agents"),
        (
            "claude-artifacts",
            "needs claude-sonnet: no key: set ANTHROPIC_API_KEY",
            "nothing in this version serves designs",
        ),
        (
            "midjourney",
            "no endpoint: state services.midjourney.api_base",
            "no endpoint: state services.midjourney.api_base",
        ),
        ("claude-opus", "no key: set ANTHROPIC_API_KEY", None),
    ],
)
def test_what_nothing_here_serves_is_unavailable_with_its_key_too(
    service: str, without_keys: str, with_keys: str | None
) -> None:
    services = load().services
    assert unavailable_because(service, services[service], {}, services) == without_keys
    assert unavailable_because(service, services[service], KEYS, services) == with_keys


def test_midjourney_with_an_endpoint_needs_its_key_and_then_somebody_who_serves_images(overlaid: Overlaid) -> None:
    # Given an overlay that says whom to ask
    services = overlaid("services: {midjourney: {api_base: 'http://127.0.0.1:9999'}}").services
    spec = services["midjourney"]
    # Then the endpoint is no longer what is missing
    assert unavailable_because("midjourney", spec, {}, services) == "no key: set MIDJOURNEY_API_KEY"
    assert unavailable_because("midjourney", spec, KEYS, services) == "nothing in this version serves images"


@pytest.mark.parametrize(
    ("installed", "reason"),
    [
        ((), "needs a GPU and the gpu extra"),
        (("torch",), "needs a GPU and the gpu extra"),
        (("torch", "diffusers"), "nothing in this version serves images"),
    ],
)
def test_a_local_painter_needs_the_gpu_extra_which_is_looked_up_and_not_imported(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], reason: str
) -> None:
    # Given a machine where these are installed
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name in installed else None)
    monkeypatch.setattr(availability, "_can_paint", availability._can_paint.__wrapped__)
    spec = load().services["sdxl"]
    # Then the service says what is missing
    assert unavailable_because("sdxl", spec, {}) == reason
    # And looking has loaded neither
    assert not {"torch", "diffusers"} & set(sys.modules)


def made(**of: Any) -> dict[str, ServiceSpec]:
    return {name: ServiceSpec(model=f"openai/{name}", **fields) for name, fields in of.items()}


def test_a_service_is_unavailable_while_one_that_it_depends_on_is() -> None:
    services = made(
        top={"api_key_env": "none", "depends_on": ("left", "right")},
        left={"api_key_env": "none", "depends_on": ("ground",)},
        right={"api_key_env": "RIGHT", "depends_on": ("ground",)},
        ground={"api_key_env": "GROUND"},
    )

    def reason(name: str, **environ: str) -> str | None:
        return unavailable_because(name, services[name], environ, services)

    assert reason("top") == "needs left: needs ground: no key: set GROUND"
    # What it lacks itself comes first
    assert reason("right") == "no key: set RIGHT"
    assert reason("right", RIGHT="k") == "needs ground: no key: set GROUND"
    assert reason("top", GROUND="k") == "needs right: no key: set RIGHT"
    assert reason("top", GROUND="k", RIGHT="k") is None


def test_what_is_down_takes_those_along_that_need_it() -> None:
    services = made(one={"api_key_env": "none"}, two={"api_key_env": "none", "depends_on": ("one",)})
    down = {"one": "its actor does not answer"}
    assert unavailable_because("one", services["one"], {}, services, down) == "its actor does not answer"
    assert unavailable_because("two", services["two"], {}, services, down) == "needs one: its actor does not answer"
    assert unavailable_because("two", services["two"], {}, services) is None


def test_a_long_chain_and_a_wide_lattice_of_dependencies_are_resolved_at_once() -> None:
    # Given 5,000 services in a row, and 40 layers of two that each need both below
    last = 5000
    row = {f"r{i}": {"api_key_env": "none", "depends_on": (f"r{i + 1}",)} for i in range(last)}
    row[f"r{last}"] = {"api_key_env": "LAST"}
    lattice = {
        f"l{i}{side}": {"api_key_env": "none", "depends_on": (f"l{i + 1}a", f"l{i + 1}b") if i < 39 else ()}
        for i in range(40)
        for side in "ab"
    }
    services = made(**row, **lattice)
    # Then both have their answer, and neither a stack nor a lifetime is used up
    assert str(unavailable_because("r0", services["r0"], {}, services)).endswith("no key: set LAST")
    assert unavailable_because("r0", services["r0"], {"LAST": "k"}, services) is None
    assert unavailable_because("l0a", services["l0a"], {}, services) is None

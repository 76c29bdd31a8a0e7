"""Whether a service could be asked at all, as far as its entry and the environment tell."""

import importlib.util
from collections.abc import Mapping
from functools import cache
from graphlib import TopologicalSorter
from types import MappingProxyType

from actors.catalogue.endpoints import ACCOUNT_VARIABLE, provider_of
from actors.catalogue.known import EMBEDDED_MODELS, providers
from schemas.service import NO_KEY_NEEDED, ServiceKind, ServiceSpec

EMBEDDED = "embedded"
"""The provider of models that run in this platform."""

OWN_MACHINE = frozenset({EMBEDDED, "hosted_vllm", "lemonade", "llamafile", "lm_studio", "ollama", "ollama_chat"})
"""Providers that run on a machine of the user's own: no key by default, and a price of 0 is a true one."""

USUAL_VARIABLE = {
    "anthropic": "ANTHROPIC_API_KEY",
    "cerebras": "CEREBRAS_API_KEY",
    "cloudflare": "CLOUDFLARE_API_KEY",
    "cursor": "CURSOR_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "groq": "GROQ_API_KEY",
    "midjourney": "MIDJOURNEY_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "openai": "OPENAI_API_KEY",
    "scaleway": "SCALEWAY_API_KEY",
    "xai": "XAI_API_KEY",
}

NO_ENDPOINT = frozenset({"midjourney"})
"""Providers without an API of their own for everybody: the entry has to say whom to ask in their place."""

_NOT_SERVED: dict[ServiceKind, str] = {
    "image": "nothing in this version serves images",
    "design": "nothing in this version serves designs",
    "agent": "nothing in this version runs coding agents",
}


def on_own_machine(spec: ServiceSpec) -> bool:
    """Whether the provider is software that the user runs; Ollama's `…-cloud` models only pass through it."""
    return provider_of(spec) in OWN_MACHINE and not spec.model.endswith("-cloud")


def key_variable(spec: ServiceSpec) -> str | None:
    """The environment variable that holds a service's key; None when it needs none.

    An entry that names none gets its provider's usual one, or `<PROVIDER>_API_KEY`.
    """
    provider = provider_of(spec)
    if spec.api_key_env == NO_KEY_NEEDED or provider == EMBEDDED:
        return None
    if spec.api_key_env is not None:
        return spec.api_key_env
    if on_own_machine(spec):
        return None
    usual = "".join(c if c.isalnum() else "_" for c in provider.upper())
    return USUAL_VARIABLE.get(provider, f"{usual}_API_KEY")


def unavailable_because(
    name: str,
    spec: ServiceSpec,
    environ: Mapping[str, str],
    services: Mapping[str, ServiceSpec] = MappingProxyType({}),
    down: Mapping[str, str] = MappingProxyType({}),
) -> str | None:
    """Why a service cannot be asked, beginning with `no key` when that is it; None when it can.

    What it lacks itself comes first, then what it depends on, then that nothing here serves its kind.

    Args:
        environ: the environment; a variable that is empty or blank is as good as unset.
        services: where its dependencies are found, none of which may lead back to itself; one that is not among them
            is not looked at.
        down: why a service is known not to answer just now, which its entry cannot tell; by name.
    """
    reached = {name: spec}
    graph: dict[str, tuple[str, ...]] = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        graph[one] = tuple(other for other in reached[one].depends_on if other in services)
        for other in graph[one]:
            if other not in reached:
                reached[other] = services[other]
                waiting.append(other)
    reasons: dict[str, str | None] = {}
    for one in TopologicalSorter(graph).static_order():
        of_others = (f"needs {other}: {reasons[other]}" for other in graph[one] if reasons[other])
        reasons[one] = (
            down.get(one)
            or _lacking(one, reached[one], environ)
            or next(of_others, None)
            or _NOT_SERVED.get(reached[one].kind)
        )
    return reasons[name]


def _lacking(name: str, spec: ServiceSpec, environ: Mapping[str, str]) -> str | None:
    """What a service's own entry and the environment leave out."""

    def unset(variable: str) -> bool:
        return not environ.get(variable, "").strip()

    provider = provider_of(spec)
    if (unknown := _unknown(provider, spec)) is not None:
        return unknown
    if provider == EMBEDDED and spec.kind == "image" and not _can_paint():
        return "needs a GPU and the gpu extra"
    if provider in NO_ENDPOINT and spec.api_base is None:
        return f"no endpoint: state services.{name}.api_base"
    variable = key_variable(spec)
    if variable is not None and unset(variable):
        guessed = spec.api_key_env is None and provider not in USUAL_VARIABLE
        return f"no key: set {variable}" + (f", or name another in services.{name}.api_key_env" if guessed else "")
    account = ACCOUNT_VARIABLE.get(provider)
    if account is not None and spec.api_base is None and unset(account):
        return f"no account: set {account}, or state services.{name}.api_base"
    return None


def _unknown(provider: str, spec: ServiceSpec) -> str | None:
    """That nobody knows its model or its provider; of what a model elsewhere is called, only its provider can tell."""
    if provider == EMBEDDED:
        name, there_are = spec.model.partition("/")[2], EMBEDDED_MODELS.get(spec.kind, ())
        if name in there_are:
            return None
        return f"no embedded model {name!r} for {spec.kind}; there is {' or '.join(there_are) or 'none'}"
    if spec.kind in _NOT_SERVED or provider in providers():
        return None
    return f"no provider {provider!r} is known; a server that speaks OpenAI's format is openai/… with an api_base"


@cache
def _can_paint() -> bool:
    """Whether the `gpu` extra is installed; looked up, not imported, which takes seconds."""
    return all(importlib.util.find_spec(package) is not None for package in ("torch", "diffusers"))

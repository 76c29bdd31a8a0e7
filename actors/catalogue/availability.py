"""Whether a service could be asked at all, as far as its entry and the environment tell."""

from collections.abc import Mapping

from schemas.service import NO_KEY_NEEDED, ServiceSpec

EMBEDDED = "embedded"
"""The provider of models that run in this platform."""

OWN_MACHINE = frozenset({EMBEDDED, "hosted_vllm", "lemonade", "llamafile", "lm_studio", "ollama", "ollama_chat"})
"""Providers that run on a machine of the user's own: no key by default, and a price of 0 is a true one."""

USUAL_VARIABLE = {
    "anthropic": "ANTHROPIC_API_KEY",
    "cerebras": "CEREBRAS_API_KEY",
    "cloudflare": "CLOUDFLARE_API_KEY",
    "cursor": "CURSOR_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "groq": "GROQ_API_KEY",
    "midjourney": "MIDJOURNEY_API_KEY",
    "openai": "OPENAI_API_KEY",
    "scaleway": "SCALEWAY_API_KEY",
    "xai": "XAI_API_KEY",
}


def provider_of(spec: ServiceSpec) -> str:
    """The part of litellm's model string that names the provider."""
    return spec.model.partition("/")[0]


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


def unavailable_because(name: str, spec: ServiceSpec, environ: Mapping[str, str]) -> str | None:
    """Why a service cannot be asked, beginning with `no key` when that is it; None when it can.

    Args:
        environ: the environment; a variable that is empty or blank is as good as unset.
    """
    variable = key_variable(spec)
    if variable is None or environ.get(variable, "").strip():
        return None
    guessed = spec.api_key_env is None and provider_of(spec) not in USUAL_VARIABLE
    return f"no key: set {variable}" + (f", or name another in services.{name}.api_key_env" if guessed else "")

"""Providers that speak OpenAI's chat completions: where, and in what small ways each differs.

Source: litellm 1.x, `litellm_core_utils/get_llm_provider_logic.py` and `llms/<provider>/chat`, which list the addresses
and what each provider takes. Whoever is not here is asked through litellm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas.service import ServiceSpec

ACCOUNT_VARIABLE = {"cloudflare": "CLOUDFLARE_ACCOUNT_ID"}
"""Where the address to call holds the account's name."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider's address, and what is peculiar to it."""

    base: str | None = None
    """May hold the name of an environment variable in braces; None where every server has an address of its own."""
    limit_field: str = "max_tokens"
    """What bounds the answer."""
    takes_temperature: bool = True
    takes_stream_options: bool = True
    """Where it does not, it reports the usage of a stream unasked."""
    streams_schemas: bool = True
    """Whether an answer in the shape of a schema may be streamed."""
    any_tool: str = "required"
    """How it is told that some tool must be called."""
    call_id_length: int | None = None
    """The only length of a tool call's id that it takes, of letters and digits."""


OPENAI = Endpoint("https://api.openai.com/v1", limit_field="max_completion_tokens", takes_temperature=False)
"""OpenAI itself knows `max_tokens` no more, and its reasoning models take no temperature."""

PLAIN = Endpoint()
"""Any other server that speaks the format."""

ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {
        "cerebras": Endpoint("https://api.cerebras.ai/v1"),
        "cloudflare": Endpoint("https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1"),
        "deepinfra": Endpoint("https://api.deepinfra.com/v1/openai"),
        "deepseek": Endpoint("https://api.deepseek.com"),
        "groq": Endpoint("https://api.groq.com/openai/v1", streams_schemas=False),
        "hosted_vllm": PLAIN,
        "hyperbolic": Endpoint("https://api.hyperbolic.xyz/v1"),
        "lambda_ai": Endpoint("https://api.lambda.ai/v1"),
        "llamafile": PLAIN,
        "lm_studio": PLAIN,
        # Refuses fields that it does not know.
        "mistral": Endpoint("https://api.mistral.ai/v1", takes_stream_options=False, any_tool="any", call_id_length=9),
        "nebius": Endpoint("https://api.studio.nebius.ai/v1"),
        "novita": Endpoint("https://api.novita.ai/v3/openai"),
        "nvidia_nim": Endpoint("https://integrate.api.nvidia.com/v1"),
        "openrouter": Endpoint("https://openrouter.ai/api/v1"),
        "sambanova": Endpoint("https://api.sambanova.ai/v1"),
        "scaleway": Endpoint("https://api.scaleway.ai/v1"),
        "together_ai": Endpoint("https://api.together.ai/v1"),
        "xai": Endpoint("https://api.x.ai/v1"),
    }
)


def provider_of(spec: ServiceSpec) -> str:
    """The part of litellm's model string that names the provider."""
    return spec.model.partition("/")[0]


def endpoint_of(spec: ServiceSpec) -> Endpoint | None:
    """How a service is asked in OpenAI's format; None where litellm has to."""
    provider = provider_of(spec)
    if provider == "openai":
        return OPENAI if spec.api_base is None else PLAIN
    endpoint = ENDPOINTS.get(provider)
    if endpoint is None or (endpoint.base is None and spec.api_base is None):
        return None
    return endpoint


def base_of(spec: ServiceSpec, environ: Mapping[str, str]) -> str:
    """The address in front of `/chat/completions`.

    Raises:
        KeyError: the environment lacks the account that the address names, or nobody states one.
    """
    if spec.api_base is not None:
        return spec.api_base.rstrip("/")
    endpoint = endpoint_of(spec)
    if endpoint is None or endpoint.base is None:
        raise KeyError("api_base")
    account = ACCOUNT_VARIABLE.get(provider_of(spec))
    return endpoint.base if account is None else endpoint.base.format_map({account: environ[account].strip()})

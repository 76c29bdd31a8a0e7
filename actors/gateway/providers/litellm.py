"""Providers with a wire format of their own, through litellm."""

import asyncio
import contextlib
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from actors.gateway.providers.assembly import Assembly
from actors.gateway.providers.provider import Attempt, EmbedAttempt, Embedded, Heard, Served
from actors.gateway.providers.watch import Watch
from actors.gateway.providers.wire import (
    count,
    error_message,
    nonsense,
    read_completion,
    read_embeddings,
    retry_after_s,
    wire_messages,
    wishes,
)
from schemas.errors import UpstreamError

COUNTS_EMBEDDED_TOKENS_ITSELF = ("gemini", "vertex_ai")
"""Providers that say nothing of tokens with their vectors: what litellm reports there is its own count."""
NO_KEY = "none"
"""Sent where no key is wanted."""
SIGN_WITH_CREDENTIALS = ("bedrock", "sagemaker", "vertex_ai")
"""Providers that are asked with the credentials of a cloud's own tools; a key would go before those."""
RETRY_DELAY = re.compile(r'"retryDelay": *"([0-9.]+)s"')
"""How Google says when to come back.

Source: https://cloud.google.com/apis/design/errors#error_details, RetryInfo.
"""


class LitellmProvider:
    """litellm costs 2.3 s and 170 MB to import, so it waits for need.

    What it makes up is left out: counts of tokens that no provider reported, the end of a stream that broke off.
    """

    def __init__(self) -> None:
        self._module: Any = None

    async def complete(self, attempt: Attempt, heard: Heard) -> Served:
        litellm = await self._litellm()
        try:
            messages = wire_messages(attempt.messages)
        except ValueError:
            raise UpstreamError(attempt.service, "an image of the question is no base64") from None
        ask = {
            **_common(attempt),
            **wishes(attempt),
            "messages": messages,
            "max_tokens": attempt.max_tokens,
            "temperature": attempt.temperature,
            # Else it looks for MCP servers among the tools, in order to call them itself.
            "_skip_mcp_handler": True,
        }
        _check_taken(attempt, litellm)
        seen = _Seen()
        ask["logger_fn"] = seen
        if attempt.stream:
            served = await self._streamed(attempt, litellm, ask, heard, seen)
        else:
            try:
                async with asyncio.timeout(attempt.timeout_s):
                    answer = _plain(await litellm.acompletion(**ask))
            except Exception as error:
                raise _failure(attempt, error, seen, heard) from None
            usage = answer.get("usage") or {}
            usage["completion_tokens"] = usage.get("completion_tokens") or None  # 0 where the provider said nothing
            served = read_completion(attempt, answer, heard)
        return replace(served, dropped=seen.dropped(attempt))

    async def _streamed(
        self, attempt: Attempt, litellm: Any, ask: dict[str, Any], heard: Heard, seen: "_Seen"
    ) -> Served:
        service = attempt.service
        assembly = Assembly(attempt, heard)
        watch: Watch | None = None
        try:
            async with asyncio.timeout(attempt.timeout_s):
                stream = await litellm.acompletion(stream=True, stream_options={"include_usage": True}, **ask)
                if stream.completion_stream is None:  # some are called only when they are first read
                    await stream.fetch_stream()
                watch = Watch(stream, heard, attempt.api_key)
                async for chunk in stream:
                    watch.note_usage()
                    if watch.trouble is not None:
                        break
                    assembly.take({**_plain(chunk), "usage": None})
        except UpstreamError:
            raise
        except Exception as error:
            if watch is None or not watch.ended:
                raise _failure(attempt, error, seen, heard, opened=watch is not None) from None
        finally:
            if watch is not None:
                watch.note_usage()
                await watch.close()
        if watch.trouble is not None:
            raise nonsense(service, watch.trouble)
        if not watch.ended:
            raise nonsense(service, f"the stream broke {heard.so_far}")
        return assembly.served()

    async def embed(self, attempt: EmbedAttempt) -> Embedded:
        litellm = await self._litellm()
        seen = _Seen()
        try:
            async with asyncio.timeout(attempt.timeout_s):
                answer = await litellm.aembedding(input=list(attempt.texts), logger_fn=seen, **_common(attempt))
        except Exception as error:
            raise _failure(attempt, error, seen) from None
        embedded = read_embeddings(attempt.service, _plain(answer), len(attempt.texts), attempt.api_key)
        made_up = attempt.spec.model.startswith(COUNTS_EMBEDDED_TOKENS_ITSELF)
        return replace(embedded, prompt_tokens=None if made_up else embedded.prompt_tokens or None)

    async def _litellm(self) -> Any:
        if self._module is None:
            self._module = await asyncio.to_thread(_imported)
        return self._module


class _Seen:
    """What litellm tells of a call on its way, as its `logger_fn`."""

    def __init__(self) -> None:
        self.sent = False
        """Whether it was about to ask the provider."""
        self.body: Any = None
        """What it asked, in the provider's own format."""
        self.answer: Any = None
        """What came back, decoded, where it could be."""

    def __call__(self, details: dict[str, Any]) -> None:
        if details.get("log_event_type") == "pre_api_call":
            self.sent = True
        self.body = _decoded((details.get("additional_args") or {}).get("complete_input_dict")) or self.body
        if details.get("log_event_type") == "post_api_call":
            self.answer = _decoded(details.get("original_response")) or self.answer

    def dropped(self, attempt: Attempt) -> tuple[str, ...]:
        """What was asked for and is nowhere in the body."""
        unsent = attempt.temperature is not None and self.body is not None and not _holds(self.body, "temperature")
        return ("temperature",) if unsent else ()


def _decoded(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str | bytes):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    return value if isinstance(value, dict) else None


def _holds(value: Any, name: str) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds(each, name) for each in value)
    return isinstance(value, dict) and (name in value or any(_holds(each, name) for each in value.values()))


def _check_taken(attempt: Attempt, litellm: Any) -> None:
    """Raises UpstreamError where litellm would leave out what the answer depends on."""
    provider, _, model = attempt.spec.model.partition("/")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it builds a provider's models when it first looks at it
        taken = litellm.get_supported_openai_params(model=model, custom_llm_provider=provider)
    if taken is None:
        return  # it knows no such provider, and will say so
    choice = attempt.tool_choice if attempt.tools else None
    several = attempt.parallel_tool_calls if attempt.tools else None
    sampling = {} if attempt.sampling is None else attempt.sampling.chosen
    for name, wanted, words in (
        ("response_format", attempt.json_schema is not None, "takes no JSON schema"),
        ("tools", bool(attempt.tools), "takes no tools"),
        ("tool_choice", choice not in (None, "auto"), "takes no choice of a tool"),
        ("parallel_tool_calls", several is not None, "takes no word on calls at once"),
        *((name, True, f"takes no {name}") for name in sampling),
    ):
        if wanted and name not in taken:
            raise UpstreamError(attempt.service, words)


def _common(attempt: Attempt | EmbedAttempt) -> dict[str, Any]:
    return {
        "model": attempt.spec.model,
        "api_key": _key(attempt),
        "api_base": attempt.spec.api_base,
        # Not all of its ways to a provider obey this; the clock around the call does the rest.
        "timeout": attempt.timeout_s,
        "num_retries": 0,
        "max_retries": 0,
        "drop_params": True,
    }


def _key(attempt: Attempt | EmbedAttempt) -> str | None:
    """The key, or something in its place: with none, litellm looks for the provider's in the environment."""
    signs = attempt.spec.model.startswith(SIGN_WITH_CREDENTIALS) and attempt.spec.api_base is None
    return attempt.api_key or (None if signs else NO_KEY)


def _plain(answer: Any) -> dict[str, Any]:
    out: dict[str, Any] = answer.model_dump()
    return out


def _failure(
    attempt: Attempt | EmbedAttempt, error: Exception, seen: _Seen, heard: Heard | None = None, opened: bool = False
) -> UpstreamError:
    """What litellm's error means. Its words are left out, for they may hold an address with the key in it.

    Its status is no guide: it gives one of its own to whatever it cannot explain, a broken connection and an unreadable
    200 among them. Only the answer in the chain of causes is the provider's.

    Args:
        opened: whether a stream had been granted.
    """
    service = attempt.service
    error = getattr(error, "original_exception", None) or error
    kind, causes = type(error).__name__, list(_chain(error))
    so_far = heard.so_far if heard is not None and opened else None
    if isinstance(error, TimeoutError) or kind == "Timeout":
        reason = f"no {'answer' if so_far is None else 'end'} within {attempt.timeout_s:g} s"
        reason += "" if so_far is None else f" {so_far}"
        return UpstreamError(service, reason, again=False, spent=None)
    if so_far is not None:
        return nonsense(service, f"the stream broke {so_far} ({kind})")
    if any(type(cause).__name__ in ("ConnectError", "ConnectTimeout") for cause in causes):
        return UpstreamError(service, f"cannot be reached ({kind})", again=True)
    if (refusal := next(filter(None, map(_refusal, causes)), None)) is not None:
        return _refused(attempt, refusal)
    if seen.answer is not None:
        if heard is not None:
            heard.billed(*_usage_in(seen.answer))
        if (inside := seen.answer.get("error")) is not None:
            return nonsense(service, f"a 200 with an error inside: {error_message(inside, attempt.api_key)}")
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 500 and not seen.sent:
        return UpstreamError(service, f"litellm refuses it ({kind})")
    return nonsense(service, f"no usable answer ({kind})")


def _usage_in(answer: dict[str, Any]) -> tuple[int | None, int | None]:
    """What a provider reports in its own format: OpenAI's, Anthropic's or Gemini's."""
    usage = answer.get("usage") or answer.get("usageMetadata")
    if not isinstance(usage, dict):
        return None, None
    prompt = next((usage[n] for n in ("prompt_tokens", "input_tokens", "promptTokenCount") if n in usage), None)
    written = [usage.get(n) for n in ("completion_tokens", "output_tokens", "candidatesTokenCount")]
    said = [number for each in (*written, usage.get("thoughtsTokenCount")) if (number := count(each)) is not None]
    return count(prompt) or None, sum(said) if said else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _refusal(cause: BaseException) -> Any:
    """The provider's answer, where it refused; of httpx, or of OpenAI's client."""
    if type(cause).__name__ != "HTTPStatusError" and not type(cause).__module__.startswith("openai."):
        return None
    answer = getattr(cause, "response", None)
    return answer if getattr(answer, "status_code", 0) >= 300 else None


def _refused(attempt: Attempt | EmbedAttempt, answer: Any) -> UpstreamError:
    status, reason, delay = answer.status_code, f"HTTP {answer.status_code}", None
    with contextlib.suppress(Exception):  # its body may not have been read
        delay = RETRY_DELAY.search(answer.text)
        reason += f" {error_message({'message': answer.json()['error']['message']}, attempt.api_key)}"
    return UpstreamError(
        attempt.service,
        reason,
        again=status in (408, 409, 425, 429) or status >= 500,
        retry_after_s=retry_after_s(answer.headers.get("retry-after") or (delay[1] if delay else None)),
        status=status,
    )


def _imported() -> Any:
    import logging
    import os

    # Without these, the import and the first call for Anthropic ask the network for tables.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
    import litellm
    from litellm.types.utils import ModelResponse, ModelResponseStream

    with warnings.catch_warnings():
        # Its models are built when they are first used, and pydantic then warns of how they are written.
        warnings.simplefilter("ignore")
        ModelResponse()
        ModelResponseStream()
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    # It warns at every call of what no caller can change.
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)
    return litellm

"""Providers with a wire format of their own, through litellm."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from actors.gateway.providers.assembly import Assembly
from actors.gateway.providers.provider import Attempt, EmbedAttempt, Embedded, Heard, Served
from actors.gateway.providers.watch import Watch
from actors.gateway.providers.wire import (
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
        if attempt.stream:
            return await self._streamed(attempt, litellm, ask, heard)
        try:
            async with asyncio.timeout(attempt.timeout_s):
                answer = await litellm.acompletion(**ask)
        except Exception as error:
            raise _failure(attempt, error) from None
        heard.began = True
        served = read_completion(attempt.service, _plain(answer), attempt.api_key)
        # It says 0 where the provider said nothing; a question and its answer are never without tokens.
        served = replace(
            served,
            prompt_tokens=served.prompt_tokens or None,
            completion_tokens=served.completion_tokens or None,
        )
        heard.whole(served)
        return served

    async def _streamed(self, attempt: Attempt, litellm: Any, ask: dict[str, Any], heard: Heard) -> Served:
        service = attempt.service
        assembly = Assembly(service, heard, attempt.api_key)
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
                raise _failure(attempt, error, heard) from None
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
        try:
            async with asyncio.timeout(attempt.timeout_s):
                answer = await litellm.aembedding(input=list(attempt.texts), **_common(attempt))
        except Exception as error:
            raise _failure(attempt, error) from None
        embedded = read_embeddings(attempt.service, _plain(answer), len(attempt.texts), attempt.api_key)
        made_up = attempt.spec.model.startswith(COUNTS_EMBEDDED_TOKENS_ITSELF)
        return replace(embedded, prompt_tokens=None if made_up else embedded.prompt_tokens or None)

    async def _litellm(self) -> Any:
        if self._module is None:
            self._module = await asyncio.to_thread(_imported)
        return self._module


def _common(attempt: Attempt | EmbedAttempt) -> dict[str, Any]:
    return {
        "model": attempt.spec.model,
        "api_key": attempt.api_key,
        "api_base": attempt.spec.api_base,
        # Not all of its ways to a provider obey this; the clock around the call does the rest.
        "timeout": attempt.timeout_s,
        "num_retries": 0,
        "max_retries": 0,
        "drop_params": True,
    }


def _plain(answer: Any) -> dict[str, Any]:
    out: dict[str, Any] = answer.model_dump()
    return out


def _failure(attempt: Attempt | EmbedAttempt, error: Exception, heard: Heard | None = None) -> UpstreamError:
    """What litellm's error means. Its words are left out, for they may hold an address with the key in it.

    Its status is no guide: it gives one of its own to whatever it cannot explain, a broken connection and an unreadable
    200 among them. Only the answer in the chain of causes is the provider's.
    """
    service = attempt.service
    error = getattr(error, "original_exception", None) or error
    kind, causes = type(error).__name__, list(_chain(error))
    began = heard is not None and heard.began
    if isinstance(error, TimeoutError) or kind == "Timeout":
        reason = f"no {'end' if began else 'answer'} within {attempt.timeout_s:g} s"
        reason += f" {heard.so_far}" if heard is not None and began else ""
        return UpstreamError(service, reason, again=False, spent=None)
    if heard is not None and began:
        return nonsense(service, f"the stream broke {heard.so_far} ({kind})")
    if any(type(cause).__name__ in ("ConnectError", "ConnectTimeout") for cause in causes):
        return UpstreamError(service, f"cannot be reached ({kind})", again=True)
    if (refusal := next(filter(None, map(_refusal, causes)), None)) is not None:
        return _refused(attempt, refusal)
    status = getattr(error, "status_code", None)
    heard_of = any(getattr(cause, "litellm_response_headers", None) for cause in causes)
    if isinstance(status, int) and 400 <= status < 500 and not heard_of:
        return UpstreamError(service, f"litellm refuses it ({kind})")
    return nonsense(service, f"no usable answer ({kind})")


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
    import warnings

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

"""Any server that speaks OpenAI's wire format."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import aiohttp

from actors.gateway.providers.assembly import Assembly
from actors.gateway.providers.provider import Attempt, EmbedAttempt, Embedded, Heard, Served
from actors.gateway.providers.sse import Events
from actors.gateway.providers.wire import (
    error_message,
    nonsense,
    read_completion,
    read_embeddings,
    retry_after_s,
    safe,
    wire_messages,
    wishes,
)
from schemas.errors import UpstreamError


class OpenAIProvider:
    """Chat completions and embeddings over one pooled HTTP client.

    aiohttp, because it closes a connection at once however its task ends. httpx closes in further steps, which a
    cancellation may interrupt; with it, one call was seen to stay open at the provider.
    """

    DEFAULT_BASE = "https://api.openai.com/v1"
    IDLE_S = 4.0
    """Shorter than common servers keep an idle connection, so that none is used just as it is closed."""
    LAST_BYTES_S = 0.02
    """How long the end of a stream may lag behind its last event for its connection to be used again."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(limit=2000, keepalive_timeout=self.IDLE_S)
        self._http = aiohttp.ClientSession(connector=connector)

    async def close(self) -> None:
        await self._http.close()

    async def complete(self, attempt: Attempt, heard: Heard) -> Served:
        body = _question(attempt)
        if attempt.stream:
            return await self._streamed(attempt, body, heard)
        with _failures(attempt):
            async with self._post(attempt, "/chat/completions", body) as response:
                heard.began = response.status == 200
                data = await response.read()
        served = read_completion(attempt.service, _decoded(attempt, response, data), attempt.api_key)
        heard.whole(served)
        return served

    async def embed(self, attempt: EmbedAttempt) -> Embedded:
        body = {"model": _model(attempt), "input": attempt.texts}
        with _failures(attempt):
            async with self._post(attempt, "/embeddings", body) as response:
                data = await response.read()
        answer = _decoded(attempt, response, data)
        return read_embeddings(attempt.service, answer, len(attempt.texts), attempt.api_key)

    def _post(self, attempt: Attempt | EmbedAttempt, path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "Idempotency-Key": attempt.request_id}
        if attempt.api_key is not None:
            headers["Authorization"] = f"Bearer {attempt.api_key}"
        limit_s = attempt.timeout_s
        return self._http.post(
            (attempt.spec.api_base or self.DEFAULT_BASE).rstrip("/") + path,
            data=json.dumps(body).encode(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=limit_s, sock_connect=min(10.0, limit_s)),
            allow_redirects=False,
        )

    async def _streamed(self, attempt: Attempt, body: dict[str, Any], heard: Heard) -> Served:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
        assembly = Assembly(attempt.service, heard, attempt.api_key)
        # aiohttp's own limit looks at the clock only where a read has to wait; a flood never waits.
        with _failures(attempt, assembly, heard):
            async with (
                asyncio.timeout(attempt.timeout_s),
                self._post(attempt, "/chat/completions", body) as response,
            ):
                heard.began = response.status == 200
                kind = response.headers.get("Content-Type", "")
                if response.status != 200 or "json" in kind or "html" in kind:
                    # A refusal, or a server that knows no streams and gives the answer whole.
                    answer = _decoded(attempt, response, await response.read())
                    served = read_completion(attempt.service, answer, attempt.api_key)
                    heard.whole(served)
                    return served
                await self._read(response, assembly)
        return assembly.served()

    async def _read(self, response: aiohttp.ClientResponse, assembly: Assembly) -> None:
        """Feeds a stream's chunks to the assembly until the stream ends, properly or not."""
        events = Events()
        async for data in response.content.iter_any():
            if _take(events.feed(data), assembly):
                with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                    async with asyncio.timeout(self.LAST_BYTES_S):
                        await response.content.read()
                return
        if not _take(events.end(), assembly) and assembly.finish_reason is None:
            raise aiohttp.ClientPayloadError("the end is missing")


def _question(attempt: Attempt) -> dict[str, Any]:
    try:
        messages = wire_messages(attempt.messages)
    except ValueError:
        raise UpstreamError(attempt.service, "an image of the question is no base64") from None
    body: dict[str, Any] = {"model": _model(attempt), "messages": messages}
    if attempt.spec.api_base is None:
        # OpenAI itself knows `max_tokens` no more, and its reasoning models take no temperature.
        body["max_completion_tokens"] = attempt.max_tokens
    else:
        body["max_tokens"] = attempt.max_tokens
        if attempt.temperature is not None:
            body["temperature"] = attempt.temperature
    return body | wishes(attempt)


def _model(attempt: Attempt | EmbedAttempt) -> str:
    return attempt.spec.model.split("/", 1)[1]


def _take(events: list[bytes], assembly: Assembly) -> bool:
    """Whether the stream has said that it is done."""
    for data in events:
        if data == b"[DONE]":
            return True
        try:
            chunk = json.loads(data)
        except ValueError:
            chunk = None  # which the assembly refuses
        assembly.take(chunk)
    return False


@contextlib.contextmanager
def _failures(
    attempt: Attempt | EmbedAttempt, assembly: Assembly | None = None, heard: Heard | None = None
) -> Iterator[None]:
    """Says of a call that fails what is known of it. A stream that has said its last word fails no more."""
    service = attempt.service
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
        raise UpstreamError(service, f"cannot be reached ({_name(error)})", again=True) from None
    except (TimeoutError, aiohttp.ClientError) as error:
        if assembly is not None and assembly.finish_reason is not None:
            return
        began = heard is not None and heard.began
        if isinstance(error, TimeoutError):
            reason = f"no {'end' if began else 'answer'} within {attempt.timeout_s:g} s"
            reason += f" {heard.so_far}" if heard is not None and began else ""
            raise UpstreamError(service, reason, again=False, spent=None) from None
        reason = f"the stream broke {heard.so_far}" if heard is not None and began else "the connection broke"
        raise nonsense(service, f"{reason} ({_name(error)})") from None
    except ValueError:
        raise UpstreamError(service, "its key holds a character that no header may have") from None


def _decoded(attempt: Attempt | EmbedAttempt, response: aiohttp.ClientResponse, data: bytes) -> Any:
    """The JSON of a 200.

    Raises:
        UpstreamError: it is another status, or no JSON.
    """
    if response.status != 200:
        raise _refused(attempt, response, data)
    try:
        return json.loads(data)
    except ValueError:
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        raise nonsense(attempt.service, f"a 200 that is no JSON ({safe(kind, attempt.api_key)})") from None


def _refused(attempt: Attempt | EmbedAttempt, response: aiohttp.ClientResponse, data: bytes) -> UpstreamError:
    status, reason = response.status, f"HTTP {response.status}"
    with contextlib.suppress(ValueError, KeyError, TypeError):
        reason += f" {error_message({'message': json.loads(data)['error']['message']}, attempt.api_key)}"
    again = status in (408, 409, 425, 429) or status >= 500
    after_s = retry_after_s(response.headers.get("Retry-After"))
    return UpstreamError(attempt.service, reason, again=again, retry_after_s=after_s, status=status)


def _name(error: Exception) -> str:
    return type(error).__name__

"""Any server that speaks OpenAI's wire format."""

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
from pydantic_core import from_json

from actors.catalogue import Endpoint, base_of, endpoint_of
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

    IDLE_S = 4.0
    """Shorter than common servers keep an idle connection, so that none is used just as it is closed."""
    LAST_BYTES_S = 0.02
    """How long the end of a stream may lag behind its last event for its connection to be used again."""
    LARGE_BYTES = 256 * 1024
    """An answer of numbers that is larger is read beside the loop."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """`environ` names the account where an address holds it."""
        self._environ = environ
        connector = aiohttp.TCPConnector(limit=2000, keepalive_timeout=self.IDLE_S)
        self._http = aiohttp.ClientSession(connector=connector)

    async def close(self) -> None:
        await self._http.close()

    async def complete(self, attempt: Attempt, heard: Heard) -> Served:
        endpoint = endpoint_of(attempt.spec) or Endpoint()
        body, dropped = _question(attempt, endpoint)
        if attempt.stream and (attempt.json_schema is None or endpoint.streams_schemas):
            if endpoint.takes_stream_options:
                body["stream_options"] = {"include_usage": True}
            served = await self._streamed(attempt, body | {"stream": True}, heard)
        else:
            with _failures(attempt):
                async with self._post(attempt, "/chat/completions", body) as response:
                    data = await response.read()
            served = read_completion(attempt, _decoded(attempt, response, data), heard)
        return replace(served, dropped=dropped) if dropped else served

    async def embed(self, attempt: EmbedAttempt) -> Embedded:
        body = {"model": _model(attempt), "input": attempt.texts}
        with _failures(attempt):
            async with self._post(attempt, "/embeddings", body) as response:
                data = await response.read()
        if len(data) <= self.LARGE_BYTES:
            return _embedded(attempt, response, data)
        # Everybody else's calls wait for this loop.
        return await asyncio.to_thread(_embedded, attempt, response, data)

    def _post(self, attempt: Attempt | EmbedAttempt, path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "Idempotency-Key": attempt.request_id}
        if attempt.api_key is not None:
            headers["Authorization"] = f"Bearer {attempt.api_key}"
        limit_s = attempt.timeout_s
        try:
            base = base_of(attempt.spec, self._environ)
        except KeyError as missing:
            raise UpstreamError(attempt.service, f"its address is not known: {missing.args[0]} is not set") from None
        return self._http.post(
            base + path,
            data=json.dumps(body).encode(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=limit_s, sock_connect=min(10.0, limit_s)),
            allow_redirects=False,
        )

    async def _streamed(self, attempt: Attempt, body: dict[str, Any], heard: Heard) -> Served:
        assembly = Assembly(attempt, heard)
        # aiohttp's own limit looks at the clock only where a read has to wait; a flood never waits.
        with _failures(attempt, assembly, heard):
            async with (
                asyncio.timeout(attempt.timeout_s),
                self._post(attempt, "/chat/completions", body) as response,
            ):
                assembly.opened = response.status == 200
                kind = response.headers.get("Content-Type", "")
                if response.status != 200 or "json" in kind or "html" in kind:
                    # A refusal, or a server that knows no streams and gives the answer whole.
                    answer = _decoded(attempt, response, await response.read())
                    return read_completion(attempt, answer, heard)
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


def _question(attempt: Attempt, endpoint: Endpoint) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is sent, and the names of what is left out of it."""
    try:
        messages = wire_messages(attempt.messages)
    except ValueError:
        raise UpstreamError(attempt.service, "an image of the question is no base64") from None
    if endpoint.call_id_length is not None:
        _shorten_ids(messages, endpoint.call_id_length)
    body = {"model": _model(attempt), "messages": messages, endpoint.limit_field: attempt.max_tokens}
    dropped: tuple[str, ...] = ()
    if attempt.temperature is not None:
        if endpoint.takes_temperature:
            body["temperature"] = attempt.temperature
        else:
            dropped = ("temperature",)
    body |= wishes(attempt)
    if body.get("tool_choice") == "required":
        body["tool_choice"] = endpoint.any_tool
    return body, dropped


def _shorten_ids(messages: list[dict[str, Any]], length: int) -> None:
    """Gives every tool call an id of that length, the same for the same call."""

    def short(id_: str) -> str:
        fits = len(id_) == length and id_.isascii() and id_.isalnum()
        return id_ if fits else hashlib.sha256(id_.encode()).hexdigest()[:length]

    for message in messages:
        for call in message.get("tool_calls", ()):
            call["id"] = short(call["id"])
        if "tool_call_id" in message:
            message["tool_call_id"] = short(message["tool_call_id"])


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
        so_far = heard.so_far if assembly is not None and assembly.opened and heard is not None else None
        if isinstance(error, TimeoutError):
            reason = f"no {'answer' if so_far is None else 'end'} within {attempt.timeout_s:g} s"
            reason += "" if so_far is None else f" {so_far}"
            raise UpstreamError(service, reason, again=False, spent=None) from None
        reason = "the connection broke" if so_far is None else f"the stream broke {so_far}"
        raise nonsense(service, f"{reason} ({_name(error)})") from None
    except ValueError:
        raise UpstreamError(service, "its key holds a character that no header may have") from None


def _embedded(attempt: EmbedAttempt, response: aiohttp.ClientResponse, data: bytes) -> Embedded:
    # Of 65 MB of numbers it made objects in a ninth of the time that `json` took.
    answer = _decoded(attempt, response, data, from_json)
    return read_embeddings(attempt.service, answer, len(attempt.texts), attempt.api_key)


def _decoded(
    attempt: Attempt | EmbedAttempt,
    response: aiohttp.ClientResponse,
    data: bytes,
    read: Callable[[bytes], Any] = json.loads,
) -> Any:
    """The JSON of a 200.

    Raises:
        UpstreamError: it is another status, or no JSON.
    """
    if response.status != 200:
        raise _refused(attempt, response, data)
    try:
        return read(data)
    except ValueError:
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        raise nonsense(attempt.service, f"a 200 that is no JSON ({safe(kind, attempt.api_key)})") from None


def _refused(attempt: Attempt | EmbedAttempt, response: aiohttp.ClientResponse, data: bytes) -> UpstreamError:
    status, reason = response.status, f"HTTP {response.status}"
    with contextlib.suppress(ValueError):
        reason += _words(json.loads(data), attempt.api_key)
    again = status in (408, 409, 425, 429) or status >= 500
    after_s = retry_after_s(response.headers.get("Retry-After"))
    return UpstreamError(attempt.service, reason, again=again, retry_after_s=after_s, status=status)


def _words(body: Any, key: str | None) -> str:
    """Why a provider refuses: `error` as an object or as a text, Cloudflare's list of `errors`, Mistral's `message`."""
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors")
    said = body.get("error") or (errors[0] if isinstance(errors, list) and errors else body.get("message"))
    if isinstance(said, dict):
        said = said.get("message")
    return f" {error_message(said, key)}" if isinstance(said, str) and said else ""


def _name(error: Exception) -> str:
    return type(error).__name__

"""Providers: one interface, and who stands behind it."""

import base64
import json
import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import aiohttp

from schemas.completion import ChatMessage
from schemas.errors import UpstreamError
from schemas.message import now
from schemas.service import ServiceSpec


@dataclass(frozen=True)
class Attempt:
    """One call of one service."""

    service: str
    spec: ServiceSpec
    api_key: str | None
    messages: tuple[ChatMessage, ...]
    temperature: float | None
    max_tokens: int
    json_schema: dict[str, Any] | None
    timeout_s: float
    request_id: str
    """Stays the same for one journalled attempt; sent as `Idempotency-Key` to providers that honour it."""


@dataclass(frozen=True)
class Served:
    """What a provider answered. Tokens are None where it did not say."""

    text: str
    model: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


class Provider(Protocol):
    async def complete(self, attempt: Attempt) -> Served:
        """Raises UpstreamError with what is known of the failure: whether to try again, whether it may have cost."""
        ...


def wire_messages(messages: tuple[ChatMessage, ...]) -> list[dict[str, Any]]:
    """The conversation in OpenAI's shape, which litellm takes too."""
    out: list[dict[str, Any]] = []
    for message in messages:
        if not message.images:
            out.append({"role": message.role, "content": message.content})
            continue
        parts: list[dict[str, Any]] = [{"type": "text", "text": message.content}]
        for image in message.images:
            base64.b64decode(image.base64, validate=True)
            url = f"data:{image.media_type};base64,{image.base64}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        out.append({"role": message.role, "content": parts})
    return out


class OpenAIProvider:
    """Any server that speaks OpenAI's chat completions, over one pooled HTTP client.

    aiohttp, because it closes a connection at once however its task ends. httpx closes in further steps, which a
    cancellation may interrupt; with it, one call was seen to stay open at the provider.
    """

    DEFAULT_BASE = "https://api.openai.com/v1"
    IDLE_S = 4.0
    """Shorter than common servers keep an idle connection, so that none is used just as it is closed."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(limit=2000, keepalive_timeout=self.IDLE_S)
        self._http = aiohttp.ClientSession(connector=connector)

    async def close(self) -> None:
        await self._http.close()

    async def complete(self, attempt: Attempt) -> Served:
        service = attempt.service
        body: dict[str, Any] = {
            "model": attempt.spec.model.split("/", 1)[1],
            "messages": wire_messages(attempt.messages),
        }
        if attempt.spec.api_base is None:
            # OpenAI itself knows `max_tokens` no more, and its reasoning models take no temperature.
            body["max_completion_tokens"] = attempt.max_tokens
        else:
            body["max_tokens"] = attempt.max_tokens
            if attempt.temperature is not None:
                body["temperature"] = attempt.temperature
        if attempt.json_schema is not None:
            schema = {"name": "answer", "schema": attempt.json_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        headers = {"Idempotency-Key": attempt.request_id}
        if attempt.api_key is not None:
            headers["Authorization"] = f"Bearer {attempt.api_key}"
        url = (attempt.spec.api_base or self.DEFAULT_BASE).rstrip("/") + "/chat/completions"
        timeout = aiohttp.ClientTimeout(total=attempt.timeout_s, sock_connect=min(10.0, attempt.timeout_s))
        try:
            async with self._http.post(
                url, json=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                reply = Reply(response.status, dict(response.headers), await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise UpstreamError(service, f"cannot be reached ({_name(error)})", again=True) from None
        except TimeoutError:
            reason = f"no answer within {attempt.timeout_s:g} s"
            raise UpstreamError(service, reason, again=False, spent=None) from None
        except aiohttp.ClientError as error:
            raise UpstreamError(service, f"the connection broke ({_name(error)})", again=True, spent=None) from None
        except ValueError:
            raise UpstreamError(service, "its key holds a character that no header may have") from None
        if reply.status != 200:
            raise _refused(service, reply, attempt.api_key)
        return _served(service, reply, attempt.api_key)


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers.items() if key.lower() == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


def _safe(said: object, key: str | None) -> str:
    """What a provider said, fit to be passed on: without our key, and without what no UTF-8 can carry."""
    text = str(said)
    return (text.replace(key, "<key>") if key else text).encode(errors="replace").decode()


def _refused(service: str, reply: Reply, key: str | None) -> UpstreamError:
    reason = f"HTTP {reply.status}"
    try:
        message = reply.json()["error"]["message"]
        reason += f" {_safe(message, key)[:200]}"
    except (ValueError, KeyError, TypeError):
        pass
    again = reply.status in (408, 409, 425, 429) or reply.status >= 500
    return UpstreamError(service, reason, again=again, retry_after_s=retry_after_s(reply.header("retry-after")))


def _served(service: str, reply: Reply, key: str | None) -> Served:
    """Read a 200. What came with it may have been paid for, so a failure here has an unknown cost."""

    def nonsense(reason: str) -> UpstreamError:
        return UpstreamError(service, reason, again=True, spent=None)

    try:
        answer = reply.json()
    except ValueError:
        kind = (reply.header("content-type") or "no content type").split(";")[0]
        raise nonsense(f"a 200 that is no JSON ({_safe(kind, key)})") from None
    if not isinstance(answer, dict):
        raise nonsense("a 200 that is no chat completion")
    if isinstance(error := answer.get("error"), dict):
        raise nonsense(f"a 200 with an error inside: {_safe(error.get('message'), key)[:200]}")
    try:
        choice = answer["choices"][0]
        text = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise nonsense("a 200 that is no chat completion") from None
    if not isinstance(text, str) or not text.strip():
        raise nonsense("an empty answer")
    reported = answer.get("usage")
    usage: dict[str, Any] = reported if isinstance(reported, dict) else {}
    finish = choice.get("finish_reason")
    return Served(
        text=_safe(text, None),
        model=_safe(answer.get("model") or "", None),
        finish_reason=_safe(finish, None) if isinstance(finish, str) else None,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for, in either of its forms; None when it says nothing usable.

    Source: RFC 9110, section 10.2.3.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
        return None if math.isnan(seconds) else max(0.0, seconds)
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - now()).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _name(error: Exception) -> str:
    return type(error).__name__


class LitellmProvider:
    """Providers with a wire format of their own. litellm costs 2.3 s and 170 MB to import, so it waits for need."""

    async def complete(self, attempt: Attempt) -> Served:
        import asyncio

        litellm = await asyncio.to_thread(_litellm)
        kwargs: dict[str, Any] = {}
        if attempt.json_schema is not None:
            schema = {"name": "answer", "schema": attempt.json_schema}
            kwargs["response_format"] = {"type": "json_schema", "json_schema": schema}
        try:
            answer = await litellm.acompletion(
                model=attempt.spec.model,
                messages=wire_messages(attempt.messages),
                max_tokens=attempt.max_tokens,
                temperature=attempt.temperature,
                api_key=attempt.api_key,
                api_base=attempt.spec.api_base,
                timeout=attempt.timeout_s,
                num_retries=0,
                max_retries=0,
                drop_params=True,
                **kwargs,
            )
        except Exception as error:
            raise self._failure(attempt.service, error) from None
        try:
            usage = answer.get("usage") or {}
            choice = answer.choices[0]
            text = choice.message.content
        except (AttributeError, IndexError, KeyError, TypeError):
            raise UpstreamError(attempt.service, "no chat completion", again=True, spent=None) from None
        if not text or not text.strip():
            raise UpstreamError(attempt.service, "an empty answer", again=True, spent=None)
        return Served(
            text=_safe(text, None),
            model=_safe(answer.model or "", None),
            finish_reason=choice.finish_reason,
            # litellm says 0 where the provider said nothing; a question and its answer are never without tokens.
            prompt_tokens=_count(usage.get("prompt_tokens")) or None,
            completion_tokens=_count(usage.get("completion_tokens")) or None,
        )

    @staticmethod
    def _failure(service: str, error: Exception) -> UpstreamError:
        """What litellm's error means. It makes up a status of 500 for whatever it cannot explain, a broken connection
        and an unreadable 200 among them; the provider's own headers come only with a status of the provider's own."""
        kind, status = type(error).__name__, getattr(error, "status_code", None)
        if _unreached(error):
            return UpstreamError(service, f"cannot be reached ({kind})", again=True)
        if kind == "Timeout":
            return UpstreamError(service, "no answer in time", again=False, spent=None)
        if status is None:
            return UpstreamError(service, kind, again=False, spent=None)
        headers = getattr(error, "litellm_response_headers", None) or {}
        is_own = isinstance(status, int) and status >= 500 and bool(headers) and kind != "APIConnectionError"
        if not (is_own or (isinstance(status, int) and 400 <= status < 500)):
            return UpstreamError(service, f"no usable answer ({kind})", again=True, spent=None)
        return UpstreamError(
            service,
            f"HTTP {status} {kind}",
            again=status in (408, 409, 425, 429) or status >= 500,
            retry_after_s=retry_after_s(headers.get("retry-after")),
        )


def _unreached(error: BaseException) -> bool:
    """Whether there was no connection at all, as an error's causes tell."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in ("ConnectError", "ConnectTimeout"):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _litellm() -> Any:
    import os

    # Without this, the import itself asks the network for prices.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm

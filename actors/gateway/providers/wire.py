"""What travels to and from providers in OpenAI's shape, which litellm takes and gives too."""

import base64
import json
import math
import secrets
from email.utils import parsedate_to_datetime
from typing import Any

from actors.gateway.providers.provider import Attempt, Embedded, Served
from schemas.completion import ChatMessage, ToolCall
from schemas.errors import UpstreamError
from schemas.message import now


def wire_messages(messages: tuple[ChatMessage, ...]) -> list[dict[str, Any]]:
    """The conversation in OpenAI's shape.

    Raises:
        ValueError: an image is no base64.
    """
    return [_wire_message(message) for message in messages]


def _wire_message(message: ChatMessage) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        parts: list[dict[str, Any]] = [{"type": "text", "text": message.content}]
        for image in message.images:
            base64.b64decode(image.base64, validate=True)
            url = f"data:{image.media_type};base64,{image.base64}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        out["content"] = parts
    if message.tool_calls:
        # A turn that was nothing but wishes has no text: `null`, for an empty one is refused by some.
        out["content"] = out["content"] or None
        out["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return out


def wishes(attempt: Attempt) -> dict[str, Any]:
    """The shape and the tools that an attempt asks for."""
    out: dict[str, Any] = {}
    if attempt.json_schema is not None:
        schema = {"name": "answer", "schema": attempt.json_schema}
        out["response_format"] = {"type": "json_schema", "json_schema": schema}
    if attempt.tools:
        out["tools"] = list(attempt.tools)
        if attempt.tool_choice is not None:
            out["tool_choice"] = attempt.tool_choice
    return out


def nonsense(service: str, reason: str) -> UpstreamError:
    """An answer that cannot be used. What came may have been paid for, so its cost is unknown."""
    return UpstreamError(service, reason, again=True, spent=None)


def read_completion(service: str, answer: Any, key: str | None) -> Served:
    """A whole chat completion.

    Raises:
        UpstreamError: it is none, or holds an error, or nothing.
    """
    if not isinstance(answer, dict):
        raise nonsense(service, "a 200 that is no chat completion")
    if (error := answer.get("error")) is not None:
        raise nonsense(service, f"a 200 with an error inside: {error_message(error, key)}")
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text, wished = message.get("content"), message.get("tool_calls")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise nonsense(service, "a 200 that is no chat completion") from None
    tool_calls = tuple(_tool_call(service, each) for each in wished) if isinstance(wished, list) else ()
    if not (isinstance(text, str) and text.strip()) and not tool_calls:
        raise nonsense(service, "an empty answer")
    prompt_tokens, completion_tokens = usage_of(answer)
    finish = choice.get("finish_reason")
    return Served(
        text=safe(text, None) if isinstance(text, str) else "",
        model=safe(answer.get("model") or "", None),
        finish_reason=safe(finish, None) if isinstance(finish, str) else None,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        tool_calls=tool_calls,
    )


def _tool_call(service: str, call: Any) -> ToolCall:
    try:
        name, arguments = call["function"]["name"], call["function"].get("arguments")
    except (KeyError, TypeError, AttributeError):
        raise nonsense(service, "a tool call that cannot be read") from None
    return tool_call(service, call.get("id"), name, arguments)


def tool_call(service: str, id_: Any, name: Any, arguments: Any) -> ToolCall:
    if not isinstance(name, str) or not name:
        raise nonsense(service, "a tool call without a name")
    if not isinstance(arguments, str):  # some servers decode them
        arguments = json.dumps(arguments or {})
    # Without an id no result could name it.
    id_ = id_ if isinstance(id_, str) and id_ else f"call_{secrets.token_hex(12)}"
    return ToolCall(id=safe(id_, None), name=safe(name, None), arguments=safe(arguments, None) or "{}")


def usage_of(answer: dict[str, Any]) -> tuple[int | None, int | None]:
    """Tokens of the question and of the answer, as far as they are said."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None, None
    return count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))


def read_embeddings(service: str, answer: Any, texts: int, key: str | None) -> Embedded:
    """A whole answer with one vector for each of so many texts.

    Raises:
        UpstreamError: it is none, or holds an error, or vectors that cannot be used.
    """
    if not isinstance(answer, dict):
        raise nonsense(service, "a 200 that is no list of embeddings")
    if (error := answer.get("error")) is not None:
        raise nonsense(service, f"a 200 with an error inside: {error_message(error, key)}")
    try:
        data = sorted(answer["data"], key=lambda each: each["index"])
        vectors = tuple(tuple(map(_number, each["embedding"])) for each in data)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise nonsense(service, "a 200 that is no list of embeddings") from None
    if len(vectors) != texts or [each["index"] for each in data] != list(range(texts)):
        raise nonsense(service, f"{len(vectors)} vectors for {texts} texts")
    if len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise nonsense(service, "vectors of different lengths, or of none")
    return Embedded(vectors, safe(answer.get("model") or "", None), usage_of(answer)[0])


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def error_message(error: Any, key: str | None) -> str:
    """What an `error` object says, in at most 200 characters."""
    message = error.get("message") if isinstance(error, dict) else error
    return safe(message, key)[:200]


def safe(said: object, key: str | None) -> str:
    """What a provider said, fit to be passed on: without our key, and without what no UTF-8 can carry."""
    text = str(said)
    if key:
        text = text.replace(key, "<key>")
    return text if text.isascii() else text.encode(errors="replace").decode()


def count(value: object) -> int | None:
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

"""What travels to and from providers in OpenAI's shape, which litellm takes and gives too."""

import base64
import json
import math
import secrets
from email.utils import parsedate_to_datetime
from typing import Any

from actors.gateway.providers.provider import Attempt, Embedded, Heard, Served
from schemas.completion import ChatMessage, ToolCall
from schemas.errors import UpstreamError
from schemas.message import now

MOST_TOKENS = 10**9
"""A report of more than any model reads or writes is none."""


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
    """The shape, the tools and the way of sampling that an attempt asks for."""
    out: dict[str, Any] = {} if attempt.sampling is None else attempt.sampling.chosen
    if attempt.json_schema is not None:
        schema = {"name": "answer", "schema": attempt.json_schema}
        out["response_format"] = {"type": "json_schema", "json_schema": schema}
    if attempt.tools:
        out["tools"] = list(attempt.tools)
        if attempt.tool_choice is not None:
            out["tool_choice"] = attempt.tool_choice
        if attempt.parallel_tool_calls is not None:
            out["parallel_tool_calls"] = attempt.parallel_tool_calls
    return out


def nonsense(service: str, reason: str) -> UpstreamError:
    """An answer that cannot be used. What came may have been paid for, so its cost is unknown."""
    return UpstreamError(service, reason, again=True, spent=None)


def turned_down(service: str, reason: str) -> UpstreamError:
    """No answer, though the service works: it would say the same again, and charges for saying so."""
    return UpstreamError(service, reason, again=False, spent=True)


def read_completion(attempt: Attempt, answer: Any, heard: Heard) -> Served:
    """A whole chat completion. Whatever it is, `heard` is told of the usage that it reports.

    Raises:
        UpstreamError: it is none, or holds an error, a refusal, or nothing.
    """
    service, key = attempt.service, attempt.api_key
    if not isinstance(answer, dict):
        raise nonsense(service, "a 200 that is no chat completion")
    prompt_tokens, completion_tokens = usage_of(answer)
    heard.billed(prompt_tokens, completion_tokens)
    if (error := answer.get("error")) is not None:
        raise nonsense(service, f"a 200 with an error inside: {error_message(error, key)}")
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text, wished = text_of(message.get("content")), message.get("tool_calls")
        refusal = message.get("refusal") or (message.get("provider_specific_fields") or {}).get("refusal")
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise nonsense(service, "a 200 that is no chat completion") from None
    tool_calls = tuple(_tool_call(service, each) for each in wished) if isinstance(wished, list) else ()
    finish = safe(finish, None) if isinstance(finish, str) and finish else None
    said = bool(text.strip() or tool_calls)
    check_said(attempt, said, refusal, finish)
    served = Served(
        text=safe(text, None),
        model=safe(answer.get("model") or "", None),
        finish_reason=finish,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens or None,  # an answer is never without tokens
        tool_calls=tool_calls,
    )
    heard.whole(served)
    return served


def text_of(content: object) -> str:
    """What a message says; some say it in parts, thoughts among them."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "".join(part for part in parts if isinstance(part, str))


def check_said(attempt: Attempt, said: bool, refusal: object, finish: str | None) -> None:
    """Whether a model that works has declined to answer, or has said nothing.

    Args:
        said: whether there is a text or a wish.

    Raises:
        UpstreamError: it has.
    """
    words = safe(refusal, attempt.api_key).strip()[:200] if isinstance(refusal, str) else ""
    if finish == "content_filter":
        raise turned_down(attempt.service, "its filter withholds the answer" + (f": {words}" if words else ""))
    if said:
        return
    if words:
        raise turned_down(attempt.service, f"the model refuses: {words}")
    if finish == "length":
        limit = f"{attempt.max_tokens:,}"
        raise turned_down(attempt.service, f"an empty answer: its {limit} tokens were used up before it began")
    raise nonsense(attempt.service, "an empty answer")


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
    """Tokens of the question and of the answer, as far as they are said. No question is without tokens: a 0 beside it
    says nothing."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None, None
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if prompt and completion is not None:
        completion += _thoughts_beside(usage, prompt, completion)
    return prompt or None, completion if prompt else completion or None


def _thoughts_beside(usage: dict[str, Any], prompt: int, completion: int) -> int:
    """Tokens of thoughts that are counted beside the answer's, as xAI does, and not among them, as its total shows."""
    details = usage.get("completion_tokens_details")
    thoughts = count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    return thoughts if thoughts and count(usage.get("total_tokens")) == prompt + completion + thoughts else 0


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
        vectors = tuple(_vector(each["embedding"]) for each in data)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise nonsense(service, "a 200 that is no list of embeddings") from None
    if len(vectors) != texts or [each["index"] for each in data] != list(range(texts)):
        raise nonsense(service, f"{len(vectors)} vectors for {texts} texts")
    if len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise nonsense(service, "vectors of different lengths, or of none")
    return Embedded(vectors, safe(answer.get("model") or "", None), usage_of(answer)[0])


def _vector(row: Any) -> tuple[float, ...]:
    # By rows: three million numbers one by one take a second.
    if not set(map(type, row)) <= {int, float} or not all(map(math.isfinite, row)):
        raise ValueError("not finite numbers")
    return tuple(map(float, row))


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
    """A number of tokens that some call may have taken."""
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for, in either of its forms; None when it says nothing usable.

    Source: RFC 9110, section 10.2.3.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - now()).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None

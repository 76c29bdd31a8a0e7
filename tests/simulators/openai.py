"""A model provider that speaks OpenAI's wire format over real HTTP, and misbehaves on request.

Source: https://platform.openai.com/docs/api-reference/chat and `openai`'s own types.
"""

import base64
import hashlib
import itertools
import json
import math
import struct
from typing import Any

from tests.simulators.base import BadRequest, Behaviour, Call, Fault, Simulator, Stream, run, send_stream, tokens
from tests.simulators.exchange import Exchange
from tests.simulators.replies import Question, Reply, pieces, reply_to

__all__ = ["DIMENSIONS", "MODELS", "Behaviour", "Call", "Fault", "OpenAISimulator"]

MODELS = ("sim-small", "sim-large", "sim-embedding")
"""What `/v1/models` lists. Calls may name any model; its name comes back in the answer."""
DIMENSIONS = 64
"""Of an embedding, unless the call says otherwise."""
MOST_INPUTS = 2048
USUAL = {
    401: ("Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
    429: ("Rate limit reached for requests", "requests", "rate_limit_exceeded"),
    500: ("The server had an error", "server_error", None),
    503: ("The upstream model is overloaded", "server_error", "overloaded"),
}
DONE = b"data: [DONE]\n\n"


class OpenAISimulator(Simulator):
    name = "openai"
    root = "/v1"

    def refusal(self, status: int, message: str | None = None, retry_after_s: float | None = None) -> dict[str, Any]:
        usual, kind, code = USUAL.get(status, ("", "invalid_request_error", None))
        return {"error": {"message": message or usual, "type": kind, "param": None, "code": code}}

    async def serve(self, exchange: Exchange, call: Call, behaviour: Behaviour) -> None:
        match (call.method, call.path):
            case ("POST", "/v1/chat/completions"):
                await self._chat(exchange, call, behaviour)
                return
            case ("POST", "/v1/embeddings"):
                payload = _embeddings(_fields(call.body, "model", "input"), behaviour)
            case ("GET", "/v1/models"):
                payload = _models(behaviour)
            case (method, path):
                raise BadRequest(f"Invalid URL ({method} {path})", 404)
        overloaded = behaviour.fault == "error_in_200"
        await exchange.payload(self.refusal(self.overloaded) if overloaded else payload, behaviour.fault)

    async def _chat(self, exchange: Exchange, call: Call, behaviour: Behaviour) -> None:
        request = _fields(call.body, "model", "messages")
        question = _question(request)
        reply = reply_to(question, behaviour)
        billed = tokens(behaviour, len(question.prompt.split()), reply.words)
        usage = None if billed is None else _usage(behaviour, *billed)
        head = {
            "id": f"chatcmpl-sim{call.number:08d}",
            "created": int(call.arrived_at),
            "model": request["model"],
            "service_tier": "default",
            "system_fingerprint": "fp_simulator",
        }
        if request.get("stream") and behaviour.fault != "whole":
            with_usage = (request.get("stream_options") or {}).get("include_usage")
            error = [_event(self.refusal(self.overloaded)), DONE]
            await send_stream(exchange, _stream(head, reply, usage if with_usage else None, error), behaviour)
            return
        await exchange.pause(reply.words * behaviour.token_s)
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        if reply.uses:
            message["content"] = reply.text or None
            message["tool_calls"] = [_tool_call(head["id"], use.number, use.name, use.json) for use in reply.uses]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
        payload: dict[str, Any] = {"object": "chat.completion", **head, "choices": [choice]}
        if usage is not None:
            payload["usage"] = usage
        await exchange.payload(
            self.refusal(self.overloaded) if behaviour.fault == "error_in_200" else payload, behaviour.fault
        )


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.uses else "stop"


def _tool_call(answer: str, number: int, name: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"call_{answer[-8:]}_{number}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _stream(head: dict[str, Any], reply: Reply, usage: dict[str, Any] | None, error: list[bytes]) -> Stream:
    """`usage`: `None` where it is not sent."""

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        rest = {} if usage is None else {"usage": None}
        return _event({"object": "chat.completion.chunk", **head, "choices": [choice], **rest})

    content = None if reply.uses and not reply.text else ""
    parts = [chunk({"content": word}) for word in pieces(reply.text)]
    for use in reply.uses:
        beginning = {"index": use.number, **_tool_call(head["id"], use.number, use.name, "")}
        parts.append(chunk({"tool_calls": [beginning]}))
        for word in pieces(use.json):
            parts.append(chunk({"tool_calls": [{"index": use.number, "function": {"arguments": word}}]}))
    closing = [chunk({}, _finish(reply))]
    if usage is not None:
        closing.append(_event({"object": "chat.completion.chunk", **head, "choices": [], "usage": usage}))
    opening = [chunk({"role": "assistant", "content": content, "refusal": None})]
    return Stream(opening, parts, [*closing, DONE], error)


def _question(request: dict[str, Any]) -> Question:
    messages = request["messages"]
    prompt, last = _said(messages), _said(messages[-1:])
    _check_tool_results(messages)
    if request.get("stream_options") and not request.get("stream"):
        raise BadRequest("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    question = Question(prompt, last, may_call=messages[-1].get("role") != "tool")
    wanted = request.get("response_format") or {}
    match wanted.get("type"):
        case "json_schema":
            question.schema = wanted.get("json_schema", {}).get("schema", {})
        case "json_object":
            question.schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    for number, tool in enumerate(request.get("tools") or ()):
        match tool:
            case {"type": "function", "function": {"name": str(name)}}:
                question.tools[name] = tool["function"].get("parameters", {})
            case _:
                raise BadRequest(f"Missing required parameter: 'tools[{number}].function.name'.")
    match request.get("tool_choice"):
        case "none":
            question.may_call = False
        case {"type": "function", "function": {"name": name}}:
            question.tool = name
        case None | "auto" | "required":
            pass
        case other:
            raise BadRequest(
                f"Invalid value: {other!r}. 'tool_choice' is one of 'none', 'auto', 'required', or a tool."
            )
    if request.get("tool_choice") and not question.tools:
        raise BadRequest("Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.")
    return question


def _said(messages: Any) -> str:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise BadRequest("messages: must be a list of objects")
    texts = []
    for message in messages:
        content = message.get("content") or ""
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            match part:
                case {"text": text}:
                    texts.append(str(text))
                case {"type": "image_url", "image_url": {"url": str(url)}}:
                    _check_image(url)
                case {"type": "image_url"}:
                    raise BadRequest("Missing required parameter: 'image_url.url'.")
    return "\n".join(texts)


def _check_image(url: str) -> None:
    if url.startswith(("http://", "https://")):
        return
    kind, _, data = url.partition(";base64,")
    try:
        base64.b64decode(data, validate=True)
    except ValueError:
        data = ""
    if not kind.startswith("data:image/") or not data:
        raise BadRequest("Invalid image data.")


def _check_tool_results(messages: list[dict[str, Any]]) -> None:
    """Every result answers a call of the assistant's last turn."""
    asked: set[Any] = set()
    for number, message in enumerate(messages):
        match message:
            case {"role": "assistant"}:
                asked = {call.get("id") for call in message.get("tool_calls") or ()}
            case {"role": "tool"} if message.get("tool_call_id") not in asked:
                raise BadRequest(
                    f"Invalid parameter: 'messages[{number}]' with role 'tool' must be a response to a preceding "
                    "message with 'tool_calls'."
                )


def _embeddings(request: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    given = request["input"]
    one = isinstance(given, str) or (isinstance(given, list) and isinstance(given[0], int))  # a text, or its tokens
    inputs = [given] if one else given
    if not isinstance(inputs, list) or not all(isinstance(value, str | list) for value in inputs):
        raise BadRequest("input: must be a text, a list of tokens, or a list of these")
    if len(inputs) > MOST_INPUTS:
        raise BadRequest(f"'input': array too long. Expected an array with maximum length {MOST_INPUTS}.")
    if not all(inputs):
        raise BadRequest("'input' cannot contain an empty string.")
    words = sum(len(value.split() if isinstance(value, str) else value) for value in inputs)
    data = []
    count = 0 if behaviour.fault == "empty" else len(inputs) if behaviour.vectors is None else behaviour.vectors
    for index, value in zip(range(count), itertools.cycle(inputs), strict=False):
        numbers: list[float] | str = vector(value, request.get("dimensions") or DIMENSIONS)
        if request.get("encoding_format") == "base64":  # what OpenAI's own clients ask for
            numbers = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
        data.append({"object": "embedding", "index": index, "embedding": numbers})
    payload = {"object": "list", "data": data, "model": request["model"]}
    billed = tokens(behaviour, words, 0)
    return payload if billed is None else {**payload, "usage": _usage(behaviour, billed[0])}


def vector(value: Any, dimensions: int) -> list[float]:
    """Of length 1, always the same for the same input; says nothing about meaning."""
    raw = hashlib.shake_256(json.dumps(value).encode()).digest(dimensions)
    centred = [byte - 127.5 for byte in raw]
    norm = math.hypot(*centred)
    return [x / norm for x in centred]


def _models(behaviour: Behaviour) -> dict[str, Any]:
    names = () if behaviour.fault == "empty" else MODELS
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "simulator"} for name in names],
    }


def _fields(body: Any, *names: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadRequest("We could not parse the JSON body of your request.")
    for name in names:
        if not body.get(name):
            raise BadRequest(f"Missing required parameter: '{name}'.")
    return body


def _usage(behaviour: Behaviour, prompt: int, completion: int | None = None) -> dict[str, int]:
    """`completion`: `None` where nothing is generated."""
    counts = {"prompt_tokens": prompt} | ({} if completion is None else {"completion_tokens": completion})
    return {**counts, "total_tokens": 1 if behaviour.fault == "usage_lies" else sum(counts.values())}


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


if __name__ == "__main__":
    run(OpenAISimulator)

"""A model provider that speaks Anthropic's wire format over real HTTP, and misbehaves on request.

Source: https://platform.claude.com/docs/en/api/messages, …/build-with-claude/streaming, …/api/errors.
"""

import base64
import json
import re
from typing import Any

from tests.simulators.base import BadRequest, Behaviour, Call, Simulator, Stream, run, send_stream, tokens
from tests.simulators.exchange import Exchange
from tests.simulators.replies import Question, Reply, ToolUse, pieces, reply_to

USUAL = {
    400: ("invalid_request_error", ""),
    401: ("authentication_error", "invalid x-api-key"),
    404: ("not_found_error", "Not found"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit"),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}
FIELDS = {
    *("cache_control", "container", "context_management", "inference_geo", "max_tokens", "messages", "metadata"),
    *("model", "output_config", "output_format", "service_tier", "stop_sequences", "stream", "system", "temperature"),
    *("thinking", "tool_choice", "tools", "top_k", "top_p"),
}
PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")


class AnthropicSimulator(Simulator):
    name = "anthropic"
    key_header = "x-api-key"
    overloaded = 529

    def refusal(self, status: int, message: str | None = None, retry_after_s: float | None = None) -> dict[str, Any]:
        kind, usual = USUAL[status]
        error = {"type": kind, "message": message or usual}
        return {"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}

    async def serve(self, exchange: Exchange, call: Call, behaviour: Behaviour) -> None:
        if (call.method, call.path) != ("POST", "/v1/messages"):
            raise BadRequest("Not found", 404)
        if "x-api-key" not in exchange.request_headers:
            raise BadRequest("x-api-key header is required", 401)
        if exchange.request_headers.get("anthropic-version") != "2023-06-01":
            raise BadRequest("anthropic-version: header is required")
        request = _checked(call.body)
        question = _question(request)
        reply = reply_to(question, behaviour)
        usage = tokens(behaviour, len(question.prompt.split()), reply.words)
        message = {
            "id": f"msg_sim{call.number:08d}",
            "type": "message",
            "role": "assistant",
            "model": request["model"],
            "content": _content(reply, call.number),
            "stop_reason": "tool_use" if reply.uses else "end_turn",
            "stop_sequence": None,
        }
        if request.get("stream") and behaviour.fault != "whole":
            error = [_event("error", error=self.refusal(529)["error"])]
            await send_stream(exchange, _stream(message, reply, usage, error), behaviour)
            return
        await exchange.pause(reply.words * behaviour.token_s)
        if usage is not None:
            message["usage"] = _usage(*usage)
        await exchange.payload(self.refusal(529) if behaviour.fault == "error_in_200" else message, behaviour.fault)


def _content(reply: Reply, call: int) -> list[dict[str, Any]]:
    text = [{"type": "text", "text": reply.text}] if reply.text else []
    return [*text, *(_tool_use(use, call, use.arguments) for use in reply.uses)]


def _tool_use(use: ToolUse, call: int | str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{call}_{use.number}", "name": use.name, "input": arguments}


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": prompt, **cached, "output_tokens": completion, "service_tier": "standard"}


def _stream(message: dict[str, Any], reply: Reply, usage: tuple[int, int] | None, error: list[bytes]) -> Stream:
    def delta(index: int, **fields: Any) -> bytes:
        return _event("content_block_delta", index=index, delta=fields)

    beginning = {**message, "content": [], "stop_reason": None}
    if usage is not None:
        beginning["usage"] = _usage(usage[0], 1)
    opening, parts = [_event("message_start", message=beginning), _event("ping")], []
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            start, said = {"type": "text", "text": ""}, pieces(block["text"])
            deltas = [delta(index, type="text_delta", text=word) for word in said]
        else:
            start, said = block | {"input": {}}, ["", *pieces(json.dumps(block["input"]))]
            deltas = [delta(index, type="input_json_delta", partial_json=word) for word in said]
        # The start and the end of a block come with its first and its last piece.
        begun = _event("content_block_start", index=index, content_block=start)
        (opening if index == 0 else deltas).insert(2 if index == 0 else 0, begun)
        parts += [*deltas[:-1], deltas[-1] + _event("content_block_stop", index=index)]
    ending = {"delta": {"stop_reason": message["stop_reason"], "stop_sequence": None}}
    counted = {} if usage is None else {"usage": {"output_tokens": usage[1]}}
    return Stream(opening, parts, [_event("message_delta", **ending, **counted), _event("message_stop")], error)


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


# What is asked


def _checked(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadRequest("The request body is not valid JSON")
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise BadRequest(f"{name}: Field required")
    for name in body:
        if name not in FIELDS:
            raise BadRequest(f"{name}: Extra inputs are not permitted")
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        raise BadRequest("max_tokens: Input should be greater than or equal to 1")
    if not 0 <= (body.get("temperature") or 0) <= 1:
        raise BadRequest("temperature: range: 0..1")
    if not isinstance(body["messages"], list) or not body["messages"]:
        raise BadRequest("messages: at least one message is required")
    return body


def _question(request: dict[str, Any]) -> Question:
    texts, asked, result = [_text("system", request["system"])] if request.get("system") else [], set[str](), False
    for number, message in enumerate(request["messages"]):
        where = f"messages.{number}"
        if message.get("role") not in ("user", "assistant"):
            raise BadRequest(f"{where}.role: Input should be 'user' or 'assistant'")
        blocks = _blocks(where, message.get("content"))
        answered = {block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"}
        if asked - answered:
            raise BadRequest(f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after")
        if answered - asked:
            raise BadRequest(f"{where}: unexpected `tool_use_id` found in `tool_result` blocks")
        asked = {block["id"] for block in blocks if block["type"] == "tool_use"}
        result = bool(answered)
        texts.append("\n".join(_say(where, block) for block in blocks))
    question = Question("\n".join(texts), texts[-1], may_call=not result)
    form = (request.get("output_config") or {}).get("format") or request.get("output_format")
    if form is not None:
        if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
            raise BadRequest("output_config.format: Input should be a schema of type 'json_schema'")
        _check_closed(form["schema"])
        question.schema = form["schema"]
    _read_tools(request, question)
    return question


def _read_tools(request: dict[str, Any], question: Question) -> None:
    for number, tool in enumerate(request.get("tools") or ()):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool.get("name", "")):
            raise BadRequest(f"tools.{number}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool.get("input_schema", {}).get("type") != "object":
            raise BadRequest(f"tools.{number}.input_schema.type: Field required")
        question.tools[tool["name"]] = tool["input_schema"]
    match request.get("tool_choice"):
        case None | {"type": "auto" | "any"}:
            pass
        case {"type": "none"}:
            question.may_call = False
        case {"type": "tool", "name": str(name)}:
            question.tool = name
        case _:
            raise BadRequest("tool_choice: Input tag should be one of 'auto', 'any', 'tool', 'none'")


def _blocks(where: str, content: Any) -> list[dict[str, Any]]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or not all(isinstance(block, dict) and "type" in block for block in blocks):
        raise BadRequest(f"{where}.content: Input should be a valid string or list")
    return blocks


def _say(where: str, block: dict[str, Any]) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            if not text.strip():
                raise BadRequest(f"{where}: text content blocks must contain non-whitespace text")
            return text
        case {"type": "image", "source": {"type": "base64", "media_type": kind, "data": str(data)}}:
            try:
                base64.b64decode(data, validate=True)
            except ValueError:
                raise BadRequest(f"{where}.source.base64: invalid base64 data") from None
            if kind not in PICTURES:
                raise BadRequest(f"{where}.source.base64.media_type: Input should be one of {', '.join(PICTURES)}")
            return ""
        case {"type": "tool_use", "id": str(), "name": str(), "input": dict()}:
            return ""
        case {"type": "tool_result", "tool_use_id": str(), "content": content}:
            return _text(where, content)
    raise BadRequest(f"{where}: Input tag {block['type']!r} does not match any of the expected tags, or lacks a field")


def _text(where: str, content: Any) -> str:
    return "\n".join(_say(where, block) for block in _blocks(where, content))


def _check_closed(schema: Any) -> None:
    """Structured outputs take only objects that say that they have no further properties."""
    if isinstance(schema, list):
        for each in schema:
            _check_closed(each)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            raise BadRequest(
                "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
            )
        for each in schema.values():
            _check_closed(each)


if __name__ == "__main__":
    run(AnthropicSimulator)

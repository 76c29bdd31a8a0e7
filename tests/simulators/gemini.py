"""A model provider that speaks Gemini's wire format over real HTTP, and misbehaves on request.

Source: https://ai.google.dev/api/generate-content, …/api/embeddings, …/gemini-api/docs/troubleshooting. Field names may
come in camelCase or in snake_case, as everywhere in Google's JSON.
"""

import base64
import json
import re
from typing import Any

from tests.simulators.base import BadRequest, Behaviour, Call, Simulator, Stream, run, send_stream, tokens
from tests.simulators.exchange import Exchange
from tests.simulators.openai import vector
from tests.simulators.replies import Question, Reply, pieces, reply_to

USUAL = {
    400: ("INVALID_ARGUMENT", ""),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", ""),
    404: ("NOT_FOUND", ""),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}
FIELDS = {
    *("contents", "tools", "toolConfig", "safetySettings", "systemInstruction", "generationConfig", "cachedContent"),
    *("serviceTier", "store", "model"),
}
DIMENSIONS = 64


class GeminiSimulator(Simulator):
    name = "gemini"
    key_header = "x-goog-api-key"
    retry_header = False

    def refusal(self, status: int, message: str | None = None, retry_after_s: float | None = None) -> dict[str, Any]:
        kind, usual = USUAL[status]
        error: dict[str, Any] = {"code": status, "message": message or usual, "status": kind}
        if retry_after_s is not None:
            delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after_s:g}s"}
            error["details"] = [delay]
        return {"error": error}

    async def serve(self, exchange: Exchange, call: Call, behaviour: Behaviour) -> None:
        found = re.fullmatch(r"/v1(?:beta|alpha)?/models/([\w.-]+):(\w+)", call.path)
        if call.method != "POST" or found is None:
            raise BadRequest(f"Requested entity was not found: {call.method} {call.path}", 404)
        if not call.authorization:
            raise BadRequest("Method doesn't allow unregistered callers.", 403)
        if not isinstance(call.body, dict):
            raise BadRequest("Invalid JSON payload received.")
        model, verb = found.groups()
        match verb:
            case "generateContent" | "streamGenerateContent":
                streaming = verb == "streamGenerateContent" and behaviour.fault != "whole"
                if streaming and exchange.query.get("alt") != ["sse"]:
                    raise BadRequest("Only alt=sse is simulated.")
                await self._generate(exchange, call, behaviour, model, streaming)
            case "batchEmbedContents":
                await exchange.payload(_embeddings(call.body, behaviour), behaviour.fault)
            case _:
                raise BadRequest(f"models/{model} is not found for {verb}.", 404)

    async def _generate(
        self, exchange: Exchange, call: Call, behaviour: Behaviour, model: str, streaming: bool
    ) -> None:
        question = _question(_camel(call.body))
        reply = reply_to(question, behaviour)
        usage = tokens(behaviour, len(question.prompt.split()), reply.words)
        head = {"modelVersion": model, "responseId": f"sim{call.number:08d}"}
        if streaming:
            await send_stream(exchange, _stream(head, reply, usage, [_event(self.refusal(503))]), behaviour)
            return
        await exchange.pause(reply.words * behaviour.token_s)
        payload = _response(head, _parts(reply), usage, behaviour, "STOP")
        await exchange.payload(self.refusal(503) if behaviour.fault == "error_in_200" else payload, behaviour.fault)


def _parts(reply: Reply) -> list[dict[str, Any]]:
    text = [{"text": reply.text}] if reply.text else []
    return [*text, *({"functionCall": {"name": use.name, "args": use.arguments}} for use in reply.uses)]


def _response(
    head: dict[str, Any],
    parts: list[dict[str, Any]],
    usage: tuple[int, int] | None,
    behaviour: Behaviour | None = None,
    finish_reason: str | None = None,
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish_reason is not None:
        candidate["finishReason"] = finish_reason
    response: dict[str, Any] = {"candidates": [candidate], **head}
    if usage is not None:
        prompt, completion = usage
        lies = behaviour is not None and behaviour.fault == "usage_lies"
        response["usageMetadata"] = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": completion,
            "totalTokenCount": 1 if lies else prompt + completion,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        }
    return response


def _stream(head: dict[str, Any], reply: Reply, usage: tuple[int, int] | None, error: list[bytes]) -> Stream:
    """Text comes word by word, a function call in one piece; every chunk says what has been used by then."""

    def so_far(number: int) -> tuple[int, int] | None:
        return None if usage is None else (usage[0], min(number + 1, usage[1]))

    parts: list[dict[str, Any]] = [{"text": word} for word in pieces(reply.text)]
    parts += _parts(Reply("", reply.uses))
    chunks = [_event(_response(head, [part], so_far(number))) for number, part in enumerate(parts)]
    return Stream([], chunks, [_event(_response(head, [{"text": ""}], usage, None, "STOP"))], error)


def _event(payload: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(payload)}\r\n\r\n".encode()


def _embeddings(body: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    requests = body.get("requests")
    if not isinstance(requests, list) or not requests:
        raise BadRequest("* BatchEmbedContentsRequest.requests: must not be empty")
    texts = ["\n".join(part.get("text", "") for part in each["content"]["parts"]) for each in requests]
    return {
        "embeddings": [{"values": vector(text, DIMENSIONS)} for text in ([] if behaviour.fault == "empty" else texts)]
    }


# What is asked


def _camel(value: Any, depth: int = 3) -> Any:
    """Field names in camelCase; deeper down they are the caller's own, in schemas and arguments."""
    if isinstance(value, list):
        return [_camel(each, depth) for each in value]
    if not isinstance(value, dict) or depth == 0:
        return value
    return {re.sub(r"_(\w)", lambda m: m[1].upper(), name): _camel(each, depth - 1) for name, each in value.items()}


def _question(request: dict[str, Any]) -> Question:
    for name in request:
        if name not in FIELDS:
            raise BadRequest(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    contents = request.get("contents")
    if not isinstance(contents, list) or not contents:
        raise BadRequest("* GenerateContentRequest.contents: contents is not specified")
    texts, called, answered = [], 0, 0
    if system := request.get("systemInstruction"):
        texts.append("\n".join(_say(part) for part in system.get("parts", ())))
    for content in contents:
        if content.get("role", "user") not in ("user", "model", "function"):
            raise BadRequest("Please use a valid role: user, model.")
        if not content.get("parts"):
            raise BadRequest("* GenerateContentRequest.contents: contents.parts must not be empty.")
        answered = sum("functionResponse" in part for part in content["parts"])
        if answered != called:
            raise BadRequest(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        called = sum("functionCall" in part for part in content["parts"])
        texts.append("\n".join(_say(part) for part in content["parts"]))
    question = Question("\n".join(texts), texts[-1], may_call=not answered)
    config = request.get("generationConfig") or {}
    if not 0 <= (config.get("temperature") or 0) <= 2:
        raise BadRequest("* GenerateContentRequest.generation_config.temperature: must be in the range [0, 2]")
    schema = config.get("responseSchema") or config.get("responseJsonSchema")
    if schema is not None and config.get("responseMimeType") != "application/json":
        raise BadRequest("A response schema needs the response mime type application/json")
    question.schema = _lower(schema)
    _read_tools(request, question)
    return question


def _read_tools(request: dict[str, Any], question: Question) -> None:
    for tool in request.get("tools") or ():
        for declared in tool.get("functionDeclarations") or ():
            if not re.fullmatch(r"[a-zA-Z_][\w.:-]{0,127}", declared.get("name", "")):
                raise BadRequest("* GenerateContentRequest.tools[0].function_declarations[0].name: Invalid name")
            parameters = declared.get("parameters") or declared.get("parametersJsonSchema") or {}
            question.tools[declared["name"]] = _lower(parameters)
    config = (request.get("toolConfig") or {}).get("functionCallingConfig") or {}
    match config.get("mode"):
        case None | "AUTO" | "ANY" | "VALIDATED":
            pass
        case "NONE":
            question.may_call = False
        case mode:
            raise BadRequest(f"Invalid value at 'tool_config.function_calling_config.mode': {mode!r}")
    if allowed := config.get("allowedFunctionNames") or config.get("allowed_function_names"):
        question.tool = allowed[0]


def _say(part: dict[str, Any]) -> str:
    match part:
        case {"text": str(text)}:
            return text
        case {"inlineData": dict(data)} | {"inline_data": dict(data)}:
            try:
                base64.b64decode(data["data"], validate=True)
                known = str(data.get("mimeType") or data["mime_type"]).startswith("image/")
            except (KeyError, ValueError):
                known = False
            if not known:
                raise BadRequest("Unable to process input image.")
            return ""
        case {"functionCall": {"name": str()}}:
            return ""
        case {"functionResponse": {"name": str(), "response": dict(response)}}:
            return json.dumps(response)
    raise BadRequest("* GenerateContentRequest.contents: the data of a part must be set")


def _lower(schema: Any) -> Any:
    """Google's own schemas write types in capitals."""
    if isinstance(schema, list):
        return [_lower(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    return {name: _lower(each) for name, each in schema.items()} | (
        {"type": kind.lower()} if isinstance(kind, str) else {}
    )


if __name__ == "__main__":
    run(GeminiSimulator)

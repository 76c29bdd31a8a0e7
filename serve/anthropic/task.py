"""The task that a messages request stands for."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from actors.catalogue import Catalogue
from schemas.completion import ToolCall
from schemas.errors import InvalidRequest
from schemas.problem import field_errors
from schemas.task import Input, TaskRequest, Turn
from serve.anthropic.wire import Block, CountRequest, MessagesRequest, Said, Shown, ToolChoice
from serve.openai.kept import Kept, refuse_unkept
from serve.openai.models import UnknownModel, target_of
from serve.openai.terms import TIMEOUT_S, check_alone, request_of, sampling_of, tools_of
from serve.openai.turns import parts_of, turn_at

CLAUDE = "claude-"
"""Whoever asks for a model of such a name that no service here has gets what `devskyy-auto` gives."""
KEPT: Kept = {
    # How a provider is to go about it; the one answer has the same shape whatever they say.
    **dict.fromkeys(("thinking", "context_management", "service_tier", "speed", "inference_geo", "cache_control")),
    **dict.fromkeys(("betas", "diagnostics")),
    "container": (),
    "mcp_servers": ([],),
}
KEPT_OF_OUTPUT: Kept = {"effort": None, "format": None}
KEPT_OF_A_FORMAT: Kept = {"type": None, "schema": None}
KEPT_OF_A_TOOL: Kept = {
    **dict.fromkeys(("cache_control", "eager_input_streaming", "input_examples")),
    "strict": (False,),
    "defer_loading": (False,),
}
THOUGHT = ("thinking", "redacted_thinking")
"""Blocks of an assistant that only the model which wrote them can read."""


def task_of(asked: MessagesRequest, catalogue: Catalogue) -> TaskRequest:
    """
    Raises:
        InvalidRequest, UnknownModel: it asks for what this door cannot do, or for a model that is not there.
    """
    refuse_unkept(asked.model_extra or {}, KEPT)
    turns, places = turns_of(asked)
    parts = parts_of(turns, places)
    tools, choice, parallel = _tools(asked)
    fields = {
        **parts,
        **_target(asked.model, catalogue),
        **tools_of(tools, choice, parallel),
        "sampling": sampling_of({"top_p": asked.top_p, "stop": asked.stop_sequences}),
        "temperature": asked.temperature,
        "max_tokens": asked.max_tokens,
        "json_schema": _schema(asked.output_config or {}),
        "timeout_s": asked.timeout_s or TIMEOUT_S,
        "max_cost_usd": asked.max_cost_usd,
        "metadata": asked.metadata or {},
    }
    check_alone(fields, asked.model, "messages")
    fields["stream"] = bool(asked.stream) and fields.get("tier") in (None, "simple")
    names = {"prompt": places[len(parts["history"])], "json_schema": "output_config.format", "history": "messages"}
    return request_of(fields, {**names, "later": "messages", "inputs": "messages", "sampling.stop": "stop_sequences"})


def _target(model: str, catalogue: Catalogue) -> dict[str, Any]:
    try:
        return target_of(model, catalogue)
    except UnknownModel:
        if model.startswith(CLAUDE):
            return {}
        raise


def turns_of(asked: CountRequest) -> tuple[list[Turn], list[str]]:
    """The conversation, and where each turn stands in its request.

    Raises:
        InvalidRequest: it holds what this door does not take.
    """
    turns: list[Turn] = []
    places: list[str] = []
    if asked.system:
        text = asked.system if isinstance(asked.system, str) else _text(asked.system, "system")
        turns.append(turn_at("system", role="system", content=text))
        places.append("system")
    for number, said in enumerate(asked.messages):
        place = f"messages.{number}"
        for turn in _turns(said, f"{place}.content"):
            turns.append(turn)
            places.append(place)
    return turns, places


def _turns(said: Said, place: str) -> list[Turn]:
    """What a message says. Results of tools are turns of their own, before what a user says beside them."""
    if isinstance(said.content, str):
        return [turn_at(place, role=said.role, content=said.content)]
    texts: list[str] = []
    images: list[Input] = []
    calls: list[ToolCall] = []
    results: list[Turn] = []
    for number, block in enumerate(said.content):
        here = f"{place}.{number}"
        match block:
            case Block(type="text", text=str(text)):
                texts.append(text)
            case Block(type="image") if said.role == "user":
                images.append(_image(block, f"image-{number}", here))
            case Block(type="document") if said.role == "user":
                texts.append(_document(block, here))
            case Block(type="tool_use", id=str(id_), name=str(name)) if said.role == "assistant":
                calls.append(ToolCall(id=id_, name=name, arguments=json.dumps(block.input or {})))
            case Block(type="tool_result", tool_use_id=str(wish)) if said.role == "user":
                text, shown = _result(block, here)
                results.append(turn_at(here, role="tool", content=text, tool_call_id=wish))
                images += shown
            case Block(type=kind) if kind in THOUGHT and said.role == "assistant":
                pass
            case _:
                raise InvalidRequest(here, f"a block of type {block.type!r} is not taken in a message of {said.role}")
    spoken = turn_at(place, role=said.role, content="\n".join(texts), images=tuple(images), tool_calls=tuple(calls))
    return results if results and not (texts or images) else [*results, spoken]


def _text(blocks: Sequence[Shown], place: str) -> str:
    for number, block in enumerate(blocks):
        if block.type != "text" or block.text is None:
            raise InvalidRequest(f"{place}.{number}", "is text; nothing else is taken here")
    return "\n".join(block.text or "" for block in blocks)


def _image(block: Shown, name: str, place: str) -> Input:
    source = block.source
    if source is None or source.type != "base64" or source.data is None or source.media_type is None:
        raise InvalidRequest(f"{place}.source", "an image is given as base64 with its media_type")
    try:
        return Input(kind="image", name=name, media_type=source.media_type, base64=source.data)
    except ValidationError as error:
        raise InvalidRequest(f"{place}.source", field_errors(error)[0].message) from None


def _document(block: Shown, place: str) -> str:
    if block.source is None or block.source.type != "text" or block.source.data is None:
        raise InvalidRequest(f"{place}.source", "a document is given as text; this version reads no files")
    return block.source.data


def _result(block: Block, place: str) -> tuple[str, list[Input]]:
    """What a tool gave: its text, and the pictures, which its caller then shows."""
    content = block.content or ""
    if isinstance(content, str):
        text, images = content, []
    else:
        texts = tuple(each for each in content if each.type != "image")
        text = _text(texts, f"{place}.content")
        images = [
            _image(each, f"image-{number}", f"{place}.content.{number}")
            for number, each in enumerate(content)
            if each.type == "image"
        ]
    # Providers of other makers have no word for it.
    return (f"[error] {text}" if block.is_error else text), images


def _tools(asked: CountRequest) -> tuple[tuple[dict[str, Any], ...], str | dict[str, Any] | None, bool | None]:
    """Tools, choice, and whether several at once are allowed, in the shape of chat completions."""
    found = []
    for number, tool in enumerate(asked.tools or ()):
        if tool.type not in (None, "custom"):
            raise InvalidRequest(f"tools.{number}.type", "is custom; this version has no tools of its own")
        refuse_unkept(tool.model_extra or {}, KEPT_OF_A_TOOL, f"tools.{number}.")
        function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema or {"type": "object"}}
        if tool.description is not None:
            function["description"] = tool.description
        found.append({"type": "function", "function": function})
    choice = asked.tool_choice or ToolChoice(type="auto")
    parallel = False if choice.disable_parallel_tool_use else None
    match choice.type:
        case "tool":
            if choice.name is None:
                raise InvalidRequest("tool_choice.name", "is missing")
            return tuple(found), {"type": "function", "function": {"name": choice.name}}, parallel
        case "any":
            return tuple(found), "required", parallel
    return tuple(found), choice.type if asked.tool_choice else None, parallel


def _schema(output: dict[str, Any]) -> dict[str, Any] | None:
    refuse_unkept(output, KEPT_OF_OUTPUT, "output_config.")
    form = output.get("format")
    match form:
        case None:
            return None
        case {"type": "json_schema", "schema": dict(schema)}:
            refuse_unkept(form, KEPT_OF_A_FORMAT, "output_config.format.")
            return dict(schema)
    raise InvalidRequest("output_config.format", "is json_schema with a schema")

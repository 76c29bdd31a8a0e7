"""The task that a chat request stands for."""

from collections.abc import Mapping
from typing import Any

from actors.catalogue import Catalogue
from schemas.completion import Sampling, ToolCall
from schemas.errors import InvalidRequest
from schemas.task import Input, TaskRequest, Turn
from serve.openai.chat_wire import ChatRequest, ChatToolCall, ChatTurn
from serve.openai.kept import Kept, refuse_unkept
from serve.openai.models import target_of
from serve.openai.terms import TIMEOUT_S, check_alone, request_of, sampling_of, tools_of
from serve.openai.turns import image_of, parts_of, turn_at

KEPT: Kept = {
    # Whatever they say, the one answer stays the same.
    **dict.fromkeys(("user", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")),
    # And at these values, which are what OpenAI takes where nothing is said.
    "n": (1,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
}
KEPT_OF_A_TURN: Kept = {"annotations": ([],)}
KEPT_OF_A_PART: Kept = {"prompt_cache_breakpoint": None}
KEPT_OF_AN_IMAGE: Kept = {"url": None, "detail": ("auto",)}
KEPT_OF_A_FORMAT: Kept = {"type": None, "json_schema": None}
KEPT_OF_A_SCHEMA: Kept = {"name": None, "schema": None, "strict": None}
KEPT_OF_A_STREAM: Kept = {"include_obfuscation": None}


def task_of(chat: ChatRequest, catalogue: Catalogue) -> TaskRequest:
    """The task that a chat request stands for: what a user said last is the prompt, the rest is history.

    Raises:
        InvalidRequest, UnknownModel: it asks for what this door cannot do, or for a model that is not there.
    """
    if chat.model_extra:
        refuse_unkept(chat.model_extra, KEPT)
    if chat.stream_options is not None and chat.stream_options.model_extra:
        refuse_unkept(chat.stream_options.model_extra, KEPT_OF_A_STREAM, "stream_options.")
    places = [f"messages.{place}" for place in range(len(chat.messages))]
    parts = parts_of([_turn(turn, at) for turn, at in zip(chat.messages, places, strict=True)], places)
    asked = len(parts["history"])
    fields = {
        **parts,
        **target_of(chat.model, catalogue),
        **tools_of(chat.tools, chat.tool_choice, chat.parallel_tool_calls),
        "sampling": _sampling(chat),
        "temperature": chat.temperature,
        "max_tokens": _max_tokens(chat),
        "json_schema": None if chat.response_format is None else _schema(chat.response_format),
        "timeout_s": chat.timeout_s or TIMEOUT_S,
        "max_cost_usd": chat.max_cost_usd,
        "metadata": chat.metadata or {},
    }
    check_alone(fields, chat.model, "messages")
    # A team's text is written by several at once; of one who answers alone it is told as it comes.
    fields["stream"] = bool(chat.stream) and fields.get("tier") in (None, "simple")
    names = {"prompt": f"{places[asked]}.content", "json_schema": "response_format", "history": "messages"}
    return request_of(fields, {**names, "later": "messages"})


def _sampling(chat: ChatRequest) -> Sampling | None:
    said = {
        "top_p": chat.top_p,
        "frequency_penalty": chat.frequency_penalty,
        "presence_penalty": chat.presence_penalty,
        "seed": chat.seed,
        "stop": chat.stop,
    }
    return sampling_of(said)


def _max_tokens(chat: ChatRequest) -> int | None:
    if chat.max_tokens is None or chat.max_completion_tokens in (None, chat.max_tokens):
        return chat.max_completion_tokens or chat.max_tokens
    raise InvalidRequest("max_tokens", "is another than max_completion_tokens; give one of them")


def _turn(turn: ChatTurn, place: str) -> Turn:
    if turn.model_extra:
        refuse_unkept(turn.model_extra, KEPT_OF_A_TURN, f"{place}.")
    calls = [_tool_call(call, f"{place}.tool_calls.{number}") for number, call in enumerate(turn.tool_calls or ())]
    text, images = _content(turn, place)
    return turn_at(
        place,
        role="system" if turn.role == "developer" else turn.role,
        content=text,
        images=tuple(images),
        tool_calls=tuple(calls),
        tool_call_id=turn.tool_call_id,
    )


def _tool_call(call: ChatToolCall, place: str) -> ToolCall:
    refuse_unkept({**(call.model_extra or {}), **(call.function.model_extra or {})}, {}, f"{place}.")
    return ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)


def _content(turn: ChatTurn, place: str) -> tuple[str, list[Input]]:
    if isinstance(turn.content, str):
        return turn.content, []
    if turn.content is None:
        if turn.tool_calls:
            return "", []
        raise InvalidRequest(f"{place}.content", "is missing")
    texts, images = [], []
    for number, part in enumerate(turn.content):
        here = f"{place}.content.{number}"
        if part.model_extra:
            refuse_unkept(part.model_extra, KEPT_OF_A_PART, f"{here}.")
        if part.type == "text" and part.text is not None and part.image_url is None:
            texts.append(part.text)
        elif part.type == "image_url" and part.image_url is not None and part.text is None:
            refuse_unkept(part.image_url, KEPT_OF_AN_IMAGE, f"{here}.image_url.")
            images.append(image_of(part.image_url.get("url"), f"image-{number}", f"{here}.image_url.url"))
        elif part.type in ("text", "image_url"):
            raise InvalidRequest(here, f"a part of type {part.type} holds {part.type}, and only that")
        else:
            raise InvalidRequest(f"{here}.type", "is text or image_url; this version takes nothing else")
    return "\n".join(texts), images


def _schema(response_format: Mapping[str, Any]) -> dict[str, Any] | None:
    refuse_unkept(response_format, KEPT_OF_A_FORMAT, "response_format.")
    match response_format:
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "object"}
        case {"type": "json_schema", "json_schema": dict(form)} if isinstance(form.get("schema"), dict):
            refuse_unkept(form, KEPT_OF_A_SCHEMA, "response_format.json_schema.")
            return dict(form["schema"])
    raise InvalidRequest("response_format", "is text, json_object, or json_schema with a schema")

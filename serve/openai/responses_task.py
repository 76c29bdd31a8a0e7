"""The task that a request for a response stands for."""

from collections.abc import Mapping, Sequence
from typing import Any

from actors.catalogue import Catalogue
from schemas.completion import ToolCall
from schemas.errors import InvalidRequest
from schemas.task import Door, Input, TaskRequest, Turn
from serve.openai.kept import Kept, refuse_unkept
from serve.openai.models import target_of
from serve.openai.responses_wire import Item, ItemPart, ResponsesRequest
from serve.openai.terms import TIMEOUT_S, check_alone, request_of, sampling_of, tools_of
from serve.openai.turns import image_of, parts_of, turn_at

KEPT: Kept = {
    # Whatever they say, the one answer stays the same.
    **dict.fromkeys(("user", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")),
    "stream_options": None,
    # And at these values: what OpenAI takes where nothing is said, or what there is nothing of.
    "include": ([], ["reasoning.encrypted_content"]),
    "reasoning": ({},),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
KEPT_OF_AN_ITEM: Kept = {"id": None, "status": None}
KEPT_OF_A_PART: Kept = {"annotations": ([],), "logprobs": ([],), "detail": ("auto",)}
KEPT_OF_A_TEXT: Kept = {"verbosity": ("medium",)}
KEPT_OF_A_FORMAT: Kept = {"type": None, "name": None, "schema": None, "strict": None}
OWN = {
    "message": {"role", "content"},
    "function_call": {"call_id", "name", "arguments"},
    "function_call_output": {"call_id", "output"},
}
"""What an item of each type holds."""

PREVIOUS = "previous_response_id"


def task_of(
    asked: ResponsesRequest, catalogue: Catalogue, before: Sequence[Turn] = (), previous: str | None = None
) -> TaskRequest:
    """The task that a request stands for.

    Args:
        before: the conversation that it goes on from, and in `previous` the task that has it.

    Raises:
        InvalidRequest, UnknownModel: it asks for what this door cannot do, or for a model that is not there.
    """
    if asked.model_extra:
        refuse_unkept(asked.model_extra, KEPT)
    turns, places = list(before), [PREVIOUS] * len(before)
    if asked.instructions:
        turns.insert(0, turn_at("instructions", role="system", content=asked.instructions))
        places.insert(0, "instructions")
    if isinstance(asked.input, str):
        turns.append(turn_at("input", role="user", content=asked.input))
        places.append("input")
    else:
        _go_on(asked.input, turns, places)
    if not asked.input:
        raise InvalidRequest("input", "is empty; say what is to be done")
    parts = parts_of(turns, places)
    place = places[len(parts["history"])]
    fields = {
        **parts,
        **target_of(asked.model, catalogue),
        **tools_of(_tools(asked.tools), _choice(asked.tool_choice), asked.parallel_tool_calls),
        "sampling": sampling_of({"top_p": asked.top_p}),
        "temperature": asked.temperature,
        "max_tokens": asked.max_output_tokens,
        "json_schema": _schema(asked),
        "timeout_s": asked.timeout_s or TIMEOUT_S,
        "max_cost_usd": asked.max_cost_usd,
        "metadata": asked.metadata or {},
        "door": Door(model=asked.model, previous=previous, instructed=bool(asked.instructions)),
    }
    check_alone(fields, asked.model, "input")
    fields["stream"] = bool(asked.stream) and fields.get("tier") in (None, "simple")
    names = {"prompt": place, "json_schema": "text.format", "max_tokens": "max_output_tokens"}
    return request_of(fields, {**names, "history": "input", "later": "input"})


def _go_on(items: Sequence[Item], turns: list[Turn], places: list[str]) -> None:
    """Add what each item says. Calls are wishes of the assistant's turn that they stand behind."""
    for number, item in enumerate(items):
        place = f"input.{number}"
        kind = item.type or "message"
        if kind not in OWN:
            raise InvalidRequest(f"{place}.type", f"is one of {', '.join(OWN)}; this version takes nothing else")
        others = {name for own in OWN.values() for name in own} - OWN[kind]
        foreign = {name: getattr(item, name) for name in sorted(others)}
        refuse_unkept({**foreign, **(item.model_extra or {})}, KEPT_OF_AN_ITEM, f"{place}.")
        match kind:
            case "message":
                turn = _message(item, place)
            case "function_call":
                wish = _wish(item, place)
                if turns and turns[-1].role == "assistant":
                    turns[-1] = turns[-1].model_copy(update={"tool_calls": (*turns[-1].tool_calls, wish)})
                    continue
                turn = turn_at(place, role="assistant", content="", tool_calls=(wish,))
            case _:
                text, _ = _content(item.output, f"{place}.output", images_of="")
                turn = turn_at(place, role="tool", content=text, tool_call_id=item.call_id)
        turns.append(turn)
        places.append(place)


def _message(item: Item, place: str) -> Turn:
    if item.role is None:
        raise InvalidRequest(f"{place}.role", "is missing")
    text, images = _content(item.content, f"{place}.content", images_of=item.role)
    role = "system" if item.role == "developer" else item.role
    return turn_at(place, role=role, content=text, images=tuple(images))


def _wish(item: Item, place: str) -> ToolCall:
    if item.call_id is None or item.name is None or item.arguments is None:
        raise InvalidRequest(place, "a function_call has call_id, name and arguments")
    wish = ToolCall(id=item.call_id, name=item.name, arguments=item.arguments)
    turn_at(place, role="assistant", content="", tool_calls=(wish,))  # it is checked there
    return wish


def _content(content: str | tuple[ItemPart, ...] | None, place: str, *, images_of: str) -> tuple[str, list[Input]]:
    if content is None:
        raise InvalidRequest(place, "is missing")
    if isinstance(content, str):
        return content, []
    texts, images = [], []
    for number, part in enumerate(content):
        here = f"{place}.{number}"
        if part.model_extra:
            refuse_unkept(part.model_extra, KEPT_OF_A_PART, f"{here}.")
        if part.type in ("input_text", "output_text", "text") and part.text is not None:
            texts.append(part.text)
        elif part.type == "input_image" and images_of == "user":
            images.append(image_of(part.image_url, f"image-{number}", f"{here}.image_url"))
        else:
            raise InvalidRequest(f"{here}.type", "is text, or an image that a user shows; nothing else is taken")
    return "\n".join(texts), images


def _tools(tools: tuple[dict[str, Any], ...] | None) -> tuple[dict[str, Any], ...]:
    """In the shape of chat completions, which services speak."""
    found = []
    for number, tool in enumerate(tools or ()):
        if tool.get("type") != "function":
            raise InvalidRequest(f"tools.{number}.type", "is function; this version has no tools of its own")
        found.append({"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}})
    return tuple(found)


def _choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    match choice:
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
    return choice


def _schema(asked: ResponsesRequest) -> dict[str, Any] | None:
    if asked.text is None:
        return None
    refuse_unkept(asked.text.model_extra or {}, KEPT_OF_A_TEXT, "text.")
    form: Mapping[str, Any] = asked.text.format or {"type": "text"}
    refuse_unkept(form, KEPT_OF_A_FORMAT, "text.format.")
    match form:
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "object"}
        case {"type": "json_schema", "schema": dict(schema)}:
            return schema
    raise InvalidRequest("text.format", "is text, json_object, or json_schema with a schema")

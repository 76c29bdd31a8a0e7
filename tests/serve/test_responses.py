"""What the door for responses keeps, what it refuses by name, and what its object says again."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import Catalogue, load
from schemas.errors import InvalidRequest
from schemas.message import now
from schemas.task import Task, TaskRequest, Turn
from serve.openai.response import model_of, response_of
from serve.openai.responses_task import task_of
from serve.openai.responses_wire import ResponsesRequest

DOOR = "/v1/responses"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}
SAID = {"role": "user", "content": "hello"}
WISH = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}", "id": "fc_1", "status": "completed"}
GAVE = {"type": "function_call_output", "call_id": "c", "output": "a bag"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load(None)


def asked(catalogue: Catalogue, before: tuple[Turn, ...] = (), **fields: Any) -> TaskRequest:
    body = ResponsesRequest.model_validate({"model": "devskyy-auto", "input": "hello", **fields})
    return task_of(body, catalogue, before, "earlier" if before else None)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"include": ["file_search_call.results"]}, "include"),
        ({"max_tool_calls": 2}, "max_tool_calls"),
        ({"a_field_of_next_year": True}, "a_field_of_next_year"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {}, "more": 1}}}, "text.format.more"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "input.0.type"),
        ({"input": [{"content": "hello"}]}, "input.0.role"),
        ({"input": [{"role": "user"}]}, "input.0.content"),
        ({"input": [{**SAID, "name": "Ada"}]}, "input.0.name"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input.0.content.0.type"),
        ({"input": [{"role": "assistant", "content": "hello"}]}, "input.0.role"),
        ({"input": [SAID, GAVE]}, "input.1"),
        ({"input": [SAID, {"type": "function_call", "name": "look"}, GAVE]}, "input.1"),
        ({"input": [WISH, GAVE]}, "input.1"),
        ({"model": "devskyy-mega", "top_p": 0.5}, "top_p"),
        ({"model": "devskyy-mega", "tools": [TOOL]}, "tools"),
        ({"model": "devskyy-mega", "input": [SAID, WISH, GAVE]}, "input"),
        ({"max_output_tokens": 10_000_000}, "max_output_tokens"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(catalogue: Catalogue, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(catalogue, **fields)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "harmless",
    [
        {"store": False, "user": "u", "include": [], "reasoning": {}, "truncation": "disabled", "stream": False},
        {"text": {"format": {"type": "text"}}, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"top_p": 1, "service_tier": "auto", "stream_options": {"include_obfuscation": True}, "background": True},
        {"input": [SAID]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}]},
    ],
)
def test_what_changes_nothing_is_taken(catalogue: Catalogue, harmless: dict[str, Any]) -> None:
    assert asked(catalogue, **harmless) == asked(catalogue)


def test_items_become_turns_in_their_order(catalogue: Catalogue) -> None:
    # Given a conversation as items, with an image and two calls of one turn
    image = {"type": "input_image", "image_url": PIXEL, "detail": "auto"}
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, image]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
        WISH,
        {**WISH, "call_id": "d"},
        GAVE,
        {**GAVE, "call_id": "d", "output": [{"type": "input_text", "text": ""}]},
    ]
    # When it comes
    found = asked(catalogue, input=items, tools=[TOOL], instructions="Be brief.")
    # Then each is a turn in its place
    assert [(turn.role, turn.content) for turn in found.history] == [("system", "Be brief."), ("system", "Be kind.")]
    assert (found.prompt, [each.media_type for each in found.inputs]) == ("What is it?", ["image/png"])
    said, first, second = found.later
    assert (said.content, [call.id for call in said.tool_calls]) == ("Let me see.", ["c", "d"])
    assert [(turn.tool_call_id, turn.content) for turn in (first, second)] == [("c", "a bag"), ("d", "")]
    assert found.tools == ({"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}},)


def test_what_was_said_before_comes_between_the_instructions_and_the_rest(catalogue: Catalogue) -> None:
    before = (Turn(role="user", content="What is it?"), Turn(role="assistant", content="A bag."))
    found = asked(catalogue, before, instructions="Be brief.", input="Why?")
    assert [turn.content for turn in found.history] == ["Be brief.", "What is it?", "A bag."]
    assert found.door is not None
    assert (found.door.previous, found.door.instructed) == ("earlier", True)


def task(**fields: Any) -> Task:
    return Task(**{"task_id": "1", "status": "completed", "prompt": "hello", "created_at": now(), **fields})


def test_a_response_says_again_what_was_asked(catalogue: Catalogue) -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "name": "bag", "schema": schema, "strict": True}
    choice = {"type": "function", "name": "look"}
    wanted = asked(catalogue, tools=[TOOL], tool_choice=choice, top_p=0.5, text={"format": form}, metadata={"a": "b"})
    said = response_of(task(metadata={"a": "b"}), wanted)
    assert (said["model"], said["tools"], said["tool_choice"]) == ("devskyy-auto", [TOOL], choice)
    assert (said["top_p"], said["text"]["format"]["schema"], said["metadata"]) == (0.5, schema, {"a": "b"})


def test_what_is_kept_no_more_is_null() -> None:
    # Given a task of which only the end is left, without usage
    said = response_of(task(answer="Hi."), None)
    # Then its answer is there, and nothing is made up
    assert said["output"][0]["content"][0]["text"] == "Hi."
    assert [said[name] for name in ("model", "tools", "temperature", "instructions", "usage")] == [None] * 5


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({}, "devskyy-auto"),
        ({"tier": "mega"}, "devskyy-mega"),
        ({"agent": "writing"}, "agent/writing"),
        ({"service": "local"}, "service/local"),
    ],
)
def test_a_task_of_another_door_has_the_model_that_would_stand_for_it(fields: dict[str, Any], model: str) -> None:
    assert model_of(TaskRequest(prompt="hello", **fields)) == model


@pytest.mark.parametrize("id_", ["resp_nothing", "resp_", "resp_a.b", "resp_*", "chatcmpl-1", "x" * 200])
async def test_a_response_that_is_not_there_is_not_found(http: httpx.AsyncClient, id_: str) -> None:
    for reply in (
        await http.get(f"{DOOR}/{id_}"),
        await http.post(f"{DOOR}/{id_}/cancel"),
        await http.post(DOOR, json={"model": "devskyy-auto", "input": "hello", "previous_response_id": id_}),
    ):
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["type", "role", "content", "call_id", "name", "arguments", "output", "text", "image_url"])
WORDS = st.sampled_from(["message", "function_call", "function_call_output", "user", "assistant", "input_text", PIXEL])
ITEMS = st.lists(st.dictionaries(NAMES, WORDS | JSON | st.lists(st.dictionaries(NAMES, WORDS | JSON)), max_size=5))


@given(items=ITEMS)
def test_whatever_the_items_are_they_make_a_task_or_are_refused(catalogue: Catalogue, items: list[Any]) -> None:
    try:
        body = ResponsesRequest.model_validate({"model": "devskyy-auto", "input": items})
    except ValueError:
        return
    try:
        found = task_of(body, catalogue)
    except InvalidRequest as error:
        assert error.field
    else:
        assert found.prompt.strip()

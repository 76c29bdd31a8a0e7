"""Turns of a conversation, and what is for one model alone."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.completion import Sampling
from schemas.task import Task, TaskRequest, Turn

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
WISH = {"id": "call-1", "name": "look", "arguments": '{"place": "here"}'}
PIXEL = {"kind": "image", "name": "pixel", "media_type": "image/png", "base64": "iVBORw0KGgo="}
RESULT = {"role": "tool", "content": "a bag", "tool_call_id": "call-1"}


def field_of(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.errors()[0]["loc"])


@pytest.mark.parametrize(
    ("turn", "field"),
    [
        ({"role": "user", "content": "", "tool_calls": [WISH]}, "tool_calls"),
        ({"role": "assistant", "content": "", "tool_calls": [{**WISH, "arguments": "\ud800"}]}, "tool_calls"),
        ({"role": "assistant", "content": "", "images": [PIXEL]}, "images"),
        ({"role": "user", "content": "", "images": [{"kind": "code", "name": "a", "text": "b"}]}, "images"),
        ({"role": "user", "content": "", "tool_call_id": "call-1"}, "tool_call_id"),
        ({"role": "tool", "content": "a bag"}, ""),
    ],
)
def test_a_turn_holds_only_what_its_role_can_say(turn: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Turn.model_validate(turn)
    assert field_of(caught.value) == field


@pytest.mark.parametrize("team", [{"tier": "complex"}, {"agents": 3}, {"min_quality": 0.5}])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [TOOL]),
        ("sampling", {"seed": 7}),
        ("later", [RESULT]),
        ("history", [{"role": "assistant", "content": "", "tool_calls": [WISH]}]),
    ],
)
def test_what_is_for_one_model_is_not_given_to_a_team(team: dict[str, Any], field: str, value: Any) -> None:
    # Given what means something to the model that is asked, and to nobody else
    # When it comes with what makes a team
    with pytest.raises(ValidationError) as caught:
        TaskRequest.model_validate({"prompt": "look", **team, field: value})
    # Then it is refused by its name
    assert field_of(caught.value) == field


@pytest.mark.parametrize("alone", [{}, {"tier": "simple"}, {"agents": 1}, {"agent": "writing"}, {"service": "local"}])
def test_one_alone_may_have_tools(alone: dict[str, Any]) -> None:
    assert TaskRequest.model_validate({"prompt": "look", "tools": [TOOL], **alone}).for_one


def test_a_plain_request_is_for_anybody() -> None:
    history = (Turn(role="user", content="hello"), Turn(role="assistant", content="Hi."))
    assert not TaskRequest(prompt="look", history=history).for_one


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools"),
        ({"tools": [{**TOOL, "more": "x" * 300_000}]}, "tools"),
        ({"tools": [TOOL], "tool_choice": "whatever"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_tools_that_no_model_could_be_told_of_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TaskRequest.model_validate({"prompt": "look", **fields})
    assert field_of(caught.value) == field


def test_only_what_was_chosen_is_passed_on() -> None:
    assert Sampling().chosen == {}
    assert Sampling(top_p=0.5, seed=0, stop=("END",)).chosen == {"top_p": 0.5, "seed": 0, "stop": ["END"]}


def test_a_task_of_an_earlier_version_has_no_wishes() -> None:
    told = {"task_id": "1", "status": "accepted", "prompt": "hello", "created_at": "2026-01-01T00:00:00Z"}
    assert Task.model_validate(told).tool_calls == ()

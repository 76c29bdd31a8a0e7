"""What a caller may send."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bus.tasklog import fingerprint
from schemas.message import MAX_DEPTH
from schemas.task import SHAPE_OF, Input, Task, TaskRequest

ABSENT = object()


def request(**fields: Any) -> TaskRequest:
    return TaskRequest.model_validate({"prompt": "Say hello."} | fields)


def refused(says: str, **fields: Any) -> None:
    with pytest.raises(ValidationError, match=says):
        request(**{name: value for name, value in fields.items() if value is not ABSENT})


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_prompt_is_enough() -> None:
    made = request()
    assert (made.tier, made.agents, made.max_cost_usd, made.min_quality) == (None, None, None, None)
    assert (made.timeout_s, made.capabilities, made.inputs, made.metadata) == (600.0, (), (), {})


@pytest.mark.parametrize(
    ("field", "good"),
    [
        ("prompt", "x"),
        ("prompt", " x\n"),
        ("prompt", "é" * 100_000),
        ("tier", "simple"),
        ("tier", "mega"),
        ("max_cost_usd", 0),
        ("max_cost_usd", 1e9),
        ("min_quality", 0),
        ("min_quality", 1),
        ("timeout_s", 0.001),
        ("timeout_s", 7 * 86400),
        ("agents", 1),
        ("agents", 10_000),
        ("capabilities", ["code"] * 32),
        ("inputs", []),
        ("inputs", [{"kind": "text", "name": "a", "text": ""}] * 100),
        ("metadata", {str(i): None for i in range(64)}),
        ("metadata", {"a": [1, 2.5, "x", True, None, {"b": []}]}),
        ("metadata", {"a": 2**64 - 1, "b": -(2**63)}),
        ("metadata", {"a": nested(MAX_DEPTH - 1)}),
    ],
)
def test_within_bounds(field: str, good: Any) -> None:
    made = request(**{field: good})
    fingerprint(made)
    assert TaskRequest.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("field", "bad", "says"),
    [
        ("prompt", "", "is empty"),
        ("prompt", " \n\t", "is empty"),
        ("prompt", None, "valid string"),
        ("prompt", 7, "valid string"),
        ("prompt", "half \ud800", "surrogate"),
        ("tier", "huge", "simple"),
        ("tier", "SIMPLE", "simple"),
        ("max_cost_usd", -0.01, "greater than or equal to 0"),
        ("max_cost_usd", float("inf"), "finite"),
        ("max_cost_usd", float("nan"), "finite"),
        ("min_quality", -0.01, "greater than or equal to 0"),
        ("min_quality", 1.01, "less than or equal to 1"),
        ("min_quality", float("nan"), "than or equal"),
        ("timeout_s", 0, "greater than 0"),
        ("timeout_s", -1, "greater than 0"),
        ("timeout_s", 7 * 86400 + 1, "less than or equal"),
        ("timeout_s", float("inf"), "finite"),
        ("agents", 0, "greater than or equal to 1"),
        ("agents", 10_001, "less than or equal to 10000"),
        ("agents", 1.5, "integer"),
        ("capabilities", ["x"] * 33, "at most 32"),
        ("capabilities", "code", "tuple"),
        ("capabilities", ["\udfff"], "surrogate"),
        ("inputs", [{"kind": "text", "name": "a", "text": ""}] * 101, "at most 100"),
        ("metadata", {str(i): 1 for i in range(65)}, "at most 64"),
        ("metadata", {"a": b"bytes"}, "bytes, which JSON cannot say"),
        ("metadata", {"a": object()}, "object, which JSON cannot say"),
        ("metadata", {"a": 2**64}, "64 bits"),
        ("metadata", {"a": [-(2**63) - 1]}, "64 bits"),
        ("metadata", {"a": float("nan")}, "not finite"),
        ("metadata", {"a": {"b": "\ud800"}}, "surrogate"),
        ("metadata", {"\ud800": 1}, "surrogate"),
        ("metadata", {"a": {1: 2}}, "int as a key"),
        ("metadata", {"a": nested(MAX_DEPTH)}, "nested more than"),
        ("metadata", {"a": nested(100_000)}, "nested more than"),
        ("colour", "red", "not permitted"),
    ],
)
def test_out_of_bounds(field: str, bad: Any, says: str) -> None:
    refused(says, **{field: bad})


LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers() | st.binary(max_size=3)


@given(st.dictionaries(st.text(max_size=5), st.recursive(LEAVES, st.lists, max_leaves=5), max_size=3))
def test_metadata_is_refused_or_can_travel(metadata: dict[str, Any]) -> None:
    try:
        made = request(metadata=metadata)
    except ValidationError:
        return
    assert len(fingerprint(made)) == 64
    assert TaskRequest.model_validate_json(made.model_dump_json()) == made


def test_a_request_is_a_value() -> None:
    made = request()
    with pytest.raises(ValidationError, match="frozen"):
        made.prompt = "another"  # type: ignore[misc]


# -- inputs --------------------------------------------------------------------------------------------------------

PICTURE = base64.b64encode(b"\x89PNG\xff").decode()


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"kind": "text", "text": "é"}, 2),
        ({"kind": "text", "text": ""}, 0),
        ({"kind": "code", "base64": base64.b64encode("é".encode()).decode()}, 2),
        ({"kind": "image", "base64": PICTURE, "media_type": "image/png"}, 5),
        ({"kind": "data", "text": "a,b", "media_type": "text/csv"}, 3),
        ({"kind": "text", "base64": ""}, 0),
    ],
)
def test_an_input_has_a_size(fields: dict[str, Any], size: int) -> None:
    assert Input.model_validate({"name": "n"} | fields).size == size


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "exactly one"),
        ({"text": "x", "base64": "eA=="}, "exactly one"),
        ({"base64": "eA="}, "cannot be decoded"),
        ({"base64": "e A = ="}, "cannot be decoded"),
        ({"base64": "\u00e9A=="}, "base64|ASCII"),
        ({"text": "x", "name": ""}, "at least 1"),
        ({"text": "x", "name": "n" * 256}, "at most 255"),
        ({"text": "\ud800"}, "surrogate"),
        ({"text": "x", "name": "\ud800"}, "surrogate|unicode"),
        ({"text": "x", "kind": "video"}, "'text', 'code', 'image' or 'data'"),
        ({"text": "x", "media_type": "plain"}, "pattern"),
        ({"text": "x", "media_type": "text/plain\nX-Evil: 1"}, "pattern"),
        ({"text": "x", "media_type": "text/plain\n"}, "pattern"),
        ({"text": "x", "media_type": "a/" + "b" * 126}, "at most 127"),
        ({"text": "x", "colour": "red"}, "not permitted"),
    ],
)
def test_an_input_that_is_none(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Input.model_validate({"kind": "text", "name": "n"} | fields)


def test_every_tier_has_a_shape() -> None:
    assert SHAPE_OF == {"simple": "direct", "moderate": "parallel", "complex": "coordinated", "mega": "hierarchical"}


@pytest.mark.parametrize(
    ("status", "ended"),
    [("accepted", False), ("running", False), ("completed", True), ("failed", True), ("cancelled", True)],
)
def test_a_task_ends_once(status: str, ended: bool) -> None:
    task = Task.model_validate(
        {"task_id": "t", "status": status, "prompt": "p", "created_at": "2026-01-02T03:04:05+02:00"}
    )
    assert task.ended is ended
    assert task.created_at.isoformat() == "2026-01-02T01:04:05+00:00"


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Task.model_validate({"task_id": "t", "status": "running", "prompt": "p", "created_at": "2026-01-02T03:04:05"})

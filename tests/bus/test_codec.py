"""What travels comes back as itself; what is no message comes back as `DecodeError` and as nothing else."""

import inspect
import math
import struct
import types
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ValidationError
from pydantic.fields import FieldInfo

import schemas.agent
import schemas.completion
import schemas.event
from bus.codec import MAX_REASON, decode, decode_as, encode, unpack
from schemas.completion import ToolCall
from schemas.errors import DecodeError
from schemas.event import TASK_EVENT, Accepted, Alert, DeadLetter
from schemas.message import Message
from schemas.receipt import Receipt
from schemas.task import Input, Task, TaskRequest, Turn

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | INTEGERS | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
MOMENTS = st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31))

INPUTS = st.builds(
    Input,
    kind=st.sampled_from(["text", "code", "data"]),
    name=TEXT.filter(bool),
    media_type=st.just("text/plain"),
    text=TEXT,
    base64=st.none(),
)

CALLS = st.lists(st.builds(ToolCall, id=TEXT, name=TEXT, arguments=TEXT), max_size=2).map(tuple)
TURNS = st.one_of(
    st.builds(Turn, role=st.sampled_from(["system", "user"]), content=TEXT),
    st.builds(Turn, role=st.just("assistant"), content=TEXT, tool_calls=CALLS),
    st.builds(Turn, role=st.just("tool"), content=TEXT, tool_call_id=TEXT.filter(bool)),
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("function"), "function": st.fixed_dictionaries({"name": TEXT.filter(bool)})}
    ),
    max_size=2,
).map(tuple)


def of_type(annotation: Any, limits: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Values that a field so annotated allows."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return of_type(inner, (*limits, *more))
    if origin in (Union, types.UnionType):
        return st.one_of(*(of_type(part, limits) for part in get_args(annotation)))
    if origin is Literal:
        return st.sampled_from(get_args(annotation))
    if origin is tuple:
        return st.lists(of_type(get_args(annotation)[0]), min_size=bound(limits, "min_length", 0), max_size=3).map(
            tuple
        )
    if origin is dict or annotation is dict:
        return st.dictionaries(TEXT, of_type(get_args(annotation)[1]), max_size=3)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return of_model(annotation)
    if annotation is float:
        low, high = bound(limits, "ge", -1e9), bound(limits, "le", 1e9)
        return st.floats(low, high).filter(lambda number: number > bound(limits, "gt", -math.inf))
    if annotation is int:
        return st.integers(bound(limits, "ge", -(2**63)), bound(limits, "le", 2**63))
    if annotation is str:
        return TEXT.filter(lambda text: len(text) >= bound(limits, "min_length", 0))
    known = {bool: st.booleans(), bytes: st.binary(), type(None): st.none(), AwareDatetime: MOMENTS, Any: PLAIN}
    return known[annotation]


def bound(limits: tuple[Any, ...], name: str, otherwise: Any) -> Any:
    """The limit of that name, wherever pydantic keeps it."""
    for limit in limits:
        for part in [limit, *(limit.metadata if isinstance(limit, FieldInfo) else ())]:
            if isinstance(part, annotated_types.BaseMetadata) and hasattr(part, name):
                return getattr(part, name)
    return otherwise


@cache
def of_model(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    if model in (Input, Turn):
        return INPUTS if model is Input else TURNS
    fields = {
        name: of_type(field.annotation, tuple(field.metadata)) | (st.none() if field.default is None else st.nothing())
        for name, field in model.model_fields.items()
    }
    if model is TaskRequest:
        fields["prompt"] = TEXT.filter(lambda text: bool(text.strip()))
        fields["timeout_s"] = st.floats(0.001, 7 * 86400)
        fields["agent"] = st.none() | st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
        fields["service"] = st.none()  # a task names an agent or a service, not both
        fields["replay"] = st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
        fields["tools"] = TOOLS
        fields["tool_choice"] = st.sampled_from([None, "none", "auto", "required"])
        fields["later"] = st.just(()) | st.lists(TURNS, max_size=2).map(tuple)
    return st.fixed_dictionaries(fields).map(lambda values: made(model, values)).filter(lambda made: made is not None)


def made(model: type[BaseModel], values: dict[str, Any]) -> BaseModel | None:
    """A model of these values; None where they do not go together, each by itself allowed."""
    if model is TaskRequest:
        tools = values["tools"] or any(turn.of_tools for turn in values["history"])
        if tools or values["later"] or values["sampling"] or values["agent"]:
            values = {**values, "tier": None, "agents": None, "min_quality": None}
        if not values["tools"]:
            values = {**values, "tool_choice": None}
    try:
        return model(**values)
    except ValidationError:
        return None


def models(*modules: types.ModuleType) -> list[type[BaseModel]]:
    return [
        model
        for module in modules
        for name, model in vars(module).items()
        if inspect.isclass(model)
        and issubclass(model, BaseModel)
        and model.__module__ == module.__name__
        and not name.startswith("_")
    ]


TRAVELLING = models(schemas.event, schemas.completion, schemas.agent)


def test_all_messages_are_tried() -> None:
    names = {model.__name__ for model in TRAVELLING}
    assert {"Accepted", "Claimed", "Completed", "Failed", "CancelledEvent", "Command", "Alert", "DeadLetter"} <= names
    assert {"Ask", "Answer", "Complete", "Completion", "Embed", "Embeddings"} <= names


@pytest.mark.parametrize("model", [*TRAVELLING, TaskRequest, Task, Receipt], ids=lambda model: model.__name__)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_message_comes_back_as_itself(model: type[BaseModel], data: st.DataObject) -> None:
    message = data.draw(of_model(model))
    assert decode(encode(message), model) == message


@pytest.mark.parametrize("model", schemas.event.Ended.__args__, ids=lambda model: model.__name__)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_an_event_is_known_by_its_name(model: type[BaseModel], data: st.DataObject) -> None:
    event = data.draw(of_model(model))
    assert decode_as(encode(event), TASK_EVENT, "task event") == event


def test_what_is_unknown_stays_unknown() -> None:
    receipt = Receipt(agents=1, wall_ms=1.0)
    back = decode(encode(receipt), Receipt)
    assert (back.cost_usd, back.prompt_tokens, back.completion_tokens) == (None, None, None)


def test_a_field_that_a_newer_sender_adds_is_ignored() -> None:
    alert = Alert(level=1, source="s", title="t", detail="d", at=datetime.now(UTC))
    grown = msgpack.packb(msgpack.unpackb(encode(alert)) | {"colour": "red"})
    assert decode(grown, Alert) == alert


def test_a_null_inside_free_form_data_is_kept() -> None:
    request = TaskRequest(prompt="x", metadata={"a": None, "b": [None]})
    assert decode(encode(request), TaskRequest) == request


# -- what is no message --------------------------------------------------------------------------------------------


def refused(data: bytes, read: Callable[[bytes], Any]) -> DecodeError:
    with pytest.raises(DecodeError) as raised:
        read(data)
    assert raised.value.data == data
    return raised.value


@given(st.binary())
def test_random_bytes_raise_nothing_but_the_one_error(data: bytes) -> None:
    for model in (Accepted, TaskRequest, DeadLetter):
        error = refused(data, lambda data, model=model: decode(data, model))  # type: ignore[misc]
        assert error.expected == model.__name__
        assert error.__cause__ is None
    refused(data, lambda data: decode_as(data, TASK_EVENT, "task event"))


FIELDS = st.sampled_from([*Accepted.model_fields, *TaskRequest.model_fields])
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats() | TEXT | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT | FIELDS | st.binary(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(st.dictionaries(FIELDS, VALUES, max_size=8))
def test_maps_of_anything_raise_nothing_but_the_one_error(value: dict[str, Any]) -> None:
    data = msgpack.packb(value)
    for model in (Accepted, TaskRequest):
        try:
            decode(data, model)
        except DecodeError as error:
            assert error.data == data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "incomplete input"),
        (b"\xc1", "not msgpack"),
        (msgpack.packb({"a": 1})[:-1], "incomplete input"),
        (msgpack.packb({"a": 1}) + b"\x00", "extra data"),
        (msgpack.packb({"a": 1}) * 2, "extra data"),
        (msgpack.packb([1]), "this is a list"),
        (msgpack.packb(7), "this is a int"),
        (msgpack.packb(None), "this is a NoneType"),
        (b"\x81\xa1\xff\x01", "utf-8"),
        (msgpack.packb({1: 2}), "not allowed for map key"),
        (b"\x81" * 5000, "not msgpack"),
        (b"\x91" * 5000, "StackError"),
        (b"\x81\xa1a" * 2000 + b"\x01", "StackError"),
        (b"\xdd\xff\xff\xff\xff", "exceeds max_array_len"),
        (b"\xdf\xff\xff\xff\xff", "exceeds max_map_len"),
        (b"\xc6\xff\xff\xff\xff", "incomplete input"),
        (b"\xdb\xff\xff\xff\xff", "incomplete input"),
        (b"\xc9\xff\xff\xff\xff\x05", "not msgpack"),
    ],
)
def test_broken_msgpack_is_refused(data: bytes, says: str) -> None:
    assert says in refused(data, unpack).reason


def extension(code: int, length: int) -> bytes:
    """msgpack's bytes for an extension of that many zeros; the library itself writes no negative codes."""
    fixed = {1: b"\xd4", 2: b"\xd5", 4: b"\xd6", 8: b"\xd7", 16: b"\xd8"}
    sized = b"\xc7" + struct.pack(">B", length) if length < 256 else b"\xc9" + struct.pack(">I", length)
    return fixed.get(length, sized) + struct.pack(">b", code) + b"\0" * length


@pytest.mark.parametrize("code", [-128, -2, -1, 0, 5, 127])
@pytest.mark.parametrize("length", [1, 4, 8, 12, 70_000])
@pytest.mark.parametrize("before", [b"\x81\xa1a", b"\x81\xa1a\x91\x81\xa1b\x92\x01"], ids=["top", "deep"])
def test_extension_types_are_refused(code: int, length: int, before: bytes) -> None:
    assert "not msgpack of plain types" in refused(before + extension(code, length), unpack).reason


def test_a_timestamp_is_an_extension_too() -> None:
    data = msgpack.packb({"a": {"b": [msgpack.Timestamp(1, 2)]}})
    assert "extension type -1" in refused(data, unpack).reason


def test_bytes_that_only_look_like_an_extension_are_data() -> None:
    assert unpack(msgpack.packb({"a": b"\xd6\xff\0\0\0\0", "b": -1})) == {"a": b"\xd6\xff\0\0\0\0", "b": -1}


def test_a_moment_outside_the_calendar_is_no_message() -> None:
    data = msgpack.packb({"level": 1, "source": "", "title": "", "detail": "", "at": "0001-01-01T00:00:00+14:00"})
    assert "years 1 to 9999" in refused(data, lambda data: decode(data, Alert)).reason


def test_what_is_wrong_is_named_but_not_at_any_length() -> None:
    error = refused(msgpack.packb({"prompt": "x", "agents": 0, "colour": "red"}), lambda d: decode(d, TaskRequest))
    assert "agents: " in error.reason
    assert "colour: unknown field" in error.reason
    many = msgpack.packb({"prompt": "x"} | {f"field {i}": i for i in range(10_000)})
    assert len(refused(many, lambda d: decode(d, TaskRequest)).reason) <= MAX_REASON


def test_a_secret_in_a_message_is_not_in_the_reason() -> None:
    data = msgpack.packb({"prompt": ["hunter2"], "tier": "hunter2", "max_cost_usd": "hunter2"})
    assert "hunter2" not in refused(data, lambda data: decode(data, TaskRequest)).reason


class _Odd(Message):
    value: Any


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j])
def test_what_is_no_plain_type_cannot_be_sent(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot travel"):
        encode(_Odd(value=value))

"""Messages as bytes: msgpack of plain types only, decoded straight into a pydantic model.

No extension types and no object hooks: bytes from outside can never build anything but maps, lists, text, numbers
and bytes, and the model then decides whether they mean something.
"""

from datetime import datetime
from pathlib import PurePath
from typing import Any, TypeVar, cast

import msgpack
from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.errors import DecodeError
from schemas.problem import field_errors

CONTENT_TYPE = "application/msgpack"

MAX_REASON = 2000
"""Characters of an explanation of what is wrong with a message."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no plain type and cannot travel")


def encode(message: BaseModel) -> bytes:
    """Bytes of a message; fields that are None are left out."""
    return cast(bytes, msgpack.packb(message.model_dump(exclude_none=True), default=_plain))


def decode(data: bytes, model: type[M]) -> M:
    """Read a message back.

    Raises:
        DecodeError: the bytes are no msgpack, or no such message; carries the bytes and names what is wrong.
    """
    try:
        return model.model_validate(unpack(data, model.__name__))
    except ValidationError as error:
        raise _undecodable(model.__name__, error, data) from None


def decode_as(data: bytes, adapter: TypeAdapter[T], name: str) -> T:
    """As `decode`, for a union of models.

    Raises:
        DecodeError: see `decode`.
    """
    try:
        return adapter.validate_python(unpack(data, name))
    except ValidationError as error:
        raise _undecodable(name, error, data) from None


def unpack(data: bytes, expected: str = "message") -> dict[str, Any]:
    """Plain map behind the bytes.

    Raises:
        DecodeError: no msgpack, more bytes than one value, an extension type, or something other than a map.
    """
    try:
        value = msgpack.unpackb(data, ext_hook=_refuse_extension)
        # msgpack reads its timestamp extension (code -1, byte FF) itself, past the hook; FF is in no UTF-8 text.
        if b"\xff" in data:
            _refuse_timestamps(value)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise DecodeError(expected, f"not msgpack of plain types ({reason[:200]})", data) from None
    if not isinstance(value, dict):
        raise DecodeError(expected, f"a map is expected, this is a {type(value).__name__}", data)
    return value


def _refuse_extension(code: int, data: bytes) -> Any:  # noqa: ARG001
    raise ValueError(f"extension type {code} is not allowed")


def _refuse_timestamps(value: Any) -> None:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case msgpack.Timestamp():
                _refuse_extension(-1, b"")
            case dict() as map_:
                waiting.extend(map_.values())
            case list() as parts:
                waiting.extend(parts)


def _undecodable(name: str, error: ValidationError, data: bytes) -> DecodeError:
    reason = "; ".join(f"{e.field or 'body'}: {e.message}" for e in field_errors(error))
    # A sender may have invented thousands of fields; the reason travels in dead letters, alerts and logs.
    return DecodeError(name, reason[:MAX_REASON], data)

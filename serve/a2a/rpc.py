"""JSON-RPC 2.0: requests read, answers and errors written."""

from dataclasses import dataclass
from typing import Any

import pydantic_core

from schemas.errors import BadInput, DevSkyyError, InvalidRequest, NotFound
from schemas.problem import Problem

JSON = "2.0"
PARSE, REQUEST, METHOD, PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
NO_TASK, NOT_CANCELABLE, NO_PUSH, UNSUPPORTED, CONTENT = -32001, -32002, -32003, -32004, -32005
"""A2A's own.

Source: Agent2Agent Protocol 0.3.0, section 8.2.
"""


class Refused(Exception):
    """A call that has an error for an answer."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(code, message, data)
        self.code, self.message, self.data = code, message, data


class NoSuchTask(NotFound):
    """A task that a caller names is not there."""

    code = "task_not_found"


@dataclass(frozen=True)
class Call:
    id: str | int
    method: str
    params: dict[str, Any]


def call_of(body: bytes) -> Call:
    """
    Raises:
        Refused: it is no call that can be answered.
    """
    try:
        said = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(PARSE, f"the body is no JSON: {error}") from None
    match said:
        case {"jsonrpc": "2.0", "method": str(method), "id": str() | int() as id_} if not isinstance(id_, bool):
            params = said.get("params", {})
            if not isinstance(params, dict):
                raise Refused(PARAMS, "params must be an object")
            return Call(id_, method, params)
    raise Refused(REQUEST, "a call is an object with jsonrpc 2.0, a method, and an id that is text or an integer")


def result(id_: str | int, value: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": JSON, "id": id_, "result": value}


def failure(id_: str | int | None, refused: Refused) -> dict[str, Any]:
    error = {"code": refused.code, "message": refused.message}
    if refused.data is not None:
        error["data"] = refused.data
    return {"jsonrpc": JSON, "id": id_, "error": error}


def refused(error: DevSkyyError) -> Refused:
    """An error of ours in the protocol's numbers; its problem stands under `data`."""
    problem = Problem.of(error).model_dump(mode="json", exclude_none=True)
    match error:
        case NoSuchTask():
            code = NO_TASK
        case InvalidRequest() | BadInput():
            code = PARAMS
        case _:
            code = INTERNAL
    return Refused(code, str(error), problem)

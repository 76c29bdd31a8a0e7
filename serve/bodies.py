"""Bodies that doors read themselves: after they have looked whether what the path names is there, or because others say
better than FastAPI what is wrong with them."""

import json
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema

from schemas.errors import InvalidRequest

_REF = "#/components/schemas/{model}"

M = TypeVar("M", bound=BaseModel)


async def json_of(request: Request) -> Any:
    """The body as plain values; None where there is no body.

    Raises:
        RequestValidationError: it is no JSON.
        InvalidRequest: it is nested too deep.
    """
    raw = await request.body()
    if not raw.strip():
        return None
    try:
        return json.loads(raw)
    except RecursionError:
        raise InvalidRequest("body", "is nested too deep") from None
    except ValueError as error:
        finding = {"type": "json_invalid", "loc": ("body",), "msg": "not JSON", "ctx": {"error": str(error)}}
        raise RequestValidationError([finding]) from None


async def body_of(request: Request, model: type[M]) -> M:
    """The body as a model; one that is left out is empty.

    Raises:
        RequestValidationError: it is no JSON, or no such model.
        InvalidRequest: it is nested too deep.
    """
    body = await json_of(request)
    try:
        return model.model_validate({} if body is None else body)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(found) from None


def taken(model: type[BaseModel] | None, *, required: bool = True) -> dict[str, Any]:
    """What a door says in its description of the body that it takes; None: any JSON. See `describe`."""
    schema = {} if model is None else {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def describe(app: FastAPI, *models: type[BaseModel]) -> None:
    """Say in the application's description what the bodies hold that FastAPI does not read."""
    _, found = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    app.openapi()["components"]["schemas"].update(found["$defs"])

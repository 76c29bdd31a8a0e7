"""The OpenAI-compatible door for vectors: `/v1/embeddings`. It asks the gateway, which alone spends."""

import base64
import contextlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field
from pydantic_core import to_json

from actors.catalogue import Catalogue, dimensions_of
from bus.client import Bus
from bus.journal import Journal, key_of
from bus.subjects import ModelsEmbed
from bus.tasklog import task_id_of
from schemas.completion import MAX_TEXTS, NO_TASK, Embed, Embeddings
from schemas.errors import InvalidRequest, KeyReused, UpstreamError
from schemas.message import Strict, check_text, now
from schemas.problem import Problem
from schemas.service import LOCAL_EMBEDDINGS, ServiceSpec
from serve import problems
from serve.caller import Caller, caller
from serve.headers import IdempotencyKey, check_key
from serve.openai import SERVICE, UnknownModel
from serve.problems import documented_as_openai

CALLER = "http"
ROOM_S = 10.0
"""Beside the service's own time, for a place at it."""
GRACE_S = 2.0
"""How much later than the call's own end its answer may come."""

router = APIRouter(prefix="/v1", tags=["openai"])


class EmbeddingsRequest(Strict):
    """OpenAI's request for vectors. What cannot be kept is refused by name; so are fields that this door does not know
    of."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": LOCAL_EMBEDDINGS, "input": ["a tote bag", "a suitcase"]}}
    )

    model: str = Field(min_length=1, max_length=256)
    input: Any = Field(
        json_schema_extra={
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_TEXTS},
            ]
        }
    )
    """A text, or a list of texts."""
    encoding_format: Literal["float", "base64"] | None = None
    """`base64`: of 32-bit floats, lowest byte first."""
    dimensions: int | None = Field(default=None, ge=1)
    """Taken if it is what the model gives anyway."""
    user: str | None = None
    """Changes nothing."""
    timeout_s: float | None = Field(default=None, gt=0, le=600, allow_inf_nan=False)
    """Ours: seconds until the call fails; left out, ten more than the service may take."""
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Ours: what it may cost."""


class OtherQuestion(KeyReused):
    """An idempotency key that belongs to other texts, or to another model's vectors."""

    code = "idempotency_key_of_other_texts"

    def __str__(self) -> str:
        return f"key {self.key!r} was used for other texts or another model; send a new key with these"


def ask_of(body: EmbeddingsRequest, catalogue: Catalogue, who: Caller, key: str | None) -> Embed:
    """What the gateway is asked.

    Args:
        key: an idempotency key. With it, the same question is the same call.

    Raises:
        InvalidRequest, UnknownModel: it asks for what this door cannot do, or for a model that is not there.
    """
    name = body.model.removeprefix(SERVICE)
    spec = _service(body.model, name, catalogue)
    _check_dimensions(body, name, spec)
    step = task_id_of(who.tenant, key) if key is not None else secrets.token_hex(16)
    return Embed(
        tenant=who.tenant,
        step=step,
        service=name,
        root=step,
        key=who.key,
        key_budget=who.budget,
        max_cost_usd=body.max_cost_usd,
        texts=_texts(body.input),
        deadline_at=now() + timedelta(seconds=body.timeout_s or spec.timeout + ROOM_S),
    )


def _service(model: str, name: str, catalogue: Catalogue) -> ServiceSpec:
    spec = catalogue.services.get(name)
    if spec is None:
        raise UnknownModel("model", model)
    if spec.kind != "embeddings":
        there = ", ".join(embedders(catalogue))
        raise InvalidRequest("model", f"{name} serves {spec.kind}, not embeddings; there is {there}")
    return spec


def _check_dimensions(body: EmbeddingsRequest, name: str, spec: ServiceSpec) -> None:
    """Before anything is paid for."""
    given = dimensions_of(spec)
    if body.dimensions not in (None, given):
        told = "how many it gives is not known beforehand" if given is None else f"it gives {given}"
        raise InvalidRequest("dimensions", f"cannot be chosen: {name} gives what it gives, {told}; leave it out")


def _texts(given: Any) -> tuple[str, ...]:
    several = isinstance(given, list)
    texts = given if several else [given]
    if not texts:
        raise InvalidRequest("input", "is empty; there is nothing to embed")
    if len(texts) > MAX_TEXTS:
        raise InvalidRequest("input", f"holds {len(texts):,} texts; {MAX_TEXTS:,} at most are taken at once")
    for number, text in enumerate(texts):
        place = f"input.{number}" if several else "input"
        if isinstance(text, int | list):
            raise InvalidRequest(place, "is no text; arrays of tokens are not taken, for they mean one model's only")
        if not isinstance(text, str):
            raise InvalidRequest(place, "is no text; give a text, or a list of texts")
        if not text:
            raise InvalidRequest(place, "is empty; there is nothing to embed")
        try:
            check_text(text)
        except ValueError as error:
            raise InvalidRequest(place, str(error)) from None
    return tuple(texts)


async def _not_asked_otherwise(journal: Journal, ask: Embed, key: str) -> None:
    """Raises OtherQuestion: that key belongs to another question."""
    mine = key_of(ask)
    async with contextlib.aclosing(journal.entries_of(ask.tenant, ask.task_id, ask.step)) as entries:
        async for other, _ in entries:
            if other != mine:
                raise OtherQuestion(key, NO_TASK)


@router.post(
    "/embeddings",
    response_model=None,
    responses=documented_as_openai(
        {
            400: "The body is no JSON",
            402: "A budget does not allow it",
            404: "No such model",
            413: "Too large",
            422: "A field breaks a rule, or asks for what this door cannot keep: `param` names it. Or the idempotency "
            "key belongs to another body",
            429: "The service is at its limit; see Retry-After",
            502: "The service's provider failed",
            503: "Not now; see Retry-After",
            504: "The vectors did not come in time",
        }
    ),
)
async def embeddings(
    body: EmbeddingsRequest,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Vectors, as OpenAI gives them; what they cost stands under `devskyy` and in a header.

    A failure that says `x-should-retry: false` may have cost something already, or would only come again.
    """
    check_key(idempotency_key)
    bus: Bus = request.app.state.bus
    ask = ask_of(body, request.app.state.catalogue, caller(request), idempotency_key)
    if idempotency_key is not None:
        await _not_asked_otherwise(Journal(bus), ask, idempotency_key)
    deadline = ask.deadline_at + timedelta(seconds=GRACE_S)
    reply = await bus.ask(ModelsEmbed(CALLER), ask, Embeddings, deadline=deadline)
    headers = _cost(reply)
    if reply.problem is not None:
        spent = any(call.cost_usd != 0 for call in reply.calls)
        again = reply.problem.retryable and not spent
        return problems.reply(_in_our_words(reply.problem), headers, request.url.path, again)
    if body.dimensions not in (None, reply.dimensions):
        told = f"gave vectors of {reply.dimensions} dimensions where it was known for {body.dimensions}"
        return problems.reply(Problem.of(UpstreamError(ask.service, told)), headers, request.url.path, False)
    return Response(to_json(_as_openai(reply, body)), 200, headers, "application/json")


def embedders(catalogue: Catalogue) -> Sequence[str]:
    """The services that give vectors."""
    return [name for name, spec in catalogue.services.items() if spec.kind == "embeddings"]


def _cost(reply: Embeddings) -> dict[str, str]:
    costs = [call.cost_usd for call in reply.calls if call.cost_usd is not None]
    return {"Devskyy-Cost-Usd": f"{sum(costs):.9f}"} if len(costs) == len(reply.calls) else {}


def _in_our_words(problem: Problem) -> Problem:
    """The gateway knows texts; whoever asked here gave an `input`."""
    errors = tuple(
        each.model_copy(update={"field": each.field.replace("texts", "input", 1)}) for each in problem.errors
    )
    return problem.model_copy(update={"errors": errors})


def _as_openai(reply: Embeddings, body: EmbeddingsRequest) -> dict[str, Any]:
    served = reply.calls[-1]
    tokens = served.prompt_tokens
    rows = np.frombuffer(reply.packed, "<f8").reshape(-1, reply.dimensions)
    vectors: list[Any]
    if body.encoding_format == "base64":
        vectors = [base64.b64encode(row.tobytes()).decode() for row in rows.astype("<f4")]
    else:
        vectors = rows.tolist()
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(vectors)],
        "model": body.model,
        "usage": None if tokens is None else {"prompt_tokens": tokens, "total_tokens": tokens},
        "devskyy": {"calls": [call.model_dump(mode="json") for call in reply.calls]},
    }

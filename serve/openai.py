"""The OpenAI-compatible door: `/v1/chat/completions` and `/v1/models`. Every call is a task, durably recorded."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ConfigDict, Field, ValidationError

from actors.catalogue import Catalogue
from actors.coordinator.staffing import staff
from bus.tasklog import TaskLog
from schemas.errors import DevSkyyError, InvalidRequest, NotFound
from schemas.message import Message
from schemas.problem import Problem, field_errors
from schemas.task import DEFAULT_TIMEOUT_S, TIERS, Input, Task, TaskRequest, Turn
from serve import problems
from serve.caller import caller
from serve.problems import documented_as_openai

AUTO = "devskyy-auto"
TIER, AGENT, SERVICE = "devskyy-", "agent/", "service/"

router = APIRouter(prefix="/v1", tags=["openai"])


KEPT: Mapping[str, Sequence[Any] | None] = {
    # Whatever they say, the one answer stays the same.
    **dict.fromkeys(("user", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")),
    **dict.fromkeys(("stream_options", "parallel_tool_calls")),  # of a stream and of tools, which are refused
    # And at these values, which are what OpenAI takes where nothing is said.
    "n": (1,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "stop": ([], ""),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
}
"""OpenAI's fields that change nothing: at any value (None), or at these. Set to anything else, a field is refused, and
so is every field that is not here: an answer other than the one asked for must not look like it."""
KEPT_OF_A_TURN: Mapping[str, Sequence[Any] | None] = {"tool_calls": ([],), "annotations": ([],)}
KEPT_OF_A_PART: Mapping[str, Sequence[Any] | None] = {"prompt_cache_breakpoint": None}
KEPT_OF_AN_IMAGE: Mapping[str, Sequence[Any] | None] = {"url": None, "detail": ("auto",)}
KEPT_OF_A_FORMAT: Mapping[str, Sequence[Any] | None] = {"type": None, "json_schema": None}
KEPT_OF_A_SCHEMA: Mapping[str, Sequence[Any] | None] = {"name": None, "schema": None, "strict": None}

TIMEOUT_S = DEFAULT_TIMEOUT_S - 20
"""A task's time where none is given: OpenAI's clients hang up after 600 s and ask again, for a second task."""

IMAGE_ONLY = "Here is the image."
"""The prompt where the last message is an image and no word. A task needs one; this one asks for nothing, so that what
the turns before it, or the agent, say of images counts."""


class UnknownModel(NotFound):
    code = "model_not_found"


class Part(Message):
    """A piece of a message: text, or an image as a `data:` URL."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None
    image_url: dict[str, Any] | None = None


class ChatTurn(Message):
    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[Part, ...] | None = None


class ChatRequest(Message):
    """OpenAI's chat completion request. What would change the answer and cannot be kept is refused by name; so are
    fields that this door does not know."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {"model": AUTO, "messages": [{"role": "user", "content": "Name a use of a tote bag"}]}
        },
    )

    model: str = Field(min_length=1, max_length=256)
    messages: tuple[ChatTurn, ...] = Field(min_length=1, max_length=1001)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    metadata: dict[str, Any] | None = None
    """Kept with the task."""
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Ours: seconds until the task fails; left out, 580."""
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Ours: what it may cost."""


def task_of(chat: ChatRequest, catalogue: Catalogue) -> TaskRequest:
    """The task that a chat request stands for: its last message is the prompt, the rest is history.

    Raises:
        InvalidRequest, UnknownModel: it asks for what this door cannot do, or for a model that is not there.
    """
    if chat.stream:
        raise InvalidRequest("stream", "streaming is not built yet; ask without it, or follow the task's events")
    if chat.model_extra:
        _refuse_unkept(chat.model_extra, KEPT)
    *earlier, last = chat.messages
    turns = [_turn(turn, f"messages.{place}") for place, turn in enumerate(earlier)]
    place = f"messages.{len(earlier)}"
    if last.role != "user":
        raise InvalidRequest(f"{place}.role", "the last message is the user's")
    text, images = _content(last, place)
    try:
        return TaskRequest(
            prompt=IMAGE_ONLY if images and not text.strip() else text,
            history=tuple(turns),
            inputs=tuple(images),
            temperature=chat.temperature,
            max_tokens=_max_tokens(chat),
            json_schema=None if chat.response_format is None else _schema(chat.response_format),
            timeout_s=chat.timeout_s or TIMEOUT_S,
            max_cost_usd=chat.max_cost_usd,
            metadata=chat.metadata or {},
            **_target(chat.model, catalogue),
        )
    except ValidationError as error:
        first = field_errors(error)[0]
        field = {"prompt": f"{place}.content", "json_schema": "response_format"}.get(first.field, first.field)
        raise InvalidRequest(field.replace("history.", "messages.", 1), first.message) from None


def _refuse_unkept(said: Mapping[str, Any], kept: Mapping[str, Sequence[Any] | None], place: str = "") -> None:
    for name, value in said.items():
        harmless = kept.get(name, ())
        if value is None or harmless is None or value in harmless:
            continue
        remedy = "leave it out" + "".join(f", or set it to {json.dumps(each)}" for each in harmless[:1])
        raise InvalidRequest(f"{place}{name}", f"cannot be kept by this version; {remedy}")


def _max_tokens(chat: ChatRequest) -> int | None:
    if chat.max_tokens is None or chat.max_completion_tokens in (None, chat.max_tokens):
        return chat.max_completion_tokens or chat.max_tokens
    raise InvalidRequest("max_tokens", "is another than max_completion_tokens; give one of them")


def _target(model: str, catalogue: Catalogue) -> dict[str, Any]:
    """The fields of a task request that a model's name stands for."""
    if model == AUTO:
        return {}
    if model.startswith(TIER) and model.removeprefix(TIER) in TIERS:
        return {"tier": model.removeprefix(TIER)}
    if model.startswith(AGENT) and model.removeprefix(AGENT) in catalogue.carriers:
        return {"agent": model.removeprefix(AGENT)}
    service = catalogue.services.get(model.removeprefix(SERVICE))
    if service is not None and service.kind == "chat":
        return {"service": model.removeprefix(SERVICE)}
    raise UnknownModel("model", model)


def _turn(turn: ChatTurn, place: str) -> Turn:
    """One of the turns before the last. They hold text alone: an image would reach the model as if it had come last."""
    said, images = _content(turn, place)
    if images:
        rule = "images of earlier turns cannot be kept by this version; show them in the last message"
        raise InvalidRequest(f"{place}.content", rule)
    return Turn(role="system" if turn.role == "developer" else turn.role, content=said)


def _content(turn: ChatTurn, place: str) -> tuple[str, list[Input]]:
    if turn.model_extra:
        _refuse_unkept(turn.model_extra, KEPT_OF_A_TURN, f"{place}.")
    if isinstance(turn.content, str):
        return turn.content, []
    if turn.content is None:
        raise InvalidRequest(f"{place}.content", "is missing")
    texts, images = [], []
    for number, part in enumerate(turn.content):
        here = f"{place}.content.{number}"
        if part.model_extra:
            _refuse_unkept(part.model_extra, KEPT_OF_A_PART, f"{here}.")
        if part.type == "text" and part.text is not None and part.image_url is None:
            texts.append(part.text)
        elif part.type == "image_url" and part.image_url is not None and part.text is None:
            _refuse_unkept(part.image_url, KEPT_OF_AN_IMAGE, f"{here}.image_url.")
            images.append(_image(part.image_url.get("url"), f"image-{number}", f"{here}.image_url.url"))
        elif part.type in ("text", "image_url"):
            raise InvalidRequest(here, f"a part of type {part.type} holds {part.type}, and only that")
        else:
            raise InvalidRequest(f"{here}.type", "is text or image_url; this version takes nothing else")
    return "\n".join(texts), images


def _image(url: Any, name: str, place: str) -> Input:
    head, comma, data = str(url).partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        raise InvalidRequest(place, "an image is given as a data: URL in base64")
    media_type = head.removeprefix("data:").removesuffix(";base64")
    try:
        return Input(kind="image", name=name, media_type=media_type, base64=data)
    except ValidationError as error:
        raise InvalidRequest(place, field_errors(error)[0].message) from None


def _schema(response_format: Mapping[str, Any]) -> dict[str, Any] | None:
    _refuse_unkept(response_format, KEPT_OF_A_FORMAT, "response_format.")
    match response_format:
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "object"}
        case {"type": "json_schema", "json_schema": dict(form)} if isinstance(form.get("schema"), dict):
            _refuse_unkept(form, KEPT_OF_A_SCHEMA, "response_format.json_schema.")
            return dict(form["schema"])
    raise InvalidRequest("response_format", "is text, json_object, or json_schema with a schema")


@router.post(
    "/chat/completions",
    response_model=None,
    responses=documented_as_openai(
        {
            400: "The body is no JSON",
            402: "A budget does not allow it",
            404: "No such model",
            409: "The task was cancelled",
            413: "Too large",
            422: "A field breaks a rule, or asks for what this door cannot keep: `param` names it. Or the idempotency "
            "key belongs to another body",
            429: "Every service is at its limit; see Retry-After",
            500: "The task has not ended although its time is over",
            502: "A model provider failed",
            503: "Not now; see Retry-After",
            504: "The task was not finished in time",
        }
    ),
)
async def chat_completions(
    chat: ChatRequest,
    request: Request,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> Response:
    """Run a task and answer as OpenAI does. The receipt stands under `devskyy` and in headers.

    A failure that says `x-should-retry: false` may have cost something already, or would only come again. OpenAI's
    clients obey that; without it they repeat whatever they take for an accident.
    """
    if idempotency_key is not None and not idempotency_key.strip():
        raise InvalidRequest("Idempotency-Key", "is empty")
    tasks: TaskLog = request.app.state.tasks
    catalogue: Catalogue = request.app.state.catalogue
    wanted = task_of(chat, catalogue)
    staff(wanted, (), catalogue)
    who = caller(request)
    task = await tasks.perform(wanted, who.tenant, idempotency_key, wanted.timeout_s + 10, who.key, who.budget)
    headers = {"Devskyy-Task": task.task_id}
    if task.receipt is not None and task.receipt.cost_usd is not None:
        headers["Devskyy-Cost-Usd"] = f"{task.receipt.cost_usd:.9f}"
    if task.status != "completed":
        problem = task.error or Problem.of(DevSkyyError(f"task {task.task_id} is still {task.status}"))
        again = _worth_repeating(task, problem, keyed=idempotency_key is not None)
        return problems.reply(problem, headers, request.url.path, again)
    return JSONResponse(completion(task, chat.model), 200, headers)


def _worth_repeating(task: Task, problem: Problem, *, keyed: bool) -> bool:
    """Whether sending the same again may bring an answer, and nothing is paid twice by it.

    A repeat under the same key finds this very task: of use only while it goes on.
    """
    if keyed or not task.ended:
        return keyed and not task.ended
    spent = task.receipt is None or any(call.cost_usd != 0 and not call.replayed for call in task.receipt.calls)
    return problem.retryable and not spent


def completion(task: Task, model: str) -> dict[str, Any]:
    """A completed task as OpenAI's chat completion."""
    receipt = task.receipt
    usage = None
    if receipt is not None and receipt.prompt_tokens is not None and receipt.completion_tokens is not None:
        usage = {
            "prompt_tokens": receipt.prompt_tokens,
            "completion_tokens": receipt.completion_tokens,
            "total_tokens": receipt.prompt_tokens + receipt.completion_tokens,
        }
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": task.answer, "refusal": None},
        "logprobs": None,
        "finish_reason": task.finish_reason,
    }
    return {
        "id": f"chatcmpl-{task.task_id}",
        "object": "chat.completion",
        "created": int(task.created_at.timestamp()),
        "model": model,
        "choices": [choice],
        "usage": usage,
        "devskyy": {
            "task_id": task.task_id,
            "tier": task.tier,
            "shape": task.shape,
            "receipt": receipt.model_dump(mode="json") if receipt else None,
        },
    }


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The names that `model` may have; the last ones at `/v1/embeddings`."""
    catalogue: Catalogue = request.app.state.catalogue
    names = [AUTO, *(TIER + tier for tier in TIERS), *(AGENT + name for name in catalogue.carriers)]
    names += [SERVICE + name for name, spec in catalogue.services.items() if spec.kind == "chat"]
    names += [name for name, spec in catalogue.services.items() if spec.kind == "embeddings"]
    created = int(time.time())
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": created, "owned_by": "devskyy"} for name in names],
    }

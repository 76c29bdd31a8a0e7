"""The OpenAI-compatible door: `/v1/chat/completions` and `/v1/models`. Every call is a task, durably recorded."""

import time
from collections.abc import Mapping
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
from schemas.settings import DEFAULT_TENANT
from schemas.task import BUILT_TIERS, DEFAULT_TIMEOUT_S, Input, Task, TaskRequest, Turn
from serve import problems

AUTO = "devskyy-auto"
TIER, AGENT, SERVICE = "devskyy-", "agent/", "service/"

router = APIRouter(prefix="/v1", tags=["openai"])


class Part(Message):
    """A piece of a message: text, or an image as a `data:` URL."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: dict[str, Any] | None = None


class ChatTurn(Message):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[Part, ...]


class ChatRequest(Message):
    """OpenAI's chat completion request. What it does not know it ignores, what it cannot keep it refuses by name."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
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
    stream: bool = False
    n: int = 1
    tools: tuple[dict[str, Any], ...] | None = None
    stop: str | tuple[str, ...] | None = None
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Ours: seconds until the task fails."""
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Ours: what it may cost."""


def task_of(chat: ChatRequest, catalogue: Catalogue) -> TaskRequest:
    """The task that a chat request stands for: its last message is the prompt, the rest is history.

    Raises:
        InvalidRequest, NotFound: it asks for what this door cannot do, or for a model that is not there.
    """
    _refuse_unbuilt(chat)
    *earlier, last = chat.messages
    if last.role != "user":
        raise InvalidRequest("messages", "the last message is the user's")
    text, images = _content(last, f"messages.{len(earlier)}")
    turns = []
    for place, turn in enumerate(earlier):
        said, shown = _content(turn, f"messages.{place}")
        images += shown
        turns.append(Turn(role="system" if turn.role == "developer" else turn.role, content=said))
    try:
        return TaskRequest(
            prompt=text,
            history=tuple(turns),
            inputs=tuple(images),
            temperature=chat.temperature,
            max_tokens=chat.max_completion_tokens or chat.max_tokens,
            json_schema=_schema(chat.response_format),
            timeout_s=chat.timeout_s or DEFAULT_TIMEOUT_S,
            max_cost_usd=chat.max_cost_usd,
            **_target(chat.model, catalogue),
        )
    except ValidationError as error:
        first = field_errors(error)[0]
        raise InvalidRequest("messages" if first.field == "prompt" else first.field, first.message) from None


def _refuse_unbuilt(chat: ChatRequest) -> None:
    if chat.stream:
        raise InvalidRequest("stream", "streaming is not built yet; ask without it, or follow the task's events")
    if chat.tools:
        raise InvalidRequest("tools", "tools are not built yet")
    if chat.n != 1:
        raise InvalidRequest("n", "one choice is made")
    if chat.stop:
        raise InvalidRequest("stop", "stop sequences are not built yet")


def _target(model: str, catalogue: Catalogue) -> dict[str, Any]:
    """The fields of a task request that a model's name stands for."""
    if model == AUTO:
        return {}
    if model.startswith(TIER) and model.removeprefix(TIER) in BUILT_TIERS:
        return {"tier": model.removeprefix(TIER)}
    if model.startswith(AGENT) and model.removeprefix(AGENT) in catalogue.agents:
        return {"agent": model.removeprefix(AGENT)}
    service = catalogue.services.get(model.removeprefix(SERVICE))
    if service is not None and service.kind == "chat":
        return {"service": model.removeprefix(SERVICE)}
    raise NotFound("model", model)


def _content(turn: ChatTurn, place: str) -> tuple[str, list[Input]]:
    if isinstance(turn.content, str):
        return turn.content, []
    texts, images = [], []
    for number, part in enumerate(turn.content):
        if part.type == "text":
            texts.append(part.text or "")
            continue
        url = str((part.image_url or {}).get("url", ""))
        head, comma, data = url.partition(",")
        if not (comma and head.startswith("data:") and head.endswith(";base64")):
            raise InvalidRequest(f"{place}.content.{number}", "an image is given as a data: URL in base64")
        media_type = head.removeprefix("data:").removesuffix(";base64")
        try:
            images.append(Input(kind="image", name=f"image-{number}", media_type=media_type, base64=data))
        except ValidationError as error:
            raise InvalidRequest(f"{place}.content.{number}", field_errors(error)[0].message) from None
    return "\n".join(texts), images


def _schema(response_format: Mapping[str, Any] | None) -> dict[str, Any] | None:
    match (response_format or {}).get("type", "text"):
        case "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            schema = ((response_format or {}).get("json_schema") or {}).get("schema")
            if isinstance(schema, dict):
                return schema
    raise InvalidRequest("response_format", "is text, json_object, or json_schema with a schema")


@router.post("/chat/completions", response_model=None)
async def chat_completions(
    chat: ChatRequest,
    request: Request,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> Response:
    """Run a task and answer as OpenAI does. The receipt stands under `devskyy` and in headers."""
    tasks: TaskLog = request.app.state.tasks
    catalogue: Catalogue = request.app.state.catalogue
    wanted = task_of(chat, catalogue)
    staff(wanted, (), catalogue)
    task = await tasks.perform(wanted, DEFAULT_TENANT, idempotency_key, wanted.timeout_s + 10)
    headers = {"Devskyy-Task": task.task_id}
    if task.status != "completed":
        problem = task.error or Problem.of(DevSkyyError(f"task {task.task_id} is still {task.status}"))
        return problems.reply(problem, headers, request.url.path)
    if task.receipt is not None and task.receipt.cost_usd is not None:
        headers["Devskyy-Cost-Usd"] = f"{task.receipt.cost_usd:.9f}"
    return JSONResponse(completion(task, chat.model), 200, headers)


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
    """The names that `model` may have."""
    catalogue: Catalogue = request.app.state.catalogue
    names = [AUTO, *(TIER + tier for tier in BUILT_TIERS), *(AGENT + name for name in catalogue.agents)]
    names += [SERVICE + name for name, spec in catalogue.services.items() if spec.kind == "chat"]
    created = int(time.time())
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": created, "owned_by": "devskyy"} for name in names],
    }

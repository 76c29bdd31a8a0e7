"""Where other agents come in: JSON-RPC calls of A2A, and the card.

A call that cannot be answered has an error for an answer, and HTTP's status 200 as every call has: A2A's clients look
into the body of no other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError

from actors.catalogue import Catalogue
from actors.coordinator.staffing import staff
from bus.tasklog import TaskLog
from schemas.errors import DevSkyyError, InvalidRequest, KeyReused, NotFound
from schemas.event import Command
from schemas.problem import Problem, field_errors
from schemas.projection import project
from schemas.task import Task
from serve import sse
from serve.a2a import rpc
from serve.a2a.asked import Asked, asked, known
from serve.a2a.card import ANSWERS, CARD, PATH, card
from serve.a2a.following import told_again, told_live
from serve.a2a.rpc import Call, NoSuchTask, Refused
from serve.a2a.told import task_of
from serve.a2a.wire import Configuration, Send, Which
from serve.caller import caller
from serve.openai.live import GRACE_S, Live
from serve.openai.reply import headers_of

CANCELLED_WITHIN_S = 5.0
"""How long a cancel waits for the end of its task."""
TURNS_TRIED = 20
"""How often a message that others of its context came before is tried as the next."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

router = APIRouter(tags=["a2a"])
_CALL = {
    "type": "object",
    "required": ["jsonrpc", "id", "method"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "method": {"type": "string"},
        "params": {"type": "object"},
    },
}
_ANSWER = {
    "type": "object",
    "required": ["jsonrpc", "id"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "integer", "null"]},
        "result": {"type": "object"},
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {}},
        },
    },
}
_HELLO = {
    "jsonrpc": "2.0",
    "id": "1",
    "method": "message/send",
    "params": {
        "message": {
            "kind": "message",
            "role": "user",
            "messageId": "4f0c6a3e",
            "parts": [{"kind": "text", "text": "Name a use of a tote bag"}],
        }
    },
}


@router.get(CARD)
async def agent_card(request: Request) -> dict[str, Any]:
    """The agent card of A2A: where the door for other agents is, and how they are let in. Anybody may read it."""
    return card(str(request.base_url))


@router.post(
    PATH,
    response_model=None,
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": _CALL, "example": _HELLO}}}
    },
    responses={
        200: {
            "description": "The answer to the call, which may be an error; to a call for a stream several, as events",
            "content": {
                "application/json": {"schema": _ANSWER},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        }
    },
)
async def call(request: Request) -> Response:
    """A JSON-RPC call of A2A 0.3: `message/send`, `message/stream`, `tasks/get`, `tasks/cancel`, `tasks/resubscribe`,
    `agent/getAuthenticatedExtendedCard`."""
    id_: str | int | None = None
    try:
        asked_for = rpc.call_of(await request.body())
        id_ = asked_for.id
        method = _METHODS.get(asked_for.method)
        if method is None:
            raise _unknown(asked_for.method)
        return await method(asked_for, request)
    except Refused as error:
        return JSONResponse(rpc.failure(id_, error))
    except DevSkyyError as error:
        return JSONResponse(rpc.failure(id_, rpc.refused(error)))


def _unknown(method: str) -> Refused:
    if method.startswith("tasks/pushNotificationConfig/"):
        return Refused(rpc.NO_PUSH, "this platform sends no push notifications; follow a task with tasks/resubscribe")
    return Refused(rpc.METHOD, f"there is no method {method[:100]!r}; there are: {', '.join(_METHODS)}")


def _params(model: type[M], call: Call) -> M:
    try:
        return model.model_validate(call.params)
    except ValidationError as error:
        problem = Problem.of_validation(field_errors(error))
        raise Refused(rpc.PARAMS, problem.detail, problem.model_dump(mode="json", exclude_none=True)) from None


async def _send(call: Call, request: Request) -> Response:
    send = _params(Send, call)
    settings = send.configuration or Configuration()
    tasks, who = _tasks(request), caller(request)

    async def begin(next_: Asked) -> Task:
        if settings.blocking is False:
            task, _ = await tasks.accept(next_.request, who.tenant, next_.key, None, who.key, who.budget)
            return task
        wait_s = next_.request.timeout_s + GRACE_S
        return await tasks.perform(next_.request, who.tenant, next_.key, wait_s, who.key, who.budget)

    task = await _next(begin, send, request)
    return _answer(call, task, settings.history_length)


async def _stream(call: Call, request: Request) -> Response:
    send = _params(Send, call)
    tasks, who = _tasks(request), caller(request)

    async def begin(next_: Asked) -> tuple[Live, Task]:
        live = Live(request.app.state.bus, tasks, next_.request, who, next_.key, cancels=False)
        return live, await live.begin()

    live, accepted = await _next(begin, send, request)
    return sse.respond(told_live(live, accepted, call.id), {"Devskyy-Task": accepted.task_id}, live.close)


def _answer(call: Call, task: Task, history_length: int | None = None) -> Response:
    return JSONResponse(rpc.result(call.id, task_of(task, history_length)), 200, headers_of(task))


async def _next(begin: Callable[[Asked], Awaitable[T]], send: Send, request: Request) -> T:
    """Begin a message's task as the next of its context.

    Raises:
        DevSkyyError, Refused: it cannot be.
    """
    _check(send)
    tasks, who = _tasks(request), caller(request)
    await _check_task(request, send)
    for _ in range(TURNS_TRIED):
        next_ = await asked(tasks, who.tenant, send)
        staff(next_.request, (), _catalogue(request))
        try:
            return await begin(next_)
        except KeyReused:
            # Another message of this context took its number, unless this very message came before, with other words.
            again = await asked(tasks, who.tenant, send)
            if again.key == next_.key:
                raise InvalidRequest(
                    "message.messageId", "came before with another message; give each its own"
                ) from None
            await asyncio.sleep(0)
    raise Refused(rpc.INTERNAL, "too many messages of this context come at once; try again")


def _check(send: Send) -> None:
    settings = send.configuration or Configuration()
    if send.message.role != "user":
        raise InvalidRequest("message.role", "is user; what is sent here asks for something")
    if settings.push_notification_config is not None:
        raise _unknown("tasks/pushNotificationConfig/set")
    modes = settings.accepted_output_modes
    if modes and not any(mode in ("*/*", "text/*", *ANSWERS) for mode in modes):
        raise Refused(rpc.CONTENT, f"answers are {' or '.join(ANSWERS)}; none of {', '.join(modes)[:200]} is")


async def _check_task(request: Request, send: Send) -> None:
    """A task takes one message; what goes on from it is another in the same context."""
    name = send.message.task_id
    if name is None:
        return
    task, _ = await _find(request, name)
    if task.ended:
        rule = f"task {name} is {task.status}; send the message with its contextId and no taskId"
        raise InvalidRequest("message.taskId", rule)
    raise Refused(rpc.UNSUPPORTED, f"task {name} takes no further messages while it goes on")


async def _get(call: Call, request: Request) -> Response:
    which = _params(Which, call)
    task, _ = await _find(request, which.id)
    return _answer(call, task, which.history_length)


async def _cancel(call: Call, request: Request) -> Response:
    which = _params(Which, call)
    task, _ = await _find(request, which.id)
    if task.ended:
        raise Refused(rpc.NOT_CANCELABLE, f"task {task.task_id} is {task.status} already")
    tasks, tenant = _tasks(request), caller(request).tenant
    await tasks.command(tenant, task.task_id, Command())
    task = await tasks.wait(tenant, task.task_id, CANCELLED_WITHIN_S)
    return _answer(call, task)


async def _resubscribe(call: Call, request: Request) -> Response:
    which = _params(Which, call)
    task, seen = await _find(request, which.id)
    return sse.respond(told_again(_tasks(request), caller(request).tenant, task, seen, call.id))


async def _extended_card(call: Call, request: Request) -> Response:
    return JSONResponse(rpc.result(call.id, card(str(request.base_url), _catalogue(request))))


_METHODS: dict[str, Callable[[Call, Request], Awaitable[Response]]] = {
    "message/send": _send,
    "message/stream": _stream,
    "tasks/get": _get,
    "tasks/cancel": _cancel,
    "tasks/resubscribe": _resubscribe,
    "agent/getAuthenticatedExtendedCard": _extended_card,
}


async def _find(request: Request, name: str) -> tuple[Task, int]:
    """A task, and the number of the last event that it tells."""
    tasks, tenant, task_id = _tasks(request), caller(request).tenant, known(name)
    try:
        events = [entry.event for entry in await tasks.read(tenant, task_id)]
        return project(events), events[-1].seq
    except (NotFound, ValueError):
        # Older than the stream keeps events: SQL has it still.
        kept: Task | None = await request.app.state.kept.get(tenant, task_id)
        if kept is None:
            raise NoSuchTask("task", name) from None
        return kept, 0


def _tasks(request: Request) -> TaskLog:
    tasks: TaskLog = request.app.state.tasks
    return tasks


def _catalogue(request: Request) -> Catalogue:
    catalogue: Catalogue = request.app.state.catalogue
    return catalogue

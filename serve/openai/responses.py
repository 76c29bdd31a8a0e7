"""OpenAI's doors for responses: `/v1/responses`. A response is a task, and its id is the task's."""

from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import JSONResponse, Response

from actors.agents.agent import question
from actors.catalogue import Catalogue
from actors.coordinator.staffing import staff
from bus.subjects import token
from bus.tasklog import TaskLog
from schemas.errors import InvalidRequest, NotFound
from schemas.event import Accepted, Command
from schemas.projection import project
from schemas.task import Task, TaskRequest, Turn
from serve import sse
from serve.caller import caller
from serve.headers import IdempotencyKey, check_key
from serve.openai.chat import REFUSED, CancelOnDisconnect, failed_at_once, refusal
from serve.openai.live import GRACE_S, Live
from serve.openai.reply import headers_of
from serve.openai.response import PREFIX, response_of
from serve.openai.response_events import response_events
from serve.openai.responses_task import PREVIOUS, task_of
from serve.openai.responses_wire import ResponsesRequest
from serve.openai.router import router
from serve.problems import documented_as_openai
from storage import TaskRepository

CANCELLED_WITHIN_S = 5.0
"""How long a cancel waits for the end of its task."""

ResponseId = Annotated[str, Path(description="The response's id", max_length=256)]
UNKNOWN = documented_as_openai({404: "No such response", 503: "Not now; see Retry-After"})


class UnknownResponse(NotFound):
    code = "response_not_found"


@router.post("/responses", response_model=None, responses=documented_as_openai(REFUSED))
async def create_response(
    asked: ResponsesRequest,
    request: Request,
    idempotency_key: IdempotencyKey = None,
    devskyy_cancel_on_disconnect: CancelOnDisconnect = None,
) -> Response:
    """Run a task and answer with OpenAI's response object. The receipt stands under `devskyy`.

    Every response is kept, whatever `store` says: it is a task, and goes when tasks do.
    """
    check_key(idempotency_key)
    tasks: TaskLog = request.app.state.tasks
    catalogue: Catalogue = request.app.state.catalogue
    who, keyed = caller(request), idempotency_key is not None
    before: list[Turn] = []
    previous = None if asked.previous_response_id is None else _task_id(asked.previous_response_id)
    if previous is not None:
        before = await _conversation(tasks, who.tenant, previous)
    wanted = task_of(asked, catalogue, before, previous)
    staff(wanted, (), catalogue)
    if asked.stream:
        cancels = bool(devskyy_cancel_on_disconnect)
        live = Live(request.app.state.bus, tasks, wanted, who, idempotency_key, cancels=cancels)
        accepted = await live.begin()
        if (failed := await failed_at_once(live)) is not None:
            return refusal(failed, request, keyed=keyed)
        events = response_events(live, wanted, accepted)
        return sse.respond(events, {"Devskyy-Task": accepted.task_id}, live.close)
    if asked.background:
        task, _ = await tasks.accept(wanted, who.tenant, idempotency_key, None, who.key, who.budget)
        return JSONResponse(response_of(task, wanted), 200, headers_of(task))
    task = await tasks.perform(wanted, who.tenant, idempotency_key, wanted.timeout_s + GRACE_S, who.key, who.budget)
    if task.status != "completed":
        return refusal(task, request, keyed=keyed)
    return JSONResponse(response_of(task, wanted), 200, headers_of(task))


@router.get("/responses/{response_id}", response_model=None, responses=UNKNOWN)
async def read_response(response_id: ResponseId, request: Request) -> Response:
    """A response as its task stands."""
    task, asked = await _find(request, response_id)
    return JSONResponse(response_of(task, asked), 200, headers_of(task))


@router.post("/responses/{response_id}/cancel", response_model=None, responses=UNKNOWN)
async def cancel_response(response_id: ResponseId, request: Request) -> Response:
    """Cancel a response, in the background or not. One that has ended stays as it is."""
    task, asked = await _find(request, response_id)
    if not task.ended:
        tasks: TaskLog = request.app.state.tasks
        tenant = caller(request).tenant
        await tasks.command(tenant, task.task_id, Command())
        task = await tasks.wait(tenant, task.task_id, CANCELLED_WITHIN_S)
    return JSONResponse(response_of(task, asked), 200, headers_of(task))


def _task_id(response_id: str) -> str:
    """
    Raises:
        UnknownResponse: no response has such an id.
    """
    try:
        if response_id.startswith(PREFIX):
            return token(response_id.removeprefix(PREFIX))
    except ValueError:
        pass
    raise UnknownResponse("response", response_id)


async def _read(tasks: TaskLog, tenant: str, task_id: str) -> tuple[Task, TaskRequest]:
    """A task that the log has from its beginning on, and what was asked.

    Raises:
        UnknownResponse: it has not.
        BusUnavailable: it did not answer.
    """
    try:
        events = [entry.event for entry in await tasks.read(tenant, task_id)]
    except NotFound:
        events = []
    if not events or not isinstance(events[0], Accepted):
        raise UnknownResponse("response", PREFIX + task_id)
    return project(events), events[0].request


async def _find(request: Request, response_id: str) -> tuple[Task, TaskRequest | None]:
    task_id, tenant = _task_id(response_id), caller(request).tenant
    kept: TaskRepository = request.app.state.kept
    try:
        return await _read(request.app.state.tasks, tenant, task_id)
    except UnknownResponse:
        # Older than the stream keeps events: SQL has the task still, though not what was asked beside the prompt.
        if (task := await kept.get(tenant, task_id)) is not None:
            return task, None
        raise


async def _conversation(tasks: TaskLog, tenant: str, task_id: str) -> list[Turn]:
    """All that was said up to a response's answer, its instructions left out.

    Raises:
        UnknownResponse: there is none, or it has grown too old.
        InvalidRequest: it has no answer.
    """
    task, asked = await _read(tasks, tenant, task_id)
    if task.status != "completed":
        raise InvalidRequest(PREVIOUS, f"has no answer to go on from; it is {task.status}")
    instructed = asked.door is not None and asked.door.instructed
    images = tuple(each for each in asked.inputs if each.kind == "image")
    prompt = Turn(role="user", content=question(asked.prompt, asked.inputs).content, images=images)
    answer = Turn(role="assistant", content=task.answer or "", tool_calls=task.tool_calls)
    return [*asked.history[1 if instructed else 0 :], prompt, *asked.later, answer]

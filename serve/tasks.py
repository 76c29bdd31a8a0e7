"""The tasks door: `/api/v1/tasks`."""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from actors.coordinator.staffing import staff
from bus.subjects import token
from bus.tasklog import TaskLog
from schemas.erasure import Erased
from schemas.errors import NotFound
from schemas.event import TASK_EVENT, Command
from schemas.task import Links, Status, Task, TaskAccepted, TaskList, TaskRequest
from serve import sse
from serve.caller import caller
from serve.erasure import Erasing, WithCosts
from serve.headers import IdempotencyKey, LastEventId, Prefer, check_key, last_event, wait_s
from serve.problems import documented
from serve.recordings import check_replay
from storage import TaskRepository

PROBLEMS = documented(
    {
        400: "The body is no JSON",
        404: "No such task",
        413: "Too large",
        422: "A field breaks a rule, or the idempotency key belongs to another body",
        503: "Not now; see Retry-After",
    }
)

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"], responses=PROBLEMS)

TaskId = Annotated[str, Path(description="The task's id", max_length=128)]


def _log(request: Request) -> TaskLog:
    log: TaskLog = request.app.state.tasks
    return log


def _kept(request: Request) -> TaskRepository:
    kept: TaskRepository = request.app.state.kept
    return kept


def _known(task_id: str) -> str:
    try:
        return token(task_id)
    except ValueError:
        raise NotFound("task", task_id) from None


def links(task_id: str) -> Links:
    path = f"/api/v1/tasks/{task_id}"
    return Links(self=path, events=f"{path}/events")


@router.post("", status_code=202, response_model=None, responses={200: {"model": Task}, 202: {"model": TaskAccepted}})
async def submit(
    task: TaskRequest, request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Accept one task: it is on disk before this returns. Repeating it with the same key returns the first.

    With `Prefer: wait=N` the whole task comes back if it ends within N seconds.
    """
    check_key(idempotency_key)
    staff(task, (), request.app.state.catalogue)
    await check_replay(request, task.replay)
    waited, who = wait_s(prefer), caller(request)
    whose: dict[str, Any] = {"tenant": who.tenant, "key": idempotency_key, "api_key": who.key, "key_budget": who.budget}
    if waited:
        accepted = await _log(request).perform(task, timeout_s=waited, **whose)
    else:
        accepted, _ = await _log(request).accept(task, **whose)
    headers = {"Location": links(accepted.task_id).self}
    if waited:
        headers["Preference-Applied"] = f"wait={waited:g}"
        if accepted.ended:
            return _json(accepted, 200, headers)
    body = TaskAccepted(task_id=accepted.task_id, status=accepted.status, links=links(accepted.task_id))
    return _json(body, 202, headers)


@router.get("")
async def tasks(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    status: Status | None = None,
) -> TaskList:
    """Tasks, newest first. One that was accepted a moment ago may not be listed yet; by its id it is there at once."""
    return await _kept(request).list(caller(request).tenant, limit, cursor, status)


@router.get("/{task_id}")
async def task(task_id: TaskId, request: Request) -> Task:
    """A task as its events tell it."""
    return await _find(request, task_id)


async def _find(request: Request, task_id: str) -> Task:
    tenant = caller(request).tenant
    try:
        return await _log(request).task(tenant, _known(task_id))
    except NotFound:
        # Older than the stream keeps events: SQL has it still.
        if (kept := await _kept(request).get(tenant, task_id)) is not None:
            return kept
        raise


@router.delete(
    "/{task_id}",
    response_model=None,
    responses={200: {"model": Task | Erased}, 202: {"model": Task}, **documented({409: "It has not ended"})},
)
async def cancel(
    task_id: TaskId,
    request: Request,
    prefer: Prefer = None,
    purge: Annotated[bool, Query(description="Erase a task that has ended, everywhere it is kept")] = False,
    with_costs: WithCosts = False,
) -> Response:
    """Cancel a task: 202 when that was asked of its owner, 200 when it had ended already.

    With `Prefer: wait=N` the cancelled task comes back with what was spent. With `purge=true` one that has ended is
    erased instead; what it cost stays in the sums, without a name, unless `with_costs=true`.
    """
    if purge:
        erased = await Erasing(request).task(caller(request).tenant, _known(task_id), with_costs)
        return JSONResponse(erased.model_dump(mode="json"))
    found = await _find(request, task_id)
    if found.ended:
        return _json(found, 200)
    tenant = caller(request).tenant
    await _log(request).command(tenant, task_id, Command())
    if waited := wait_s(prefer):
        found = await _log(request).wait(tenant, task_id, waited)
    return _json(found, 200 if found.ended else 202)


@router.get("/{task_id}/events", response_class=StreamingResponse)
async def events(
    task_id: TaskId,
    request: Request,
    last_event_id: LastEventId = None,
    after: Annotated[int, Query(ge=0)] = 0,
    follow: bool = True,
) -> StreamingResponse:
    """The task's events as server-sent events until it ends; `id` counts from 1, `Last-Event-ID` resumes after it.

    With `follow=false` only those so far.
    """
    log, tenant = _log(request), caller(request).tenant
    after = last_event(last_event_id, after)
    past = await log.read(tenant, _known(task_id), after)
    return sse.stream(log.follow(tenant, task_id, after) if follow else sse.each([entry.event for entry in past]))


def describe(app: FastAPI) -> None:
    """Say in the application's description what the events of a task hold."""
    sse.describe(app, f"{router.prefix}/{{task_id}}/events", "TaskEvent", TASK_EVENT)


def _json(body: Task | TaskAccepted, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json"), status, headers)

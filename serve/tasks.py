"""The tasks door: `/api/v1/tasks`."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, cast

from fastapi import APIRouter, FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from actors.coordinator.staffing import staff
from bus.subjects import token
from bus.tasklog import Logged, TaskLog
from schemas.errors import InvalidRequest, NotFound
from schemas.event import TASK_EVENT, Command, TaskEvent
from schemas.task import Links, Status, Task, TaskAccepted, TaskList, TaskRequest
from serve.caller import caller
from serve.problems import documented
from serve.recordings import check_replay
from storage import TaskRepository

MAX_WAIT_S = 600.0
HEARTBEAT_S = 10.0
_EVENT_ID = re.compile(r"[0-9]{1,18}")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d+(?:\.\d+)?)\"?", re.IGNORECASE)

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


def wait_s(prefer: str | None) -> float:
    """Seconds that a `Prefer: wait=N` header asks for, 0 without one, at most 600.

    Source: RFC 7240, section 4.3.
    """
    found = _WAIT.search(prefer or "")
    return min(float(found.group(1)), MAX_WAIT_S) if found else 0.0


@router.post("", status_code=202, response_model=None, responses={200: {"model": Task}, 202: {"model": TaskAccepted}})
async def submit(
    task: TaskRequest,
    request: Request,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
    prefer: Annotated[str | None, Header()] = None,
) -> Response:
    """Accept one task: it is on disk before this returns. Repeating it with the same key returns the first.

    With `Prefer: wait=N` the whole task comes back if it ends within N seconds.
    """
    if idempotency_key is not None and not idempotency_key.strip():
        raise InvalidRequest("Idempotency-Key", "is empty")
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


@router.delete("/{task_id}", response_model=None, responses={200: {"model": Task}, 202: {"model": Task}})
async def cancel(task_id: TaskId, request: Request, prefer: Annotated[str | None, Header()] = None) -> Response:
    """Cancel a task: 202 when that was asked of its owner, 200 when it had ended already.

    With `Prefer: wait=N` the cancelled task comes back with what was spent.
    """
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
    last_event_id: Annotated[str | None, Header()] = None,
    after: Annotated[int, Query(ge=0)] = 0,
    follow: bool = True,
) -> StreamingResponse:
    """The task's events as server-sent events until it ends; `id` counts from 1, `Last-Event-ID` resumes after it.

    With `follow=false` only those so far.
    """
    if last_event_id:
        if not _EVENT_ID.fullmatch(last_event_id):
            raise InvalidRequest("Last-Event-ID", "is no event number; this door's ids count a task's events from 1")
        after = int(last_event_id)
    log, tenant = _log(request), caller(request).tenant
    past = await log.read(tenant, _known(task_id), after)
    stream = _sse(log.follow(tenant, task_id, after) if follow else _each(past))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return _Closing(stream, media_type="text/event-stream", headers=headers)


def describe(app: FastAPI) -> None:
    """Say in the application's description what the events of a task hold. FastAPI knows no such streams of ours.

    Source: OpenAPI 3.2, section 4.14.4.
    """
    document = app.openapi()
    event = TASK_EVENT.json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    for name, schema in event.pop("$defs").items():
        document["components"]["schemas"].setdefault(name, schema)
    document["components"]["schemas"]["TaskEvent"] = event
    data = {"contentMediaType": "application/json", "contentSchema": {"$ref": "#/components/schemas/TaskEvent"}}
    names = {"type": "string", "examples": list(event["discriminator"]["mapping"])}
    item = {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "description": "Counts the task's events from 1"},
            "event": {**names, "description": "What happened; later versions may have more"},
            "data": {"type": "string", **data},
        },
    }
    told = document["paths"][f"{router.prefix}/{{task_id}}/events"]["get"]["responses"]["200"]
    told["description"] = "The events, each with its number, its name, and the whole of it as JSON on one line"
    told["content"] = {"text/event-stream": {"itemSchema": item}}


class _Closing(StreamingResponse):
    """Closes what it streams from when it ends, however it ends; starlette leaves that to the garbage collector."""

    def __init__(self, content: AsyncGenerator[bytes, None], **how: Any) -> None:
        super().__init__(content, **how)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._content.aclose()


async def _each(past: list[Logged]) -> AsyncIterator[TaskEvent]:
    for entry in past:
        yield entry.event


async def _sse(followed: AsyncIterator[TaskEvent]) -> AsyncGenerator[bytes, None]:
    """Server-sent events with heartbeats between them.

    The follower runs in a task of its own, not in a task group around the `yield`s: a response that is cancelled at
    one of these would leave the group's scope in another task than entered it.

    Source: WHATWG HTML, section 9.2.6.
    """
    heard: asyncio.Queue[TaskEvent | Exception | None] = asyncio.Queue(16)

    async def pump() -> None:
        try:
            async with contextlib.aclosing(cast(AsyncGenerator[TaskEvent, None], followed)):
                async for event in followed:
                    await heard.put(event)
        except Exception as error:
            await heard.put(error)
        else:
            await heard.put(None)

    pumping = asyncio.create_task(pump())
    try:
        while True:
            try:
                event = await asyncio.wait_for(heard.get(), HEARTBEAT_S)
            except TimeoutError:
                yield b": heartbeat\n\n"
                continue
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            data = event.model_dump_json()
            yield f"id: {event.seq}\nevent: {event.event}\ndata: {data}\n\n".encode()
    finally:
        pumping.cancel()


def _json(body: Task | TaskAccepted, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json"), status, headers)

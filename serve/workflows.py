"""The doors of workflows: `/api/v1/workflows`. What is asked of one that is there stands in `serve.steering`."""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from actors.workflow import graph, outputs
from actors.workflow.catalogue import summaries
from actors.workflow.creation import Asker, Creation, accepted, asked
from actors.workflow.recovery import recovered
from actors.workflow.seen import blobs_of, output_of
from actors.workflow.state import State, label
from actors.workflow.view import view_of
from bus.client import Bus
from bus.subjects import token
from bus.workflowlog import WorkflowLog
from schemas.errors import Conflict, DecodeError, InvalidRequest, NotFound
from schemas.workflow import (
    ENDED,
    SETTLED,
    ForkRequest,
    TemplateList,
    Workflow,
    WorkflowAccepted,
    WorkflowDefinition,
    WorkflowList,
    WorkflowRequest,
    WorkflowStatus,
)
from schemas.workflow_doors import CancelRequest, CheckedWorkflow, RetryRequest, WorkflowHistory
from schemas.workflow_event import WORKFLOW_EVENT
from serve import bodies, sse
from serve.caller import caller
from serve.headers import IdempotencyKey, LastEventId, Prefer, check_key, last_event, wait_s
from serve.problems import documented
from serve.watching import watch
from storage import WorkflowRepository

PROBLEMS = documented(
    {
        400: "The body is no JSON",
        404: "No such workflow",
        413: "Too large",
        422: "Something breaks a rule, each named by its place; or the idempotency key belongs to another body",
        503: "Not now; see Retry-After",
    }
)
_TOO_OLD = documented({409: "What it would begin with is not kept any more"})

router = APIRouter(prefix="/api/v1/workflows", tags=["workflows"], responses=PROBLEMS)

WorkflowId = Annotated[str, Path(description="The workflow's id", max_length=128)]
_ACCEPTED: dict[int | str, dict[str, Any]] = {200: {"model": Workflow}, 202: {"model": WorkflowAccepted}}


def log_of(request: Request) -> WorkflowLog:
    log: WorkflowLog = request.app.state.workflows
    return log


def creation_of(request: Request) -> Creation:
    creation: Creation = request.app.state.creation
    return creation


def kept_of(request: Request) -> WorkflowRepository:
    kept: WorkflowRepository = request.app.state.kept_workflows
    return kept


def asker_of(request: Request) -> Asker:
    who = caller(request)
    return Asker(who.tenant, who.key, who.budget)


def known(workflow_id: str) -> str:
    try:
        return token(workflow_id)
    except ValueError:
        raise NotFound("workflow", workflow_id) from None


async def standing(request: Request, workflow_id: str) -> State:
    """How a workflow stands, by its events.

    Raises:
        NotFound: there is no such workflow, or its events have grown too old for the stream.
    """
    return await recovered(log_of(request), caller(request).tenant, known(workflow_id))


async def find(request: Request, workflow_id: str) -> Workflow:
    try:
        return view_of(await standing(request, workflow_id))
    except NotFound:
        # Older than the stream keeps events: SQL has it still.
        if (kept := await kept_of(request).get(caller(request).tenant, workflow_id)) is not None:
            return kept
        raise


# -- to begin ------------------------------------------------------------------------------------------------------


@router.post("", status_code=202, response_model=None, responses=_ACCEPTED, openapi_extra=bodies.taken(WorkflowRequest))
async def create(request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None) -> Response:
    """Create a workflow, and start it unless `start` is false: it is on disk before this returns. Repeating it with the
    same key returns the first.

    With `Prefer: wait=N` the whole workflow comes back if it ends within N seconds.
    """
    check_key(idempotency_key)
    wanted = asked(await bodies.json_of(request))
    state = await creation_of(request).create(wanted, asker_of(request), idempotency_key)
    return await _begun(request, state, prefer if wanted.start else None)


@router.post(
    "/{workflow_id}/fork",
    status_code=202,
    response_model=None,
    responses=_ACCEPTED | _TOO_OLD,
    openapi_extra=bodies.taken(ForkRequest),
)
async def fork(
    workflow_id: WorkflowId, request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Create a workflow that begins as this one stood after its event `after`: what was done stays done, all else
    begins anew, with other inputs where they are given. This one stays as it is.

    Key and `Prefer` as where a workflow is created.
    """
    check_key(idempotency_key)
    await log_of(request).created(caller(request).tenant, known(workflow_id))
    wanted = await bodies.body_of(request, ForkRequest)
    state = await creation_of(request).fork(workflow_id, wanted, asker_of(request), idempotency_key)
    return await _begun(request, state, prefer if wanted.start else None)


async def _begun(request: Request, state: State, prefer: str | None) -> Response:
    told = accepted(state)
    headers = {"Location": told.links.self}
    if waited := wait_s(prefer):
        headers["Preference-Applied"] = f"wait={waited:g}"
        await watch(log_of(request), state, lambda: state.ended is not None, waited)
        if state.ended is not None:
            return JSONResponse(view_of(state).model_dump(mode="json"), 200, headers)
        told = accepted(state)
    return JSONResponse(told.model_dump(mode="json"), 202, headers)


@router.post("/validate", response_model=CheckedWorkflow, openapi_extra=bodies.taken(WorkflowRequest))
async def validate(request: Request) -> CheckedWorkflow:
    """Whether a workflow could run, with its tasks in an order in which they could. Starts nothing.

    The body is that of a workflow; what is wrong with it is refused as it would be there.
    """
    definition, inputs = await creation_of(request).prepare(asked(await bodies.json_of(request)))
    needed = graph.dependencies(definition)
    return CheckedWorkflow(name=definition.name, tasks=needed, order=graph.order(needed), inputs=inputs)


# -- templates -----------------------------------------------------------------------------------------------------


@router.get("/templates")
async def templates(request: Request) -> TemplateList:
    """The workflows that come with the platform."""
    return summaries(creation_of(request).templates)


@router.get("/templates/{template}", response_model=WorkflowDefinition, responses=documented({404: "No such template"}))
async def template(template: Annotated[str, Path(max_length=128)], request: Request) -> Response:
    """A template's definition, which may be changed and sent as one."""
    found = creation_of(request).templates.get(template)
    if found is None:
        raise NotFound("template", template)
    return JSONResponse(found.model_dump(mode="json", exclude_defaults=True))


# -- to look at ----------------------------------------------------------------------------------------------------


@router.get("")
async def workflows(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    status: WorkflowStatus | None = None,
    name: Annotated[str | None, Query(max_length=128)] = None,
    children: bool = False,
) -> WorkflowList:
    """Workflows, newest first; those that are tasks of others with `children=true`. One that was created a moment ago
    may not be listed yet; by its id it is there at once."""
    tenant = caller(request).tenant
    return await kept_of(request).list(tenant, limit, cursor, status=status, name=name, children=children)


@router.get("/{workflow_id}", response_model=Workflow)
async def workflow(workflow_id: WorkflowId, request: Request) -> Response:
    """A workflow as its events tell it. Outputs of more than 32 KiB are left out: see `…/outputs/{task}`."""
    return JSONResponse((await find(request, workflow_id)).model_dump(mode="json"))


@router.get("/{workflow_id}/events", response_class=StreamingResponse)
async def events(
    workflow_id: WorkflowId,
    request: Request,
    last_event_id: LastEventId = None,
    after: Annotated[int, Query(ge=0)] = 0,
    follow: bool = True,
) -> StreamingResponse:
    """The workflow's events as server-sent events until it ends; `id` counts from 1, `Last-Event-ID` resumes after it.

    With `follow=false` only those so far.
    """
    log, tenant = log_of(request), caller(request).tenant
    after = last_event(last_event_id, after)
    if follow:
        await log.created(tenant, known(workflow_id))
        return sse.stream(log.follow(tenant, workflow_id, after))
    past = await log.read(tenant, known(workflow_id), after)
    return sse.stream(sse.each([entry.event for entry in past]))


@router.get("/{workflow_id}/history")
async def history(
    workflow_id: WorkflowId,
    request: Request,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> WorkflowHistory:
    """The workflow's events so far, oldest first, from the one that follows number `after`."""
    found = await log_of(request).read(caller(request).tenant, known(workflow_id), after)
    shown = tuple(entry.event for entry in found[:limit])
    return WorkflowHistory(events=shown, next=shown[-1].seq if len(found) > limit else None)


@router.get("/{workflow_id}/output", response_class=JSONResponse, responses=documented({409: "It has not completed"}))
async def output(workflow_id: WorkflowId, request: Request) -> Response:
    """What the workflow gives back, whole."""
    try:
        state = await standing(request, workflow_id)
    except NotFound:
        kept = await find(request, workflow_id)
        _check_completed(kept.status)
        return JSONResponse(_there(kept.output, kept.output_bytes is None, "the workflow"))
    _check_completed(state.status)
    return JSONResponse(state.output if state.blob is None else await _load(request, state.blob, "the workflow"))


@router.get("/{workflow_id}/outputs/{task}", response_class=JSONResponse, responses=documented({409: "It goes on"}))
async def output_of_task(
    workflow_id: WorkflowId,
    task: Annotated[str, Path(max_length=64)],
    request: Request,
    item: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """What a task gave, whole; of a mapped one the list of what its items gave, or with `item` what that one gave. It
    is null where the task was skipped or failed."""
    try:
        state = await standing(request, workflow_id)
    except NotFound:
        return JSONResponse(_kept_output(await find(request, workflow_id), task, item))
    if task not in state.units:
        raise NotFound("task", task)
    whole = state.units[task]
    _check_item(task, whole.size, item)
    unit = whole if item is None else state.unit(task, item)
    if unit.status not in SETTLED and state.ended is None:
        raise Conflict(f"{label((task, item))} is {unit.status}")
    if item is not None:
        return JSONResponse(unit.output if unit.blob is None else await _load(request, unit.blob, task))
    blobs = {name: await _load(request, name, task) for name in blobs_of(state, [task])}
    return JSONResponse(output_of(state, task, blobs))


def _check_completed(status: WorkflowStatus) -> None:
    if status != "completed":
        raise Conflict(f"it has ended as {status}, without an output" if status in ENDED else "it has not completed")


def _check_item(task: str, size: int | None, item: int | None) -> None:
    if item is not None and size is None:
        raise InvalidRequest("item", f"{task} has no items")
    if item is not None and size is not None and item >= size:
        raise NotFound("item", f"{task}[{item}]")


async def _load(request: Request, name: str, of: str) -> Any:
    bus: Bus = request.app.state.bus
    try:
        return await outputs.load(bus.blobs, name)
    except DecodeError:
        raise NotFound("output any more, of", of) from None


def _kept_output(kept: Workflow, task: str, item: int | None) -> Any:
    """An output as SQL has it."""
    if task not in kept.tasks:
        raise NotFound("task", task)
    found = kept.tasks[task]
    _check_item(task, found.size, item)
    units = [found] if found.size is None else found.items if item is None else found.items[item : item + 1]
    shown = [_there(unit.output, unit.output_bytes is None, task) for unit in units]
    return shown if found.size is not None and item is None else shown[0] if shown else None


def _there(output: Any, whole: bool, of: str) -> Any:
    if not whole:
        raise NotFound("output any more, of", of)
    return output


def describe(app: FastAPI) -> None:
    """Say in the application's description what bodies and events hold that FastAPI does not see."""
    bodies.describe(app, WorkflowRequest, ForkRequest, CancelRequest, RetryRequest)
    sse.describe(app, f"{router.prefix}/{{workflow_id}}/events", "WorkflowEvent", WORKFLOW_EVENT)

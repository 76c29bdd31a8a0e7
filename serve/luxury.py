"""The doors of workflows as luxury automation knows them: `/api/v1/luxury-automation/workflows`. One is created from a
template, waits, is executed, and is looked at until it has ended."""

from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from actors.workflow.creation import links
from actors.workflow.state import State
from actors.workflow.view import view_of
from schemas.errors import InvalidRequest, InvalidWorkflow
from schemas.message import Message, Moment, Strict
from schemas.problem import Problem
from schemas.workflow import TaskView, Workflow, WorkflowLinks, WorkflowProgress, WorkflowRequest, WorkflowStatus
from serve import bodies
from serve.caller import caller
from serve.directory import Directory
from serve.headers import IdempotencyKey, check_key
from serve.steering import PROBLEMS_OF_COMMANDS, steer
from serve.watching import watch
from serve.workflows import PROBLEMS, WorkflowId, asker_of, creation_of, find, kept_of, log_of

ENGINE = "engine-"
"""Begins the names of engines."""
BEGIN_S = 1.0
"""For an engine to begin with what is executed; the answer then says how it stands."""

router = APIRouter(prefix="/api/v1/luxury-automation/workflows", tags=["luxury automation"], responses=PROBLEMS)


class LuxuryRequest(Strict):
    workflow_type: str = Field(max_length=128)
    """A template's name."""
    workflow_data: dict[str, Any] = {}
    """The template's inputs; `max_parallel_tasks`, `max_cost_usd` and `timeout_s` may stand among them."""


class LuxuryWorkflow(Message):
    workflow_id: str
    workflow_type: str
    status: WorkflowStatus
    progress: WorkflowProgress
    tasks: dict[str, TaskView]
    results: dict[str, Any]
    """What tasks that have completed gave, by their names; of mapped ones a list."""
    output: Any = None
    error: Problem | None = None
    created_at: Moment
    started_at: Moment | None = None
    finished_at: Moment | None = None
    cost_usd: float | None = None
    links: WorkflowLinks


class EngineState(Message):
    name: str
    answers: bool


class LuxurySystem(Message):
    status: Literal["operational", "degraded", "down"]
    """`degraded`: some engines do not answer; `down`: none does."""
    engines: tuple[EngineState, ...]
    workflows: dict[str, int]
    """How many there are by status."""
    total: int
    workflow_types: tuple[str, ...]


@router.post("/create", status_code=201, response_model=LuxuryWorkflow, openapi_extra=bodies.taken(LuxuryRequest))
async def create(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Create a workflow of a type; it waits until it is executed. Repeating it with the same key returns the first."""
    check_key(idempotency_key)
    wanted = await bodies.body_of(request, LuxuryRequest)
    creation = creation_of(request)
    if wanted.workflow_type not in creation.templates:
        known = ", ".join(creation.templates) or "none"
        rule = f"there is no workflow type {wanted.workflow_type!r}; there are {known}"
        raise InvalidRequest("workflow_type", rule)
    try:
        asked = WorkflowRequest(template=wanted.workflow_type, inputs=wanted.workflow_data, start=False)
        state = await creation.create(asked, asker_of(request), idempotency_key)
    except InvalidWorkflow as error:
        raise InvalidWorkflow(tuple((_place(field), rule) for field, rule in error.findings)) from None
    return _told(state, 201)


def _place(field: str) -> str:
    """Where something stands in the body of this door."""
    head, _, rest = field.partition(".")
    named = {"inputs": "workflow_data", "template": "workflow_type"}.get(head, head)
    return f"{named}.{rest}" if rest else named


@router.get("/status")
async def system(request: Request) -> LuxurySystem:
    """How the engines are, how many workflows there are, and of which types they can be."""
    directory: Directory = request.app.state.directory
    found = await directory.actors()
    engines = tuple(
        EngineState(name=name, answers=name in found) for name in sorted(directory.expected) if name.startswith(ENGINE)
    )
    counts = await kept_of(request).counts(caller(request).tenant)
    there = sum(engine.answers for engine in engines)
    return LuxurySystem(
        status="down" if not there else "operational" if there == len(engines) else "degraded",
        engines=engines,
        workflows=counts,
        total=sum(counts.values()),
        workflow_types=tuple(creation_of(request).templates),
    )


@router.post("/{workflow_id}/execute", status_code=202, response_model=LuxuryWorkflow, responses=PROBLEMS_OF_COMMANDS)
async def execute(workflow_id: WorkflowId, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Start a workflow, once."""
    state, _ = await steer(request, workflow_id, {"kind": "start"}, idempotency_key)
    await watch(log_of(request), state, lambda: state.status != "pending", BEGIN_S)
    return _told(state, 202)


@router.get("/{workflow_id}/status", response_model=LuxuryWorkflow)
async def status(workflow_id: WorkflowId, request: Request) -> Response:
    """How a workflow stands, and what its tasks have given so far."""
    return _answer(await find(request, workflow_id), 200)


def _told(state: State, code: int) -> Response:
    return _answer(view_of(state), code)


def _answer(workflow: Workflow, code: int) -> Response:
    told = LuxuryWorkflow(
        workflow_type=workflow.template or workflow.name,
        results={name: _result(task) for name, task in workflow.tasks.items() if task.status == "completed"},
        links=links(workflow.workflow_id),
        **{name: getattr(workflow, name) for name in LuxuryWorkflow.model_fields if hasattr(workflow, name)},
    )
    return JSONResponse(told.model_dump(mode="json"), code)


def _result(task: TaskView) -> Any:
    return task.output if task.size is None else [item.output for item in task.items]


def describe(app: FastAPI) -> None:
    """Say in the application's description what the bodies hold that FastAPI does not read."""
    bodies.describe(app, LuxuryRequest)

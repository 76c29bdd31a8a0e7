"""What may be asked of a workflow that is there: to start, pause, resume, stop, go on after its end, hear a signal.

Each of these doors answers at once with the workflow as it stands; with `Prefer: wait=N` once what was asked is done,
for up to N seconds. A repeat with the same idempotency key has no second effect.
"""

import hashlib
import json
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from actors.workflow.refusals import check_command, refused
from actors.workflow.state import State
from actors.workflow.view import view_of
from schemas.errors import Conflict, InvalidRequest, KeyReused, TooLarge, Unavailable
from schemas.message import check_plain
from schemas.settings import Settings
from schemas.workflow import Workflow, retry_within_s
from schemas.workflow_doors import CancelRequest, RetryRequest
from schemas.workflow_event import WorkflowCommand
from serve import bodies
from serve.caller import caller
from serve.headers import IdempotencyKey, Prefer, check_key, wait_s
from serve.problems import documented
from serve.watching import watch
from serve.workflows import PROBLEMS, WorkflowId, creation_of, known, log_of, standing

MAX_PAYLOAD_BYTES = 256 * 1024
"""Of a signal, as JSON: it travels in events and snapshots."""
START_S = 5.0
"""For an engine to start what somebody asked for, so that it is known who did."""

PROBLEMS_OF_COMMANDS = {
    **PROBLEMS,
    **documented({409: "As the workflow stands, it would have no effect; `detail` says how it stands"}),
}
_STANDS: dict[int | str, dict[str, Any]] = {200: {"model": Workflow}, 202: {"model": Workflow}}

router = APIRouter(prefix="/api/v1/workflows/{workflow_id}", tags=["workflows"], responses=PROBLEMS_OF_COMMANDS)


@router.post("/start", status_code=202, response_model=None, responses=_STANDS)
async def start(
    workflow_id: WorkflowId, request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Start a workflow that was created without being started. Of several who ask, one is told that it did."""
    return await _steer(request, workflow_id, {"kind": "start"}, idempotency_key, prefer)


@router.post("/pause", status_code=202, response_model=None, responses=_STANDS)
async def pause(
    workflow_id: WorkflowId, request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Begin no further task until it is resumed; what runs goes on to its end."""
    return await _steer(request, workflow_id, {"kind": "pause"}, idempotency_key, prefer)


@router.post("/resume", status_code=202, response_model=None, responses=_STANDS)
async def resume(
    workflow_id: WorkflowId, request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Go on after a pause."""
    return await _steer(request, workflow_id, {"kind": "resume"}, idempotency_key, prefer)


@router.post(
    "/cancel",
    status_code=202,
    response_model=None,
    responses=_STANDS,
    openapi_extra=bodies.taken(CancelRequest, required=False),
)
async def cancel(
    workflow_id: WorkflowId, request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Stop: what runs is brought to an end, and what was done is undone unless `compensate` is false."""
    await _is_there(request, workflow_id)
    asked = await bodies.body_of(request, CancelRequest)
    return await _steer(request, workflow_id, {"kind": "cancel", **asked.model_dump()}, idempotency_key, prefer)


@router.post(
    "/retry",
    status_code=202,
    response_model=None,
    responses=_STANDS,
    openapi_extra=bodies.taken(RetryRequest, required=False),
)
async def retry(
    workflow_id: WorkflowId, request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
) -> Response:
    """Go on with a workflow that has failed or was cancelled: what did not end well begins anew, all else stays."""
    await _is_there(request, workflow_id)
    asked = await bodies.body_of(request, RetryRequest)
    return await _steer(request, workflow_id, {"kind": "retry", **asked.model_dump()}, idempotency_key, prefer)


@router.post(
    "/signals/{name}",
    status_code=202,
    response_model=None,
    responses=_STANDS,
    openapi_extra=bodies.taken(None, required=False),
)
async def signal(
    workflow_id: WorkflowId,
    name: Annotated[str, Path(max_length=128)],
    request: Request,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Give a task the signal that it waits for, or will wait for; the body, any JSON, is then its output.

    An approval's is an object whose `approved` is true or false; a `comment` may say why.
    """
    await _is_there(request, workflow_id)
    said = {"kind": "signal", "name": name, "payload": _payload(await bodies.json_of(request))}
    return await _steer(request, workflow_id, said, idempotency_key, prefer)


async def _is_there(request: Request, workflow_id: str) -> None:
    """Before what is wrong with the body is told."""
    await log_of(request).created(caller(request).tenant, known(workflow_id))


def _payload(body: Any) -> Any:
    try:
        size = len(json.dumps(check_plain(body), ensure_ascii=False).encode())
    except (ValueError, RecursionError) as error:
        rule = "is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest("payload", rule) from None
    if size > MAX_PAYLOAD_BYTES:
        raise TooLarge("the payload", size, MAX_PAYLOAD_BYTES)
    return body


async def _steer(
    request: Request, workflow_id: str, said: dict[str, Any], key: str | None, prefer: str | None
) -> Response:
    state, command = await steer(request, workflow_id, said, key)
    headers = {}
    if waited := wait_s(prefer):
        headers["Preference-Applied"] = f"wait={waited:g}"

        def settled() -> bool:
            return command.command in state.commands or _refused(request, state, command) is not None

        await watch(log_of(request), state, settled, waited)
    done = bool(waited) and command.command in state.commands
    return JSONResponse(view_of(state).model_dump(mode="json"), 200 if done else 202, headers)


def _refused(request: Request, state: State, command: WorkflowCommand) -> str | None:
    settings: Settings = request.app.state.settings
    return refused(state, command, retry_within_s=retry_within_s(settings.keep_s))


async def steer(
    request: Request, workflow_id: str, said: dict[str, Any], key: str | None
) -> tuple[State, WorkflowCommand]:
    """Send a command, unless it can have no effect.

    Args:
        said: the command, without its id.

    Returns:
        How the workflow stood, and the command.

    Raises:
        NotFound: there is no such workflow.
        InvalidRequest: it names what is not there.
        Conflict: it can have no effect.
        KeyReused: the key belongs to another body.
    """
    check_key(key)
    state = await standing(request, workflow_id)
    command = _command(state, said, key)
    if command.command not in state.commands:
        check_command(state, command)
        if (reason := _refused(request, state, command)) is not None:
            raise Conflict(reason)
        if command.kind == "start":
            await _start(request, state, command, keyed=key is not None)
        else:
            await log_of(request).wake(state.created.tenant, workflow_id, command)
    return state, command


def _command(state: State, said: dict[str, Any], key: str | None) -> WorkflowCommand:
    """With a key its id follows from the key and from what is said, so that another body under the key is noticed."""
    if key is None:
        return WorkflowCommand.model_validate({**said, "command": secrets.token_hex(8)})
    body = json.dumps(said, sort_keys=True).encode()
    named = hashlib.sha256(f"{said['kind']}\0{said.get('name')}\0{key}".encode()).hexdigest()[:24]
    wanted = f"{named}.{hashlib.sha256(body).hexdigest()[:16]}"
    if any(each.startswith(f"{named}.") and each != wanted for each in state.commands):
        raise KeyReused(key, f"{said['kind']!r} of workflow {state.created.workflow_id}", "command")
    return WorkflowCommand.model_validate({**said, "command": wanted})


async def _start(request: Request, state: State, command: WorkflowCommand, *, keyed: bool) -> None:
    """Of those who ask at once, one does not get a conflict.

    Whoever repeats itself with a key is told once it is known whose command started the workflow.
    """
    created = state.created
    if await creation_of(request).start(created.tenant, created.workflow_id, command.command):
        return
    if keyed:
        await watch(log_of(request), state, lambda: state.started_at is not None or state.ended is not None, START_S)
        if state.status == "pending":
            raise Unavailable("somebody has asked to start it, and no engine has yet; send it again with the same key")
    if command.command not in state.commands:
        raise Conflict("it was asked to start already")

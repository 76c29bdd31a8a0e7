"""The recordings door: what a task answered, as a file, and such a file to answer a task again."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from bus.journal import Journal
from bus.recordings import Recordings, record
from bus.subjects import token
from schemas.errors import InvalidRequest, NotFound
from schemas.recording import MEDIA_TYPE, Uploaded
from serve.caller import caller
from serve.problems import documented

router = APIRouter(prefix="/api/v1", tags=["recordings"])

_LINES: dict[str, Any] = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}


@router.get(
    "/tasks/{task_id}/recording",
    response_class=Response,
    responses={
        200: {"description": "JSON lines", **_LINES},
        **documented(
            {
                404: "No such task, or it is too old",
                409: "It has not ended, or not all of it is kept any more",
                422: "No task's id",
                503: "Not now; see Retry-After",
            }
        ),
    },
)
async def recording(task_id: Annotated[str, Path(max_length=128)], request: Request) -> Response:
    """The recording of a task that has ended: its events and what its model calls answered."""
    try:
        token(task_id)
    except ValueError:
        raise NotFound("task", task_id) from None
    state = request.app.state
    found = await record(state.tasks, Journal(state.bus), caller(request).tenant, task_id)
    headers = {"Content-Disposition": f'attachment; filename="{task_id}.jsonl"'}
    return Response(found.dump(), media_type=MEDIA_TYPE, headers=headers)


@router.post(
    "/recordings",
    response_model=Uploaded,
    openapi_extra={"requestBody": {"required": True, **_LINES}},
    responses=documented(
        {
            413: "Too large",
            422: "It is no recording, or was cut off or changed; the line is named",
            503: "Not now; see Retry-After",
        }
    ),
)
async def upload(request: Request) -> JSONResponse:
    """Keep a recording for thirty days. `request` in the reply, sent as a task, replays it and spends nothing."""
    name, found = await _recordings(request).put(await request.body(), caller(request).tenant)
    replaying = Uploaded(recording=name, request=found.request.model_copy(update={"replay": name}))
    return JSONResponse(replaying.model_dump(mode="json", exclude_defaults=True))


async def check_replay(request: Request, name: str | None) -> None:
    """Refuse a task that is to be answered from a recording which is not there.

    Raises:
        InvalidRequest: there is none of that name.
    """
    if name is not None and not await _recordings(request).holds(name, caller(request).tenant):
        raise InvalidRequest("replay", f"there is no recording {name}; hand it in to /api/v1/recordings first")


def _recordings(request: Request) -> Recordings:
    recordings: Recordings = request.app.state.recordings
    return recordings

"""The audit door: who changed something, or was refused."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from schemas.audit import AuditList, Outcome
from schemas.message import Moment
from serve.auth import AUDIT
from serve.caller import caller
from serve.problems import documented
from storage import AuditLog

router = APIRouter(prefix=AUDIT, tags=["keys"])


@router.get("", responses=documented({422: "A parameter breaks a rule", 503: "Not now; see Retry-After"}))
async def entries(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    since: Moment | None = None,
    outcome: Outcome | None = None,
) -> AuditList:
    """What the keys of the caller's tenant changed or were refused, newest first. The operator sees what all did, also
    who is not known. What has just happened is there within a second or two.
    """
    log: AuditLog = request.app.state.audit
    who = caller(request)
    return await log.list(None if who.everywhere else who.tenant, limit, cursor, since, outcome)

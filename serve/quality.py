"""The quality door: how good answers were, by agent and kind of work."""

from datetime import UTC, date, datetime, time
from typing import Annotated

from fastapi import APIRouter, Query, Request

from actors.catalogue import Catalogue
from schemas.quality import QualityBy, QualityList, QualityRow
from serve.caller import caller
from serve.costs import Day
from serve.problems import documented
from storage import QualityHistory

router = APIRouter(prefix="/api/v1/quality", tags=["quality"])


@router.get("", responses=documented({422: "A value breaks a rule", 503: "Not now; see Retry-After"}))
async def quality(
    request: Request,
    by: Annotated[QualityBy | None, Query(description="What the rows are of; left out: agent and kind of work")] = None,
    since: Annotated[Day, Query(description="First day, in UTC")] = None,
) -> QualityList:
    """How good the answers were that were measured, of tasks that have ended."""
    return QualityList(by=by, rows=await history(request, by, since))


async def history(request: Request, by: QualityBy | None = None, since: date | None = None) -> tuple[QualityRow, ...]:
    """As the caller's tenant may see it, seats counted with the agent that sits in them."""
    qualities: QualityHistory = request.app.state.qualities
    catalogue: Catalogue = request.app.state.catalogue
    begin = None if since is None else datetime.combine(since, time(), UTC)
    return await qualities.history(caller(request).tenant, begin, by, catalogue.role_of)

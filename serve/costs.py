"""The costs door: what was spent, summed from the ledger."""

import re
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator

from schemas.costs import CostKey, Costs
from serve.caller import caller
from serve.problems import documented
from storage import CallLedger

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

router = APIRouter(prefix="/api/v1/costs", tags=["costs"])


def _day(text: str) -> str:
    """Nothing but a day: pydantic alone would take seconds since 1970 for one too."""
    if not _DAY.fullmatch(text):
        raise ValueError("is no day; write YYYY-MM-DD")
    return text


Day = Annotated[date | None, BeforeValidator(_day)]


@router.get("", responses=documented({422: "A value breaks a rule", 503: "Not now; see Retry-After"}))
async def costs(
    request: Request,
    by: Annotated[CostKey, Query(description="What the rows are of")] = "day",
    since: Annotated[Day, Query(description="First day, in UTC")] = None,
    until: Annotated[Day, Query(description="Last day, in UTC")] = None,
) -> Costs:
    """What the tasks cost that ended on these days, what one premium model would have cost, and what is not known."""
    ledger: CallLedger = request.app.state.ledger
    return await ledger.costs(caller(request).tenant, by, since, until)

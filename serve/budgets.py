"""The budgets door: what of today's budgets is left."""

from fastapi import APIRouter, Request

from actors.gateway.purse import Purse
from schemas.budget import BudgetLeft, BudgetList
from serve.problems import documented

router = APIRouter(prefix="/api/v1/budgets", tags=["costs"])


@router.get("", responses=documented({503: "Not now; see Retry-After"}))
async def budgets(request: Request) -> BudgetList:
    """The budgets of the overlay, each with what is reserved and spent of it today (UTC), and what is left."""
    purse: Purse = request.app.state.purse
    return BudgetList(budgets=tuple(BudgetLeft.of(left) for left in await purse.left()))

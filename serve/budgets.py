"""The budgets door: what of today's budgets is left."""

from fastapi import APIRouter, Request

from actors.gateway.purse import Purse
from schemas.budget import BudgetLeft, BudgetList, Left
from schemas.settings import DEFAULT_TENANT
from serve.caller import Caller, caller
from serve.keyring import Keyring
from serve.problems import documented

router = APIRouter(prefix="/api/v1/budgets", tags=["costs"])


@router.get("", responses=documented({503: "Not now; see Retry-After"}))
async def budgets(request: Request) -> BudgetList:
    """The budgets of the overlay and of keys, each with what is reserved and spent of it today (UTC), and what is left.

    A key sees its own; one with the scope `admin` those of its tenant's keys. The day's and the services' budgets are
    the platform's, and told to its own tenant.
    """
    purse: Purse = request.app.state.purse
    ring: Keyring = request.app.state.keyring
    who = caller(request)
    stored = {key.id: key.budget for key in ring.keys if key.budget is not None}
    tenants = {key.id: key.tenant for key in ring.keys}
    found = await purse.left(keys=stored)
    return BudgetList(budgets=tuple(BudgetLeft.of(left) for left in found if _sees(who, left, tenants)))


def _sees(who: Caller, left: Left, tenants: dict[str, str]) -> bool:
    if who.everywhere:
        return True
    if left.scope != "key":
        return who.tenant == DEFAULT_TENANT
    return left.name == who.key or ("admin" in who.scopes and tenants.get(left.name) == who.tenant)

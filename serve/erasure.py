"""Erasing tasks, workflows and tenants everywhere they are kept; `docs/data.md` says where that is.

Streams and stores go first and SQL last: an erasure that broke off finds what it was to erase when it is repeated.
"""

import asyncio
from collections import Counter
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Query, Request

from actors.workflow.recovery import recovered
from actors.workflow.view import view_of
from bus.client import Bus
from bus.erasure import Eraser
from bus.subjects import FleetForget, token
from bus.tasklog import TaskLog
from bus.workflowlog import WorkflowLog
from schemas.erasure import Erased
from schemas.errors import Conflict, DecodeError, NotAllowed, NotFound
from schemas.fleet import Forget, Forgotten
from schemas.task import Task
from schemas.workflow import Workflow
from serve.auth import TENANTS
from serve.caller import caller
from serve.keyring import Keyring
from serve.problems import documented
from serve.workflows import WorkflowId, known
from storage import Erasure, TaskRepository, WorkflowRepository

PROJECTED_S = 5.0
"""For SQL to know that something has ended, as its events say: what it does not know yet, it would enter later."""
RECHECK_S = 0.05
FORGET_S = 15.0
"""For the host to have NATS close the connections of a tenant's clients."""

WithCosts = Annotated[bool, Query(description="Whether what it cost is erased too, and not kept without a name")]

router = APIRouter(tags=["erasure"])

log = structlog.get_logger()


class Erasing:
    """What is needed to erase, as an application has it."""

    def __init__(self, request: Request) -> None:
        state, bus = request.app.state, request.app.state.bus
        assert isinstance(bus, Bus)
        self._bus, self._streams = bus, Eraser(bus)
        self._rows: Erasure = state.erasure
        self._tasks: TaskLog = state.tasks
        self._kept: TaskRepository = state.kept
        self._workflows: WorkflowLog = state.workflows
        self._kept_workflows: WorkflowRepository = state.kept_workflows

    async def task(self, tenant: str, task_id: str, with_costs: bool) -> Erased:
        """
        Raises:
            NotFound: there is none.
            Conflict: it has not ended.
            Unavailable: something may still be there; ask again.
        """
        await self._ended_task(tenant, task_id)
        return await self._erase_task(tenant, task_id, with_costs)

    async def workflow(self, tenant: str, workflow_id: str, with_costs: bool) -> Erased:
        """As `task`, with all the tasks and workflows that did its tasks.

        Raises:
            Conflict: also where it is a task of another, which would lose a part.
        """
        first = await self._ended_workflow(tenant, workflow_id)
        if first.parent is not None and await self._workflow(tenant, first.parent.workflow_id) is not None:
            raise Conflict(
                f"it is a task of the workflow {first.parent.workflow_id}; delete that one, which deletes both"
            )
        family = await self._rows.family(tenant, workflow_id)
        parts = {each: await self._streams.parts_of(tenant, each) for each in family}
        named = {ref for part in parts.values() for ref in part.refs}
        for each in family:
            whole = first if each == workflow_id else await self._ended_workflow(tenant, each)
            named |= {unit.task_id for task in whole.tasks.values() for unit in (task, *task.items) if unit.task_id}
        tasks = [ref for ref in sorted(named - set(family)) if await self._is_there(tenant, ref)]
        erased = Erased(costs_kept=not with_costs)
        for task_id in tasks:
            erased += await self._erase_task(tenant, task_id, with_costs)
        # The eldest last: by it the others are found.
        for each in reversed(family):
            removed = await self._streams.workflow(tenant, each, parts[each]) + await self._rows.workflow(tenant, each)
            erased += Erased(workflows=1, costs_kept=not with_costs, removed=removed)
        return erased

    async def tenant(self, tenant: str) -> Erased:
        """Everything of a tenant, what it cost and its keys included.

        Raises:
            Conflict: something of it has not ended.
            Unavailable: something may still be there; ask again.
        """
        tasks, workflows = await self._rows.going_on(tenant)
        if tasks or workflows:
            raise Conflict(f"{tasks:,} tasks and {workflows:,} workflows of {tenant} have not ended; cancel them first")
        # First, so that nothing more comes in from outside.
        gone = await self._bus.request(FleetForget(), Forget(tenant=tenant), Forgotten, timeout_s=FORGET_S)
        removed = Counter(nats_users=gone.nats_users) + await self._streams.tenant(tenant)
        rows = await self._rows.tenant(tenant)
        return Erased(
            tasks=rows["tasks"], workflows=rows["workflows"], costs_kept=False, removed=Counter(removed) + rows
        )

    async def _erase_task(self, tenant: str, task_id: str, with_costs: bool) -> Erased:
        removed = await self._streams.task(tenant, task_id) + await self._rows.task(tenant, task_id, with_costs)
        return Erased(tasks=1, costs_kept=not with_costs, removed=removed)

    async def _is_there(self, tenant: str, task_id: str) -> bool:
        try:
            await self._ended_task(tenant, task_id)
        except NotFound:  # accepted never, or erased before
            return False
        return True

    async def _ended_task(self, tenant: str, task_id: str) -> Task:
        patience = _Patience()
        while (kept := await self._kept.get(tenant, task_id)) is None:
            if not (await self._tasks.task(tenant, task_id)).ended:
                raise Conflict(f"task {task_id} has not ended; cancel it first")
            await patience.wait(f"task {task_id}")
        return kept

    async def _ended_workflow(self, tenant: str, workflow_id: str) -> Workflow:
        patience = _Patience()
        while (found := await self._workflow(tenant, workflow_id)) is not None:
            if not found.ended:
                raise Conflict(f"workflow {workflow_id} has not ended; cancel it first")
            if await self._kept_workflows.get(tenant, workflow_id) is not None:
                return found
            await patience.wait(f"workflow {workflow_id}")
        raise NotFound("workflow", workflow_id)

    async def _workflow(self, tenant: str, workflow_id: str) -> Workflow | None:
        """As its events tell it, or else SQL."""
        try:
            return view_of(await recovered(self._workflows, tenant, workflow_id))
        except (NotFound, DecodeError):
            return await self._kept_workflows.get(tenant, workflow_id)


class _Patience:
    """With the projection."""

    def __init__(self) -> None:
        self._until = asyncio.get_running_loop().time() + PROJECTED_S

    async def wait(self, what: str) -> None:
        """
        Raises:
            Conflict: it takes too long; ask again in a moment.
        """
        if asyncio.get_running_loop().time() > self._until:
            raise Conflict(f"{what} has ended, and the database does not know that yet; try again in a moment")
        await asyncio.sleep(RECHECK_S)


@router.delete(
    "/api/v1/workflows/{workflow_id}",
    tags=["workflows"],
    responses=documented({404: "No such workflow", 409: "It has not ended, or is a task of another"}),
)
async def delete_workflow(workflow_id: WorkflowId, request: Request, with_costs: WithCosts = False) -> Erased:
    """Erase a workflow that has ended, with its tasks, everywhere they are kept.

    What it cost stays in the sums, without a name.
    """
    erased = await Erasing(request).workflow(caller(request).tenant, known(workflow_id), with_costs)
    log.info("a workflow was erased", workflow=workflow_id, by=caller(request).key)
    return erased


@router.delete(
    f"{TENANTS}/{{tenant}}",
    responses=documented({404: "No tenant that the caller knows", 409: "Something of it has not ended"}),
)
async def delete_tenant(tenant: Annotated[str, Path(max_length=128)], request: Request) -> Erased:
    """Erase everything of a tenant, what it cost and its keys included. Only who runs the platform may.

    Its keys and NATS users are revoked; tokens are signed elsewhere, so they have to be withheld there.
    """
    who = caller(request)
    if not who.everywhere:
        if tenant == who.tenant:
            raise NotAllowed("only who runs the platform erases tenants")
        raise NotFound("tenant", tenant)
    try:
        token(tenant)
    except ValueError:
        raise NotFound("tenant", tenant) from None
    erased = await Erasing(request).tenant(tenant)
    ring: Keyring = request.app.state.keyring
    await ring.look()
    log.info("a tenant was erased", tenant=tenant, by=who.key, removed=erased.removed)
    return erased

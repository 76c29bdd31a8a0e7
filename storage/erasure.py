"""Erasing what SQL keeps of a task, a workflow, or a tenant."""

import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.event import TERMINAL
from schemas.message import now
from schemas.workflow import ENDED
from storage.database import Database
from storage.tables import API_KEYS, AUDIT, CALLS, DELIVERIES, QUALITIES, TASKS, WEBHOOKS, WORKFLOWS

ERASED = "erased"
"""What stands in place of a task's id, with a dot and something random. No task has an id with a dot."""


def is_erased(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a column of ids says that only the costs are left."""
    return column.startswith(f"{ERASED}.", autoescape=True)


class Erasure:
    """Every method raises `Unavailable` when the database cannot be used; nothing was erased then, or it is unknown.

    Each returns how many rows went or lost what they said, by table.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def task(self, tenant: str, task_id: str, with_costs: bool) -> Counter[str]:
        """Erase a task that has ended. Unless `with_costs`, its day, what its calls cost and what it would have cost
        stay, under a name that tells nothing."""
        async with self._database.begin() as connection:
            return +await _erase_task(connection, tenant, task_id, with_costs)

    async def workflow(self, tenant: str, workflow_id: str) -> Counter[str]:
        """Erase a workflow that has ended. What it cost is what its tasks did."""
        async with self._database.begin() as connection:
            return +await _erase_workflow(connection, tenant, workflow_id)

    async def outlived(self, before: datetime, most: int) -> Counter[str]:
        """Erase tasks and workflows that ended before a moment, `most` of each, the oldest first. What they cost stays.

        It is for those of which the streams keep nothing: else their events would be entered once more.
        """
        removed: Counter[str] = Counter()
        async with self._database.begin() as connection:
            old = _ended_before(TASKS, TASKS.c.task_id, TASKS.c.task.is_not(None), before).limit(most)
            for tenant, task_id in (await connection.execute(old)).all():
                removed += await _erase_task(connection, tenant, task_id)
            old = _ended_before(WORKFLOWS, WORKFLOWS.c.workflow_id, ~WORKFLOWS.c.has_events, before).limit(most)
            for tenant, workflow_id in (await connection.execute(old)).all():
                removed += await _erase_workflow(connection, tenant, workflow_id)
        return removed

    async def family(self, tenant: str, workflow_id: str) -> list[str]:
        """The workflow and all that are tasks of it, at any depth; itself first."""
        found = [workflow_id]
        async with self._database.begin() as connection:
            newest: Sequence[str] = found[:]
            while newest:
                of_these = and_(WORKFLOWS.c.tenant == tenant, WORKFLOWS.c.parent_id.in_(newest))
                rows = await connection.execute(select(WORKFLOWS.c.workflow_id).where(of_these))
                newest = [row.workflow_id for row in rows]
                found += newest
        return found

    async def going_on(self, tenant: str) -> tuple[int, int]:
        """How many of a tenant's tasks and workflows have not ended."""
        async with self._database.begin() as connection:
            return (
                await _count(connection, TASKS, and_(TASKS.c.tenant == tenant, TASKS.c.status.not_in(TERMINAL))),
                await _count(
                    connection, WORKFLOWS, and_(WORKFLOWS.c.tenant == tenant, WORKFLOWS.c.status.not_in(ENDED))
                ),
            )

    async def tenant(self, tenant: str) -> Counter[str]:
        """Erase everything of a tenant, what it cost included.

        Its keys are revoked and lose their names and ids. They stay as such: were there none left, the platform would
        be open again.
        """
        removed: Counter[str] = Counter()
        async with self._database.begin() as connection:
            # Webhooks before deliveries: whoever enters one holds its webhook, and has it entered then.
            for table in (WEBHOOKS, DELIVERIES, QUALITIES, CALLS, TASKS, WORKFLOWS, AUDIT):
                removed[table.name] += await _rows(connection, delete(table).where(table.c.tenant == tenant))
            keys = (await connection.execute(select(API_KEYS.c.id).where(API_KEYS.c.tenant == tenant))).scalars().all()
            for key in keys:
                nobody = f"{ERASED}.{secrets.token_hex(8)}"
                gone: dict[str, Any] = {"id": nobody, "name": "", "tenant": nobody, "digest": secrets.token_hex(32)}
                ended = {"revoked_at": func.coalesce(API_KEYS.c.revoked_at, now()), "last_used_at": None}
                await connection.execute(update(API_KEYS).where(API_KEYS.c.id == key).values(**gone, **ended))
            removed["api_keys"] += len(keys)
        return +removed


def _told_of(tenant: str, target: str) -> Any:
    """What webhooks were and are to be told of a task or workflow; its end is not told any more."""
    return delete(DELIVERIES).where(DELIVERIES.c.tenant == tenant, DELIVERIES.c.target == target)


async def _erase_task(connection: AsyncConnection, tenant: str, task_id: str, with_costs: bool = False) -> Counter[str]:
    removed: Counter[str] = Counter()
    removed["deliveries"] += await _rows(connection, _told_of(tenant, task_id))
    of_qualities = and_(QUALITIES.c.tenant == tenant, QUALITIES.c.task_id == task_id)
    removed["qualities"] += await _rows(connection, delete(QUALITIES).where(of_qualities))
    of_calls = and_(CALLS.c.tenant == tenant, CALLS.c.task_id == task_id)
    of_task = and_(TASKS.c.tenant == tenant, TASKS.c.task_id == task_id)
    if with_costs:
        removed["calls"] += await _rows(connection, delete(CALLS).where(of_calls))
        removed["tasks"] += await _rows(connection, delete(TASKS).where(of_task))
        return removed
    day = (await connection.execute(select(TASKS.c.finished_day).where(of_task))).scalar()
    midnight = datetime.combine(day or now().date(), time(), UTC)
    nobody = {"task_id": f"{ERASED}.{secrets.token_hex(16)}"}
    calls = {"step": "", "key": None, "reason": None, "cost_unknown_reason": None, "latency_ms": None}
    removed["calls"] += await _rows(connection, update(CALLS).where(of_calls).values(**nobody, **calls, at=midnight))
    task = {"prompt_head": "", "task": None, "tier": None, "shape": None, "started_at": None}
    at = {"created_at": midnight, "finished_at": midnight}
    removed["tasks"] += await _rows(connection, update(TASKS).where(of_task).values(**nobody, **task, **at))
    return removed


async def _erase_workflow(connection: AsyncConnection, tenant: str, workflow_id: str) -> Counter[str]:
    its = and_(WORKFLOWS.c.tenant == tenant, WORKFLOWS.c.workflow_id == workflow_id)
    told = await _rows(connection, _told_of(tenant, workflow_id))
    return Counter({"deliveries": told, "workflows": await _rows(connection, delete(WORKFLOWS).where(its))})


def _ended_before(table: Table, its_id: Column[str], kept: ColumnElement[bool], before: datetime) -> Select[str, str]:
    """The oldest first."""
    ended = and_(kept, table.c.finished_at < before)
    return select(table.c.tenant, its_id).where(ended).order_by(table.c.finished_at)


async def _rows(connection: AsyncConnection, statement: Any) -> int:
    return int((await connection.execute(statement)).rowcount)


async def _count(connection: AsyncConnection, table: Table, which: ColumnElement[bool]) -> int:
    return int((await connection.execute(select(func.count()).select_from(table).where(which))).scalar_one())

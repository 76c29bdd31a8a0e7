"""Workflows in SQL: a projection of their events, for lists and for workflows that have left the stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic_core import to_json
from sqlalchemy import and_, bindparam, func, null, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from schemas.workflow import Workflow, WorkflowList, WorkflowStatus, WorkflowSummary
from schemas.workflow_event import Created, WorkflowEvent
from storage import pages
from storage.database import Database
from storage.tables import WORKFLOWS

MAX_KEPT_OUTPUT = 64 * 1024
"""Bytes of one output that is kept here, as JSON."""
MAX_KEPT_OUTPUTS = 4 * 1024 * 1024
"""Bytes of all outputs together."""

Place = tuple[str, str]
"""A tenant and a workflow of it."""

_SEEN = select(WORKFLOWS.c.tenant, WORKFLOWS.c.workflow_id)
_MOVE = (
    update(WORKFLOWS)
    .where(
        WORKFLOWS.c.tenant == bindparam("of_tenant"),
        WORKFLOWS.c.workflow_id == bindparam("of_workflow"),
        WORKFLOWS.c.seq < bindparam("to_seq"),
    )
    .values(
        status=bindparam("to_status"),
        percentage=bindparam("to_percentage"),
        seq=bindparam("to_seq"),
        # One that had ended goes on.
        finished_at=null(),
        cost_usd=null(),
        workflow=null(),
    )
)
_START = (
    update(WORKFLOWS)
    .where(
        WORKFLOWS.c.tenant == bindparam("of_tenant"),
        WORKFLOWS.c.workflow_id == bindparam("of_workflow"),
        WORKFLOWS.c.started_at.is_(None),
    )
    .values(started_at=bindparam("at", type_=WORKFLOWS.c.started_at.type))
)


@dataclass(frozen=True)
class News:
    """What became known of workflows."""

    created: Sequence[Created] = ()
    moved: Sequence[WorkflowEvent] = ()
    """Of each workflow that goes on, its last event."""
    started: Sequence[tuple[Place, datetime]] = ()
    ended: Sequence[tuple[str, Workflow]] = ()
    """Workflows that have ended, each with its tenant."""


class WorkflowRepository:
    """Rows only ever move forward in `seq`. So events may come twice and out of order.

    Every method raises `Unavailable` when the database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert: Any = postgresql.insert if database.dialect == "postgresql" else sqlite.insert

    async def take(self, news: News) -> set[Place]:
        """Bring rows up to date, in one transaction.

        Returns:
            Workflows that moved on, or were started, and have no row: their first event is missing.
        """
        told = {(event.tenant, event.workflow_id) for event in news.moved} | {place for place, _ in news.started}
        async with self._database.begin() as connection:
            if news.created:
                await connection.execute(self._create, [_created(event) for event in news.created])
            if news.ended:
                await connection.execute(self._upsert, [_whole(tenant, workflow) for tenant, workflow in news.ended])
            if news.moved:
                await connection.execute(_MOVE, [_moved(event) for event in news.moved])
            if news.started:
                at = [{"of_tenant": place[0], "of_workflow": place[1], "at": at} for place, at in news.started]
                await connection.execute(_START, at)
            if not told:
                return set()
            found = await connection.execute(_SEEN.where(tuple_(WORKFLOWS.c.tenant, WORKFLOWS.c.workflow_id).in_(told)))
            return told - {(row.tenant, row.workflow_id) for row in found}

    @cached_property
    def _create(self) -> Any:
        return self._insert(WORKFLOWS).on_conflict_do_nothing(index_elements=["tenant", "workflow_id"])

    @cached_property
    def _upsert(self) -> Any:
        insert = self._insert(WORKFLOWS)
        return insert.on_conflict_do_update(
            index_elements=["tenant", "workflow_id"],
            set_={name: column for name, column in insert.excluded.items() if name not in ("tenant", "workflow_id")},
            where=WORKFLOWS.c.seq < insert.excluded.seq,
        )

    async def outlived(self, moment: datetime, limit: int) -> list[Place]:
        """Workflows that ended before that moment and have events still, the oldest first."""
        query = (
            select(WORKFLOWS.c.tenant, WORKFLOWS.c.workflow_id)
            .where(WORKFLOWS.c.has_events, WORKFLOWS.c.finished_at < moment)
            .order_by(WORKFLOWS.c.finished_at)
            .limit(limit)
        )
        async with self._database.begin() as connection:
            return [(row.tenant, row.workflow_id) for row in await connection.execute(query)]

    async def lose_events(self, places: Sequence[Place]) -> None:
        """Note that the events of these are no more."""
        if not places:
            return
        of_these = tuple_(WORKFLOWS.c.tenant, WORKFLOWS.c.workflow_id).in_(places)
        async with self._database.begin() as connection:
            await connection.execute(update(WORKFLOWS).where(of_these).values(has_events=False))

    async def get(self, tenant: str, workflow_id: str) -> Workflow | None:
        """The workflow as it ended; while it goes on, its events alone tell it whole."""
        query = select(WORKFLOWS.c.workflow).where(WORKFLOWS.c.tenant == tenant, WORKFLOWS.c.workflow_id == workflow_id)
        async with self._database.begin() as connection:
            kept = (await connection.execute(query)).scalar()
        return None if kept is None else Workflow.model_validate(kept)

    async def list(
        self,
        tenant: str,
        limit: int,
        cursor: str | None,
        *,
        status: WorkflowStatus | None = None,
        name: str | None = None,
        children: bool = False,
    ) -> WorkflowList:
        """One page of a tenant's workflows, newest first.

        Args:
            limit, cursor: see `pages.page`.
            children: whether those that are tasks of others are among them.

        Raises:
            InvalidRequest: see `pages.page`.
        """
        wanted = [WORKFLOWS.c.tenant == tenant]
        if not children:
            wanted.append(WORKFLOWS.c.parent_id.is_(None))
        if status is not None:
            wanted.append(WORKFLOWS.c.status == status)
        if name is not None:
            wanted.append(WORKFLOWS.c.name == name)
        columns = (WORKFLOWS.c[field] for field in WorkflowSummary.model_fields)
        query = pages.page(
            select(*columns).where(and_(*wanted)),
            WORKFLOWS.c.created_at,
            WORKFLOWS.c.workflow_id,
            limit,
            cursor,
            "workflow",
        )
        async with self._database.begin() as connection:
            rows = (await connection.execute(query)).mappings().all()
        shown = tuple(WorkflowSummary.model_validate(dict(row)) for row in rows[:limit])
        more = pages.cursor_of(shown[-1].created_at, shown[-1].workflow_id) if len(rows) > limit else None
        return WorkflowList(workflows=shown, next=more)

    async def counts(self, tenant: str) -> dict[str, int]:
        """How many of a tenant's workflows there are by status, without those that are tasks of others."""
        query = (
            select(WORKFLOWS.c.status, func.count().label("count"))
            .where(WORKFLOWS.c.tenant == tenant, WORKFLOWS.c.parent_id.is_(None))
            .group_by(WORKFLOWS.c.status)
        )
        async with self._database.begin() as connection:
            found = await connection.execute(query)
            return {row[0]: row[1] for row in found.all()}


def _created(event: Created) -> dict[str, Any]:
    return {
        "tenant": event.tenant,
        "workflow_id": event.workflow_id,
        "name": event.definition.name,
        "template": event.template,
        "status": event.status,
        "percentage": event.percentage,
        "created_at": event.at,
        "seq": event.seq,
        "parent_id": event.parent.workflow_id if event.parent else None,
    }


def _moved(event: WorkflowEvent) -> dict[str, Any]:
    return {
        "of_tenant": event.tenant,
        "of_workflow": event.workflow_id,
        "to_seq": event.seq,
        "to_status": event.status,
        "to_percentage": event.percentage,
    }


def _whole(tenant: str, workflow: Workflow) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "workflow_id": workflow.workflow_id,
        "name": workflow.name,
        "template": workflow.template,
        "status": workflow.status,
        "percentage": workflow.progress.percentage,
        "created_at": workflow.created_at,
        "started_at": workflow.started_at,
        "finished_at": workflow.finished_at,
        "cost_usd": workflow.cost_usd,
        "seq": workflow.seq,
        "parent_id": workflow.parent.workflow_id if workflow.parent else None,
        "workflow": without_large_outputs(workflow).model_dump(mode="json"),
    }


def without_large_outputs(workflow: Workflow) -> Workflow:
    """The workflow as it is kept here: large outputs are left out, and so are those for which there is no room.

    What is left out says so by its `output_bytes`. Room is given to the workflow's own output first, then to tasks in
    their order, then to items of maps.
    """
    left = MAX_KEPT_OUTPUTS

    def fits(output: Any) -> int | None:
        """Bytes of what does not; None: it fits."""
        nonlocal left
        size = 0 if output is None else len(to_json(output))
        if size > min(MAX_KEPT_OUTPUT, left):
            return size
        left -= size
        return None

    def kept(one: Any) -> Any:
        size = fits(one.output)
        return one if size is None else one.model_copy(update={"output": None, "output_bytes": size})

    workflow = kept(workflow)
    tasks = {name: kept(task) for name, task in workflow.tasks.items()}
    for name, task in tasks.items():
        if task.items:
            tasks[name] = task.model_copy(update={"items": tuple(kept(item) for item in task.items)})
    return workflow.model_copy(update={"tasks": tasks})

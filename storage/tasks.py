"""Tasks in SQL: a projection of their events, for lists and for tasks that have left the stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import and_, bindparam, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from schemas.event import TERMINAL
from schemas.task import Shape, Status, Task, TaskList, TaskSummary, Tier
from storage import pages
from storage.calls import CallLedger, day_of
from storage.database import Database
from storage.erasure import is_erased
from storage.qualities import Measured, QualityHistory
from storage.tables import TASKS

HEAD_CHARACTERS = 200

# No `NOT IN`, which SQLAlchemy expands for one row at a time.
_running = and_(*(TASKS.c.status != status for status in sorted(TERMINAL)))


_CLAIM = (
    update(TASKS)
    .where(
        TASKS.c.tenant == bindparam("of_tenant"),
        TASKS.c.task_id == bindparam("of_task"),
        TASKS.c.seq == bindparam("to_seq") - 1,
        _running,
    )
    .values(
        status="running",
        tier=bindparam("to_tier"),
        shape=bindparam("to_shape"),
        started_at=func.coalesce(TASKS.c.started_at, bindparam("claimed_at", type_=TASKS.c.started_at.type)),
        seq=bindparam("to_seq"),
    )
)
_SEQ = select(TASKS.c.tenant, TASKS.c.task_id, TASKS.c.seq)


@dataclass(frozen=True)
class Claim:
    """A task's event `seq`, which moves its row on to running."""

    tenant: str
    task_id: str
    seq: int
    tier: Tier
    shape: Shape
    at: datetime

    def as_parameters(self) -> dict[str, Any]:
        return {
            "of_tenant": self.tenant,
            "of_task": self.task_id,
            "to_seq": self.seq,
            "to_tier": self.tier,
            "to_shape": self.shape,
            "claimed_at": self.at,
        }


class TaskRepository:
    """Rows only ever move forward: in `seq`, and from running to ended. So events may come twice and out of order.

    Every method raises `Unavailable` when the database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._ledger = database, CallLedger(database)
        self._qualities = QualityHistory(database)
        self._insert: Any = postgresql.insert if database.dialect == "postgresql" else sqlite.insert

    async def upsert(self, tenant: str, task: Task, seq: int, measured: Sequence[Measured] = ()) -> None:
        """Keep the task as it is after its event `seq`, unless the row knows that event already or has ended.

        The calls of a task that has ended enter the ledger in the same transaction, and what was measured of its
        answers enters the history of quality.
        """
        await self.upsert_all([(tenant, task, seq)], measured)

    async def upsert_all(self, tasks: Sequence[tuple[str, Task, int]], measured: Sequence[Measured] = ()) -> None:
        """As `upsert`, for several tasks in one transaction; of each task one state."""
        if not tasks:
            return
        rows = [_row(tenant, task, seq) for tenant, task, seq in tasks]
        async with self._database.begin() as connection:
            await connection.execute(self._upsert, rows)
            await self._ledger.record_all([(tenant, task) for tenant, task, _ in tasks if task.ended], connection)
            await self._qualities.record_all(measured, connection)

    @cached_property
    def _upsert(self) -> Any:
        """Putting it together takes as long as bringing a task or two up to date."""
        insert = self._insert(TASKS)
        return insert.on_conflict_do_update(
            index_elements=["tenant", "task_id"],
            set_={name: column for name, column in insert.excluded.items() if name not in ("tenant", "task_id")},
            where=and_(TASKS.c.seq < insert.excluded.seq, _running),
        )

    async def claim(self, tenant: str, task_id: str, seq: int, *, tier: Tier, shape: Shape, at: datetime) -> bool:
        """Move a row on by its event `seq`, a claim.

        Returns:
            Whether the row now knows that event; if not, it is missing or too far behind: read the task's history.
        """
        return not await self.claim_all([Claim(tenant, task_id, seq, tier, shape, at)])

    async def claim_all(self, claims: Sequence[Claim]) -> list[Claim]:
        """As `claim`, for several in one transaction. Returns those that their rows do not know now."""
        if not claims:
            return []
        tasks = {(claim.tenant, claim.task_id) for claim in claims}
        async with self._database.begin() as connection:
            await connection.execute(_CLAIM, [claim.as_parameters() for claim in claims])
            found = await connection.execute(_SEQ.where(tuple_(TASKS.c.tenant, TASKS.c.task_id).in_(tasks)))
            known = {(row.tenant, row.task_id): row.seq for row in found}
        return [claim for claim in claims if known.get((claim.tenant, claim.task_id), 0) < claim.seq]

    async def get(self, tenant: str, task_id: str) -> Task | None:
        """The whole task, once it has ended; before, its events alone tell it whole."""
        query = select(TASKS.c.task).where(TASKS.c.tenant == tenant, TASKS.c.task_id == task_id)
        async with self._database.begin() as connection:
            kept = (await connection.execute(query)).scalar()
        return None if kept is None else Task.model_validate(kept)

    async def list(self, tenant: str, limit: int, cursor: str | None, status: Status | None = None) -> TaskList:
        """One page of a tenant's tasks, newest first. Tasks that arrive meanwhile shift no later page.

        Args:
            limit: tasks on a page, 1 to 1000.
            cursor: `next` of the page before; None for the first.

        Raises:
            InvalidRequest: `limit` is out of range, or no list gave out this cursor.
        """
        query = select(TASKS).where(TASKS.c.tenant == tenant, ~is_erased(TASKS.c.task_id))
        if status is not None:
            query = query.where(TASKS.c.status == status)
        query = pages.page(query, TASKS.c.created_at, TASKS.c.task_id, limit, cursor, "task")
        async with self._database.begin() as connection:
            rows = (await connection.execute(query)).all()
        shown = tuple(
            TaskSummary(
                task_id=row.task_id,
                status=row.status,
                tier=row.tier,
                prompt=row.prompt_head,
                created_at=row.created_at,
                finished_at=row.finished_at,
                cost_usd=row.cost_usd,
                replayed=row.replayed,
            )
            for row in rows[:limit]
        )
        more = pages.cursor_of(shown[-1].created_at, shown[-1].task_id) if len(rows) > limit else None
        return TaskList(tasks=shown, next=more)


def _row(tenant: str, task: Task, seq: int) -> dict[str, Any]:
    receipt = task.receipt
    tokens = (receipt.prompt_tokens, receipt.completion_tokens) if receipt else (None, None)
    return {
        "tenant": tenant,
        "task_id": task.task_id,
        "status": task.status,
        "tier": task.tier,
        "shape": task.shape,
        # PostgreSQL's text cannot hold NUL; the whole task, as JSON, escapes it.
        "prompt_head": task.prompt[:HEAD_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "cost_usd": receipt.cost_usd if receipt else None,
        "tokens": None if tokens[0] is None or tokens[1] is None else tokens[0] + tokens[1],
        "seq": seq,
        "task": task.model_dump(mode="json") if task.ended else None,
        "premium_cost_usd": receipt.premium_cost_usd if receipt else None,
        "finished_day": day_of(task) if task.ended else None,
        "replayed": any(call.replayed for call in receipt.calls) if receipt else False,
    }

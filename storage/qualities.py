"""How good answers were that agents gave: one row for each that was measured, for figures by agent and kind of work."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.quality import QualityBy, QualityRow
from storage.database import Database
from storage.tables import QUALITIES


@dataclass(frozen=True, slots=True)
class Measured:
    """One answer that was measured."""

    tenant: str
    task_id: str
    step: str
    agent: str
    """The name that it goes under: an agent's, or of one of its seats."""
    profile: str | None
    """The kind of work; `None`: nobody said."""
    tier: str | None
    overall: float
    """A fraction."""
    at: datetime


class QualityHistory:
    """What was entered never changes. Every method raises `Unavailable` when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        insert: Any = postgresql.insert if database.dialect == "postgresql" else sqlite.insert
        self._enter = insert(QUALITIES).on_conflict_do_nothing()

    async def record_all(self, measured: Sequence[Measured], within: AsyncConnection) -> None:
        """Enter what was measured, as part of a transaction; again, it changes nothing."""
        if measured:
            await within.execute(self._enter, [asdict(one) for one in measured])

    async def history(
        self,
        tenant: str,
        since: datetime | None = None,
        by: QualityBy | None = None,
        role_of: Callable[[str], str] = str,
    ) -> tuple[QualityRow, ...]:
        """The figures of each agent and kind of work, those with the most answers first.

        Args:
            by: only of each agent, or of each kind of work.
            role_of: the agent that sits in a seat; left out, each seat has rows of its own.
        """
        q = QUALITIES.c
        query = select(
            q.agent, q.profile, func.count().label("n"), func.avg(q.overall).label("mean"), func.max(q.at).label("last")
        ).where(q.tenant == tenant)
        if since is not None:
            query = query.where(q.at >= since)
        async with self._database.begin() as connection:
            found = (await connection.execute(query.group_by(q.agent, q.profile))).all()
        rows: dict[tuple[str | None, str | None], QualityRow] = {}
        for row in found:
            agent, kind = role_of(row.agent), row.profile
            key = (None if by == "kind" else agent, None if by == "agent" else kind)
            one = QualityRow(agent=key[0], kind=key[1], n=row.n, mean=row.mean, last_at=row.last)
            rows[key] = _both(rows[key], one) if key in rows else one
        return tuple(sorted(rows.values(), key=lambda row: (-row.n, row.agent or "", row.kind or "")))


def _both(one: QualityRow, other: QualityRow) -> QualityRow:
    n = one.n + other.n
    mean = (one.mean * one.n + other.mean * other.n) / n
    return one.model_copy(update={"n": n, "mean": mean, "last_at": max(one.last_at, other.last_at)})

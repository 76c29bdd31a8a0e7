"""The audit log in SQL. What was entered never changes; what has grown too old is deleted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from schemas.audit import REFUSALS, AuditEntry, AuditList, Outcome
from storage import pages
from storage.database import Database
from storage.tables import AUDIT


class AuditLog:
    """Every method raises `Unavailable` when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        insert: Any = postgresql.insert if database.dialect == "postgresql" else sqlite.insert
        self._enter = insert(AUDIT).on_conflict_do_nothing()

    async def add(self, entries: Sequence[AuditEntry]) -> None:
        """Enter what happened; again, it changes nothing."""
        if entries:
            rows = [entry.model_dump(exclude={"outcome"}) for entry in entries]
            async with self._database.begin() as connection:
                await connection.execute(self._enter, rows)

    async def list(
        self,
        tenant: str | None,
        limit: int,
        cursor: str | None = None,
        since: datetime | None = None,
        outcome: Outcome | None = None,
    ) -> AuditList:
        """What happened, newest first.

        Args:
            tenant: whose keys did it; None: anybody, also who is not known.
            since: leave out what is older.

        Raises:
            InvalidRequest: `limit` is out of range, or no list gave out this cursor.
        """
        a = AUDIT.c
        query = select(AUDIT)
        if tenant is not None:
            query = query.where(a.tenant == tenant)
        if since is not None:
            query = query.where(a.at >= since)
        match outcome:
            case "refused":
                query = query.where(a.status.in_(REFUSALS))
            case "done":
                query = query.where(a.status < 400)
            case "failed":
                query = query.where(a.status >= 400, a.status.not_in(REFUSALS))
        query = pages.page(query, a.at, a.id, limit, cursor, "entry")
        async with self._database.begin() as connection:
            rows = (await connection.execute(query)).all()
        found = tuple(AuditEntry.model_validate(row._asdict()) for row in rows[:limit])
        after = pages.cursor_of(found[-1].at, found[-1].id) if len(rows) > limit else None
        return AuditList(entries=found, next=after)

    async def forget(self, before: datetime) -> int:
        """Delete what is older; the number of rows."""
        return await self._database.forget(AUDIT, AUDIT.c.at, before)

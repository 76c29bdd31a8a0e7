"""What webhooks are to be told, in SQL: the queue of attempts to come, and what has come of those that were made.

A row says of what a webhook is told, not what is said: that is read when it is sent, so that nothing that was deleted
in the meantime is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, delete, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from schemas.errors import Conflict, NotFound
from schemas.message import now
from schemas.webhook import TEST, Delivery, DeliveryList, DeliveryState, Webhook, delivery_id
from storage import pages
from storage.database import Database
from storage.tables import DELIVERIES, WEBHOOKS


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of which a webhook is told."""

    webhook_id: str
    tenant: str
    event: str
    target: str
    place: int
    """In its stream."""

    @property
    def id(self) -> str:
        return delivery_id(self.webhook_id, self.event, self.target, self.place)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that is to be made now."""

    id: str
    tenant: str
    event: str
    target: str | None
    place: int | None
    number: int
    """Counts from 1."""
    created_at: datetime


class DeliveryRepository:
    """Every method raises `Unavailable` when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        insert: Any = postgresql.insert if database.dialect == "postgresql" else sqlite.insert
        self._enter = insert(DELIVERIES).from_select(list(_NEW), _OF_WEBHOOK).on_conflict_do_nothing()

    async def enter(self, happened: Sequence[Happened]) -> None:
        """Have webhooks told of what has happened; entered again, it changes nothing. One that is deleted meanwhile, by
        itself or with its tenant, is told nothing, and no row of it comes to be."""
        if not happened:
            return
        at = now()
        rows = [
            _new(each.id, each.webhook_id, each.tenant, each.event, at, each.target, each.place) for each in happened
        ]
        async with self._database.begin() as connection:
            await connection.execute(self._enter, [_bound(row) for row in rows])

    async def test(self, webhook: Webhook) -> Delivery:
        """Have a webhook told that this is a test.

        Raises:
            Conflict: it is disabled.
            NotFound: it was deleted meanwhile.
        """
        if not webhook.enabled:
            raise Conflict(f"the webhook {webhook.id} is disabled, and is sent nothing; enable it first")
        at = now()
        row = _new(delivery_id(webhook.id, TEST, at), webhook.id, webhook.tenant, TEST, at)
        async with self._database.begin() as connection:
            if not (await connection.execute(self._enter, _bound(row))).rowcount:
                raise NotFound("webhook", webhook.id)
        return Delivery.model_validate({**row, "next_attempt_at": at})

    async def list(self, webhook_id: str, limit: int, cursor: str | None = None) -> DeliveryList:
        """Of one webhook, newest first.

        Raises:
            InvalidRequest: `limit` is out of range, or no list gave out this cursor.
        """
        d = DELIVERIES.c
        query = pages.page(
            select(DELIVERIES).where(d.webhook_id == webhook_id), d.created_at, d.id, limit, cursor, "delivery"
        )
        async with self._database.begin() as connection:
            rows = (await connection.execute(query)).all()
        after = pages.cursor_of(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else None
        return DeliveryList(deliveries=tuple(_delivery(row) for row in rows[:limit]), next=after)

    # -- the queue -------------------------------------------------------------------------------------------------

    async def due(self, at: datetime) -> tuple[str, ...]:
        """Webhooks that are enabled and have an attempt to be made by then. However many there are, it costs the same
        for each webhook."""
        waits = exists().where(DELIVERIES.c.webhook_id == WEBHOOKS.c.id, DELIVERIES.c.due_at <= at)
        async with self._database.begin() as connection:
            rows = await connection.execute(select(WEBHOOKS.c.id).where(WEBHOOKS.c.enabled, waits))
            return tuple(rows.scalars())

    async def claim(self, webhook_id: str, limit: int, lease_s: float) -> tuple[Attempt, ...]:
        """Take the attempts that have been due the longest, and count them. Whoever took them dies: they are due again
        after `lease_s`."""
        d, at = DELIVERIES.c, now()
        oldest = select(d.id).where(d.webhook_id == webhook_id, d.due_at <= at).order_by(d.due_at).limit(limit)
        take = (
            update(DELIVERIES)
            .where(d.id.in_(oldest.scalar_subquery()), d.due_at <= at)
            .values(due_at=at + timedelta(seconds=lease_s), attempts=d.attempts + 1)
            .returning(d.id, d.tenant, d.event, d.target, d.place, d.attempts, d.created_at)
        )
        async with self._database.begin() as connection:
            return tuple(Attempt(*row) for row in await connection.execute(take))

    async def settle(
        self,
        delivery_id: str,
        state: DeliveryState,
        status: int | None,
        error: str | None,
        at: datetime,
        due_at: datetime | None = None,
    ) -> None:
        """What has come of an attempt made at a moment; `due_at` is the next, of one that is pending still."""
        values = {"state": state, "status": status, "error": error, "attempted_at": at, "due_at": due_at}
        async with self._database.begin() as connection:
            await connection.execute(update(DELIVERIES).where(DELIVERIES.c.id == delivery_id).values(values))

    async def put_back(self, delivery_id: str, due_at: datetime) -> None:
        """The attempt was not made, and counts for none."""
        values = {"attempts": DELIVERIES.c.attempts - 1, "due_at": due_at}
        async with self._database.begin() as connection:
            await connection.execute(update(DELIVERIES).where(DELIVERIES.c.id == delivery_id).values(values))

    async def drop(self, delivery_id: str) -> None:
        """There is nothing to be told any more."""
        async with self._database.begin() as connection:
            await connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id == delivery_id))

    async def forget(self, before: datetime) -> int:
        """Delete what is older; the number of rows."""
        return await self._database.forget(DELIVERIES, DELIVERIES.c.created_at, before)


_NEW = {
    column.name: bindparam(f"new_{column.name}", type_=column.type)
    for column in DELIVERIES.c
    if column.name not in ("status", "error", "attempted_at")
}
_OF_WEBHOOK = (
    select(*_NEW.values()).where(WEBHOOKS.c.id == _NEW["webhook_id"]).with_for_update(read=True, key_share=True)
)
"""A new row, if there is its webhook; on PostgreSQL nobody deletes that before the row is there to be deleted too."""


def _bound(row: dict[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in row.items()}


def _new(
    name: str,
    webhook_id: str,
    tenant: str,
    event: str,
    at: datetime,
    target: str | None = None,
    place: int | None = None,
) -> dict[str, Any]:
    return {
        "id": name,
        "webhook_id": webhook_id,
        "tenant": tenant,
        "event": event,
        "target": target,
        "place": place,
        "state": "pending",
        "attempts": 0,
        "created_at": at,
        "due_at": at,
    }


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery.model_validate({**row._asdict(), "next_attempt_at": row.due_at})

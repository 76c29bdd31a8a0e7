"""Webhooks in SQL, secrets included: whoever signs needs them as they are."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.errors import Conflict, NotFound
from schemas.message import now
from schemas.webhook import (
    MAX_WEBHOOKS,
    OLD_SECRET_S,
    CreatedWebhook,
    NewWebhook,
    Webhook,
    WebhookChange,
    new_id,
    new_secret,
)
from storage.database import Database
from storage.tables import DELIVERIES, WEBHOOKS

ADDING_LOCK = 0x0DE5_0577
"""First half of the keys of PostgreSQL's advisory locks, one for each tenant; any that nobody else in the database uses
with two halves."""


@dataclass(frozen=True, slots=True)
class KeptWebhook:
    """A webhook with what signs for it."""

    webhook: Webhook
    secrets: tuple[str, ...] = field(repr=False)
    """The present one, and the one before it while that signs too."""


class WebhookRepository:
    """Every method raises `Unavailable` when the database cannot be used, and those of one webhook `NotFound` when its
    tenant has none of that id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, new: NewWebhook, tenant: str, private: bool) -> CreatedWebhook:
        """Make a webhook; what comes back is the only time that its secret is told.

        Args:
            private: whether private addresses may be told, as far as who makes it goes.

        Raises:
            Conflict: the tenant has as many as it may have.
        """
        webhook = Webhook(id=new_id(), tenant=tenant, private=private, created_at=now(), **dict(new))
        secret = new_secret()
        row = {**webhook.model_dump(), "events": _words(webhook.events), "secret": secret, "old_secret": None}
        async with self._database.begin() as connection:
            # Counted while nobody else can add one: SQLite has one writer, PostgreSQL a lock for whoever asks for it.
            if self._database.dialect == "postgresql":
                await connection.execute(select(func.pg_advisory_xact_lock(ADDING_LOCK, func.hashtext(tenant))))
            await connection.execute(insert(WEBHOOKS), [row])
            count = select(func.count()).select_from(WEBHOOKS).where(WEBHOOKS.c.tenant == tenant)
            if (await connection.execute(count)).scalar_one() > MAX_WEBHOOKS:
                raise Conflict(f"a tenant has at most {MAX_WEBHOOKS} webhooks; delete one that is not needed any more")
        return CreatedWebhook(webhook=webhook, secret=secret)

    async def list(self, tenant: str) -> tuple[Webhook, ...]:
        """Of a tenant, newest first."""
        query = select(WEBHOOKS).where(WEBHOOKS.c.tenant == tenant)
        query = query.order_by(WEBHOOKS.c.created_at.desc(), WEBHOOKS.c.id)
        async with self._database.begin() as connection:
            return tuple(_webhook(row) for row in await connection.execute(query))

    async def get(self, tenant: str, webhook_id: str) -> Webhook:
        async with self._database.begin() as connection:
            return _webhook(await _row(connection, tenant, webhook_id))

    async def change(self, tenant: str, webhook_id: str, change: WebhookChange, private: bool) -> Webhook:
        """What `change` leaves out stays. One that is enabled begins anew: it has not failed yet.

        Args:
            private: as in `add`; looked at where the address changes.
        """
        said = {name: getattr(change, name) for name in change.model_fields_set}
        if "events" in said:
            said["events"] = _words(change.events)
        if "url" in said:
            said["private"] = private
        if said.get("enabled"):
            said |= {"failing_since": None, "disabled_because": None}
        async with self._database.begin() as connection:
            await connection.execute(update(WEBHOOKS).where(_its(tenant, webhook_id)).values(said))
            return _webhook(await _row(connection, tenant, webhook_id))

    async def rotate(self, tenant: str, webhook_id: str) -> CreatedWebhook:
        """Give it another secret. The one that it has signs too for a day; one before that does not any more."""
        secret, at = new_secret(), now()
        values = {
            "secret": secret,
            "old_secret": WEBHOOKS.c.secret,
            "old_secret_until": at + timedelta(seconds=OLD_SECRET_S),
        }
        async with self._database.begin() as connection:
            await connection.execute(update(WEBHOOKS).where(_its(tenant, webhook_id)).values(values))
            return CreatedWebhook(webhook=_webhook(await _row(connection, tenant, webhook_id)), secret=secret)

    async def delete(self, tenant: str, webhook_id: str) -> Webhook:
        """Delete it with its deliveries, and return how it was."""
        async with self._database.begin() as connection:
            was = _webhook(await _row(connection, tenant, webhook_id))
            # First the webhook: whoever enters a delivery for it holds it, and has that entered then.
            await connection.execute(delete(WEBHOOKS).where(_its(tenant, webhook_id)))
            await connection.execute(delete(DELIVERIES).where(DELIVERIES.c.webhook_id == webhook_id))
        return was

    async def enabled(self, tenants: Iterable[str]) -> tuple[Webhook, ...]:
        """Those of some tenants that are to be told."""
        query = select(WEBHOOKS).where(WEBHOOKS.c.tenant.in_(tuple(tenants)), WEBHOOKS.c.enabled)
        async with self._database.begin() as connection:
            return tuple(_webhook(row) for row in await connection.execute(query))

    async def kept(self, webhook_id: str) -> KeptWebhook | None:
        """One of any tenant, to be told of something; None: there is none."""
        async with self._database.begin() as connection:
            query = select(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id)
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        old = row.old_secret if row.old_secret_until is not None and row.old_secret_until > now() else None
        return KeptWebhook(_webhook(row), (row.secret,) if old is None else (row.secret, old))

    async def succeeded(self, webhook_id: str) -> None:
        """It does not fail any more."""
        async with self._database.begin() as connection:
            its = update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id, WEBHOOKS.c.failing_since.is_not(None))
            await connection.execute(its.values(failing_since=None))

    async def failed(self, webhook_id: str, at: datetime) -> None:
        """It fails, from this moment on unless it did already."""
        async with self._database.begin() as connection:
            its = update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id, WEBHOOKS.c.failing_since.is_(None))
            await connection.execute(its.values(failing_since=at))

    async def disable(self, webhook_id: str, why: str) -> bool:
        """Send it nothing more until somebody enables it; whether it was enabled."""
        async with self._database.begin() as connection:
            its = update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id, WEBHOOKS.c.enabled)
            done = await connection.execute(its.values(enabled=False, disabled_because=why))
        return bool(done.rowcount)


def _its(tenant: str, webhook_id: str) -> ColumnElement[bool]:
    return and_(WEBHOOKS.c.tenant == tenant, WEBHOOKS.c.id == webhook_id)


async def _row(connection: AsyncConnection, tenant: str, webhook_id: str) -> Row[Any]:
    row = (await connection.execute(select(WEBHOOKS).where(_its(tenant, webhook_id)))).one_or_none()
    if row is None:
        raise NotFound("webhook", webhook_id)
    return row


def _words(events: Iterable[str] | None) -> str | None:
    return None if events is None else " ".join(events)


def _webhook(row: Row[Any]) -> Webhook:
    told = row._asdict()
    until = told.pop("old_secret_until")
    return Webhook.model_validate(
        {
            **told,
            "events": None if row.events is None else row.events.split(),
            "old_secret_until": until if until is not None and until > now() else None,
        }
    )

"""API keys in SQL: of a secret only its SHA-256. A key that was revoked stays, so that its id still names it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from schemas.budget import Budget
from schemas.errors import Conflict, NotFound
from schemas.key import ApiKey, BudgetChange, CreatedKey, KeyChange, NewKey, digest, new_id, new_secret
from schemas.message import now
from storage.database import Database
from storage.tables import API_KEYS

_TRIES = 3


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key, and what its secret is recognised by."""

    key: ApiKey
    digest: str


@dataclass(frozen=True, slots=True)
class KeptKeys:
    """All that is needed to tell who may come in."""

    by_id: Mapping[str, KeptKey]
    """Keys that were not revoked; those that have expired are among them."""
    made: int
    """How many keys there ever were."""
    changes: int = 0
    """How often any of them was changed."""


class KeyRepository:
    """Every method raises `Unavailable` when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, new: NewKey, tenant: str) -> CreatedKey:
        """Make a key of a tenant; what comes back is the only copy of its secret."""
        for last in (False,) * (_TRIES - 1) + (True,):
            key = ApiKey(
                id=new_id(new.name),
                name=new.name,
                tenant=tenant,
                scopes=tuple(dict.fromkeys(new.scopes)),
                created_at=now(),
                expires_at=new.expires_at,
                budget=new.budget,
                rpm=new.rpm,
            )
            secret = new_secret(key.id)
            try:
                async with self._database.begin() as connection:
                    await connection.execute(insert(API_KEYS), [_row(key, digest(secret))])
            except IntegrityError:  # the id is taken
                if last:
                    raise
                continue
            return CreatedKey(key=key, secret=secret)
        raise AssertionError("the last try returns or raises")

    async def load(self, known: KeptKeys | None = None) -> KeptKeys:
        """Every key that may be used, as of one moment; `known` itself if none was made, changed or revoked since.

        Only a key's last use ever changes besides. So three numbers tell whether all must be read.
        """
        keys = API_KEYS.c
        counts = select(func.count(), func.count(keys.revoked_at), func.coalesce(func.sum(keys.changes), 0))
        async with self._database.begin() as connection:
            made, revoked, changes = (await connection.execute(counts.select_from(API_KEYS))).one()
            if known is not None and (known.made, len(known.by_id), known.changes) == (made, made - revoked, changes):
                return known
            query = select(API_KEYS).where(API_KEYS.c.revoked_at.is_(None))
            rows = (await connection.execute(query)).all() if made else []
        return KeptKeys({row.id: KeptKey(_key(row), row.digest) for row in rows}, made, changes)

    async def list(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """The keys of a tenant, or of all, newest first; those that are revoked or have expired too."""
        query = select(API_KEYS).order_by(API_KEYS.c.created_at.desc(), API_KEYS.c.id)
        if tenant is not None:
            query = query.where(API_KEYS.c.tenant == tenant)
        async with self._database.begin() as connection:
            return tuple(_key(row) for row in (await connection.execute(query)).all())

    async def revoke(self, key_id: str, tenant: str | None = None) -> ApiKey:
        """Revoke a key of a tenant, or of any; once revoked it stays so.

        Raises:
            NotFound: that tenant has no such key.
        """
        its = API_KEYS.c.id == key_id
        if tenant is not None:
            its &= API_KEYS.c.tenant == tenant
        revoke = update(API_KEYS).where(its).values(revoked_at=func.coalesce(API_KEYS.c.revoked_at, now()))
        async with self._database.begin() as connection:
            await connection.execute(revoke)
            row = (await connection.execute(select(API_KEYS).where(its))).one_or_none()
        if row is None:
            raise NotFound("key", key_id)
        return _key(row)

    async def change(self, key_id: str, change: KeyChange, tenant: str | None = None) -> ApiKey:
        """Change what a key of a tenant, or of any, may spend and how often and how long it may be used. What `change`
        leaves out stays.

        Raises:
            NotFound: that tenant has no such key.
            Conflict: it is revoked.
        """
        its = API_KEYS.c.id == key_id
        if tenant is not None:
            its &= API_KEYS.c.tenant == tenant
        changed = {"changes": API_KEYS.c.changes + 1, **_changed(change)}
        async with self._database.begin() as connection:
            await connection.execute(update(API_KEYS).where(its, API_KEYS.c.revoked_at.is_(None)).values(changed))
            row = (await connection.execute(select(API_KEYS).where(its))).one_or_none()
        if row is None:
            raise NotFound("key", key_id)
        if row.revoked_at is not None:
            raise Conflict(f"the key {key_id} is revoked, for good; make another one")
        return _key(row)

    async def used(self, key_ids: Iterable[str], at: datetime) -> None:
        """Note that these keys were used."""
        async with self._database.begin() as connection:
            await connection.execute(update(API_KEYS).where(API_KEYS.c.id.in_(list(key_ids))).values(last_used_at=at))


def _changed(change: KeyChange) -> dict[str, Any]:
    said: dict[str, Any] = {name: getattr(change, name) for name in change.model_fields_set & {"expires_at", "rpm"}}
    if "budget" in change.model_fields_set:
        budget = change.budget or BudgetChange(usd=None, tokens=None)
        said |= {f"{unit}_per_day": getattr(budget, unit) for unit in budget.model_fields_set}
    return said


def _row(key: ApiKey, its_digest: str) -> dict[str, Any]:
    return {
        "id": key.id,
        "digest": its_digest,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": " ".join(key.scopes),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "usd_per_day": key.budget.usd if key.budget else None,
        "tokens_per_day": key.budget.tokens if key.budget else None,
        "rpm": key.rpm,
    }


def _key(row: Row[Any]) -> ApiKey:
    limited = row.usd_per_day is not None or row.tokens_per_day is not None
    return ApiKey(
        id=row.id,
        name=row.name,
        tenant=row.tenant,
        scopes=tuple(row.scopes.split()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        budget=Budget(usd=row.usd_per_day, tokens=row.tokens_per_day) if limited else None,
        rpm=row.rpm,
    )

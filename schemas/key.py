"""API keys: who calls the platform, what they may do and spend, and how a key's secret is made and recognised."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.budget import Budget
from schemas.message import Message, Moment, Strict, Text
from schemas.task import Name

KeyScope = Literal["read", "write", "admin"]
SCOPES: tuple[KeyScope, ...] = ("read", "write", "admin")
"""Each includes those before it: `read` looks, `write` also starts and stops tasks, `admin` also makes keys."""

ROLES: dict[str, KeyScope] = {"viewer": "read", "operator": "write", "admin": "admin"}
"""What people call these scopes."""

OPERATOR = "operator"
"""The id of the key that the platform makes for its own user. No other key can have it: theirs hold a dash."""
MAX_TOKENS = 10**15

_SECRET = re.compile(r"dsk_([a-z0-9-]{1,64})_[0-9a-f]{64}", re.ASCII)


def new_id(name: str) -> str:
    """A short name for a key, fit for subjects, budgets and tables: `ci-9f3a2c1b` of the name "CI"."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24].rstrip("-")
    return f"{slug or 'key'}-{secrets.token_hex(4)}"


def new_secret(key_id: str) -> str:
    """What the holder of a key sends: its id, and 256 random bits."""
    return f"dsk_{key_id}_{secrets.token_hex(32)}"


def id_of(secret: str) -> str | None:
    """The id in a secret; None where it is none of ours."""
    found = _SECRET.fullmatch(secret)
    return found.group(1) if found else None


def digest(secret: str) -> str:
    """What is kept of a secret: its SHA-256. Of 256 random bits nobody can guess the rest, so no slow hash is needed;
    that is for passwords, which people choose."""
    return hashlib.sha256(secret.encode()).hexdigest()


def including(scopes: Iterable[KeyScope]) -> frozenset[KeyScope]:
    """These scopes, and those that they include."""
    highest = max((SCOPES.index(scope) for scope in scopes), default=-1)
    return frozenset(SCOPES[: highest + 1])


def _printable(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; say whose key it is")
    if not text.isprintable():
        raise ValueError("holds a character that cannot be printed")
    return text


def _countable(budget: Budget) -> Budget:
    if (budget.tokens or 0) > MAX_TOKENS:
        raise ValueError(f"tokens: is more than {MAX_TOKENS:,}; leave it out for no limit")
    return budget


def _scope(word: object) -> object:
    """A role's word as a scope; whatever else it is, as it is."""
    return ROLES.get(word, word) if isinstance(word, str) else word


class NewKey(Strict):
    """A key to be made."""

    name: Annotated[Text, Field(max_length=100), AfterValidator(_printable)]
    """Whose it is, for people."""
    tenant: Name | None = None
    """Whose tasks it sees; left out: those of whoever makes it."""
    scopes: tuple[Annotated[KeyScope, BeforeValidator(_scope)], ...] = Field(
        default=("write",), min_length=1, max_length=len(SCOPES)
    )
    """The words of `ROLES` will do too."""
    expires_at: Moment | None = None
    budget: Annotated[Budget, AfterValidator(_countable)] | None = None
    """What it may spend in a day (UTC)."""
    rpm: int | None = Field(default=None, ge=1, le=1_000_000)
    """Requests in a minute; each replica of the door counts for itself."""


class BudgetChange(Strict):
    """What is to be other about a budget. What is left out stays; null takes a limit away."""

    usd: float | None = Field(default=None, ge=0, le=1_000_000_000, allow_inf_nan=False)
    tokens: int | None = Field(default=None, ge=0, le=MAX_TOKENS)


class KeyChange(Strict):
    """What is to be other about a key, as a merge patch (RFC 7396): what is left out stays; null takes a limit away."""

    expires_at: Moment | None = None
    budget: BudgetChange | None = None
    """What it may spend in a day (UTC)."""
    rpm: int | None = Field(default=None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _changes_something(self) -> "KeyChange":
        if not self.model_fields_set:
            raise ValueError("changes nothing; give expires_at, budget or rpm")
        return self


class ApiKey(Message):
    """A key without its secret, which nobody can read again."""

    id: str
    """Its name in budgets, costs and tasks."""
    name: str
    tenant: str
    scopes: tuple[KeyScope, ...]
    created_at: Moment
    expires_at: Moment | None = None
    revoked_at: Moment | None = None
    last_used_at: Moment | None = None
    """To the minute."""
    budget: Budget | None = None
    rpm: int | None = None

    def expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at


class CreatedKey(Message):
    """A key that was just made. This is the only time that its secret is told."""

    key: ApiKey
    secret: str = Field(repr=False)


class KeyList(Message):
    keys: tuple[ApiKey, ...]

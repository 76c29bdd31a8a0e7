"""NATS users of clients from outside: whose they are, and what they may do."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.message import Message, Moment
from schemas.task import Name

NatsScope = Literal["read", "write"]
"""`read` follows the tenant's tasks and workflows; `write` also submits, commands and wakes."""
NatsUserName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class NatsUser(Message):
    """A client from outside, without its password, which nobody can read again."""

    name: NatsUserName
    tenant: Name
    scope: NatsScope
    created_at: Moment
    revoked_at: Moment | None = None

    @property
    def user(self) -> str:
        """What it logs in as. No part of the platform has a name that begins so."""
        return f"outside-{self.name}"


class KeptNatsUser(NatsUser):
    """As its file keeps it."""

    bcrypt: str = Field(repr=False)
    """The hash of its password, as nats-server takes it."""


class NatsUserFile(Message):
    users: tuple[KeptNatsUser, ...] = ()

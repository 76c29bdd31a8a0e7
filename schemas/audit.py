"""The audit log: who changed something, or was refused, when, and how it ended."""

from typing import Literal

from pydantic import computed_field

from schemas.message import Message, Moment

Outcome = Literal["done", "refused", "failed"]
REFUSALS = frozenset({401, 403, 429})


class AuditEntry(Message):
    """One request, or several refusals that were alike. It never holds a secret, a body, or a path as it was sent."""

    id: str
    at: Moment
    """When the first of them was answered."""
    tenant: str | None = None
    """None: nobody knows who it was."""
    key: str | None = None
    """The key's id, or what the caller of a token goes by; None: nobody, or nobody's that is known."""
    method: str
    route: str | None = None
    """The template of the path; None where there is no such door."""
    target: str | None = None
    """The id of the task, workflow or key."""
    status: int
    """HTTP's."""
    address: str | None = None
    """Where the request came from."""
    reason: str | None = None
    """Of a refusal, in the platform's own words."""
    count: int = 1
    """How many refusals this row stands for."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def outcome(self) -> Outcome:
        if self.status in REFUSALS:
            return "refused"
        return "done" if self.status < 400 else "failed"


class AuditList(Message):
    entries: tuple[AuditEntry, ...]
    """Newest first."""
    next: str | None = None
    """Cursor for the page after this one; absent on the last."""

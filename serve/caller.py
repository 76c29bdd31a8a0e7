"""Who a request comes from. Doors ask for nothing else, however that was found out."""

from dataclasses import dataclass

from fastapi import Request

from schemas.budget import Budget
from schemas.key import OPERATOR, KeyScope, including
from schemas.settings import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose tasks a request sees, what it may do, and who pays."""

    tenant: str
    scopes: frozenset[KeyScope]
    key: str | None = None
    """The API key's id."""
    budget: Budget | None = None
    """What the key may spend in a day."""
    rpm: int | None = None
    everywhere: bool = False
    """Whether keys and budgets of every tenant are seen: by whoever runs this platform."""


ANYBODY = Caller(DEFAULT_TENANT, including(["write"]), everywhere=True)
"""Whoever calls while there is no key yet. Keys are made by the operator even then: a neighbour on this machine could
otherwise make one to keep."""
THE_OPERATOR = Caller(DEFAULT_TENANT, including(["admin"]), key=OPERATOR, everywhere=True)
"""The user whose platform this is."""


def caller(request: Request) -> Caller:
    """Whom `Gate` let in."""
    found: Caller = request.state.caller
    return found


def concerns(request: Request, name: str) -> None:
    """Tell the audit log the id of what a request has made, where neither its path nor its answer's headers say it."""
    request.state.concerns = name

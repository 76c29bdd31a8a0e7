"""What the fleet's host is asked for: room for a team's seats, and to forget a tenant."""

from typing import Literal

from pydantic import Field

from schemas.message import Message
from schemas.task import Name


class Scale(Message):
    """Ask for as many hosts of specialists as these seats need. Asking again changes nothing."""

    kind: Literal["fleet.scale"] = "fleet.scale"
    version: Literal[1] = 1
    seats: int = Field(ge=0, le=100_000)
    """Seats that are to work at once; 0 asks only how many hosts there are."""


class Scaled(Message):
    """The hosts that answer now, which may carry all seats that were asked for."""

    kind: Literal["fleet.scaled"] = "fleet.scaled"
    version: Literal[1] = 1
    actors: int
    """Hosts that answer; fewer than the seats need where some could not be started."""
    started: int
    """Those among them that were not there before."""


class Forget(Message):
    """Have the NATS users of a tenant erased, and their connections closed. Asking again changes nothing."""

    kind: Literal["fleet.forget"] = "fleet.forget"
    version: Literal[1] = 1
    tenant: Name


class Forgotten(Message):
    kind: Literal["fleet.forgotten"] = "fleet.forgotten"
    version: Literal[1] = 1
    nats_users: int
    """How many there were, the revoked among them."""

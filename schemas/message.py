"""What every message has in common."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict


class Message(BaseModel):
    """A frozen value that travels or is kept; it ignores fields that a newer sender adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Strict(BaseModel):
    """A frozen value that a person writes by hand: an unknown field is a mistake, not the future."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A point in time, always in UTC."""


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)

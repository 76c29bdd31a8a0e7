"""What every message has in common."""

import math
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict


class Message(BaseModel):
    """A frozen value that travels or is kept; it ignores fields that a newer sender adds."""

    # Deferred: an actor builds the validators of what it speaks, not of all that there is (0.1 s of its start).
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Strict(BaseModel):
    """A frozen value that a person writes by hand: an unknown field is a mistake, not the future."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A point in time, always in UTC."""


def check_text(text: str) -> str:
    """Refuse half of a surrogate pair, which JSON can spell and no UTF-8 can carry.

    Raises:
        ValueError: there is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds half of a surrogate pair at character {error.start}, which is no text") from None
    return text


Text = Annotated[str, AfterValidator(check_text)]
"""Text that can travel."""


def check_storable(text: str) -> str:
    """Refuse what PostgreSQL's text cannot hold.

    Raises:
        ValueError: it holds NUL. The sentence goes on from what holds it.
    """
    if "\0" in text:
        raise ValueError("holds NUL, which not every database can keep")
    return text


Storable = Annotated[Text, AfterValidator(check_storable)]
"""Text that can be a row's, or looked for in one."""

MAX_DEPTH = 32


def check_plain(value: Any, depth: int = 1) -> Any:
    """Refuse what JSON cannot say or msgpack cannot carry.

    Raises:
        ValueError: it holds such a thing, or is nested too deep. The sentence goes on from what holds it.
    """
    match value:
        case None | bool():
            pass
        case str():
            check_text(value)
        case int():
            if not -(2**63) <= value < 2**64:
                raise ValueError("holds an integer of more than 64 bits; send it as text")
        case float():
            if not math.isfinite(value):
                raise ValueError("holds a number that is not finite; JSON has none")
        case dict() | list() | tuple():
            if depth > MAX_DEPTH:
                raise ValueError(f"is nested more than {MAX_DEPTH} deep")
            for key in value if isinstance(value, dict) else ():
                if not isinstance(key, str):
                    # A TypeError would pass pydantic by.
                    raise ValueError(f"has a {type(key).__name__} as a key; JSON's keys are text")  # noqa: TRY004
                check_text(key)
            for part in value.values() if isinstance(value, dict) else value:
                check_plain(part, depth + 1)
        case _:
            raise ValueError(f"holds a {type(value).__name__}, which JSON cannot say")
    return value


PlainMap = Annotated[dict[str, Any], AfterValidator(check_plain)]
"""Whatever JSON can say and msgpack can carry, up to 32 deep."""


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)

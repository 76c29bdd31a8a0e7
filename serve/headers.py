"""Headers that several doors understand."""

import re
from typing import Annotated

from fastapi import Header

from schemas.errors import InvalidRequest

MAX_WAIT_S = 600.0
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d+(?:\.\d+)?)\"?", re.IGNORECASE)
_EVENT_ID = re.compile(r"[0-9]{1,18}")

IdempotencyKey = Annotated[str | None, Header(max_length=255, json_schema_extra={"minLength": 1})]
Prefer = Annotated[str | None, Header()]
LastEventId = Annotated[str | None, Header(json_schema_extra={"pattern": r"^[0-9]{0,18}$"})]


def wait_s(prefer: str | None) -> float:
    """Seconds that a `Prefer: wait=N` header asks for, 0 without one, at most 600.

    Source: RFC 7240, section 4.3.
    """
    found = _WAIT.search(prefer or "")
    return min(float(found.group(1)), MAX_WAIT_S) if found else 0.0


def check_key(idempotency_key: str | None) -> None:
    """
    Raises:
        InvalidRequest: there is one, and it is empty.
    """
    if idempotency_key is not None and not idempotency_key.strip():
        raise InvalidRequest("Idempotency-Key", "is empty")


def last_event(last_event_id: str | None, after: int) -> int:
    """The number of the last event that the caller of a door of events has; without a header `after`.

    Raises:
        InvalidRequest: it is no event's number.
    """
    if not last_event_id:
        return after
    if not _EVENT_ID.fullmatch(last_event_id):
        raise InvalidRequest("Last-Event-ID", "is no event number; this door's ids count the events from 1")
    return int(last_event_id)

"""Pages of a list, newest first: what arrives meanwhile shifts no later page."""

import base64
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, literal, tuple_

from bus.subjects import token
from schemas.errors import InvalidRequest

MAX_PAGE = 1000


def page(
    query: Select[Any],
    moment: ColumnElement[datetime],
    name: ColumnElement[str],
    limit: int,
    cursor: str | None,
    of: str,
) -> Select[Any]:
    """A query's rows of one page, and one more where there is another page.

    Args:
        moment, name: what the rows are ordered by.
        limit: rows of a page, 1 to 1000.
        cursor: `cursor_of` the last row of the page before; None for the first.
        of: what the rows are.

    Raises:
        InvalidRequest: `limit` is out of range, or no list gave out this cursor.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest("limit", f"is {limit}; from 1 to {MAX_PAGE} {of}s fit on a page")
    if cursor is not None:
        at, last = _read(cursor, of)
        query = query.where(tuple_(moment, name) < tuple_(literal(at, moment.type), literal(last)))
    return query.order_by(moment.desc(), name.desc()).limit(limit + 1)


def cursor_of(moment: datetime, name: str) -> str:
    """Where the page after a row begins."""
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {name}".encode()).decode()


def _read(cursor: str, of: str) -> tuple[datetime, str]:
    try:
        moment, _, name = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition(" ")
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None:
            raise ValueError("no time zone")
        return at.astimezone(UTC), token(name)
    except (ValueError, OverflowError):
        rule = f"no list gave out this cursor; leave it out to begin with the newest {of}"
        raise InvalidRequest("cursor", rule) from None

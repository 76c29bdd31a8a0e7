"""All tables as lines of JSON, and back: the same for SQLite and PostgreSQL, so that one may become the other.

The first line of a table names its columns, each further one is a row.
"""

import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import JSON, Connection, Date, DateTime, MetaData, Table, insert, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.errors import DecodeError
from storage.database import Database
from storage.tables import METADATA, Utc

REVISION = "alembic_version"
"""The table in which the last migration is written."""
AT_ONCE = 500
"""Rows that one statement enters."""


class Reading:
    """The tables of a database as they are at one moment."""

    def __init__(self, connection: AsyncConnection, revision: str, tables: dict[str, Table]) -> None:
        self._connection, self._tables = connection, tables
        self.revision = revision
        """The last migration that they had."""

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(self._tables)

    async def lines(self, name: str) -> AsyncIterator[bytes]:
        """A table, line by line."""
        table = self._tables[name]
        yield _line([column.name for column in table.columns])
        rows = await self._connection.stream(select(table).order_by(*table.primary_key.columns))
        async for row in rows:
            yield _line(list(row))


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[Reading | None]:
    """None: nobody has made the tables of a platform in that database.

    Raises:
        Unavailable: the database cannot be used at the moment.
    """
    async with database.snapshot() as connection:
        found = await connection.run_sync(_reflected)
        if (version := found.pop(REVISION, None)) is None:
            yield None
            return
        revision = (await connection.execute(select(version.c.version_num))).scalar_one()
        yield Reading(connection, revision, found)


async def is_empty(database: Database) -> bool:
    """Whether none of a platform's tables are there.

    Raises:
        Unavailable: the database cannot be used at the moment.
    """
    async with database.begin() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    return not {REVISION, *METADATA.tables} & set(names)


def load(connection: Connection, name: str, lines: Iterable[bytes]) -> int:
    """Fill a table, which has the columns that it had, and return how many rows it has.

    Raises:
        DecodeError: the lines are no such table's.
    """
    table = _reflected(connection)[name]
    rows = iter(lines)
    names = json.loads(next(rows, b"[]"))
    if names != [column.name for column in table.columns]:
        raise DecodeError(f"table {name}", f"its columns are {names}", b"")
    count = 0
    for batch in _batches(rows, AT_ONCE):
        values = [
            {column.name: _read(column.type, cell) for column, cell in zip(table.columns, json.loads(row), strict=True)}
            for row in batch
        ]
        connection.execute(insert(table), values)
        count += len(values)
    return count


def _reflected(connection: Connection) -> dict[str, Table]:
    """The tables that are there, whatever version of the program made them, with types that both databases share."""
    metadata = MetaData()
    metadata.reflect(connection, only=lambda name, _: name == REVISION or name in METADATA.tables)
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, DateTime):
                column.type = Utc()
            elif isinstance(column.type, JSON):
                column.type = JSON(none_as_null=True)
    return {table.name: table for table in metadata.sorted_tables}


def _line(cells: list[Any]) -> bytes:
    return json.dumps(cells, default=_plain, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> str:
    if isinstance(value, date):  # a moment too, always in UTC
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no column's")


def _read(kind: Any, cell: Any) -> Any:
    if isinstance(kind, Utc):
        return None if cell is None else datetime.fromisoformat(cell).astimezone(UTC)
    if isinstance(kind, Date):
        return None if cell is None else date.fromisoformat(cell)
    # PostgreSQL's text cannot hold NUL; JSON escapes it.
    return cell.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(cell, str) else cell


def _batches(rows: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    while batch := list(itertools.islice(rows, size)):
        yield batch

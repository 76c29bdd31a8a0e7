"""Tables as lines of JSON: what is read from one database is the same in another, of either kind."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Connection

from schemas.errors import DecodeError
from storage import CallLedger, Database, TaskRepository, dump
from storage.database import knows
from storage.tables import METADATA, Utc
from tests.storage.test_tasks import ended, task

NOON = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """Another database, of which nothing is there yet."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'other.db'}")
    yield database
    await database.close()


def loading(tables: dict[str, list[bytes]]) -> Callable[[Connection], None]:
    """What fills a database with these lines."""

    def load(connection: Connection) -> None:
        for name, lines in tables.items():
            assert dump.load(connection, name, lines) == len(lines) - 1

    return load


async def dumped(database: Database) -> tuple[str, dict[str, list[bytes]]]:
    async with dump.reading(database) as reading:
        assert reading is not None
        return reading.revision, {name: [line async for line in reading.lines(name)] for name in reading.tables}


async def filled(database: Database) -> tuple[str, dict[str, list[bytes]]]:
    """A row in every table, with all that its columns can hold, and what is dumped of them."""
    await database.migrate()
    tasks = TaskRepository(database)
    await tasks.upsert("acme", ended(prompt="a\0b \N{PILE OF POO} é", metadata={"n": [1, 2.5, None, "\0"]}), 3)
    await tasks.upsert("acme", task("t2"), 1)
    async with database.begin() as connection:
        for table in METADATA.sorted_tables:
            if table.name not in ("tasks", "calls"):
                row = {column.name: _value(column) for column in table.columns}
                await connection.execute(table.insert(), row)
    return await dumped(database)


def _value(column: Any) -> Any:
    """Some value of the column's type."""
    if isinstance(column.type, Utc):
        return NOON
    if isinstance(column.type, JSON):
        return {"a": [None, 1.5]}
    kinds = {str: "é\n", int: 2**31 - 1, float: 0.1, bool: True, date: NOON.date()}
    return kinds[column.type.python_type]


async def test_every_row_is_the_same_in_another_database(database: Database, sqlite: Database) -> None:
    # Given all tables filled, and read
    revision, tables = await filled(database)
    assert all(len(lines) > 1 for lines in tables.values())
    # When an empty database is filled with them
    await sqlite.fill(revision, loading(tables))
    # Then it gives the same lines, and the repositories read the same
    assert await dumped(sqlite) == (revision, tables)
    assert await TaskRepository(sqlite).get("acme", "t1") == await TaskRepository(database).get("acme", "t1")
    assert await TaskRepository(sqlite).get("acme", "t2") is None
    assert await CallLedger(sqlite).costs("acme", "day") == await CallLedger(database).costs("acme", "day")


async def test_what_sqlite_held_is_the_same_in_either_kind(database_url: str, sqlite: Database) -> None:
    revision, tables = await filled(sqlite)
    other = Database(database_url)
    try:
        await other.fill(revision, loading(tables))
        assert await dumped(other) == (revision, tables)
    finally:
        await other.close()


async def test_what_an_older_version_dumped_is_brought_up_to_date(database_url: str) -> None:
    # Given tables as they were before there were workflows
    line = b'["acme","t1","embeddings","writing",null,null,0.5,"2026-05-04T12:00:00+00:00"]\n'
    names = b'["tenant","task_id","step","agent","profile","tier","overall","at"]\n'
    # When they are restored
    database = Database(database_url)
    try:
        await database.fill("0005", loading({"qualities": [names, line]}))
        _, tables = await dumped(database)
        # Then today's tables are there, with what was in those
        assert len(tables["qualities"]) == 2
        assert {"workflows", "audit"} <= tables.keys()
    finally:
        await database.close()


async def test_lines_that_do_not_fit_leave_nothing(database_url: str) -> None:
    database = Database(database_url)
    try:
        with pytest.raises(DecodeError):
            await database.fill("0005", loading({"qualities": [b'["tenant"]\n']}))
        assert await dump.is_empty(database)
    finally:
        await database.close()


async def test_rows_written_meanwhile_are_not_in_it(database: Database) -> None:
    # Given a dump that has begun
    tasks = TaskRepository(database)
    await tasks.upsert("acme", task("t1"), 1)
    async with dump.reading(database) as reading:
        assert reading is not None
        before = [line async for line in reading.lines("calls")]
        # When a task ends
        await tasks.upsert("acme", ended("t2"), 3)
        # Then nothing of it is read
        assert [line async for line in reading.lines("calls")] == before
        assert len([line async for line in reading.lines("tasks")]) == 2


async def test_a_database_of_nobody_is_told(database_url: str) -> None:
    database = Database(database_url)
    try:
        async with dump.reading(database) as reading:
            assert reading is None
    finally:
        await database.close()


def test_migrations_of_later_versions_are_not_known() -> None:
    assert knows("0001")
    assert not knows("9999")

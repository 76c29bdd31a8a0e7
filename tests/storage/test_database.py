import asyncio
import sqlite3
import stat
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

import storage.database
from schemas.errors import ConfigError, StartError, Unavailable
from storage import Database
from storage.database import MIGRATIONS
from storage.tables import METADATA
from tests.storage.postgres import PostgresServer

MIGRATE = """
import asyncio, sys
import alembic.command
from storage import Database

async def main():
    database = Database(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    await database.migrate()
    await database.close()

asyncio.run(main())
"""


def differences(connection: Connection) -> list[object]:
    return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA)


async def test_migrations_lead_to_the_tables_as_declared(database: Database) -> None:
    # Given a database that was migrated from nothing
    async with database.begin() as connection:
        # When it is compared with the tables that the code declares
        found = await connection.run_sync(differences)
    # Then nothing differs
    assert found == []


def test_migrations_form_one_line() -> None:
    # Given the folder of migrations, When Alembic reads it
    scripts = ScriptDirectory.from_config(Config(MIGRATIONS))
    # Then there is one last migration, so that `head` is no question
    assert len(scripts.get_heads()) == 1


async def test_migrating_again_and_at_once_in_one_process_changes_nothing(database_url: str) -> None:
    # Given three doors of one process
    doors = [Database(database_url) for _ in range(3)]
    # When all migrate at once, and one of them again
    await asyncio.gather(*(door.migrate() for door in doors))
    await doors[0].migrate()
    # Then the tables are there once, and work
    async with doors[1].begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM tasks"))).scalar() == 0
    for door in doors:
        await door.close()


async def test_processes_that_start_at_once_all_find_the_tables(database_url: str) -> None:
    # Given six processes that are ready to migrate an empty database
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", MIGRATE, database_url, stdin=pipe, stdout=pipe, stderr=pipe
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    # When all begin at once
    outcomes = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    # Then none of them fails
    assert [process.returncode for process in processes] == [0] * 6, outcomes


async def test_a_migration_that_dies_half_way_leaves_nothing_behind(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that dies after its last migration has run, before it is committed
    def dies(connection: Connection) -> None:
        whole(connection)
        raise RuntimeError("killed")

    whole = storage.database._to_head
    database = Database(database_url)
    monkeypatch.setattr(storage.database, "_to_head", dies)
    with pytest.raises(RuntimeError):
        await database.migrate()
    monkeypatch.undo()
    # When the next one migrates
    await database.migrate()
    # Then the tables are whole
    async with database.begin() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


async def test_a_database_of_a_newer_version_is_refused_with_the_remedy(database: Database) -> None:
    # Given a database that a later version has migrated further
    async with database.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    # When this version starts, Then it refuses, names what it found, and says what to do
    with pytest.raises(StartError, match="9999") as caught:
        await database.migrate()
    assert "DATABASE_URL" in caught.value.remedy


async def test_sqlite_keeps_its_file_to_its_owner_and_lets_readers_and_a_writer_work_together(tmp_path: Path) -> None:
    # Given a file that was once made readable for all
    file = tmp_path / "devskyy.db"
    file.touch(mode=0o644)
    # When it is used as the database
    database = Database(f"sqlite+aiosqlite:///{file}")
    await database.migrate()
    async with database.begin() as connection:
        settings = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
        # Then it and the files beside it are its owner's alone
        files = await asyncio.to_thread(lambda: list(tmp_path.iterdir()))
        modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in files}
    await database.close()
    assert set(modes.values()) == {0o600}, modes
    # And the log is written ahead, references are checked, and writers wait for each other
    assert settings == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 10_000}


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("no url", "is no URL"),
        ("postgresql+asyncpg://u:hunter2@host:port/name", "is no URL"),
        ("mysql://u:hunter2@host/name", "'mysql' is not supported"),
        ("postgresql+psycopg://u:hunter2@host/name", "'postgresql+psycopg' is not supported"),
        ("sqlite+aiosqlite://", "needs a file"),
        ("sqlite+aiosqlite:///:memory:", "needs a file"),
    ],
)
def test_a_url_that_names_no_usable_database_is_refused_without_repeating_it(url: str, named: str) -> None:
    # Given a URL that cannot work, When it is used, Then the rule is named
    with pytest.raises(ConfigError) as caught:
        Database(url)
    assert named in str(caught.value)
    assert caught.value.key == "DATABASE_URL"
    # And the password is not
    assert "hunter2" not in str(caught.value)


async def test_libpqs_sslmode_is_understood(postgres: PostgresServer) -> None:
    # Given a URL as hosted databases hand it out, for a server that speaks no TLS
    plain, encrypted = (Database(f"{postgres.url()}?sslmode={mode}") for mode in ("disable", "require"))
    # When it is used, Then the connection is as asked for
    async with plain.begin() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    with pytest.raises(Unavailable, match="SSL"):
        async with encrypted.begin():
            pass
    await plain.close()
    await encrypted.close()


async def test_a_postgres_that_lets_nobody_in_is_unavailable_and_says_why(postgres: PostgresServer) -> None:
    # Given a server that is not there, a wrong password, and a database that does not exist
    wrong = {
        postgres.url().replace(str(postgres.port), "1"): "127.0.0.1:1",
        postgres.url().replace(postgres.password, "hunter2"): "password authentication failed",
        postgres.url("nowhere"): '"nowhere" does not exist',
    }
    for url, cause in wrong.items():
        database = Database(url)
        for use in (database.migrate, database.begin().__aenter__):
            # When it is migrated or used, Then the cause and a remedy are named
            with pytest.raises(Unavailable, match=cause) as caught:
                await use()
            assert "see that the server of DATABASE_URL runs" in str(caught.value)
            # And no password is
            assert "hunter2" not in str(caught.value)
            assert postgres.password not in str(caught.value)
        await database.close()


async def test_a_connection_that_postgres_cuts_is_unavailable_once_and_then_replaced(postgres: PostgresServer) -> None:
    # Given a connection that the server ends in the middle of a transaction
    database = Database(postgres.url())
    with pytest.raises(Unavailable, match=r"terminating connection|closed"):
        async with database.begin() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            await connection.execute(text("SELECT 1"))
    # When the database is used again, Then it works
    async with database.begin() as connection:
        await connection.execute(text("SELECT 1"))
        # And one that was cut while it lay in the pool is replaced unseen
        async with database.begin() as other:
            pid = (await other.execute(text("SELECT pg_backend_pid()"))).scalar()
        await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        async with database.begin() as other:
            await other.execute(text("SELECT 1"))
    await database.close()


async def test_a_sqlite_file_that_cannot_be_made_is_unavailable_and_says_why(tmp_path: Path) -> None:
    # Given a folder that is not there, When a database in it is used, Then cause, place and remedy are named
    with pytest.raises(Unavailable, match=r"nowhere/devskyy\.db.*No such file.*see that its folder is there"):
        Database(f"sqlite+aiosqlite:///{tmp_path}/nowhere/devskyy.db")


async def test_a_file_that_is_no_database_is_unavailable_and_says_why(tmp_path: Path) -> None:
    # Given a file that something else wrote
    (tmp_path / "devskyy.db").write_text("It was a dark and stormy night. " * 100)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/devskyy.db")
    # When it is migrated, Then the cause is named
    with pytest.raises(Unavailable, match="file is not a database"):
        await database.migrate()
    await database.close()


async def test_a_sqlite_file_that_stays_locked_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a database that somebody else writes to without an end
    monkeypatch.setattr(storage.database, "BUSY_TIMEOUT_MS", 50)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/devskyy.db")
    await database.migrate()
    other = sqlite3.connect(tmp_path / "devskyy.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    # When something is written, Then it says so after its patience
    with pytest.raises(Unavailable, match="database is locked"):
        async with database.begin() as connection:
            await connection.execute(text("DELETE FROM tasks"))
    # And once the other is done, it works
    other.close()
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM tasks"))
    await database.close()


async def test_a_value_that_breaks_a_rule_is_not_taken_for_an_outage(database: Database) -> None:
    # Given a row without what it must have, When it is written, Then the mistake shows as itself, to be mended
    with pytest.raises(DBAPIError):
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO tasks (tenant, task_id) VALUES ('t', '1')"))


async def test_an_error_does_not_repeat_what_was_to_be_written(database: Database) -> None:
    # Given a row with a secret, which breaks a rule
    row = {"id": "wh_1", "tenant": "acme", "url": "https://a.example", "secret": "whsec_told_to_nobody"}
    # When it is written, Then whoever logs the error does not log the secret
    with pytest.raises(DBAPIError) as caught:
        async with database.begin() as connection:
            names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            await connection.execute(text(f"INSERT INTO webhooks ({names}) VALUES ({values})"), row)
    assert "whsec_told_to_nobody" not in str(caught.value)

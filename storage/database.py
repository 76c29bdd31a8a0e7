"""One process's way into the database: a pool of connections on SQLite or PostgreSQL, and the migrations."""

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    NullPool,
    Table,
    delete,
    event,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from schemas.errors import ConfigError, StartError, Unavailable

SQLITE, POSTGRESQL = "sqlite+aiosqlite", "postgresql+asyncpg"
BUSY_TIMEOUT_MS = 10_000
"""How long SQLite waits for another writer."""
CONNECT_TIMEOUT_S, COMMAND_TIMEOUT_S = 10, 30
"""How long PostgreSQL may take to let us in, and to answer one statement."""
AT_ONCE = 5000
"""Rows that one statement deletes: SQLite has one writer, and others wait for it."""
MIGRATIONS = Path(__file__).parent / "migrations" / "alembic.ini"
MIGRATION_LOCK = 0x0DE5_0577
"""Key of PostgreSQL's advisory lock; any number that nobody else in the database uses."""

_SNAPSHOT = {
    "sqlite": text("BEGIN"),
    "postgresql": text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"),
}
_alembic = threading.Lock()
"""Alembic keeps what it works on in module globals, so one process migrates one database at a time."""


class Database:
    """`migrate` first, `close` last. Any number of processes may share one database.

    Raises:
        ConfigError: the URL names no database that can be used; the message never repeats it, it may hold a password.
        Unavailable: SQLite's file cannot be made.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked(url)
        self._file = Path(self._url.database or "") if self._url.drivername == SQLITE else None
        if self._file is None:
            self._engine = _engine(self._url, command_timeout=COMMAND_TIMEOUT_S)
        else:
            with self._errors():
                _keep_private(self._file)
            self._engine = _engine(self._url)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction, which is committed at the end.

        Raises:
            Unavailable: the database cannot be used at the moment; nothing was committed, or whether it was is unknown.
        """
        with self._errors():
            async with self._engine.begin() as connection:
                yield connection

    async def forget(self, table: Table, at: ColumnElement[datetime], before: datetime) -> int:
        """Delete rows of a table with an `id` whose `at` is older, some thousands at a time; how many these were.

        Raises:
            Unavailable: see `begin`; some may be deleted.
        """
        old = select(table.c.id).where(at < before).limit(AT_ONCE)
        deleted = 0
        while True:
            async with self.begin() as connection:
                gone = (await connection.execute(delete(table).where(table.c.id.in_(old)))).rowcount
            deleted += gone
            if gone < AT_ONCE:
                return deleted

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection that reads everything as it is at one moment, and changes nothing.

        Raises:
            Unavailable: the database cannot be used at the moment.
        """
        async with self.begin() as connection:
            await connection.execute(_SNAPSHOT[self.dialect])
            yield connection

    async def migrate(self) -> None:
        """Bring the tables up to date. Processes that start at once wait for the one that does it.

        Raises:
            Unavailable: the database cannot be used at the moment.
            StartError: a newer version of the program has migrated it already.
        """
        # Alembic reads files and blocks: in a thread, with an event loop and a connection of its own.
        await asyncio.to_thread(self._migrate)

    async def close(self) -> None:
        await self._engine.dispose()

    async def fill(self, revision: str, load: Callable[[Connection], None]) -> None:
        """Make the tables as they were after that migration, have them filled, and bring them up to date: all of it or
        nothing.

        Raises:
            Unavailable: the database cannot be used at the moment.
        """
        await asyncio.to_thread(self._migrate, revision, load)

    def _migrate(self, revision: str | None = None, load: Callable[[Connection], None] | None = None) -> None:
        def steps(connection: Connection) -> None:
            if revision is not None and load is not None:
                _to(revision, connection)
                load(connection)
            _to_head(connection)

        with _alembic, self._errors():
            if self._file is None:
                asyncio.run(self._upgrade(steps, f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            else:
                with _locked(self._file.with_name(self._file.name + ".lock")):
                    asyncio.run(self._upgrade(steps, "PRAGMA journal_mode = WAL", "BEGIN IMMEDIATE"))

    async def _upgrade(self, steps: Callable[[Connection], None], *first: str) -> None:
        """All steps in one transaction, so that a migration which dies half-way leaves nothing behind."""
        engine = _engine(self._url, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                for statement in first:
                    await connection.execute(text(statement))
                await connection.run_sync(steps)
        finally:
            await engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout, OSError) as error:
            if isinstance(error, DBAPIError) and _is_our_mistake(error):
                raise
            # The original alone: SQLAlchemy's text repeats the statement with its parameters, prompts among them.
            cause = str(getattr(error, "orig", None) or error) or type(error).__name__
            raise Unavailable(f"{self._name} cannot be used ({cause}); {self._remedy}") from error

    @property
    def _name(self) -> str:
        return f"the database {self._file or f'{self._url.database!r} at {self._url.host}:{self._url.port or 5432}'}"

    @property
    def _remedy(self) -> str:
        if self._file is None:
            return "see that the server of DATABASE_URL runs, knows this user, and has a connection to spare"
        return "see that its folder is there and writable, its disk has room, and nothing else holds it locked"


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "environment", "DATABASE_URL", "is no URL; write postgresql://user:password@host/name"
        ) from None
    if parsed.drivername not in (SQLITE, POSTGRESQL):
        rule = f"{parsed.drivername!r} is not supported; postgresql:// and sqlite:/// are"
        raise ConfigError("environment", "DATABASE_URL", rule)
    if parsed.drivername == SQLITE and (parsed.database or ":memory:").startswith((":memory:", "file:")):
        raise ConfigError(
            "environment", "DATABASE_URL", "SQLite needs a file that processes can share: sqlite:////its/path"
        )
    if "sslmode" in parsed.query:  # libpq's name, which hosted databases hand out; asyncpg's is `ssl`
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": parsed.query["sslmode"]})
    return parsed


def _engine(url: URL, *, poolclass: type[NullPool] | None = None, **connect_args: Any) -> AsyncEngine:
    """Its errors do not repeat what a statement was given: they are logged, and that may be a secret or a prompt."""
    if url.drivername == POSTGRESQL:
        connect_args["timeout"] = CONNECT_TIMEOUT_S
        # A server that was restarted costs one look at the connection instead of a failed request.
        return create_async_engine(
            url,
            poolclass=poolclass,
            pool_pre_ping=poolclass is None,
            connect_args=connect_args,
            hide_parameters=True,
        )
    engine = create_async_engine(url, poolclass=poolclass, connect_args=connect_args, hide_parameters=True)

    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, record: object) -> None:  # noqa: ARG001
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    return engine


def _keep_private(file: Path) -> None:
    """Make SQLite's file readable for its owner alone; SQLite gives `-wal` and `-shm` the same mode.

    A file that is there is never opened: closing it would drop the locks which SQLite holds on it in this process.
    Source: https://www.sqlite.org/howtocorrupt.html, section 2.2.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        file.chmod(0o600)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a file's lock; it ends with the process.

    SQLite's own does not wait while WAL is switched on: of 1,200 processes, eight at once, nine got "is locked" (3.40).
    """
    handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def knows(revision: str) -> bool:
    """Whether that is a migration of this version or of one before it."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    with _alembic:
        try:
            return ScriptDirectory.from_config(Config(MIGRATIONS)).get_revision(revision) is not None
        except CommandError:
            return False


def _to_head(connection: Connection) -> None:
    _to("head", connection)


def _to(revision: str, connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(MIGRATIONS)
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise StartError(
            f"the database cannot be brought up to date: {error}",
            "a newer version has probably migrated it: run that version, or name another database in DATABASE_URL",
        ) from error


def _is_our_mistake(error: DBAPIError) -> bool:
    """Whether the statement or its values are wrong, which waiting does not mend."""
    if sqlstate := getattr(error.orig, "sqlstate", None):
        return sqlstate[:2] in ("22", "23", "42")  # data, constraints, syntax and access rules
    return isinstance(error, DataError | IntegrityError | ProgrammingError)

"""Where the state of a platform lies: its broker, its database and its home, whether it runs or not."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from bus.client import Bus
from bus.logins import Logins
from bus.nats_users import FILE as NATS_USERS
from bus.permissions import SUPERVISOR
from bus.tls import Trust
from devskyy.backup.broker import embedded
from devskyy.supervisor import processes
from devskyy.supervisor.checks import locked
from devskyy.supervisor.operator import key_path
from devskyy.supervisor.state import PlatformState, read_state
from schemas.errors import BackupError, BusUnavailable
from schemas.settings import Settings
from storage import Database

NAME = "backup"
"""Of its connections."""
OVERLAY = "overlay.yaml"
"""What the overlay file is called in a backup, and in the home that it is restored to."""
PATIENCE_S = 10.0
"""For a broker that runs to answer."""


@dataclass(frozen=True)
class Place:
    bus: Bus
    database: Database
    files: dict[str, Path]
    """Those that belong to its state, by their names in a backup."""


def _files(settings: Settings, running: PlatformState | None) -> dict[str, Path]:
    """Passwords of the broker's users are not among them: they are made anew, and so do not lie about."""
    overlay = settings.config if running is None else running.config
    files = {"operator.key": key_path(settings.home), NATS_USERS: settings.home / NATS_USERS}
    if overlay is not None:
        files[OVERLAY] = overlay
    return {name: path for name, path in files.items() if path.is_file()}


@contextlib.asynccontextmanager
async def of_platform(settings: Settings) -> AsyncIterator[Place]:
    """The place of the platform of this home. One that is stopped stays so, and none can start meanwhile.

    Raises:
        BackupError: parts of it cannot be reached; says what is needed.
    """
    state = read_state(settings.home)
    running = state if state is not None and state.alive else None
    outside = broker_of(settings) if running is None else (running.nats_url, _trust_of(running))
    async with contextlib.AsyncExitStack() as stack:
        database = Database(_database_of(settings, running))
        stack.push_async_callback(database.close)
        if outside is not None:
            bus = await connected(*outside)
            stack.push_async_callback(bus.close, 0)
        else:
            stack.enter_context(alone(settings.home))
            if not (settings.home / "nats" / "jetstream").is_dir():
                remedy = "set DEVSKYY_HOME to the home of a platform, or DEVSKYY_NATS_URL to its broker"
                raise BackupError(f"there are no streams in {settings.home}", remedy)
            bus = await stack.enter_async_context(embedded(settings.home, NAME))
        yield Place(bus, database, _files(settings, running))


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Nobody else has the home.

    Raises:
        StartError: a platform runs with it.
        BackupError: something of one that was killed still does.
    """
    with locked(home):
        if left := processes.of_home(home):
            cause = f"{len(left)} processes of a platform that was killed still run with the home {home}"
            raise BackupError(cause, "end them with `devskyy down`")
        yield


def _database_of(settings: Settings, running: PlatformState | None) -> str:
    """One that runs may have been started in another environment than this."""
    if running is not None and running.sql_url is not None:
        return running.sql_url
    if settings.database_url is None and not settings.sqlite_file.exists():
        remedy = "set DEVSKYY_HOME to the home of a platform, or DATABASE_URL to its database"
        raise BackupError(f"there is no database in {settings.home}", remedy)
    return settings.sql_url


def broker_of(settings: Settings) -> tuple[str, Trust] | None:
    """Where a broker of one's own is, for who may do everything there; None: the platform has an embedded one.

    Raises:
        ConfigError: the file of its users cannot be read.
    """
    url = settings.nats_url
    if settings.nats_logins is not None:
        url = Logins.of_file(settings.nats_logins).urls.get(SUPERVISOR)
    return None if url is None else (url, Trust.of(settings))


def _trust_of(running: PlatformState) -> Trust:
    return Trust(running.nats_ca, running.nats_tls_name)


async def connected(url: str, trust: Trust) -> Bus:
    """A connection to a broker that runs.

    Raises:
        BackupError: it does not answer; says what is needed.
    """
    try:
        return await Bus(url, NAME, trust=trust).connect(PATIENCE_S)
    except BusUnavailable as error:
        remedy = "see that the broker runs, and that DEVSKYY_NATS_URL names it with credentials of a user who may all"
        raise BackupError(str(error), remedy) from error

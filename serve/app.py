"""The HTTP application. It knows no Ray, so tests reach it without."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from actors.catalogue import load
from bus import logs
from bus.client import Bus
from bus.tasklog import TaskLog
from schemas.settings import Settings
from serve import health, problems, tasks
from serve.directory import Directory
from serve.middleware import BodyLimit, LoopbackOnly, Observed, is_loopback
from storage import Database, TaskRepository

DESCRIPTION = """Gives every task the cheapest team of AI agents that clears its quality bar, runs it durably, and
returns the answer with an honest receipt. Errors are RFC 9457 problem details."""


def make_app(settings: Settings, name: str = "http") -> FastAPI:
    """The application; it connects to the bus of `settings` when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(settings.home / "logs", name, settings.log_level)
        assert settings.nats_url is not None
        bus = await Bus(settings.nats_url, name).connect(patience_s=60)
        database = Database(settings.sql_url)
        await database.migrate()
        app.state.bus, app.state.tasks = bus, TaskLog(bus)
        app.state.kept = TaskRepository(database)
        app.state.directory = Directory(bus, settings, load(settings.config))
        try:
            yield
        finally:
            await bus.close()
            await database.close()

    app = FastAPI(title="DevSkyy", version="0.1.0", description=DESCRIPTION, lifespan=lifespan)
    problems.install(app)
    app.include_router(tasks.router)
    app.include_router(health.router)
    app.add_middleware(BodyLimit)
    app.add_middleware(Observed)
    if is_loopback(settings.http_host):
        app.add_middleware(LoopbackOnly)
    return app

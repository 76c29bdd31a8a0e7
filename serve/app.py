"""The HTTP application. It knows no Ray, so tests reach it without."""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic.warnings import UnsupportedFieldAttributeWarning

from actors.catalogue import load
from actors.gateway.purse import Purse
from actors.workflow.creation import Creation
from bus import logs
from bus.client import Bus
from bus.purse import PurseStream
from bus.recordings import Recordings
from bus.tasklog import TaskLog
from bus.workflowlog import WorkflowLog
from schemas.recording import MAX_RECORDING_BYTES
from schemas.settings import Settings, is_loopback
from serve import (
    asyncapi,
    auth,
    budgets,
    costs,
    embeddings,
    health,
    keys,
    luxury,
    openai,
    problems,
    quality,
    recordings,
    services,
    steering,
    tasks,
    workflows,
)
from serve.directory import Directory
from serve.keyring import Keyring
from serve.mcp.door import McpDoor
from serve.middleware import BodyLimit, LoopbackOnly, Observed
from serve.shortcut import Shortcut
from storage import CallLedger, Database, KeyRepository, QualityHistory, TaskRepository, WorkflowRepository

DESCRIPTION = """Gives every task the cheapest team of AI agents that clears its quality bar, runs it durably, and
returns the answer with an honest receipt. Errors are RFC 9457 problem details."""


def make_app(settings: Settings, name: str = "http") -> FastAPI:  # noqa: PLR0915
    """The application; it connects to the bus of `settings` when it starts."""
    mcp = McpDoor()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(settings.home / "logs", name, settings.log_level)
        assert settings.nats_url is not None
        bus = await Bus(settings.nats_url, name).connect(patience_s=60)
        database = Database(settings.sql_url)
        await database.migrate()
        app.state.bus, app.state.tasks = bus, TaskLog(bus)
        app.state.kept, app.state.ledger = TaskRepository(database), CallLedger(database)
        app.state.qualities = QualityHistory(database)
        app.state.kept_workflows = WorkflowRepository(database)
        app.state.recordings = Recordings(bus)
        app.state.keys = KeyRepository(database)
        loopback = is_loopback(settings.http_host)
        app.state.keyring = Keyring(app.state.keys, settings.operator_sha256, open_without_keys=loopback)
        await app.state.keyring.look()
        app.state.catalogue = load(settings.config)
        app.state.workflows, app.state.creation = WorkflowLog(bus), Creation(bus, app.state.catalogue)
        app.state.purse = Purse(name, app.state.catalogue.budgets, PurseStream(bus))  # to look into, not to spend
        app.state.directory = Directory(bus, settings, app.state.catalogue)
        await app.state.directory.listen()
        try:
            yield
        finally:
            await mcp.close()
            await app.state.keyring.close()
            await bus.close()
            await database.close()

    app = FastAPI(title="DevSkyy", version="0.1.0", description=DESCRIPTION, lifespan=lifespan)
    problems.install(app)
    app.include_router(tasks.router)
    app.include_router(workflows.router)
    app.include_router(steering.router)
    app.include_router(luxury.router)
    app.include_router(recordings.router)
    app.include_router(costs.router)
    app.include_router(budgets.router)
    app.include_router(quality.router)
    app.include_router(openai.router)
    app.include_router(embeddings.router)
    app.include_router(keys.router)
    app.include_router(health.router)
    app.include_router(services.router)
    app.router.routes.append(mcp.route)
    app.include_router(asyncapi.router)
    app.add_middleware(Shortcut)  # the innermost: what stands before the doors stands before it too
    app.add_middleware(BodyLimit, larger={"/api/v1/recordings": MAX_RECORDING_BYTES})
    app.add_middleware(auth.Gate)
    app.add_middleware(Observed)
    if is_loopback(settings.http_host):
        app.add_middleware(LoopbackOnly)
    _build_validators(app)
    return app


def _build_validators(app: FastAPI) -> None:
    """Messages build theirs when they are first used (`defer_build`); describing the doors does, so no request waits.

    Pydantic warns of FastAPI's way to name a field; where FastAPI builds validators itself, it silences that too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
        tasks.describe(app)
        workflows.describe(app)
        luxury.describe(app)
        auth.describe(app)

"""The HTTP application. It knows no Ray, so tests reach it without."""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic.warnings import UnsupportedFieldAttributeWarning

from actors.catalogue import load
from actors.gateway.purse import Purse
from actors.workflow.creation import Creation
from bus import logs
from bus.client import Bus
from bus.purse import PurseStream
from bus.recordings import Recordings
from bus.tasklog import TaskLog
from bus.tls import Trust
from bus.workflowlog import WorkflowLog
from schemas.recording import MAX_RECORDING_BYTES
from schemas.settings import Settings, is_loopback
from serve import (
    a2a,
    anthropic,
    asyncapi,
    audit,
    auth,
    budgets,
    costs,
    described,
    embeddings,
    erasure,
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
    tokens,
    webhooks,
    workflows,
)
from serve.audited import Audited, Doors
from serve.directory import Directory
from serve.jwts import Tokens
from serve.keyring import Keyring
from serve.mcp.door import McpDoor
from serve.middleware import METHODS, BodyLimit, LoopbackOnly, Observed
from serve.security_headers import SecurityHeaders, policies
from serve.shortcut import Shortcut
from serve.trail import Trail
from storage import (
    AuditLog,
    CallLedger,
    Database,
    DeliveryRepository,
    Erasure,
    KeyRepository,
    QualityHistory,
    TaskRepository,
    WebhookRepository,
    WorkflowRepository,
)

DESCRIPTION = """Gives every task the cheapest team of AI agents that clears its quality bar, runs it durably, and
returns the answer with an honest receipt. Errors are RFC 9457 problem details."""

DOORS = (
    *(tasks, workflows, steering, luxury, recordings, costs, budgets, quality, erasure, webhooks),
    *(openai, embeddings, anthropic, a2a, keys, tokens, audit, health, services, asyncapi),
)
"""Modules of doors, each with a `router`."""
EXPOSED = (
    *("Location", "Preference-Applied", "Retry-After", "WWW-Authenticate", "traceparent", "Devskyy-Task"),
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
)
"""What pages of other sites may read of an answer's headers."""


def make_app(settings: Settings, name: str = "http") -> FastAPI:
    """The application; it connects to the bus of `settings` when it starts."""

    mcp = McpDoor()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(settings.home / "logs", name, settings.log_level)
        assert settings.nats_url is not None
        bus = await Bus(settings.nats_url, name, trust=Trust.of(settings)).connect(patience_s=60)
        database = Database(settings.sql_url)
        await database.migrate()
        app.state.bus, app.state.tasks, app.state.settings = bus, TaskLog(bus), settings
        app.state.kept, app.state.ledger = TaskRepository(database), CallLedger(database)
        app.state.qualities, app.state.erasure = QualityHistory(database), Erasure(database)
        app.state.kept_workflows = WorkflowRepository(database)
        app.state.recordings = Recordings(bus)
        app.state.webhooks, app.state.deliveries = WebhookRepository(database), DeliveryRepository(database)
        await _know_callers(app, settings, database)
        app.state.catalogue = load(settings.config)
        app.state.workflows, app.state.creation = WorkflowLog(bus), Creation(bus, app.state.catalogue)
        app.state.purse = Purse(name, app.state.catalogue.budgets, PurseStream(bus))  # to look into, not to spend
        app.state.directory = Directory(bus, settings, app.state.catalogue)
        await app.state.directory.listen()
        try:
            yield
        finally:
            await mcp.close()
            await _forget_callers(app)
            await bus.close()
            await database.close()

    app = FastAPI(title="DevSkyy", version="0.1.0", description=DESCRIPTION, lifespan=lifespan, webhooks=webhooks.told)
    problems.install(app)
    for door in DOORS:
        app.include_router(door.router)
    app.router.routes.append(mcp.route)
    app.add_middleware(Shortcut)  # the innermost: what stands before the doors stands before it too
    app.add_middleware(BodyLimit, larger={"/api/v1/recordings": MAX_RECORDING_BYTES})
    app.add_middleware(auth.Gate)
    app.add_middleware(Observed)
    _guard(app, settings)
    _build_validators(app)
    app.state.doors = Doors(app)
    return app


async def _know_callers(app: FastAPI, settings: Settings, database: Database) -> None:
    """Whatever tells who calls, and keeps what they did."""
    app.state.keys = KeyRepository(database)
    app.state.tokens = Tokens(settings)
    may_open = is_loopback(settings.http_host) and not app.state.tokens.taken
    app.state.keyring = Keyring(app.state.keys, settings.operator_sha256, open_without_keys=may_open)
    await app.state.keyring.look()
    app.state.audit = AuditLog(database)
    app.state.trail = Trail(app.state.audit, timedelta(days=settings.audit_days))
    app.state.trail.start()


async def _forget_callers(app: FastAPI) -> None:
    await app.state.trail.close()
    await app.state.keyring.close()
    await app.state.tokens.close()


def _guard(app: FastAPI, settings: Settings) -> None:
    """Whatever concerns requests of all kinds, also those that the gate refuses. The last stands before all others."""
    if is_loopback(settings.http_host):
        app.add_middleware(LoopbackOnly, origins=settings.cors_origins)
    app.add_middleware(Audited)
    if settings.cors_origins:
        # Without credentials: keys are sent in headers, so a page of such a site must have been given one.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=sorted(METHODS),
            allow_headers=["*"],
            expose_headers=EXPOSED,
            max_age=600,
        )
    app.add_middleware(SecurityHeaders, pages=policies(app))


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
        described.describe(app)

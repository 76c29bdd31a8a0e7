"""Engines on a real broker, each with a connection of its own, which can die without a word."""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from actors.workflow.engine import Engine
from actors.workflow.recovery import recovered
from actors.workflow.view import view_of
from actors.workflow.workers import Function
from bus.client import Bus
from bus.workflowlog import WorkflowLog
from schemas.errors import BusUnavailable, NotFound
from schemas.message import now
from schemas.workflow import Workflow, WorkflowDefinition
from schemas.workflow_event import Created, WorkflowCommand, WorkflowEvent
from tests.broker import Broker
from tests.cluster import Cluster

TENANT = "default"
LONG_S = 60.0


@dataclass
class Running:
    engine: Engine
    bus: Bus
    work: asyncio.Task[None]

    async def die(self) -> None:
        """As a process that is killed: nothing more is said, done or acknowledged."""
        before = asyncio.all_tasks()
        await self.bus.client._close(4, do_cbs=False)  # the connection is cut, not closed in order
        self.work.cancel()
        for task in before:
            if task is not asyncio.current_task() and _is_of(task, self.engine):
                task.cancel()
        await asyncio.wait([self.work])


def _is_of(task: asyncio.Task[Any], engine: Engine) -> bool:
    return task in engine._puller._running or any(
        task in runner._at_work.values() for runner in engine._runners.values()
    )


class Engines:
    """Starts engines and workflows, and says how these stand."""

    def __init__(self, broker: Broker | Cluster, bus: Bus) -> None:
        self._broker, self.bus = broker, bus
        self.log = WorkflowLog(bus)
        self.running: list[Running] = []
        self._numbers = itertools.count()

    async def start(self, functions: Mapping[str, Function] | None = None, **how: Any) -> Running:
        name = f"engine-{next(self._numbers)}"
        bus = await self._broker.connect(name)
        engine = Engine(bus, name, functions, **how)
        await bus.serve(name, engine.endpoints, description="", metadata={})
        running = Running(engine, bus, asyncio.create_task(engine.run()))
        self.running.append(running)
        return running

    async def close(self) -> None:
        for running in self.running:
            with contextlib.suppress(Exception):
                await running.engine.stop(0.5)
            running.work.cancel()
            await running.bus.close(grace_s=0.2)

    async def create(self, definition: dict[str, Any], inputs: dict[str, Any] | None = None) -> str:
        workflow_id = secrets.token_hex(8)
        event = Created(
            event_id=secrets.token_hex(8),
            workflow_id=workflow_id,
            tenant=TENANT,
            seq=1,
            at=now(),
            status="pending",
            percentage=0,
            definition=WorkflowDefinition.model_validate({"name": "test", **definition}),
            inputs=inputs or {},
            body_sha256="0",
        )
        await self.log.create(event)
        return workflow_id

    async def send(self, workflow_id: str, kind: str, **said: Any) -> None:
        command = {"kind": kind, "command": secrets.token_hex(4), **said}
        await self.log.wake(TENANT, workflow_id, WorkflowCommand.model_validate(command))

    async def begin(self, definition: dict[str, Any], inputs: dict[str, Any] | None = None) -> str:
        workflow_id = await self.create(definition, inputs)
        await self.send(workflow_id, "start")
        return workflow_id

    async def until(self, workflow_id: str, *events: str) -> WorkflowEvent:
        """The first event of such a kind; of any end where none is named. A broker that is away is waited for."""
        async with asyncio.timeout(LONG_S):
            while True:
                with contextlib.suppress(BusUnavailable):
                    async for event in self.log.follow(TENANT, workflow_id):
                        if event.event in (events or ("completed", "failed", "cancelled")):
                            return event
                    raise AssertionError(f"{workflow_id} ended without {events}")
                await asyncio.sleep(0.1)

    async def until_seq(self, workflow_id: str, seq: int) -> None:
        """Return once it has so many events."""
        async with asyncio.timeout(LONG_S):
            async for event in self.log.follow(TENANT, workflow_id):
                if event.seq >= seq:
                    return

    async def waits(self, workflow_id: str) -> None:
        """Return once it is there, and its events say that it waits."""
        async with asyncio.timeout(LONG_S):
            while not await self._is_there(workflow_id):  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.02)
            async for event in self.log.follow(TENANT, workflow_id):
                if event.status == "waiting":
                    return

    async def _is_there(self, workflow_id: str) -> bool:
        with contextlib.suppress(NotFound):
            return bool(await self.log.read(TENANT, workflow_id))
        return False

    async def view(self, workflow_id: str) -> Workflow:
        return view_of(await recovered(self.log, TENANT, workflow_id))

    async def run(self, definition: dict[str, Any], inputs: dict[str, Any] | None = None) -> Workflow:
        workflow_id = await self.begin(definition, inputs)
        await self.until(workflow_id)
        return await self.view(workflow_id)


@pytest.fixture
async def engines(broker: Broker, bus: Bus) -> AsyncIterator[Engines]:
    engines = Engines(broker, bus)
    yield engines
    await engines.close()

"""The engine: takes wakes, gives each workflow to one runner, and leaves those of other engines to them."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import structlog
from nats.aio.msg import Msg

from actors.workflow import outputs
from actors.workflow.recovery import recovered, snapshot_of
from actors.workflow.runner import Hands, Released, Runner
from actors.workflow.state import State
from actors.workflow.workers import Function, Workers
from bus import history
from bus.client import Bus
from bus.consumer import Puller
from bus.desk import Endpoint
from bus.eventlog import WrongLastSequence
from bus.streams import ENGINES, WAKES
from bus.subjects import EngineTell, WorkflowWake
from bus.tasklog import TaskLog
from bus.workflowlog import WorkflowLog, owner_of
from schemas.errors import BusUnavailable, DecodeError, DevSkyyError, Fenced, NotFound, ResponderLost
from schemas.message import Message, now
from schemas.workflow import RETRY_WITHIN_S
from schemas.workflow_event import WorkflowCommand, WorkflowEvent

TELL_S = 10.0
"""For the owner of a workflow to do what it is told."""
WAITING = 1024
"""Wakes taken beyond those of workflows that run, so that commands reach these."""
MAX_DELIVERIES = 20

log = structlog.get_logger()


Place = tuple[str, str]
"""A tenant and a workflow of it."""


class Held(DevSkyyError):
    """Another engine has the workflow in hand; what was delivered again may be its lease."""

    code = "held"
    retryable = True

    def __init__(self, workflow_id: str, owner: str) -> None:
        super().__init__(workflow_id, owner)
        self.workflow_id, self.owner = workflow_id, owner

    def __str__(self) -> str:
        return f"workflow {self.workflow_id} is in the hands of {self.owner}"


class Told(Message):
    """Hands a command to the engine that owns the workflow."""

    tenant: str
    workflow_id: str
    command: WorkflowCommand


class Heard(Message):
    """What became of it."""

    running: bool
    """Whether the workflow is in this engine's hands; if not, the command had no effect."""


class Book:
    """Writes workflows down."""

    def __init__(self, bus: Bus, workflows: WorkflowLog) -> None:
        self._bus, self._workflows = bus, workflows

    async def append(self, event: WorkflowEvent, expected: int) -> int:
        try:
            return await self._workflows.append(event, expected)
        except WrongLastSequence:
            raise Fenced(event.workflow_id, event.event) from None

    def keep(self, state: State) -> Coroutine[None, None, None]:
        return self._workflows.keep(state.created.tenant, state.created.workflow_id, snapshot_of(state))

    async def wake_at(self, state: State, at: datetime) -> None:
        created = state.created
        command = WorkflowCommand(kind="wake", command=f"due.{state.seq}")
        await self._workflows.wake_at(created.tenant, created.workflow_id, at, command)

    async def load(self, name: str) -> Any:
        return await outputs.load(self._bus.blobs, name)

    async def store(self, state: State, output: Any) -> dict[str, Any]:
        until, created = state.deadline_at or now(), state.created
        owner = owner_of(created.tenant, created.workflow_id)
        return await outputs.kept(lambda data: self._workflows.store(data, until, owner), output)


class Engine:
    """Carries workflows. Knows the bus, not Ray: `actor.py` is its shell, and a test or a benchmark may be another.

    A wake that begins a runner is acknowledged once that lets go of the workflow. Until then it is the engine's lease:
    should it die, the wake comes to another.
    """

    def __init__(
        self,
        bus: Bus,
        name: str,
        functions: Mapping[str, Function] | None = None,
        *,
        concurrency: int = 1000,
        retry_within_s: float = RETRY_WITHIN_S,
    ) -> None:
        self.name, self._retry_within_s = name, retry_within_s
        self._bus = bus
        self._workflows = WorkflowLog(bus, patience_s=20.0)
        self._book = Book(bus, self._workflows)
        self._hands: Hands = Workers(bus, TaskLog(bus, patience_s=20.0), self._workflows, functions or {})
        self._runners: dict[Place, Runner] = {}
        self._gates: WeakValueDictionary[Place, asyncio.Lock] = WeakValueDictionary()
        self._adopted: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(concurrency)
        self._puller = Puller(
            bus,
            ENGINES,
            self._on_wake,
            concurrency=concurrency + WAITING,
            max_deliveries=MAX_DELIVERIES,
            outlasts_outages=True,
        )
        self._timekeeper = self._workflows.timekeeper()

    @property
    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("tell", str(EngineTell(self.name)), Told, self._tell)]

    @property
    def carried(self) -> int:
        """Workflows in its hands."""
        return len(self._runners)

    async def run(self) -> None:
        """Take wakes until `stop`."""
        beside = [asyncio.create_task(work) for work in (self._adopt(), self._timekeeper.run())]
        try:
            await self._puller.run()
        finally:
            for task in beside:
                task.cancel()

    async def stop(self, grace_s: float) -> None:
        """Take no more, and leave what is in hand to others."""
        for runner in list(self._runners.values()):
            runner.stop()
        await asyncio.gather(self._puller.stop(grace_s), self._timekeeper.stop(grace_s))

    # -- wakes -------------------------------------------------------------------------------------------------

    async def _adopt(self) -> None:
        """Go on at once with what an engine that died had in hand, which its own successor often is.

        Its wakes come again too, once their time is over; they find the work under way, and become its leases.
        """
        try:
            async with contextlib.aclosing(history.messages(self._bus, WAKES, WorkflowWake.pattern())) as wakes:
                async for msg in wakes:
                    task = asyncio.create_task(self._take_up((msg.headers or {})["Nats-Subject"], msg))
                    self._adopted.add(task)
                    task.add_done_callback(self._adopted.discard)
        except BusUnavailable as error:
            log.info("workflows are taken up as their wakes come", error=str(error))

    async def _take_up(self, subject: str, msg: Msg) -> None:
        try:
            wake = WorkflowWake.parse(subject)
            await self._handle((wake.tenant, wake.workflow), await self._workflows.command_of(msg), delivered=0)
        except (DevSkyyError, ValueError) as error:
            log.info("a workflow is taken up when its wake comes", subject=subject, error=str(error))

    async def _on_wake(self, msg: Msg) -> None:
        try:
            subject = WorkflowWake.parse(msg.subject)
            command = await self._workflows.command_of(msg)
            await self._handle((subject.tenant, subject.workflow), command, msg.metadata.num_delivered)
        except (ValueError, NotFound) as error:
            raise DecodeError("wake", str(error), msg.data) from None

    async def _handle(self, place: Place, command: WorkflowCommand, delivered: int) -> None:
        """Return once the wake may be forgotten. One that is a lease is held until the workflow is let go.

        Args:
            delivered: how often it was; what comes again may be the lease. 0: nobody delivered it.
        """
        while True:
            if (runner := self._runners.get(place)) is None:
                if await self._carry(place, command, delivered):
                    return
                continue
            try:
                await runner.submit(command)
            except Released:
                await runner.finished.wait()
                continue
            if delivered > 1 or (delivered and not runner.leased):
                runner.leased = True
                await runner.finished.wait()
            return

    async def _carry(self, place: Place, command: WorkflowCommand, delivered: int) -> bool:
        """Carry a workflow until it is let go. False: it is in hand here already.

        Raises:
            Held: another engine has it; the wake is to come again.
        """
        async with self._room:
            gate = self._gates.setdefault(place, asyncio.Lock())
            async with gate:
                if place in self._runners:
                    return False
                state = await recovered(self._workflows, *place)
                foreign = state.owner not in (None, self.name) and state.ended is None
                if foreign and await self._owner_takes(state, command):
                    if delivered > 1:
                        raise Held(state.created.workflow_id, str(state.owner))
                    return True
                runner = self._runners[place] = Runner(
                    state, self._book, self._hands, self.name, retry_within_s=self._retry_within_s
                )
                runner.leased = delivered > 0
                done = runner.submit(command)
            try:
                await runner.run()
            finally:
                del self._runners[place]
            await done
            if state.ended is not None:
                await self._told(state)
            return True

    async def _owner_takes(self, state: State, command: WorkflowCommand) -> bool:
        """Whether the engine that owned it last has it in hand still, and has done what is asked."""
        assert state.owner is not None
        told = Told(tenant=state.created.tenant, workflow_id=state.created.workflow_id, command=command)
        try:
            heard = await self._bus.request(EngineTell(state.owner), told, Heard, timeout_s=TELL_S)
        except ResponderLost:
            return False
        return heard.running

    async def _tell(self, told: Told) -> Heard:
        runner = self._runners.get((told.tenant, told.workflow_id))
        if runner is None:
            return Heard(running=False)
        try:
            await runner.submit(told.command)
        except Released:
            return Heard(running=False)
        return Heard(running=True)

    async def _told(self, state: State) -> None:
        """Say that it has ended to whom it matters: its parent; and to people, where something could not be undone."""
        created = state.created
        if created.parent is not None:
            command = WorkflowCommand(kind="wake", command=f"{created.workflow_id}.{state.seq}")
            await self._workflows.wake(created.tenant, created.parent.workflow_id, command)
        if state.undone:
            title = f"a workflow left something undone: {created.definition.name}"
            detail = f"workflow {created.workflow_id}: the compensation of {', '.join(state.undone)} failed for good"
            await self._bus.alert(3, title, detail)

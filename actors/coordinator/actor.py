"""The coordinator actor: takes accepted tasks from the stream and carries each to its end."""

import asyncio
import contextlib
import os
import secrets

import structlog
from nats.aio.msg import Msg

from actors.base import Actor
from actors.catalogue import load
from actors.coordinator.life import Lives
from actors.quality import judges
from actors.selection import LatestFigures, Selector
from bus import trace
from bus.codec import decode
from bus.consumer import Puller
from bus.desk import Endpoint
from bus.journal import Journal
from bus.recordings import Recordings
from bus.streams import COORDINATORS
from bus.subjects import AgentAsk, FleetScale, GatewayFigures, ModelsComplete, TaskCommand
from bus.tasklog import TaskLog
from schemas.agent import Answer, Ask
from schemas.completion import Complete, Completion
from schemas.errors import BusUnavailable, DecodeError
from schemas.event import Accepted, Command
from schemas.figures import Figures
from schemas.fleet import Scale, Scaled
from schemas.message import now

log = structlog.get_logger()

MAX_DELIVERIES = 20
HOSTS_S = 60.0
"""How long the hosts of specialists may take to start."""
WAITING = 1024
"""Tasks taken from the stream beyond those that are carried, so that a deadline or a cancel reaches them in time."""


class CoordinatorActor(Actor):
    """Gives every task the cheapest team that clears its bar, and ends it exactly once."""

    kind = "coordinator"

    async def begin(self) -> list[Endpoint]:
        tasks = TaskLog(self.bus, patience_s=20.0)
        self._tasks = tasks
        self._obeying: set[asyncio.Task[None]] = set()
        catalogue = load(self.settings.config)
        self._figures = LatestFigures()
        self._lives = Lives(
            owner=f"{self.name}-{secrets.token_hex(4)}",
            tasks=tasks,
            catalogue=catalogue,
            ask=self._ask,
            abort=self.bus.abort,
            journal=Journal(self.bus),
            complete=self._complete,
            limit=self.settings.concurrent_tasks,
            hears_since=lambda: max(subscribed_at, self.bus.connected_at),
            selector=Selector(catalogue, os.environ, self._figures.now),
            hosts=self._host,
            recorded=Recordings(self.bus).claimed,
            judges=lambda writers: judges(catalogue, os.environ, writers),
        )
        self._puller = Puller(
            self.bus,
            COORDINATORS,
            self._on_accepted,
            concurrency=self.settings.concurrent_tasks + WAITING,
            max_deliveries=MAX_DELIVERIES,
            give_up=self._give_up,
        )
        # Every coordinator hears every command; the task's owner obeys.
        await self.bus.client.subscribe(TaskCommand.pattern(), cb=self._on_command)
        await self.bus.client.subscribe(GatewayFigures.pattern(), cb=self._on_figures)
        await self.bus.settle()
        subscribed_at = now()
        self.bus.when_reconnected(self._catch_up)
        self.spawn(self._puller.run())
        return []

    async def end(self, grace_s: float) -> None:
        await self._puller.stop(grace_s)

    async def _ask(self, ask: Ask, agent: str) -> Answer:
        return await self.bus.ask(AgentAsk(agent), ask, Answer, deadline=ask.deadline_at, work=ask.task_id)

    async def _complete(self, ask: Complete) -> Completion:
        caller = ModelsComplete(ask.agent)
        return await self.bus.ask(caller, ask, Completion, deadline=ask.deadline_at, work=ask.task_id)

    async def _host(self, seats: int) -> None:
        await self.bus.request(FleetScale(), Scale(seats=seats), Scaled, timeout_s=HOSTS_S)

    async def _on_accepted(self, msg: Msg) -> None:
        accepted = await self._accepted(msg)
        trace.start(accepted.trace)
        await self._lives.run(accepted, msg.metadata.sequence.stream, msg.metadata.num_delivered)

    async def _give_up(self, msg: Msg) -> None:
        await self._lives.give_up(await self._accepted(msg), MAX_DELIVERIES)

    async def _accepted(self, msg: Msg) -> Accepted:
        event = await self._tasks.event_of(msg)
        if not isinstance(event, Accepted):
            raise DecodeError("accepted event", f"it is {event.event!r}", msg.data)
        return event

    async def _catch_up(self) -> None:
        while True:
            try:
                return await self._lives.look_again()
            except BusUnavailable as error:
                log.info("commands are looked for again later", error=str(error))
                await asyncio.sleep(0.5)

    async def _on_figures(self, msg: Msg) -> None:
        with contextlib.suppress(DecodeError):
            self._figures.heard(decode(msg.data, Figures))

    async def _on_command(self, msg: Msg) -> None:
        task = asyncio.create_task(self._obey(msg))
        self._obeying.add(task)
        task.add_done_callback(self._obeying.discard)

    async def _obey(self, msg: Msg) -> None:
        """Whatever comes from outside, it never ends the actor."""
        try:
            try:
                subject = TaskCommand.parse(msg.subject)
                await self._lives.command(subject.tenant, subject.task, decode(msg.data, Command))
            except (DecodeError, ValueError) as error:
                await self.bus.dead_letter("commands", msg, str(error))
        except Exception as error:
            log.warning("a command had no effect", subject=msg.subject, error=repr(error))
            await self.bus.alert(2, "a command had no effect", f"{msg.subject}: {error!r}")

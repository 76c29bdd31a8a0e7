"""The projector actor: keeps tasks and calls in SQL, so that they can be listed, summed, and outlive the streams."""

import asyncio
import os

from nats.aio.msg import Msg

from actors.base import Actor
from actors.projector.projection import TaskProjection
from bus.codec import decode
from bus.consumer import Puller
from bus.desk import Endpoint
from bus.journal import Entry
from bus.streams import LEDGER, PROJECTOR
from bus.subjects import CallJournal, TaskEvents
from bus.tasklog import TaskLog
from schemas.event import TERMINAL, TaskEvent
from storage import CallLedger, Database, TaskRepository

NICENESS = 5
"""Where cores are short, tasks go before the list of tasks."""
GATHER_S = 0.1
"""How long events are gathered for one transaction; a list of tasks is so much behind."""


class ProjectorActor(Actor):
    """Projects the events of all tasks, and the calls of none, into SQL; it may repeat itself and come late without
    harm."""

    kind = "projector"

    async def begin(self) -> list[Endpoint]:
        os.nice(NICENESS)
        self._database = Database(self.settings.sql_url)
        await self._database.migrate()
        self._tasks, self._ledger = TaskLog(self.bus), CallLedger(self._database)
        self._projection = TaskProjection(TaskRepository(self._database), self._history)
        # A database that is away for hours must not leave tasks in SQL that seem to run for ever.
        self._puller = Puller(
            self.bus,
            PROJECTOR,
            self._on_event,
            concurrency=16,
            max_deliveries=100,
            outlasts_outages=True,
            together=self._on_events,
            gather_s=GATHER_S,
        )
        # One after another: a call's later version must not be overwritten by an earlier one.
        self._calls = Puller(
            self.bus,
            LEDGER,
            self._on_call,
            concurrency=1,
            max_deliveries=100,
            outlasts_outages=True,
            together=self._on_calls,
            gather_s=GATHER_S,
        )
        self.spawn(self._puller.run())
        self.spawn(self._calls.run())
        return []

    async def end(self, grace_s: float) -> None:
        await asyncio.gather(self._puller.stop(grace_s), self._calls.stop(grace_s))
        await self._database.close()

    async def _on_event(self, msg: Msg) -> None:
        await self._projection.apply(await self._tasks.event_of(msg))

    async def _on_events(self, batch: list[Msg]) -> None:
        """Of a task that has ended its last event suffices, so the others are not even decoded."""
        subjects = [TaskEvents.parse(msg.subject) for msg in batch]
        ended = {(subject.tenant, subject.task) for subject in subjects if subject.event in TERMINAL}
        await self._projection.apply_all(
            [
                await self._tasks.event_of(msg)
                for msg, subject in zip(batch, subjects, strict=True)
                if subject.event in TERMINAL or (subject.tenant, subject.task) not in ended
            ]
        )

    async def _on_call(self, msg: Msg) -> None:
        await self._on_calls([msg])

    async def _on_calls(self, batch: list[Msg]) -> None:
        """Calls that belong to no task; of each its last version suffices."""
        last = {msg.subject: msg for msg in batch}
        await self._ledger.stand(
            [(CallJournal.parse(msg.subject), decode(await self.bus.blobs.load(msg), Entry)) for msg in last.values()]
        )

    async def _history(self, tenant: str, task_id: str) -> list[TaskEvent]:
        return [entry.event for entry in await self._tasks.read(tenant, task_id)]

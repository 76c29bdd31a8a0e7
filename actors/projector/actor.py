"""The projector actor: keeps tasks, workflows and calls in SQL, so that they can be listed, summed, and outlive the
streams; and tells webhooks how tasks and workflows ended."""

import asyncio
import os

from nats.aio.msg import Msg

from actors.base import Actor
from actors.projector.projection import TaskProjection
from actors.projector.sweep import Sweep
from actors.projector.workflows import WorkflowProjection
from actors.webhooks.part import WebhookPart
from actors.workflow.recovery import recovered
from actors.workflow.view import view_of
from bus.codec import decode
from bus.consumer import Handle, HandleAll, Puller
from bus.desk import Endpoint
from bus.journal import Entry
from bus.streams import LEDGER, PROJECTOR, WORKFLOW_PROJECTOR, Consumer
from bus.subjects import CallJournal, TaskEvents, WorkflowEvents
from bus.tasklog import TaskLog
from bus.workflowlog import WorkflowLog
from schemas.event import TERMINAL, TaskEvent
from schemas.workflow import Workflow
from storage import CallLedger, Database, Erasure, TaskRepository, WorkflowRepository

NICENESS = 5
"""Where cores are short, tasks go before the list of tasks."""
GATHER_S = 0.1
"""How long events are gathered for one transaction; a list of tasks is so much behind."""


class ProjectorActor(Actor):
    """Projects the events of all tasks and workflows, and the calls of none, into SQL; it may repeat itself and come
    late without harm."""

    kind = "projector"

    async def begin(self) -> list[Endpoint]:
        os.nice(NICENESS)
        self._database = Database(self.settings.sql_url)
        await self._database.migrate()
        self._tasks, self._ledger = TaskLog(self.bus), CallLedger(self._database)
        self._projection = TaskProjection(TaskRepository(self._database), self._history)
        self._flows = WorkflowLog(self.bus)
        repository = WorkflowRepository(self._database)
        self._workflows = WorkflowProjection(repository, self._flows.created, self._workflow)
        self._pullers = [
            self._puller(PROJECTOR, self._on_event, self._on_events),
            self._puller(WORKFLOW_PROJECTOR, self._on_workflow_event, self._on_workflow_events),
            # One after another: a call's later version must not be overwritten by an earlier one.
            self._puller(LEDGER, self._on_call, self._on_calls, concurrency=1),
        ]
        for puller in self._pullers:
            self.spawn(puller.run())
        self.spawn(Sweep(repository, Erasure(self._database), self._flows.forget, self.settings).run())
        self._told = WebhookPart(self.bus, self._database, self.settings.webhook_private)
        for work in self._told.work:
            self.spawn(work)
        return []

    async def end(self, grace_s: float) -> None:
        await asyncio.gather(self._told.stop(grace_s), *(puller.stop(grace_s) for puller in self._pullers))
        await self._database.close()

    def _puller(self, consumer: Consumer, one: Handle, together: HandleAll, concurrency: int = 16) -> Puller:
        # A database that is away for hours must not leave tasks in SQL that seem to run for ever.
        return Puller(
            self.bus,
            consumer,
            one,
            concurrency=concurrency,
            max_deliveries=100,
            outlasts_outages=True,
            together=together,
            gather_s=GATHER_S,
        )

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

    async def _on_workflow_event(self, msg: Msg) -> None:
        await self._on_workflow_events([msg])

    async def _on_workflow_events(self, batch: list[Msg]) -> None:
        """Of a workflow its first and last event suffice, and the one that started it; others are not even decoded."""
        subjects = [WorkflowEvents.parse(msg.subject) for msg in batch]
        last = {(subject.tenant, subject.workflow): msg for subject, msg in zip(subjects, batch, strict=True)}
        await self._workflows.apply(
            [
                await self._flows.event_of(msg)
                for msg, subject in zip(batch, subjects, strict=True)
                if subject.event in ("created", "started") or msg is last[subject.tenant, subject.workflow]
            ]
        )

    async def _workflow(self, tenant: str, workflow_id: str) -> Workflow:
        return view_of(await recovered(self._flows, tenant, workflow_id))

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

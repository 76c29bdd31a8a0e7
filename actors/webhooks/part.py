"""What an actor needs to tell webhooks: it hears of endings, enters what is to be told, and tells it."""

import asyncio
from datetime import datetime
from functools import partial
from typing import Any, Literal

from nats.aio.msg import Msg

from actors.webhooks import payload
from actors.webhooks.courier import Courier, Rules
from actors.webhooks.enqueue import Ending, to_be_told
from actors.webhooks.sender import Sender
from bus.client import Bus
from bus.consumer import Puller
from bus.streams import TASK_ENDINGS, WORKFLOW_ENDINGS, Consumer
from bus.subjects import TaskEvents, WorkflowEvents
from bus.tasklog import TaskLog
from bus.workflowlog import WorkflowLog
from schemas.errors import NotFound
from schemas.event import Ended
from schemas.webhook import WebhookBody
from schemas.workflow_event import Cancelled, Completed, Failed
from storage.database import Database
from storage.deliveries import Attempt, DeliveryRepository
from storage.webhooks import WebhookRepository

GATHER_S = 0.1
"""How long endings are gathered for one transaction."""


class WebhookPart:
    """`work` is to be run; `stop` last."""

    def __init__(self, bus: Bus, database: Database, private: bool | None, rules: Rules | None = None) -> None:
        """
        Args:
            private: see `Courier`.
        """
        self._bus = bus
        self._tasks, self._workflows = TaskLog(bus), WorkflowLog(bus)
        self._webhooks, self._deliveries = WebhookRepository(database), DeliveryRepository(database)
        self._sender = Sender()
        self._courier = Courier(
            self._webhooks, self._deliveries, self._compose, self._sender.send, bus.alert, private, rules
        )
        self._pullers = [
            self._puller(TASK_ENDINGS, "task", TaskEvents),
            self._puller(WORKFLOW_ENDINGS, "workflow", WorkflowEvents),
        ]

    @property
    def work(self) -> list[Any]:
        """Coroutines, each until `stop`."""
        return [*(puller.run() for puller in self._pullers), self._courier.run(), self._courier.sweep()]

    async def stop(self, grace_s: float) -> None:
        await asyncio.gather(self._courier.stop(grace_s), *(puller.stop(grace_s) for puller in self._pullers))
        await self._sender.close()

    def _puller(
        self, consumer: Consumer, kind: Literal["task", "workflow"], subject: type[TaskEvents | WorkflowEvents]
    ) -> Puller:
        take = partial(self._take, kind, subject)

        async def one(msg: Msg) -> None:
            await take([msg])

        return Puller(
            self._bus,
            consumer,
            one,
            concurrency=16,
            max_deliveries=100,
            outlasts_outages=True,
            together=take,
            gather_s=GATHER_S,
        )

    async def _take(
        self, kind: Literal["task", "workflow"], subject: type[TaskEvents | WorkflowEvents], batch: list[Msg]
    ) -> None:
        endings = [_ending(kind, subject.parse(msg.subject), msg) for msg in batch]
        webhooks = await self._webhooks.enabled({ending.tenant for ending in endings})
        if happened := to_be_told(endings, webhooks):
            await self._deliveries.enter(happened)
            self._courier.look()

    async def _compose(self, attempt: Attempt, webhook_id: str) -> bytes | None:
        body = await self._told(attempt, webhook_id)
        return None if body is None else body.model_dump_json().encode()

    async def _told(self, attempt: Attempt, webhook_id: str) -> WebhookBody | None:
        tenant, target, place = attempt.tenant, attempt.target, attempt.place
        if target is None or place is None:
            return payload.of_test(webhook_id, tenant, attempt.created_at)
        try:
            if attempt.event.startswith("task."):
                ended = await self._tasks.event_at(tenant, target, place)
                return payload.of_task(ended) if isinstance(ended, Ended) else None
            over = await self._workflows.event_at(tenant, target, place)
            if not isinstance(over, Completed | Failed | Cancelled):
                return None
            return payload.of_workflow(await self._workflows.created(tenant, target), over)
        except NotFound:  # it was deleted
            return None


def _ending(kind: Literal["task", "workflow"], subject: TaskEvents | WorkflowEvents, msg: Msg) -> Ending:
    of = subject.task if isinstance(subject, TaskEvents) else subject.workflow
    at: datetime = msg.metadata.timestamp
    return Ending(kind, subject.tenant, of, subject.event, msg.metadata.sequence.stream, at)

"""What a receiver is told: enough to act on, and links to the rest."""

import json
from typing import Any

from schemas.event import Ended
from schemas.message import Moment
from schemas.task import Links
from schemas.webhook import MAX_TOLD_BYTES, TEST, PingData, TaskData, WebhookBody, WorkflowData
from schemas.workflow import WorkflowLinks
from schemas.workflow_event import Cancelled, Completed, Created, Failed


def of_task(ended: Ended) -> WebhookBody:
    """How a task ended."""
    task, path = ended.task, f"/api/v1/tasks/{ended.task_id}"
    size = None if task.answer is None else len(task.answer.encode())
    whole = size is None or size <= MAX_TOLD_BYTES
    data = TaskData(
        task_id=ended.task_id,
        status=task.status,
        tenant=ended.tenant,
        tier=task.tier,
        shape=task.shape,
        answer=task.answer if whole else None,
        answer_bytes=None if whole else size,
        quality=task.quality.overall if task.quality else None,
        quality_met=task.quality.met if task.quality else None,
        cost_usd=task.receipt.cost_usd if task.receipt else None,
        error=task.error,
        metadata=task.metadata,
        created_at=task.created_at,
        finished_at=task.finished_at,
        links=Links(self=path, events=f"{path}/events"),
    )
    return WebhookBody(type=f"task.{ended.event}", timestamp=ended.at, data=data)


def of_workflow(created: Created, ended: Completed | Failed | Cancelled) -> WebhookBody:
    """How a workflow ended. One that was made to go on may have ended otherwise since."""
    path = f"/api/v1/workflows/{ended.workflow_id}"
    output, size = _output(ended) if isinstance(ended, Completed) else (None, None)
    data = WorkflowData(
        workflow_id=ended.workflow_id,
        name=created.definition.name,
        template=created.template,
        status=ended.status,
        tenant=ended.tenant,
        output=output,
        output_bytes=size,
        cost_usd=ended.cost_usd,
        error=None if isinstance(ended, Completed) else ended.problem,
        metadata=created.metadata,
        parent=created.parent,
        created_at=created.at,
        finished_at=ended.at,
        links=WorkflowLinks(self=path, events=f"{path}/events"),
    )
    return WebhookBody(type=f"workflow.{ended.event}", timestamp=ended.at, data=data)


def of_test(webhook_id: str, tenant: str, at: Moment) -> WebhookBody:
    """That somebody wanted to see whether it arrives."""
    return WebhookBody(type=TEST, timestamp=at, data=PingData(webhook_id=webhook_id, tenant=tenant))


def _output(ended: Completed) -> tuple[Any, int | None]:
    """The output, or how large it is."""
    if ended.blob is not None:
        return None, ended.bytes
    size = len(json.dumps(ended.output, ensure_ascii=False).encode())
    return (ended.output, None) if size <= MAX_TOLD_BYTES else (None, size)

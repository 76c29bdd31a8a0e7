"""What a NATS client submits: a task or a workflow, with the id that it is to have where the client names one."""

from dataclasses import dataclass
from typing import Any

from actors.workflow.creation import asked
from bus.codec import decode, unpack
from schemas.errors import InvalidRequest
from schemas.task import TaskRequest
from schemas.workflow import WorkflowRequest


class TaskSubmission(TaskRequest):
    """A task, as a NATS client submits it."""

    task_id: str | None = None
    """Its id, of letters, digits, `_` and `-`; sent again, it finds the first."""


class WorkflowSubmission(WorkflowRequest):
    """A workflow, as a NATS client submits it. `submission_of` reads it in two parts, as all doors read workflows."""

    workflow_id: str | None = None
    """Its id, as a task's."""


@dataclass(frozen=True)
class Submission:
    request: TaskRequest | WorkflowRequest
    name: str | None
    """The id of what comes of it."""


def submission_of(data: bytes) -> Submission:
    """Read a submission; one with a `template` or a `definition` is a workflow.

    Raises:
        DecodeError: the bytes are no msgpack, or no task.
        InvalidWorkflow, InvalidRequest: they are no workflow that can be used.
    """
    said = unpack(data, "submission")
    if said.keys().isdisjoint(("template", "definition")):
        task = decode(data, TaskSubmission)
        return Submission(TaskRequest.model_validate(task.model_dump(exclude={"task_id"})), task.task_id)
    name: Any = said.pop("workflow_id", None)
    if not isinstance(name, str | None):
        raise InvalidRequest("workflow_id", "must be text")
    return Submission(asked(said), name)

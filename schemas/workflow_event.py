"""What happened to a workflow, in order, and what is asked of its owner."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from schemas.budget import Budget
from schemas.message import Message, Moment
from schemas.problem import Problem
from schemas.workflow import Origin, Parent, UnitStatus, WorkflowDefinition, WorkflowStatus


class Change(Message):
    """A task, or one item of a mapped task, has come into another state."""

    task: str
    item: int | None = None
    to: UnitStatus
    attempt: int | None = None
    """The attempt that begins or has ended; None: the one that was."""
    serial: int | None = None
    """Counts the keys under which it was begun: another only once what became of the last is known."""
    size: int | None = None
    """How many items the task has; said once, before the first begins."""
    output: Any = None
    blob: str | None = None
    """The name of an output that lies in the object store."""
    bytes: int | None = None
    """Of that output, encoded."""
    problem: Problem | None = None
    unsure: bool | None = None
    """Whether an attempt that failed may have had its effect."""
    due_at: Moment | None = None
    ref: str | None = None
    """The agent task, or the workflow, that does it."""
    served_by: str | None = None
    cost_usd: float | None = None
    unpriced: bool | None = None
    """Whether it cost something that nobody knows."""
    once: bool | None = None
    """Whether another attempt under the same key has no second effect."""


class _Event(Message):
    version: Literal[1] = 1
    event_id: str
    workflow_id: str
    tenant: str
    seq: int = Field(ge=1)
    at: Moment
    status: WorkflowStatus
    """After this event."""
    percentage: float
    """Likewise."""
    changes: tuple[Change, ...] = ()
    command: str | None = None
    """The command that this answers, by its id; one that was sent twice has one effect."""


class Created(_Event):
    """It is on disk, with the definition that it keeps."""

    event: Literal["created"] = "created"
    definition: WorkflowDefinition
    template: str | None = None
    inputs: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    body_sha256: str
    key: str | None = None
    """The API key that asked, by its id."""
    key_budget: Budget | None = None
    root: str | None = None
    """The workflow whose budget pays, where it is another: the one that this is, in the end, a task of."""
    root_budget: Budget | None = None
    """What that may spend."""
    trace: str | None = None
    parent: Parent | None = None
    forked_from: Origin | None = None
    """Its first `changes` are then what had been done."""


class Started(_Event):
    event: Literal["started"] = "started"
    owner: str
    deadline_at: Moment


class Claimed(_Event):
    """Another engine owns it from here on; whoever sees a newer claim than its own stops for good."""

    event: Literal["claimed"] = "claimed"
    owner: str


class Advanced(_Event):
    """Tasks have ended, begun, or come to wait; what happened while an event was being written shares the next."""

    event: Literal["advanced"] = "advanced"


class Signalled(_Event):
    """A signal came. One that no task waits for yet is kept for the one that will."""

    event: Literal["signalled"] = "signalled"
    name: str
    payload: Any = None


class Paused(_Event):
    event: Literal["paused"] = "paused"


class Resumed(_Event):
    event: Literal["resumed"] = "resumed"


class Failing(_Event):
    """It cannot be completed: what runs is brought to an end, and what was done is undone."""

    event: Literal["failing"] = "failing"
    problem: Problem


class Cancelling(_Event):
    event: Literal["cancelling"] = "cancelling"
    reason: str
    compensate: bool = True
    owner: str


class Retried(_Event):
    """One that had ended goes on: tasks in `changes` begin anew."""

    event: Literal["retried"] = "retried"
    owner: str
    deadline_at: Moment


class _Ended(_Event):
    compensated: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    cost_usd: float | None = None


class Completed(_Ended):
    event: Literal["completed"] = "completed"
    output: Any = None
    blob: str | None = None
    bytes: int | None = None


class Failed(_Ended):
    event: Literal["failed"] = "failed"
    problem: Problem


class Cancelled(_Ended):
    event: Literal["cancelled"] = "cancelled"
    problem: Problem


WorkflowEvent = Annotated[
    Created
    | Started
    | Claimed
    | Advanced
    | Signalled
    | Paused
    | Resumed
    | Failing
    | Cancelling
    | Retried
    | Completed
    | Failed
    | Cancelled,
    Field(discriminator="event"),
]
WORKFLOW_EVENT: TypeAdapter[WorkflowEvent] = TypeAdapter(WorkflowEvent)


class WorkflowCommand(Message):
    """Asks the owner of a workflow for something; kept until that is done."""

    kind: Literal["start", "signal", "pause", "resume", "cancel", "retry", "undo", "wake"]
    """`undo` is for the owner of the workflow that this one is a task of; `wake` says that something may be due."""
    version: Literal[1] = 1
    command: str
    """Its id."""
    name: str | None = None
    """Of a signal."""
    payload: Any = None
    reason: str = Field(default="cancelled by its caller", max_length=500)
    compensate: bool = True
    """Of a cancel: whether what was done is undone."""
    task: str | None = None
    """Of a retry: from this task on; left out: from those that failed."""

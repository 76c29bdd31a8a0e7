"""What happened to a task, in order. Status, progress and receipt are projections of these."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from schemas.budget import Budget
from schemas.message import Message, Moment
from schemas.task import Shape, Task, TaskRequest, Tier
from schemas.team import Contribution, Decision, Step

TERMINAL: frozenset[str] = frozenset({"completed", "failed", "cancelled"})


class _Event(Message):
    version: Literal[1] = 1
    event_id: str
    """Random; lets a writer that lost its acknowledgement recognise its own event."""
    task_id: str
    tenant: str
    seq: int = Field(ge=1)
    """Counts this task's events from 1, without gaps."""
    at: Moment


class Accepted(_Event):
    """The task is on disk. This event is the work item too: there is no second write to lose."""

    event: Literal["accepted"] = "accepted"
    request: TaskRequest
    body_sha256: str
    deadline_at: Moment
    trace: str | None = None
    """W3C `traceparent` of whoever asked."""
    key: str | None = None
    """The API key that asked, by its id; none did."""
    key_budget: Budget | None = None
    """What that key may spend in a day; it travels with the task, so that gateways need not look it up."""
    workflow: str | None = None
    """The workflow that it is a task of, and whose budget pays too."""
    workflow_budget: Budget | None = None
    """What all tasks of that may spend together."""


class Claimed(_Event):
    """A coordinator owns the task from here on; whoever sees a newer claim than its own stops for good."""

    event: Literal["claimed"] = "claimed"
    epoch: int = Field(ge=1)
    """How often the work item has been delivered."""
    owner: str
    tier: Tier
    shape: Shape
    agents: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    features: dict[str, Any] = {}


class Dispatched(_Event):
    """A phase of a team begins: who is asked what."""

    event: Literal["dispatched"] = "dispatched"
    epoch: int = Field(ge=1)
    phase: str
    steps: tuple[Step, ...]


class Answered(_Event):
    """What came of steps; those that ended while the last event was being written share the next."""

    event: Literal["answered"] = "answered"
    epoch: int = Field(ge=1)
    contributions: tuple[Contribution, ...]


class Decided(_Event):
    """The coordinator decided something that a later owner has to keep to."""

    event: Literal["decided"] = "decided"
    epoch: int = Field(ge=1)
    decisions: tuple[Decision, ...]


class _Ended(_Event):
    epoch: int = Field(ge=0)
    """0 when the task ended before anybody claimed it."""
    task: Task
    """The whole task as it ended."""


class Completed(_Ended):
    event: Literal["completed"] = "completed"


class Failed(_Ended):
    event: Literal["failed"] = "failed"


class CancelledEvent(_Ended):
    event: Literal["cancelled"] = "cancelled"


TaskEvent = Annotated[
    Accepted | Claimed | Dispatched | Answered | Decided | Completed | Failed | CancelledEvent,
    Field(discriminator="event"),
]
Ended = Completed | Failed | CancelledEvent
TASK_EVENT: TypeAdapter[TaskEvent] = TypeAdapter(TaskEvent)


class Command(Message):
    """Asks the owner of a task for something; sent on the task's command subject."""

    kind: Literal["task.cancel"] = "task.cancel"
    version: Literal[1] = 1
    reason: str = Field(default="cancelled by its caller", max_length=500)


class Alert(Message):
    """Something a person should look at. Levels: 1 notice, 2 warning, 3 error, 4 emergency."""

    level: Literal[1, 2, 3, 4]
    source: str
    title: str
    detail: str
    at: Moment


class DeadLetter(Message):
    """A message that could not be used, kept whole with the reason."""

    subject: str
    reason: str
    data: bytes
    headers: dict[str, str] = {}
    at: Moment

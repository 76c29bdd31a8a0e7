"""What doors take and give of workflows, beside what a workflow itself is."""

from typing import Any, Literal

from pydantic import Field

from schemas.message import Message, Strict, Text
from schemas.workflow import Id
from schemas.workflow_event import WorkflowEvent


class CancelRequest(Strict):
    reason: Text = Field(default="cancelled by its caller", min_length=1, max_length=500)
    compensate: bool = True
    """Whether what was done is undone."""


class RetryRequest(Strict):
    task: Id | None = None
    """From this task on, all that follows it included; left out: what failed, was cancelled or undone."""


class WorkflowHistory(Message):
    """Events of a workflow, oldest first."""

    events: tuple[WorkflowEvent, ...]
    next: int | None = None
    """`after` of the page that follows this one; absent on the last."""


class CheckedWorkflow(Message):
    """A workflow that could run."""

    valid: Literal[True] = True
    name: str
    tasks: dict[str, tuple[str, ...]]
    """Those that each task needs."""
    order: tuple[str, ...]
    """All tasks, each after those that it needs."""
    inputs: dict[str, Any]
    """With what is left out."""

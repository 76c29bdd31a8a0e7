"""A workflow as data: tasks, what each needs of others, what undoes it; and how a started one stands."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from schemas.message import Message, Moment, PlainMap, Strict, Text
from schemas.problem import Problem
from schemas.task import DEFAULT_TIMEOUT_S, Name, Tier

MAX_TASKS = 1000
"""In one definition."""
MAX_ITEMS = 10_000
"""Of one map."""
ITEMS_WITHOUT_LIMIT = 1000
"""A map over more than so many must say how many run at once."""
MAX_OUTPUT_BYTES = 16 * 1000 * 1000
"""Of one task, encoded."""
MAX_DEFINITION_BYTES = 1_000_000
MAX_NESTING = 8
"""Workflows within workflows."""
RETRY_WITHIN_S = 29 * 86400.0
"""One that has ended may be made to go on for so long, where its events are kept thirty days: see `retry_within_s`."""
WEEK_S = 7 * 86400.0
YEAR_S = 365 * 86400.0


def retry_within_s(keep_s: float) -> float:
    """For how long one that has ended may be made to go on, where its events are removed after `keep_s`."""
    return keep_s - 86400.0


WorkflowStatus = Literal["pending", "running", "waiting", "compensating", "completed", "failed", "cancelled"]
"""`waiting`: nothing is being worked on; it goes on at a signal, at a moment, or when it is resumed."""
UnitStatus = Literal[
    "pending",
    "running",
    "waiting",
    "retrying",
    "completed",
    "failed",
    "skipped",
    "cancelled",
    "compensating",
    "compensated",
    "undo_failed",
]
"""Of a task, or of one item of a mapped task."""
SETTLED: frozenset[UnitStatus] = frozenset(
    {"completed", "failed", "skipped", "cancelled", "compensated", "undo_failed"}
)
ENDED: frozenset[WorkflowStatus] = frozenset({"completed", "failed", "cancelled"})

Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""Of a task: it stands in references as it is."""
Expression = Annotated[Text, Field(min_length=1, max_length=4000)]
"""JMESPath over `inputs`, `tasks`, `workflow` and, in a mapped task, `item` and `index`."""
Templated = Annotated[Text, Field(max_length=256 * 1024)]
"""Text with `${expression}` in it."""


class Retry(Strict):
    """When a task is tried again: exponential backoff with jitter."""

    attempts: int = Field(default=3, ge=1, le=100)
    """The first included."""
    delay_s: float = Field(default=1.0, ge=0, le=86400, allow_inf_nan=False)
    """Seconds before the second attempt; before each further one `factor` times as long."""
    factor: float = Field(default=2.0, ge=1, le=100, allow_inf_nan=False)
    max_delay_s: float = Field(default=60.0, ge=0, le=86400, allow_inf_nan=False)
    jitter: float = Field(default=0.2, ge=0, le=1, allow_inf_nan=False)
    """The delay is drawn from so far below it to as far above."""
    on: Literal["retryable", "any"] | tuple[Text, ...] = "retryable"
    """Problems that are tried again: those that say so themselves, any, or these codes."""


class AgentWork(Strict):
    """A task for an agent, as the coordinator takes it."""

    prompt: Templated | None = None
    agent: Name | None = None
    service: Name | None = None
    tier: Tier | None = None
    agents: int | None = Field(default=None, ge=1, le=10_000)
    capabilities: tuple[Annotated[Text, Field(min_length=1, max_length=64)], ...] = Field(default=(), max_length=32)
    min_quality: float | None = Field(default=None, ge=0, le=1)
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    json_schema: PlainMap | None = None


_OF_AGENTS = frozenset(AgentWork.model_fields) - {"prompt"}


class Work(AgentWork):
    """What is done: exactly one of `prompt`, `actor` and `function`."""

    actor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,64}$")] | None = None
    """`<actor>.<verb>`: an endpoint of an actor."""
    function: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] | None = None
    """A function that the engine's process knows by this name."""
    inputs: PlainMap = {}
    """Given to the actor or function; texts in it may hold `${expression}`."""
    otherwise: AgentWork | None = None
    """What an agent does where the actor is not there; the task's output then says so."""
    timeout_s: float | None = Field(default=None, gt=0, le=YEAR_S, allow_inf_nan=False)
    """Seconds of one attempt; of a wait for a signal, of the whole. Left out: ten minutes; a signal has no limit."""
    retry: Retry = Retry()

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in ("prompt", "actor", "function") if getattr(self, kind) is not None)

    def _check(self) -> None:
        if self.otherwise is not None and (self.actor is None or self.otherwise.prompt is None):
            raise ValueError("otherwise belongs to an actor, and needs a prompt")
        if self.prompt is not None:
            return
        new = AgentWork.model_fields
        said = sorted(_OF_AGENTS & self.model_fields_set)
        if stray := [name for name in said if getattr(self, name) != new[name].default]:
            raise ValueError(f"{', '.join(stray)} belong to a prompt, and there is none")


class Compensation(Work):
    """What undoes a task that was completed. It may refer to the task's own output as `output`."""

    retry: Retry = Retry(attempts=5)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        self._check()
        if len(self.kinds) != 1:
            raise ValueError("give exactly one of prompt, actor and function")
        return self


class Map(Strict):
    """The task is done once for each item of a list."""

    over: Expression
    """`${expression}` of a list, or the expression alone."""
    limit: int | None = Field(default=None, ge=1, le=MAX_ITEMS)
    """Items at once; left out, as many as the workflow lets run."""


class TaskDefinition(Work):
    """One task: what is done, when, and what undoes it.

    Exactly one of `prompt`, `actor`, `function`, `signal`, `approval`, `wait_s`, `wait_until` and `workflow`.
    """

    title: Annotated[Text, Field(max_length=200)] = ""
    signal: Name | None = None
    """Waits for a signal of this name; its payload is the output."""
    approval: Templated | None = None
    """Asks a person this, and waits for a signal of the task's name whose payload says `approved: true`."""
    wait_s: float | Expression | None = None
    """Seconds to wait, or `${expression}` of them."""
    wait_until: Expression | None = None
    """A moment to wait for, as RFC 3339, or `${expression}` of one."""
    workflow: "Name | WorkflowDefinition | None" = None
    """Another workflow: a template's name, or its definition; `inputs` are its inputs, its output is the output."""
    depends_on: tuple[Id, ...] = ()
    """Beside those that its expressions refer to."""
    when: Expression | None = None
    """Skipped where this is false. Tasks that depend on a skipped one run; they may ask for its status."""
    map: Map | None = None
    allow_failure: bool = False
    """Whether the workflow goes on where this fails; the output is then null."""
    compensation: Compensation | None = None

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        every = ("prompt", "actor", "function", "signal", "approval", "wait_s", "wait_until", "workflow")
        return tuple(kind for kind in every if getattr(self, kind) is not None)

    @cached_property
    def kind(self) -> str:
        return self.kinds[0]

    @property
    def limit_s(self) -> float | None:
        """Seconds of one attempt."""
        if self.timeout_s is not None or self.kind not in ("prompt", "actor", "function"):
            return self.timeout_s
        return DEFAULT_TIMEOUT_S

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        self._check()
        if len(self.kinds) != 1:
            given = f"this has {' and '.join(self.kinds)}" if self.kinds else "this has none"
            raise ValueError(
                "a task has exactly one of prompt, actor, function, signal, approval, wait_s, wait_until and workflow; "
                f"{given}"
            )
        return self


class WorkflowDefinition(Strict):
    """A directed acyclic graph of tasks."""

    name: Name
    description: Annotated[Text, Field(max_length=4000)] = ""
    inputs: dict[Name, PlainMap] = Field(default={}, max_length=200)
    """A JSON Schema for each input; one without `default` must be given."""
    tasks: dict[Id, TaskDefinition] = Field(min_length=1, max_length=MAX_TASKS)
    output: Any = None
    """What it gives back; texts in it may hold `${expression}`. Left out: each task's output by its name."""
    max_parallel_tasks: int = Field(default=10, ge=1, le=10_000)
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """What all its tasks and compensations may cost together."""
    timeout_s: float = Field(default=WEEK_S, gt=0, le=YEAR_S, allow_inf_nan=False)
    """Seconds from its start until it fails with `deadline_exceeded`; compensations still run then."""
    compensate: bool = True
    """Whether what was completed is undone when it fails."""

    def within(self) -> "Iterator[WorkflowDefinition]":
        """This definition and those of workflows within it."""
        yield self
        for task in self.tasks.values():
            if isinstance(task.workflow, WorkflowDefinition):
                yield from task.workflow.within()


TaskDefinition.model_rebuild()


class WorkflowRequest(Strict):
    """What a caller sends to have a workflow."""

    template: Name | None = None
    definition: WorkflowDefinition | None = None
    inputs: PlainMap = {}
    start: bool = True
    """Left false, it waits to be started."""
    max_parallel_tasks: int | None = Field(default=None, ge=1, le=10_000)
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    timeout_s: float | None = Field(default=None, gt=0, le=YEAR_S, allow_inf_nan=False)
    metadata: PlainMap = Field(default={}, max_length=64)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.template is None) == (self.definition is None):
            raise ValueError("give exactly one of template and definition")
        return self


class ForkRequest(Strict):
    """Another workflow that begins as this one stood after one of its events."""

    after: int = Field(ge=1)
    """The event's number."""
    inputs: PlainMap = {}
    """In place of the inputs of the same names; what is done already stays as it is."""
    start: bool = True


# -- how one stands -----------------------------------------------------------------------------------------------


class Attempted(Message):
    """One task, or one item of a mapped task."""

    status: UnitStatus
    attempt: int = 0
    """How often it has been tried since it was last begun anew."""
    output: Any = None
    output_bytes: int | None = None
    """Of an output that is too large to be shown here; `…/outputs/<task>` has it."""
    problem: Problem | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None
    due_at: Moment | None = None
    """When it is tried again, or its wait ends."""
    served_by: str | None = None
    """Who did it: `agent`, the actor's name, `function` …; where another did it than the definition names, why."""
    task_id: str | None = None
    """The agent task, or the workflow, that does it."""
    cost_usd: float | None = None
    once: bool | None = None
    """Whether its effect cannot be repeated by another attempt at the same work; null: it has none."""


class TaskView(Attempted):
    title: str = ""
    kind: str
    depends_on: tuple[str, ...] = ()
    items: tuple[Attempted, ...] = ()
    """Of a mapped task, in the list's order; those that have not begun are left out at the end."""
    size: int | None = None
    """How many items it has, once that is known."""
    settled: int = 0
    """Of these, how many are over."""
    waits_for: str | None = None
    """The signal that it waits for."""
    asks: str | None = None
    """Of an approval, what is asked, with the values of its expressions as far as they are small enough to be shown."""


class WorkflowProgress(Message):
    percentage: float = Field(ge=0, le=100)
    """Of the tasks that are settled, each counting the same, a mapped one by its items."""
    total: int
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    running: int = 0
    """Retries that wait for their moment included."""
    waiting: int = 0
    """For a signal or a moment."""
    pending: int = 0


class WorkflowLinks(Message):
    self: str
    events: str


class WorkflowAccepted(Message):
    workflow_id: str
    name: str
    status: WorkflowStatus
    links: WorkflowLinks


class Parent(Message):
    """The task of another workflow that this one does."""

    workflow_id: str
    task: str
    item: int | None = None


class Origin(Message):
    """Where a fork began."""

    workflow_id: str
    after: int


class Workflow(Message):
    """A workflow as everybody outside sees it: a projection of its events."""

    workflow_id: str
    name: str
    template: str | None = None
    status: WorkflowStatus
    paused: bool = False
    progress: WorkflowProgress
    tasks: dict[str, TaskView]
    inputs: dict[str, Any] = {}
    output: Any = None
    output_bytes: int | None = None
    """Of an output that is too large to be shown here; `…/output` has it."""
    error: Problem | None = None
    compensated: tuple[str, ...] = ()
    """Tasks that were undone, in the order in which that was done."""
    undone: tuple[str, ...] = ()
    """Tasks whose compensation failed for good: what they did still stands."""
    created_at: Moment
    started_at: Moment | None = None
    finished_at: Moment | None = None
    deadline_at: Moment | None = None
    cost_usd: float | None = None
    """Of all agent tasks so far; null: that of one is unknown."""
    parent: Parent | None = None
    forked_from: Origin | None = None
    metadata: dict[str, Any] = {}
    key: str | None = None
    seq: int
    """The last event that this tells."""

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class WorkflowSummary(Message):
    """One line of a list of workflows."""

    workflow_id: str
    name: str
    status: WorkflowStatus
    percentage: float
    created_at: Moment
    finished_at: Moment | None = None
    cost_usd: float | None = None


class WorkflowList(Message):
    workflows: tuple[WorkflowSummary, ...]
    next: str | None = None
    """Cursor for the page after this one; absent on the last."""


class TemplateSummary(Message):
    name: str
    description: str
    inputs: dict[str, Any]
    tasks: tuple[str, ...]


class TemplateList(Message):
    templates: tuple[TemplateSummary, ...]


# -- between the engine and actors ----------------------------------------------------------------------------------


class Job(Message):
    """A task of a workflow, as an actor's endpoint is asked for it.

    Asked twice under one `key`, an endpoint does it once and answers the same.
    """

    kind: Literal["workflow.job"] = "workflow.job"
    version: Literal[1] = 1
    tenant: str
    workflow_id: str
    task: str
    item: int | None = None
    attempt: int
    key: str
    inputs: dict[str, Any] = {}
    undoes: bool = False
    """Whether this is the compensation of the task."""
    deadline_at: Moment


class Done(Message):
    """What came of a job."""

    kind: Literal["workflow.done"] = "workflow.done"
    version: Literal[1] = 1
    output: Any = None
    cost_usd: float | None = None
    once: bool = False
    """Whether the key is recorded with the effect, so that asking again has no second one."""

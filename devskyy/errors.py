"""What the SDK raises, beside its caller's own mistakes.

    DevSkyyError                  (schemas.errors)
    ├── ApiError                  the platform refused; carries its problem
    │   ├── InvalidTask           400, 413, 422: fields that break rules, each named; nothing was started
    │   ├── KeyReused             the idempotency key belongs to a request with another body
    │   ├── Unauthorized          401, 403
    │   ├── NoSuchTask            404: there is no such task, workflow, key …
    │   ├── Conflict              409: not as it stands; says how that is
    │   ├── RateLimited           429
    │   └── ServerFailed          5xx
    ├── PlatformNotRunning        nobody answers at the address
    ├── BadReply                  somebody answers who is no DevSkyy platform, or a broken one
    ├── StillRunning              the caller's patience ended before the task or workflow did
    ├── TaskEnded                 a task ended without an answer; carries the task, receipt included
    │   ├── TaskFailed
    │   └── TaskCancelled
    └── WorkflowEnded             a workflow ended without being completed; carries it
        ├── WorkflowFailed
        └── WorkflowCancelled

Each keeps its constructor's arguments in `args`, so that it crosses processes as itself.
"""

from typing import TYPE_CHECKING

from schemas.errors import DevSkyyError
from schemas.problem import Problem
from schemas.task import Task

if TYPE_CHECKING:
    from schemas.workflow import Workflow

__all__ = [
    "ApiError",
    "BadReply",
    "Conflict",
    "DevSkyyError",
    "InvalidTask",
    "KeyReused",
    "NoSuchTask",
    "PlatformNotRunning",
    "RateLimited",
    "ServerFailed",
    "StillRunning",
    "TaskCancelled",
    "TaskEnded",
    "TaskFailed",
    "Unauthorized",
    "WorkflowCancelled",
    "WorkflowEnded",
    "WorkflowFailed",
    "api_error",
]


class ApiError(DevSkyyError):
    """The platform refused. `problem` is what it said (RFC 9457); `code`, `title` and the rest are that problem's."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem
        self.code, self.title = problem.code, problem.title  # type: ignore[misc]
        self.http_status, self.retryable = problem.status, problem.retryable  # type: ignore[misc]

    def __str__(self) -> str:
        return self.problem.detail or self.problem.title


class InvalidTask(ApiError):
    """`problem.errors` names each field that breaks a rule."""


class KeyReused(ApiError):
    pass


class Unauthorized(ApiError):
    pass


class NoSuchTask(ApiError):
    pass


class Conflict(ApiError):
    pass


class RateLimited(ApiError):
    pass


class ServerFailed(ApiError):
    pass


def api_error(problem: Problem) -> ApiError:
    """The problem as the error that callers catch."""
    kind: type[ApiError]
    match problem.status:
        case _ if problem.code == "idempotency_key_reused":
            kind = KeyReused
        case 400 | 413 | 422:
            kind = InvalidTask
        case 401 | 403:
            kind = Unauthorized
        case 404:
            kind = NoSuchTask
        case 409:
            kind = Conflict
        case 429:
            kind = RateLimited
        case status if status >= 500:
            kind = ServerFailed
        case _:
            kind = ApiError
    return kind(problem)


class PlatformNotRunning(DevSkyyError):
    """Nobody answers at the address; trying again was in vain."""

    code = "not_running"
    title = "DevSkyy is not running"
    http_status = 503
    retryable = True
    remedy = "start one with `devskyy up`, or set DEVSKYY_URL to the address of one that runs"

    def __init__(self, url: str, reason: str = "") -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        because = f" ({self.reason})" if self.reason else ""
        return f"no platform answers at {self.url}{because}\n  remedy: {self.remedy}"


class BadReply(DevSkyyError):
    """An answer that cannot be read."""

    code = "bad_reply"
    title = "The answer is not one of a DevSkyy platform"
    http_status = 502

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url} answered what no DevSkyy platform of this version would: {self.reason}"


class StillRunning(DevSkyyError):
    """The task or workflow goes on; waiting for its id, or following its events, picks it up again."""

    code = "still_running"
    title = "It has not ended yet"
    http_status = 504
    retryable = True

    def __init__(self, task_id: str, timeout_s: float, kind: str = "task") -> None:
        super().__init__(task_id, timeout_s, kind)
        self.task_id, self.timeout_s, self.kind = task_id, timeout_s, kind

    def __str__(self) -> str:
        return f"{self.kind} {self.task_id} had not ended after {self.timeout_s:g} s; it goes on"


class TaskEnded(DevSkyyError):
    """A task ended without an answer. `task` is the whole of it: what was tried, and what was spent."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.task = task

    def __str__(self) -> str:
        why = self.task.error.detail if self.task.error else "no reason was recorded"
        return f"task {self.task.task_id} {self.task.status}: {why}"


class TaskFailed(TaskEnded):
    code = "task_failed"
    title = "The task failed"


class TaskCancelled(TaskEnded):
    code = "cancelled"
    title = "The task was cancelled"
    http_status = 409


class WorkflowEnded(DevSkyyError):
    """A workflow ended without being completed. `workflow` is the whole of it: what failed, what was undone."""

    def __init__(self, workflow: "Workflow") -> None:
        super().__init__(workflow)
        self.workflow = workflow

    def __str__(self) -> str:
        why = self.workflow.error.detail if self.workflow.error else "no reason was recorded"
        return f"workflow {self.workflow.workflow_id} {self.workflow.status}: {why}"


class WorkflowFailed(WorkflowEnded):
    code = "workflow_failed"
    title = "The workflow failed"


class WorkflowCancelled(WorkflowEnded):
    code = "cancelled"
    title = "The workflow was cancelled"
    http_status = 409

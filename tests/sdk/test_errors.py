import pickle

import pytest

import devskyy.errors
from devskyy.errors import (
    ApiError,
    BadReply,
    DevSkyyError,
    PlatformNotRunning,
    StillRunning,
    TaskEnded,
    WorkflowEnded,
    api_error,
)
from schemas.message import now
from schemas.problem import FieldError, Problem
from schemas.task import Task
from schemas.workflow import Workflow, WorkflowProgress

PROBLEM = Problem(
    type="urn:devskyy:problem:invalid-request",
    title="The request cannot be used",
    status=422,
    detail="tier: unknown",
    errors=(FieldError(field="tier", message="unknown"),),
    retryable=False,
)
TASK = Task(task_id="t1", status="failed", prompt="hello", created_at=now(), error=PROBLEM)
WORKFLOW = Workflow(
    workflow_id="w1",
    name="launch",
    status="failed",
    progress=WorkflowProgress(percentage=50, total=2),
    tasks={},
    created_at=now(),
    error=PROBLEM,
    seq=3,
)

CLASSES = [kind for kind in vars(devskyy.errors).values() if isinstance(kind, type) and issubclass(kind, DevSkyyError)]


def example(kind: type[DevSkyyError]) -> DevSkyyError:
    if issubclass(kind, ApiError):
        return kind(PROBLEM)
    if issubclass(kind, TaskEnded):
        return kind(TASK)
    if issubclass(kind, WorkflowEnded):
        return kind(WORKFLOW)
    arguments = {
        PlatformNotRunning: ("http://x", "connection refused"),
        BadReply: ("http://x", "HTTP 200 with text/html"),
        StillRunning: ("t1", 2.5),
    }
    return kind(*arguments.get(kind, ("something",)))


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_crosses_processes_as_itself(kind: type[DevSkyyError]) -> None:
    # Given an error
    error = example(kind)
    # When it is pickled and read back
    copy = pickle.loads(pickle.dumps(error))
    # Then it is the same
    assert type(copy) is kind
    assert (str(copy), copy.args, copy.code, copy.http_status) == (
        str(error),
        error.args,
        error.code,
        error.http_status,
    )


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "InvalidTask"),
        (401, "Unauthorized"),
        (403, "Unauthorized"),
        (404, "NoSuchTask"),
        (409, "Conflict"),
        (413, "InvalidTask"),
        (422, "InvalidTask"),
        (429, "RateLimited"),
        (500, "ServerFailed"),
        (503, "ServerFailed"),
    ],
)
def test_a_problem_becomes_the_error_of_its_status(status: int, name: str) -> None:
    # Given a problem
    problem = PROBLEM.model_copy(update={"status": status, "retryable": status >= 500})
    # When it becomes an error
    error = api_error(problem)
    # Then it has the class that callers catch, and the problem's own code and title
    assert type(error).__name__ == name
    assert (error.code, error.title, error.http_status) == ("invalid_request", PROBLEM.title, status)
    assert error.retryable is (status >= 500)


def test_all_names_in_the_tree_are_exported_in_order() -> None:
    # Given the module
    # When its public names are read
    # Then every error is among them, in order
    assert devskyy.errors.__all__ == sorted(devskyy.errors.__all__)
    assert {kind.__name__ for kind in CLASSES} <= set(devskyy.errors.__all__)

"""DevSkyy for programs: hand a task to a running platform, and get its answer with an honest receipt.

    from devskyy import Client

    with Client() as client:
        task = client.run("Name three colours of silk", max_cost_usd=0.01)
        print(task.answer, task.receipt)

`AsyncClient` has the same verbs to await. Importing this package costs little: what a name needs is imported when the
name is first used, and neither the server's nor the command line's libraries are ever needed here.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devskyy.client import AsyncClient, Client
    from devskyy.errors import (
        ApiError,
        BadReply,
        Conflict,
        DevSkyyError,
        InvalidTask,
        KeyReused,
        NoSuchTask,
        PlatformNotRunning,
        RateLimited,
        ServerFailed,
        StillRunning,
        TaskCancelled,
        TaskEnded,
        TaskFailed,
        Unauthorized,
        WorkflowCancelled,
        WorkflowEnded,
        WorkflowFailed,
    )
    from devskyy.wire import TaskOptions
    from devskyy.workflow_wire import WorkflowOptions, WorkflowSource
    from devskyy.workflows import WorkflowBuilder
    from schemas.task import Input, Task, TaskAccepted
    from schemas.workflow import Workflow, WorkflowAccepted, WorkflowDefinition

    __version__: str

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadReply",
    "Client",
    "Conflict",
    "DevSkyyError",
    "Input",
    "InvalidTask",
    "KeyReused",
    "NoSuchTask",
    "PlatformNotRunning",
    "RateLimited",
    "ServerFailed",
    "StillRunning",
    "Task",
    "TaskAccepted",
    "TaskCancelled",
    "TaskEnded",
    "TaskFailed",
    "TaskOptions",
    "Unauthorized",
    "Workflow",
    "WorkflowAccepted",
    "WorkflowBuilder",
    "WorkflowCancelled",
    "WorkflowDefinition",
    "WorkflowEnded",
    "WorkflowFailed",
    "WorkflowOptions",
    "WorkflowSource",
    "__version__",
]

_HOMES = {
    "AsyncClient": "devskyy.client",
    "Client": "devskyy.client",
    "Input": "schemas.task",
    "Task": "schemas.task",
    "TaskAccepted": "schemas.task",
    "TaskOptions": "devskyy.wire",
    "Workflow": "schemas.workflow",
    "WorkflowAccepted": "schemas.workflow",
    "WorkflowBuilder": "devskyy.workflows",
    "WorkflowDefinition": "schemas.workflow",
    "WorkflowOptions": "devskyy.workflow_wire",
    "WorkflowSource": "devskyy.workflow_wire",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in __all__:
        value = getattr(importlib.import_module(_HOMES.get(name, "devskyy.errors")), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("devskyy")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+source"

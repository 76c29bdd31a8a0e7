"""Events and commands of a workflow that does nothing in particular."""

from typing import Any

from schemas.message import now
from schemas.workflow import WorkflowDefinition
from schemas.workflow_event import Advanced, Completed, Created, Signalled, WorkflowCommand

TENANT = "default"
DEFINITION = WorkflowDefinition.model_validate({"name": "launch", "tasks": {"draft": {"prompt": "A line."}}})


def fields(seq: int, workflow_id: str = "w", **more: Any) -> dict[str, Any]:
    """What every event has."""
    about = {"event_id": f"{workflow_id}-{seq}", "workflow_id": workflow_id, "tenant": TENANT, "seq": seq, "at": now()}
    return {**about, "status": "running", "percentage": 0.0, **more}


def created(workflow_id: str = "w", **more: Any) -> Created:
    return Created(**fields(1, workflow_id, **{"definition": DEFINITION, "body_sha256": "0" * 64, **more}))


def advanced(seq: int, workflow_id: str = "w", **more: Any) -> Advanced:
    return Advanced(**fields(seq, workflow_id, **more))


def signalled(seq: int, payload: Any, workflow_id: str = "w") -> Signalled:
    return Signalled(**fields(seq, workflow_id, name="go", payload=payload))


def ended(seq: int, workflow_id: str = "w") -> Completed:
    return Completed(**fields(seq, workflow_id, status="completed", percentage=100.0))


def command(name: str = "c1", **more: Any) -> WorkflowCommand:
    return WorkflowCommand.model_validate({"kind": "signal", "command": name, "name": "go", **more})

"""A workflow as people and programs outside see it."""

import json
from collections import Counter
from typing import Any

from actors.workflow.expressions import ExpressionError, resolve
from actors.workflow.seen import context, needed_for
from actors.workflow.state import State, Unit
from schemas.workflow import Attempted, TaskView, UnitStatus, Workflow, WorkflowProgress

_RUNNING: tuple[UnitStatus, ...] = ("running", "retrying", "compensating")
_DONE: tuple[UnitStatus, ...] = ("completed", "compensated", "undo_failed")
SHOWN_ITEMS = 1000
"""Items of a mapped task that are shown one by one."""


def view_of(state: State) -> Workflow:
    """All that is known of it now."""
    created = state.created
    return Workflow(
        workflow_id=created.workflow_id,
        name=state.definition.name,
        template=created.template,
        status=state.status,
        paused=state.paused,
        progress=progress_of(state),
        tasks={name: _task(state, name) for name in state.definition.tasks},
        inputs=created.inputs,
        output=state.output,
        output_bytes=state.bytes,
        error=state.problem if state.ended is not None or state.problem is not None else None,
        compensated=tuple(state.compensated),
        undone=tuple(state.undone),
        created_at=created.at,
        started_at=state.started_at,
        finished_at=state.finished_at,
        deadline_at=state.deadline_at,
        cost_usd=None if state.cost_unknown else state.cost_usd,
        parent=created.parent,
        forked_from=created.forked_from,
        metadata=created.metadata,
        key=created.key,
        seq=state.seq,
    )


def progress_of(state: State) -> WorkflowProgress:
    """How far it is: tasks by what has become of them."""
    counts = Counter(whole.status for whole in state.units.values())
    return WorkflowProgress(
        percentage=state.percentage,
        total=len(state.units),
        completed=sum(counts[status] for status in _DONE),
        failed=counts["failed"] + counts["cancelled"],
        skipped=counts["skipped"],
        running=sum(counts[status] for status in _RUNNING),
        waiting=counts["waiting"],
        pending=counts["pending"],
    )


def _task(state: State, name: str) -> TaskView:
    task, whole = state.task(name), state.units[name]
    waits = state.signal_of(name) if whole.status == "waiting" else None
    items = [whole.items.get(number, Unit()) for number in range(min(whole.begun, SHOWN_ITEMS))]
    return TaskView(
        **_attempted(whole),
        title=task.title,
        kind=task.kind,
        depends_on=state.dependencies[name],
        items=tuple(Attempted(**_attempted(item)) for item in items),
        size=whole.size,
        settled=whole.settled,
        waits_for=waits,
        asks=_asked(state, name) if waits is not None else None,
    )


def _asked(state: State, name: str) -> str | None:
    """What a person is asked; as it was written where it refers to an output that is too large to be at hand."""
    question = state.task(name).approval
    try:
        asked = resolve(question, context(state, needed_for(state, name, undoes=False), {}))
    except (ExpressionError, ValueError, KeyError):
        return question
    return asked if isinstance(asked, str) or asked is None else json.dumps(asked, ensure_ascii=False)


def _attempted(unit: Unit) -> dict[str, Any]:
    return {
        "status": unit.status,
        "attempt": unit.attempt,
        "output": unit.output,
        "output_bytes": unit.bytes,
        "problem": unit.problem,
        "started_at": unit.started_at,
        "finished_at": unit.finished_at,
        "due_at": unit.due_at,
        "served_by": unit.served_by,
        "task_id": unit.ref,
        "cost_usd": unit.cost_usd,
        "once": unit.once,
    }

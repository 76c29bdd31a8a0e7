"""Workflows that are tasks of other workflows."""

from typing import Any

from actors.workflow.expressions import resolve
from actors.workflow.recovery import recovered
from actors.workflow.state import State
from actors.workflow.work import Assignment, Outcome, problem
from bus.workflowlog import WorkflowLog
from schemas.budget import Budget
from schemas.message import now
from schemas.workflow import Parent, WorkflowDefinition
from schemas.workflow_event import Created, WorkflowCommand


class Children:
    """Begins them, stops them, has them undone. What they come to, their own engine says by waking their parent."""

    def __init__(self, workflows: WorkflowLog) -> None:
        self._workflows = workflows

    async def carry_out(self, state: State, work: Assignment, known: dict[str, Any]) -> Outcome | None:
        """What came of a child, begun if it is not there; None while it goes on.

        Raises:
            ExpressionError: its inputs cannot be found.
            BusUnavailable: it is not known whether it was begun; that may be tried again.
        """
        ref = _ref(state, work)
        child = await self._begun(state, work, ref, known)
        if work.undoes:
            return await self._undone(state, work, ref, child)
        if child.ended is None:
            return None
        sums: dict[str, Any] = {
            "cost_usd": child.cost_usd,
            "unpriced": child.cost_unknown,
            "served_by": "workflow",
            "once": True,
        }
        if child.ended == "completed":
            return Outcome(work, output=child.output, blob=child.blob, bytes=child.bytes, **sums)
        cause = child.problem or problem("failed", "It failed", f"it was {child.ended}")
        told = cause.model_copy(update={"detail": f"workflow {ref}: {cause.detail}"})
        return Outcome(work, problem=told, cancelled=child.ended == "cancelled", **sums)

    async def stop(self, state: State, work: Assignment) -> None:
        """
        Raises:
            BusUnavailable: it was not told.
        """
        ref = _ref(state, work)
        command = WorkflowCommand(kind="cancel", command=f"{ref}.cancel", reason="its parent goes no further")
        await self._workflows.wake(state.created.tenant, ref, command)

    async def _undone(self, state: State, work: Assignment, ref: str, child: State) -> Outcome | None:
        if child.ended == "completed":
            # Each attempt is a command of its own: one that had an effect is known to the child.
            undo = WorkflowCommand(kind="undo", command=f"{ref}.undo.{work.attempt}", reason="its parent is undone")
            await self._workflows.wake(state.created.tenant, ref, undo)
            return None
        if child.ended is None:
            return None
        left = ", ".join(child.undone)
        failed = problem("undone_in_part", "It was not wholly undone", f"workflow {ref}: {left} still stand")
        return Outcome(work, problem=failed if left else None, served_by="workflow")

    async def _begun(self, state: State, work: Assignment, ref: str, known: dict[str, Any]) -> State:
        created, task = state.created, state.task(work.place[0])
        definition = task.workflow
        assert isinstance(definition, WorkflowDefinition)
        if not work.undoes:
            await self._workflows.create(
                Created(
                    event_id=ref[:16],
                    workflow_id=ref,
                    tenant=created.tenant,
                    seq=1,
                    at=now(),
                    status="pending",
                    percentage=0.0,
                    definition=definition,
                    inputs={**defaults(definition), **resolve(task.inputs, known)},
                    body_sha256=ref,
                    key=created.key,
                    key_budget=created.key_budget,
                    root=created.root or created.workflow_id,
                    root_budget=created.root_budget or budget_of(state.definition),
                    trace=created.trace,
                    parent=Parent(workflow_id=created.workflow_id, task=work.place[0], item=work.place[1]),
                )
            )
        child = await recovered(self._workflows, created.tenant, ref)
        if child.started_at is None and child.ended is None:
            await self._workflows.wake(created.tenant, ref, WorkflowCommand(kind="start", command=f"{ref}.start"))
        return child


def _ref(state: State, work: Assignment) -> str:
    ref = state.unit(*work.place).ref
    assert ref is not None
    return ref


def budget_of(definition: WorkflowDefinition) -> Budget | None:
    """What all its tasks may cost together."""
    return None if definition.max_cost_usd is None else Budget(usd=definition.max_cost_usd)


def defaults(definition: WorkflowDefinition) -> dict[str, Any]:
    """Inputs that need not be given."""
    return {name: schema["default"] for name, schema in definition.inputs.items() if "default" in schema}

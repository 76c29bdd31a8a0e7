"""What a fork has of the workflow that it begins from."""

from collections.abc import Collection, Iterator
from typing import Any

from actors.workflow import graph
from actors.workflow.state import State, Unit, Whole
from schemas.workflow_event import Change

_STANDS = ("completed", "undo_failed")
"""What was done and is not undone."""


def inherited(state: State, replaced: Collection[str]) -> tuple[Change, ...]:
    """What is done, as the changes of the event that creates a fork; what runs or waits begins anew, and so does what
    was undone.

    It cost the fork nothing, and is not the fork's to undo: it has no beginning there.

    Args:
        state: of the workflow at the moment at which it is forked.
        replaced: inputs that the fork has others of. A task that was skipped because of one is not done, nor is a map
            over one that has not ended.
    """
    found: list[tuple[int, Change]] = []
    for name, whole in state.units.items():
        renewed = any(use.names.inputs & {*replaced} for use in graph.beginning(state.task(name)))
        allowed = state.task(name).allow_failure
        if whole.size is not None and whole.items:
            if whole.status in _STANDS or not renewed:
                found += _map(name, whole, allowed)
        elif whole.status == "skipped" and renewed:
            continue
        elif (change := _done(name, None, whole, allowed, size=whole.size)) is not None:
            found.append((whole.order, change))
    return tuple(change for _, change in sorted(found, key=lambda each: each[0]))


def _map(name: str, whole: Whole, allowed: bool) -> Iterator[tuple[int, Change]]:
    """Items in the order in which they were done, the task itself before the first."""
    changes = {number: _done(name, number, item, allowed) for number, item in whole.items.items()}
    done = {number: change for number, change in changes.items() if change is not None}
    if not done:
        return
    orders = [whole.items[number].order for number in done]
    yield min(orders), Change(task=name, to="running", size=whole.size)
    yield from zip(orders, done.values(), strict=True)
    # All items before one that is done are taken for begun.
    yield from ((max(orders), Change(task=name, item=n, to="pending")) for n in range(max(done)) if n not in done)


def _done(task: str, item: int | None, unit: Unit, allowed: bool, **more: Any) -> Change | None:
    """None: it is not done.

    Args:
        allowed: whether it may fail.
    """
    said: dict[str, Any] = {"task": task, "item": item, "attempt": unit.attempt, "served_by": unit.served_by, **more}
    if unit.status in _STANDS:
        output = {"output": unit.output, "blob": unit.blob, "bytes": unit.bytes, "once": unit.once}
        return Change(to="completed", **output, **said)
    if unit.status == "failed" and allowed:
        return Change(to="failed", problem=unit.problem, **said)
    return Change(task=task, item=item, to="skipped") if unit.status == "skipped" else None

"""What expressions of a workflow see: inputs, what tasks came to, the item that is worked on."""

from collections.abc import Iterable, Mapping
from typing import Any

from actors.workflow import graph
from actors.workflow.expressions import evaluate, names
from actors.workflow.state import Place, State

Blobs = Mapping[str, Any]
"""Large outputs that are at hand, by name."""


def needed_to_begin(state: State, name: str) -> frozenset[str]:
    """Tasks that decide whether a task begins, and on what."""
    found = state.uses.get((name, "begin"))
    if found is None:
        uses = graph.beginning(state.task(name))
        found = state.uses[name, "begin"] = frozenset(each for use in uses for each in use.names.tasks)
    return found


def needed_for(state: State, name: str, undoes: bool) -> frozenset[str]:
    """Tasks that a task, or its compensation, is told of."""
    place = name, "undo" if undoes else "do"
    if (found := state.uses.get(place)) is None:
        task = state.task(name)
        needed = {each for use in graph.uses(task.compensation or task) for each in use.names.tasks}
        if task.map is not None:
            needed |= names(task.map.over).tasks
        found = state.uses[place] = frozenset(needed | {name})
    return found


def context(state: State, names: Iterable[str], blobs: Blobs, place: Place | None = None) -> dict[str, Any]:
    """What expressions that refer to these tasks see; with a place, its item too.

    Raises:
        KeyError: an output lies in the object store and is not at hand.
        ExpressionError, ValueError: the list of items cannot be found.
    """
    known: dict[str, Any] = {
        "inputs": state.created.inputs,
        "workflow": {"id": state.created.workflow_id, "name": state.definition.name},
        "tasks": {name: _seen(state, name, blobs) for name in names if name in state.units},
    }
    if place is not None and place[1] is not None:
        known |= {"item": _list(state, place[0], blobs)[place[1]], "index": place[1]}
    return known


def _list(state: State, name: str, blobs: Blobs) -> list[Any]:
    """What a task's map is over. It refers to what is settled, so it stays."""
    if name not in state.lists:
        over = state.task(name).map
        assert over is not None
        state.lists[name] = evaluate(over.over, context(state, names(over.over).tasks, blobs))
    return state.lists[name]


def _seen(state: State, name: str, blobs: Blobs) -> dict[str, Any]:
    whole = state.units[name]
    told = None if whole.problem is None else whole.problem.model_dump(mode="json", exclude_none=True)
    return {"output": output_of(state, name, blobs), "status": whole.status, "problem": told}


def output_of(state: State, name: str, blobs: Blobs) -> Any:
    """A task's output; of a mapped one the list of its items'."""
    whole = state.units[name]
    if whole.size is None:
        return blobs[whole.blob] if whole.blob else whole.output
    items = (whole.items.get(number) for number in range(whole.size))
    return [None if item is None else blobs[item.blob] if item.blob else item.output for item in items]


def blobs_of(state: State, names: Iterable[str]) -> set[str]:
    """The large outputs of these tasks."""
    units = [
        unit for name in names if name in state.units for unit in (state.units[name], *state.units[name].items.values())
    ]
    return {unit.blob for unit in units if unit.blob is not None}

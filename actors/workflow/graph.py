"""What each task of a workflow needs of others, and whether that leads in a circle."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from operator import or_
from typing import NamedTuple

from actors.workflow.expressions import Names, bare, queries, texts
from actors.workflow.query import Query, query
from schemas.workflow import TaskDefinition, Work, WorkflowDefinition

Edges = Mapping[str, Sequence[str]]
"""The tasks that each task needs, by its id."""


class Use(NamedTuple):
    """A place where expressions may stand."""

    place: str
    """Dotted, within the task."""
    text: str
    bare: bool = False
    """Whether the text is an expression, with or without `${}`; else they stand within it as `${expression}`."""

    @property
    def queries(self) -> list[Query]:
        """Its expressions.

        Raises:
            ValueError: one cannot be read.
        """
        return [query(bare(self.text))] if self.bare else queries(self.text)

    @property
    def names(self) -> Names:
        """What it refers to.

        Raises:
            ValueError: an expression cannot be read.
        """
        return Names.of_all(each.names for each in self.queries)


def uses(work: Work) -> Iterator[Use]:
    """Every text of a task or a compensation that may hold expressions; not those of its compensation.

    Raises:
        ValueError: its inputs are nested too deep.
    """
    if work.prompt is not None:
        yield Use("prompt", work.prompt)
    for place, text in texts(work.inputs, "inputs"):
        yield Use(place, text)
    if work.otherwise is not None and work.otherwise.prompt is not None:
        yield Use("otherwise.prompt", work.otherwise.prompt)
    if isinstance(work, TaskDefinition):
        yield from beginning(work)
        if work.approval is not None:
            yield Use("approval", work.approval)


def beginning(task: TaskDefinition) -> Iterator[Use]:
    """What decides whether a task begins, on which items, and how long it waits."""
    if task.when is not None:
        yield Use("when", task.when, bare=True)
    if task.map is not None:
        yield Use("map.over", task.map.over, bare=True)
    if isinstance(task.wait_s, str):
        yield Use("wait_s", task.wait_s)
    if task.wait_until is not None:
        yield Use("wait_until", task.wait_until)


def referred(definition: WorkflowDefinition) -> dict[str, Names]:
    """What the expressions of each task refer to; not those of its compensation.

    Raises:
        ValueError: an expression cannot be read.
    """
    return {name: Names.of_all(use.names for use in uses(task)) for name, task in definition.tasks.items()}


def dependencies(
    definition: WorkflowDefinition, refers: Mapping[str, Names] | None = None
) -> dict[str, tuple[str, ...]]:
    """The tasks that each task needs: those it names, then those that its expressions refer to.

    A compensation adds none: it runs when all is over. A task that is not there is left out.

    Args:
        refers: what `referred` says of it, where that is known.

    Raises:
        ValueError: an expression cannot be read.
    """
    refers = referred(definition) if refers is None else refers
    return {name: _there(definition, task, refers[name]) for name, task in definition.tasks.items()}


def _there(definition: WorkflowDefinition, task: TaskDefinition, refers: Names) -> tuple[str, ...]:
    needed = dict.fromkeys((*task.depends_on, *sorted(refers.tasks)))
    return tuple(name for name in needed if name in definition.tasks)


def dependents(edges: Edges) -> dict[str, tuple[str, ...]]:
    """The tasks that need each task, in the order of `edges`."""
    found: dict[str, list[str]] = {name: [] for name in edges}
    for name, needed in edges.items():
        for other in needed:
            found[other].append(name)
    return {name: tuple(others) for name, others in found.items()}


def order(edges: Edges) -> tuple[str, ...]:
    """All tasks, each after those that it needs.

    Raises:
        graphlib.CycleError: some need each other.
    """
    return tuple(TopologicalSorter(edges).static_order())


def precedence(edges: Edges) -> Callable[[str, str], bool]:
    """Whether the first of two tasks has ended whenever the second begins.

    Raises:
        graphlib.CycleError: some need each other.
    """
    bits = {name: 1 << place for place, name in enumerate(edges)}  # a set as an integer: thousands of tasks take ms
    earlier: dict[str, int] = {}
    for name in order(edges):
        earlier[name] = reduce(or_, (earlier[other] | bits[other] for other in edges[name]), 0)
    return lambda first, second: bool(earlier[second] & bits[first])


def cycles(edges: Edges) -> list[tuple[str, ...]]:
    """Circles of tasks that wait for each other, each as `(a, b, a)`: a needs b, and b needs a.

    No task stands in two of them, so that whoever breaks these may meet others. Each begins with that of its tasks
    which comes first in `edges`.
    """
    left = {name: tuple(needed) for name, needed in edges.items()}
    places = {name: place for place, name in enumerate(edges)}
    found = []
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            # graphlib tells it from what is needed to who needs it, with the first again at the end.
            way: list[str] = error.args[1][:0:-1]
            first = min(range(len(way)), key=lambda at: places[way[at]])
            way = way[first:] + way[:first]
            found.append((*way, way[0]))
            left = {
                name: tuple(other for other in needed if other not in way)
                for name, needed in left.items()
                if name not in way
            }
        else:
            return sorted(found, key=lambda each: places[each[0]])

"""All that is wrong with a workflow, found before it begins; and a request made into what is begun."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from graphlib import CycleError
from typing import Any

from pydantic import ValidationError

from actors.catalogue.entry import nearest
from actors.workflow.expressions import ExpressionError, evaluate, texts, truth
from actors.workflow.graph import Use, cycles, precedence, uses
from actors.workflow.inputs import Finding, check_schema, check_value, check_values, phrase, schema_at, types_of
from actors.workflow.preparation import prepared
from actors.workflow.query import Query
from schemas.errors import InvalidWorkflow
from schemas.message import check_plain
from schemas.problem import field_errors
from schemas.task import TaskRequest
from schemas.workflow import (
    ITEMS_WITHOUT_LIMIT,
    MAX_DEFINITION_BYTES,
    MAX_ITEMS,
    MAX_NESTING,
    AgentWork,
    Compensation,
    TaskDefinition,
    Work,
    WorkflowDefinition,
)

__all__ = ["Known", "check", "prepared"]

MAX_FINDINGS = 100


@dataclass(frozen=True)
class Known:
    """Who can be named in a workflow. None: whoever checks does not know, and says nothing of it."""

    agents: Collection[str] | None = None
    services: Collection[str] | None = None
    functions: Collection[str] | None = None
    templates: Collection[str] | None = None


def check(
    definition: WorkflowDefinition, inputs: Mapping[str, Any] | None, known: Known, place: str = "definition"
) -> None:
    """Refuse a workflow that could not run.

    Args:
        inputs: with their defaults; None: they are not there yet.
        place: where the definition stands; empty: by itself.

    Raises:
        InvalidWorkflow: all that is wrong, each with the dotted path of its place.
    """
    findings: dict[Finding, None] = {}
    for where, rule in _findings(definition, inputs, known, place):
        if len(findings) == MAX_FINDINGS:
            findings[place, f"there is more; these are the first {MAX_FINDINGS}"] = None
            break
        findings[where.removeprefix("."), rule] = None
    if findings:
        raise InvalidWorkflow(tuple(findings))


def _findings(
    definition: WorkflowDefinition, inputs: Mapping[str, Any] | None, known: Known, place: str
) -> Iterator[Finding]:
    deepest = _nesting(definition)
    if deepest > MAX_NESTING:
        yield place, f"has workflows {deepest} deep within each other; {MAX_NESTING} at most"
        return
    for each in definition.within():
        try:
            check_plain(each.output)
        except ValueError as error:
            yield place, f"the output of {each.name} {error}"
            return
    size = len(definition.model_dump_json(exclude_none=True).encode())
    if size > MAX_DEFINITION_BYTES:
        yield place, f"has {size:,} bytes; the limit is {MAX_DEFINITION_BYTES:,}"
        return
    wrong = [] if inputs is None else list(check_values(inputs, definition.inputs, "inputs"))
    yield from _Checking(definition, None if wrong else inputs, known, place).findings()
    yield from wrong


def _nesting(definition: WorkflowDefinition) -> int:
    """How deep its workflows are within each other; 0: it has none."""
    inner = (task.workflow for task in definition.tasks.values())
    return max((1 + _nesting(one) for one in inner if isinstance(one, WorkflowDefinition)), default=0)


class _Checking:
    """One definition, without those within it until it comes to them."""

    def __init__(
        self, definition: WorkflowDefinition, inputs: Mapping[str, Any] | None, known: Known, place: str
    ) -> None:
        self._definition, self._known, self._place = definition, known, place
        self._tasks = definition.tasks
        self._schemas = {name: schema for name, schema in definition.inputs.items() if check_schema(schema) is None}
        self._context = None if inputs is None else {"inputs": inputs}
        """For expressions that need nothing else; None: the inputs are not there, or not as they should be."""
        self._edges: dict[str, list[str]] = {}
        self._never: list[str] = []
        self._ended: Callable[[str, str], bool] | None = None
        """See `graph.precedence`; None: that cannot be told."""

    def findings(self) -> Iterator[Finding]:
        for name, schema in self._definition.inputs.items():
            yield from self._input(name, schema)
        for name, task in self._tasks.items():
            yield from self._task(name, task)
        yield from self._circles()
        with suppress(CycleError):
            self._ended = precedence(self._edges)
        for name, task in self._tasks.items():
            if task.compensation is not None:
                yield from self._compensation(name, task.compensation)
        yield from self._uses(
            [Use(place, text) for place, text in texts(self._definition.output, "output")], self._place, ()
        )
        for name in self._never:
            yield f"{self._place}.tasks.{name}.when", f"is never true, so {name} never runs{self._followers(name)}"

    def _input(self, name: str, schema: Mapping[str, Any]) -> Iterator[Finding]:
        where = f"{self._place}.inputs.{name}"
        if (reason := check_schema(schema)) is not None:
            yield where, reason
        elif "default" in schema:
            yield from check_value(schema["default"], schema, f"{where}.default")

    # -- a task ------------------------------------------------------------------------------------------------------

    def _task(self, name: str, task: TaskDefinition) -> Iterator[Finding]:
        where = f"{self._place}.tasks.{name}"
        needed = self._edges[name] = []
        for other in task.depends_on:
            if other == name:
                yield f"{where}.depends_on", "a task cannot wait for itself"
            elif other not in self._tasks:
                yield f"{where}.depends_on", f"there is no task {other!r}; {nearest(other, self._others(name))}"
            else:
                needed.append(other)
        try:
            found = list(uses(task))
        except ValueError as error:
            yield f"{where}.inputs", str(error)
            return
        of_items = ("item", "index") if task.map is not None else ()
        yield from self._uses([use for use in found if use.place in _ONCE], where, (), name)
        yield from self._uses([use for use in found if use.place not in _ONCE], where, of_items, name)
        yield from self._work(task, where)
        yield from self._beginning(name, task, where)
        if task.map is not None and task.kind in ("signal", "approval", "wait_s", "wait_until"):
            yield (
                f"{where}.map",
                f"a task that waits ({task.kind}) is not done for each item; map a workflow that waits",
            )
        if task.workflow is not None:
            yield from self._nested(task, where)

    def _others(self, name: str | None) -> list[str]:
        return [other for other in self._tasks if other != name]

    def _uses(
        self, found: Iterable[Use], where: str, also: Collection[str], name: str | None = None
    ) -> Iterator[Finding]:
        """What expressions refer to.

        Args:
            also: the roots that are there beside those that always are.
            name: the task that needs what it refers to; None: nobody does.
        """
        for use in found:
            place = f"{where}.{use.place}"
            try:
                queries = {query.text: query for query in use.queries}.values()
            except ValueError as error:
                yield place, str(error)
                continue
            names = use.names
            yield from ((place, mistake) for mistake in names.mistakes)
            yield from ((place, _NOT_HERE[root]) for root in sorted(names.roots & _NOT_HERE.keys() - {*also}))
            for wanted in sorted(names.inputs - self._definition.inputs.keys()):
                yield place, f"there is no input {wanted!r}; {nearest(wanted, self._definition.inputs)}"
            yield from ((place, rule) for query in queries for rule in self._wrong_path(query))
            for other in sorted(names.tasks):
                if other == name:
                    yield place, "refers to its own task, which has no output before it has run"
                elif other not in self._tasks:
                    yield place, f"there is no task {other!r}; {nearest(other, self._others(name))}"
                elif name is not None:
                    self._edges[name].append(other)

    def _wrong_path(self, query: Query) -> Iterator[str]:
        path = query.path or ()
        if path[:1] == ("inputs",) and len(path) > 2 and path[1] in self._schemas:
            found = schema_at(self._schemas, path[1:])
            if isinstance(found, str):
                yield f"inputs.{found}"

    def _circles(self) -> Iterator[Finding]:
        for circle in cycles(self._edges):
            first, second = circle[:2]
            stated = ".depends_on" if second in self._tasks[first].depends_on else ""
            way = " → ".join(circle)
            yield f"{self._place}.tasks.{first}{stated}", f"these wait for each other, so none can begin: {way}"

    def _followers(self, name: str) -> str:
        after = [other for other in self._tasks if name in self._edges.get(other, ())]
        return f", and what needs it gets nothing: {', '.join(after)}" if after else ""

    # -- its parts ---------------------------------------------------------------------------------------------------

    def _work(self, work: Work, where: str) -> Iterator[Finding]:
        for agent_work, place in ((work, where), (work.otherwise, f"{where}.otherwise")):
            if agent_work is not None and agent_work.prompt is not None:
                yield from self._agents(agent_work, place)
        functions = self._known.functions
        if work.function is not None and functions is not None and work.function not in functions:
            yield f"{where}.function", f"there is no function {work.function!r}; {nearest(work.function, functions)}"
        takes_inputs = work.actor or work.function or (isinstance(work, TaskDefinition) and work.workflow)
        if work.inputs and not takes_inputs:
            yield f"{where}.inputs", "are for an actor, a function or a workflow; a prompt says all in its text"

    def _agents(self, work: AgentWork, where: str) -> Iterator[Finding]:
        said = {field: getattr(work, field) for field in AgentWork.model_fields if field in work.model_fields_set}
        try:
            TaskRequest.model_validate({field: value for field, value in said.items() if value is not None})
        except ValidationError as error:
            yield from ((f"{where}.{found.field}", found.message) for found in field_errors(error))
        for field, known in (("agent", self._known.agents), ("service", self._known.services)):
            name = said.get(field)
            if name is not None and known is not None and name not in known:
                yield f"{where}.{field}", f"there is no {field} {name!r}; {nearest(name, known)}"

    def _compensation(self, name: str, undo: Compensation) -> Iterator[Finding]:
        task, where = self._tasks[name], f"{self._place}.tasks.{name}.compensation"
        yield from self._work(undo, where)
        try:
            found = list(uses(undo))
        except ValueError as error:
            yield f"{where}.inputs", str(error)
            return
        yield from self._uses(found, where, ("output", *(("item", "index") if task.map is not None else ())))
        for use in found:
            try:
                referred = use.names.tasks & self._tasks.keys() - {name}
            except ValueError:  # said already
                continue
            for other in sorted(referred):
                if self._ended is not None and not self._ended(other, name):
                    yield (
                        f"{where}.{use.place}",
                        f"{other} need not have run when {name} is undone; add it to depends_on",
                    )

    def _nested(self, task: TaskDefinition, where: str) -> Iterator[Finding]:
        inner = task.workflow
        if isinstance(inner, WorkflowDefinition):
            yield from _Checking(inner, None, self._known, f"{where}.workflow").findings()
            yield from check_values(task.inputs, inner.inputs, f"{where}.inputs", settled=False)
        elif self._known.templates is not None and inner not in self._known.templates:
            yield f"{where}.workflow", f"there is no template {inner!r}; {nearest(inner, self._known.templates)}"

    # -- when it begins ----------------------------------------------------------------------------------------------

    def _beginning(self, name: str, task: TaskDefinition, where: str) -> Iterator[Finding]:
        if task.when is not None and (query := _constant(Use("when", task.when, bare=True))) is not None:
            try:
                if not truth(query.text, {}):
                    self._never.append(name)
            except ExpressionError as error:
                yield f"{where}.when", str(error)
        if task.map is not None:
            use, limit = Use("map.over", task.map.over, bare=True), task.map.limit
            yield from self._told(use, where, ("array",), lambda items: _list(items, limit))
        if task.wait_s is not None:
            if isinstance(task.wait_s, str):
                yield from self._told(Use("wait_s", task.wait_s), where, ("number", "integer"), self._seconds)
            elif (reason := self._seconds(task.wait_s)) is not None:
                yield f"{where}.wait_s", reason
        if task.wait_until is not None:
            yield from self._told(Use("wait_until", task.wait_until), where, ("string",), _moment)

    def _told(self, use: Use, where: str, kinds: tuple[str, ...], rule: Any) -> Iterator[Finding]:
        """What an expression gives, as far as that can be told now.

        Args:
            kinds: of JSON's values, those that it may be.
            rule: says of a value why it cannot be used, or None.
        """
        place = f"{where}.{use.place}"
        try:
            queries = use.queries
        except ValueError:  # said already
            return
        if not queries or (not use.bare and use.text.strip() != f"${{{queries[0].text}}}"):
            if (reason := rule(use.text)) is not None:
                yield place, reason
            return
        query = queries[0]
        path = query.path or ()
        context = self._context if query.names.roots else {}
        if context is not None and not query.names.mistakes and query.names.roots <= {"inputs"}:
            try:
                reason = rule(evaluate(query.text, context))
            except ExpressionError as error:
                yield place, str(error)
            else:
                if reason is not None:
                    yield place, reason
        elif path[:1] == ("inputs",) and path[1:2] and path[1] in self._schemas:
            found = schema_at(self._schemas, path[1:])
            declared = () if isinstance(found, str) else types_of(found)
            if declared and not {*declared} & {*kinds}:
                yield place, f"must be {phrase(kinds[:1])}, and {'.'.join(path)} is declared as {phrase(declared)}"

    def _seconds(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            return f"must be a number of seconds, or ${{expression}} of one; it is {value!r:.100}"
        if value >= self._definition.timeout_s:
            return f"is {value:g} s, and the whole workflow has {self._definition.timeout_s:g} s (timeout_s)"
        return None


_ONCE = ("when", "map.over")
"""Asked once for all items of a task."""
_NOT_HERE = {
    "item": "item is there only in a task with a map, and not in what that map is over or in its `when`",
    "index": "index is there only in a task with a map, and not in what that map is over or in its `when`",
    "output": "output is there only in a compensation; elsewhere write tasks.<id>.output",
}


def _constant(use: Use) -> Query | None:
    """The expression of a place if it refers to nothing."""
    try:
        (query,) = use.queries
    except ValueError:  # said already
        return None
    return None if query.names.roots or query.names.mistakes else query


def _list(value: Any, limit: int | None) -> str | None:
    if not isinstance(value, list):
        return f"must be a list, and is {value!r:.100}" if value is not None else "must be a list, and is nothing"
    if len(value) > MAX_ITEMS:
        return f"has {len(value):,} items; a map has {MAX_ITEMS:,} at most"
    if limit is None and len(value) > ITEMS_WITHOUT_LIMIT:
        return f"has {len(value):,} items; beyond {ITEMS_WITHOUT_LIMIT:,}, say with map.limit how many run at once"
    return None


def _moment(value: Any) -> str | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return f"must be a moment such as 2026-03-01T09:00:00+01:00, or ${{expression}} of one; it is {value!r:.100}"
    if moment.tzinfo is None:
        return f"names no time zone; end it with Z for UTC, or with one such as +01:00; it is {value!r}"
    return None

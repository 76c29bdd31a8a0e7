"""A request for a workflow made into the definition and the inputs that it keeps for as long as it runs."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from actors.catalogue.entry import nearest
from actors.workflow.inputs import filled
from schemas.errors import InvalidWorkflow
from schemas.problem import field_errors
from schemas.workflow import MAX_NESTING, WorkflowDefinition, WorkflowRequest

Templates = Mapping[str, WorkflowDefinition]

SETTINGS = ("max_parallel_tasks", "max_cost_usd", "timeout_s")
"""Of a definition, what a request may say otherwise."""


def prepared(request: WorkflowRequest, templates: Templates) -> tuple[WorkflowDefinition, dict[str, Any]]:
    """The definition with every template in place of its name, and the inputs with what is left out.

    So a workflow keeps what it began with when a template changes. Of a template's inputs, one that has the name of a
    setting and is none of its own is that setting: callers send `max_parallel_tasks` along with the rest.

    Raises:
        InvalidWorkflow: there is no template of a name, or it would hold itself, or be nested too deep.
    """
    given = dict(request.inputs)
    settings: dict[str, Any] = {name: getattr(request, name) for name in SETTINGS if getattr(request, name) is not None}
    if request.definition is not None:
        definition = _whole(request.definition, templates, "definition", ())
    else:
        assert request.template is not None
        definition = _named(request.template, templates, "template", ())
        meant = {name: given.pop(name) for name in SETTINGS if name in given and name not in definition.inputs}
        settings = {**_checked(meant), **settings}
    return definition.model_copy(update=settings), filled(given, definition.inputs)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    try:
        request = WorkflowRequest.model_validate({"template": "any", **settings})
    except ValidationError as error:
        raise InvalidWorkflow(tuple((f"inputs.{e.field}", e.message) for e in field_errors(error))) from None
    return {name: getattr(request, name) for name in settings if getattr(request, name) is not None}


def _whole(
    definition: WorkflowDefinition, templates: Templates, place: str, way: tuple[str, ...], depth: int = 0
) -> WorkflowDefinition:
    """A definition with those of the templates that it names.

    Args:
        way: the templates that it stands in, outermost first.
    """
    if depth > MAX_NESTING:
        raise InvalidWorkflow(((place, f"has workflows more than {MAX_NESTING} deep within each other"),))
    tasks = {}
    for name, task in definition.tasks.items():
        where, inner = f"{place}.tasks.{name}.workflow", task.workflow
        if isinstance(inner, str):
            tasks[name] = task.model_copy(update={"workflow": _named(inner, templates, where, way, depth + 1)})
        elif inner is not None:
            tasks[name] = task.model_copy(update={"workflow": _whole(inner, templates, where, way, depth + 1)})
    return definition.model_copy(update={"tasks": {**definition.tasks, **tasks}}) if tasks else definition


def _named(name: str, templates: Templates, place: str, way: tuple[str, ...], depth: int = 0) -> WorkflowDefinition:
    if name not in templates:
        raise InvalidWorkflow(((place, f"there is no template {name!r}; {nearest(name, templates)}"),))
    if name in way:
        chain = " → ".join((*way[way.index(name) :], name))
        raise InvalidWorkflow(((place, f"a template cannot hold itself: {chain}"),))
    return _whole(templates[name], templates, place, (*way, name), depth)

"""A workflow as somebody wrote it, in YAML or JSON: read, with every mistake said in words that help to mend it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from actors.catalogue.document import read
from actors.catalogue.entry import nearest
from actors.workflow.inputs import Finding, kind_of, phrase
from schemas.errors import InvalidWorkflow
from schemas.message import Strict
from schemas.workflow import WorkflowDefinition, WorkflowRequest

S = TypeVar("S", bound=Strict)
Way = tuple[str | int, ...]

_HOLDS = "a `template` and its `inputs`, or a `definition`, or a definition itself (`name`, `tasks`)"


def load(path: Path) -> WorkflowRequest:
    """What a file asks for: `template` and `inputs`, or `definition`, or a definition as it stands.

    Raises:
        ConfigError: the file cannot be read, or is no YAML.
        InvalidWorkflow: all that breaks a rule of the schema.
    """
    document = read(path, _HOLDS)
    if "tasks" in document and not {"definition", "template"} & document.keys():
        return WorkflowRequest(definition=definition(document))
    return request(document)


def load_definition(path: Path) -> WorkflowDefinition:
    """The definition that a file holds.

    Raises:
        ConfigError, InvalidWorkflow: as `load`.
    """
    return definition(read(path, "a definition (`name`, `tasks`)"))


def request(document: Any) -> WorkflowRequest:
    """A request of plain values.

    Raises:
        InvalidWorkflow: all that breaks a rule of the schema.
    """
    return _read(WorkflowRequest, document)


def definition(document: Any, place: str = "") -> WorkflowDefinition:
    """A definition of plain values.

    Args:
        place: where it stands.

    Raises:
        InvalidWorkflow: all that breaks a rule of the schema.
    """
    return _read(WorkflowDefinition, document, place)


def _read(schema: type[S], document: Any, place: str = "") -> S:
    if not isinstance(document, dict):
        raise InvalidWorkflow(((place, f"must be a mapping, and is {phrase([kind_of(document)])}"),))
    plain = _plain(document)
    try:
        return schema.model_validate(plain)
    except ValidationError as error:
        findings = dict.fromkeys(_findings(error, schema, plain))
        where = f"{place}." if place else ""
        raise InvalidWorkflow(tuple((f"{where}{field}".rstrip("."), rule) for field, rule in findings)) from None


def _plain(value: Any, key: Any = None) -> Any:
    """What YAML reads otherwise than it was meant: moments, and the word `on` of a retry."""
    if isinstance(value, dict):
        if key == "retry" and True in value:
            value = {"on" if name is True else name: part for name, part in value.items()}
        return {name: _plain(part, name) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value.isoformat() if isinstance(value, date) else value


# -- what pydantic says ------------------------------------------------------------------------------------------------

_RULES = {
    "missing": "is missing",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "invalid_key": "a key must be text; put it in quotes",
    "string_too_short": "must not be empty",
}
_OF_ANOTHER_KIND = {"string_type": str, "model_type": dict, "dict_type": dict, "float_type": float, "tuple_type": list}
"""What a branch of a union says to a value that was not meant for it."""


def _findings(error: ValidationError, schema: type[BaseModel], document: Any) -> Iterator[Finding]:
    errors: list[dict[str, Any]] = [dict(each) for each in error.errors(include_url=False)]
    errors.sort(key=lambda each: each["type"] != "extra_forbidden")  # a misspelt name is why another is missing
    found = [(_path(each, document), each) for each in errors]
    for path, each in found:
        wanted = _OF_ANOTHER_KIND.get(each["type"])
        if wanted is not None and not isinstance(each["input"], wanted):
            others = [other for other in found if other[1] is not each and other[0][: len(path)] == path]
            if others and (wanted is not str or isinstance(each["input"], dict)):
                continue
        yield ".".join(str(part)[:128] for part in path), _rule(each, path, schema)


def _path(finding: Mapping[str, Any], document: Any) -> Way:
    """Where something stands in the document: pydantic also names the branches of unions on its way there."""
    way: list[str | int] = []
    here = document
    for part in finding["loc"]:
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
            way.append(part)
    if finding["type"] == "missing":
        way.append(finding["loc"][-1])
    return tuple(way)


def _rule(finding: Mapping[str, Any], path: Way, schema: type[BaseModel]) -> str:
    kind, given = str(finding["type"]), finding["input"]
    field = path[-1] if path else ""
    match kind:
        case "extra_forbidden":
            return f"there is no such field; {nearest(field, _fields_at(schema, path[:-1]))}"
        case "string_type":
            return f"must be text, and is {phrase([kind_of(given)])}" + (
                "" if isinstance(given, (dict, list)) or given is None else "; put it in quotes"
            )
        case "string_pattern_mismatch":
            return _pattern(finding, path)
    message = str(finding["msg"]).removeprefix("Value error, ").replace("Input should ", "must ", 1)
    return _RULES.get(kind, message)


def _pattern(finding: Mapping[str, Any], path: Way) -> str:
    if path[-1] == "actor":
        return "must be an actor and one of its verbs, such as web_development.build"
    if path[-1] == "depends_on" or path[-2:-1] in (("tasks",), ("depends_on",)):
        return "a task's id begins with a small letter and goes on with small letters, digits and _, 64 at most"
    if path[-1] in ("name", "agent", "service", "signal", "workflow", "template") or path[-2:-1] == ("inputs",):
        return "a name has letters, digits, - and _, 128 at most"
    return str(finding["msg"]).replace("String should ", "must ", 1)


def _fields_at(schema: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The names of the fields at a place."""
    model, keyed = schema, False
    for part in path:
        if keyed or isinstance(part, int):  # a key, or an item, of what its field named
            keyed = False
            continue
        annotation = model.model_fields[part].annotation
        keyed = get_origin(annotation) is dict
        model = next(_models(annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)

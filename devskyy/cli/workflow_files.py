"""Workflows and inputs as people write them: files, a template's name, `name=value`; and the lines of mistakes."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from devskyy.errors import ApiError, InvalidTask
from schemas.errors import InvalidRequest, InvalidWorkflow
from schemas.problem import FieldError, Problem
from schemas.workflow import WorkflowRequest

SUFFIXES = (".yaml", ".yml", ".json")


def is_file(source: str) -> bool:
    """Whether it is meant as a file; otherwise it names a template."""
    return source.endswith(SUFFIXES) or "/" in source or Path(source).is_file()


def read_source(source: str) -> WorkflowRequest:
    """What a file, or a template by its name, asks for.

    Raises:
        ConfigError: the file cannot be read, or is no YAML; names the line.
        InvalidTask: it breaks rules of form; names the line of each.
    """
    from actors.workflow.document import load, request

    if not is_file(source):
        return request({"template": source})
    with located(source):
        return load(Path(source))


def read_inputs(pairs: Sequence[str], file: Path | None, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs from the command line.

    Args:
        pairs: `name=value`; a value is JSON where it can be read so, and its input need not be text; else text.
        file: a JSON or YAML file with a mapping of inputs; what `pairs` say of the same counts before it.
        schemas: those of the inputs, as far as they are known.

    Raises:
        InvalidRequest: a pair is none, or one name has two.
        ConfigError: the file cannot be read, or holds no mapping.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise InvalidRequest("--input", f"{pair!r} is not of the form name=value")
        if name in found:
            raise InvalidRequest("--input", f"{name} is given twice")
        found[name] = _value(text, schemas.get(name))
    if file is None:
        return found
    from actors.catalogue.document import read

    return {**read(file, "inputs by their names"), **found}


def _value(text: str, schema: Any) -> Any:
    if isinstance(schema, dict) and schema.get("type") == "string":
        return text
    with contextlib.suppress(ValueError):
        return json.loads(text)
    return text


@contextlib.contextmanager
def located(source: str, as_json: bool = False) -> Iterator[None]:
    """Tells of mistakes within in which line of the file each is.

    Args:
        as_json: whether a program is told; it gets the places as they are.
    """
    try:
        yield
    except (InvalidWorkflow, InvalidTask) as error:
        said = error.problem if isinstance(error, ApiError) else Problem.of(error)
        if as_json or not is_file(source) or not said.errors:
            raise
        lines = Lines(Path(source))
        told = tuple(FieldError(field=lines.place(each.field), message=each.message) for each in said.errors)
        raise InvalidTask(said.model_copy(update={"errors": told, "title": f"{source} cannot be used"})) from None


class Lines:
    """Where in a YAML file what stands."""

    def __init__(self, path: Path) -> None:
        """A file that cannot be read any more has no lines."""
        self._root: yaml.Node | None = None
        with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
            self._root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)

    def place(self, field: str) -> str:
        """The field with its line before it, where it has one.

        Args:
            field: a dotted path, as the platform names it. What is missing has the line of what it should stand in.
        """
        keys = field.split(".") if field else []
        if keys[:1] == ["definition"] and self._inner(self._root, "definition") is None:
            keys = keys[1:]  # the file holds the definition as it stands
            field = ".".join(keys)
        line, node = 0, self._root
        for key in keys:
            if (inner := self._inner(node, key)) is None:
                break
            line, node = inner
        return f"line {line + 1}: {field}" if line or node is not self._root else field

    @staticmethod
    def _inner(node: yaml.Node | None, key: str) -> tuple[int, yaml.Node] | None:
        """The line of a key, and what it holds; of a list, of the item with that number."""
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == key:
                    return name.start_mark.line, value
        if isinstance(node, yaml.SequenceNode) and key.isdecimal() and int(key) < len(node.value):
            item = node.value[int(key)]
            return item.start_mark.line, item
        return None

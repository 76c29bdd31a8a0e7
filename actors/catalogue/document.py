"""A YAML file as a person writes it: plain values only, no key twice, every mistake with its place."""

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from actors.catalogue.entry import dotted
from bus.subjects import token
from schemas.errors import ConfigError

_NOT_PLAIN = ("binary", "omap", "pairs", "set")


class _Loader(yaml.SafeLoader):
    """SafeLoader without the types that have no plain meaning here, and without YAML's silent 'last one wins'."""

    yaml_constructors = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag not in {f"tag:yaml.org,2002:{kind}" for kind in _NOT_PLAIN}
    }

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Looks for repeated keys here, before merge keys (`<<`) add what an entry may well override."""
        node: MappingNode = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                continue
            if (name := (key.tag, key.value)) in seen:
                raise ConstructorError(None, None, f"the key {key.value[:128]!r} stands here twice", key.start_mark)
            seen.add(name)
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Gives a place to a scalar that its tag cannot hold: 2026-13-40, `!!int x`, half a surrogate pair."""
        if not isinstance(node, ScalarNode):
            return super().construct_object(node, deep)
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            kind = str(node.tag).rpartition(":")[2]
            raise ConstructorError(None, None, f"this cannot be read as {kind}", node.start_mark) from None
        return value


def read(path: Path, holds: str = "services, agents, profiles, routing, budgets or functions") -> dict[Any, Any]:
    """The mapping that a file holds; an empty file holds an empty one.

    Args:
        holds: what may stand in it, for whoever put something else there.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or is no mapping. Nothing of its content is repeated, for
            it may hold what should not be in a log.
    """
    file = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(file, "", "there is no such file") from None
    except OSError as error:
        raise ConfigError(file, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(file, "", f"is no UTF-8 text (byte {error.start + 1})") from None
    try:
        document = _parse(text)
    except yaml.YAMLError as error:
        raise ConfigError(file, "", _place(error, text)) from None
    except RecursionError:
        raise ConfigError(file, "", "is nested too deeply") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(file, "", f"must be a mapping with {holds} in it")
    return document


def mapping(section: Any, file: str, key: str) -> dict[Any, Any]:
    """A section as a mapping; one with nothing in it is an empty one.

    Raises:
        ConfigError: it is something else.
    """
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise ConfigError(file, key, "must be a mapping")
    return section


def named(section: dict[Any, Any], file: str, key: str) -> dict[str, dict[Any, Any]]:
    """A section whose entries have names, each of which may become part of a subject.

    Raises:
        ConfigError: a name that cannot, or an entry that is no mapping.
    """
    for name, fields in section.items():
        where = dotted(key, [name])
        if not isinstance(name, str):
            raise ConfigError(file, where, "a name must be text; put it in quotes")
        try:
            token(name)
        except ValueError as error:
            raise ConfigError(file, where, str(error)) from None
        if not isinstance(fields, dict):
            raise ConfigError(file, where, "must be a mapping")
    return section


def _parse(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _place(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        problem = error.problem or error.context or "this is no YAML"
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        return f"line {line}, column {column}: a character that YAML does not allow"
    return "is no YAML"

"""Functions that an overlay gives to workflows."""

from pathlib import Path

import pytest
import yaml

from actors.catalogue import load
from actors.workflow.functions import load_functions
from schemas.errors import ConfigError


def overlay(tmp_path: Path, functions: object) -> Path:
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump({"functions": functions}))
    return path


def test_a_function_is_imported_by_where_it_lies(tmp_path: Path) -> None:
    named = load(overlay(tmp_path, {"join": "posixpath:join"})).functions
    assert load_functions(named, "overlay.yaml")["join"]("a", "b") == "a/b"  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("functions", "key", "rule"),
    [
        ({"f": "no colon"}, "functions.f", "names a Python function as `module:name`"),
        ({"a b": "os:getcwd"}, "functions.a b", "a function's name has letters"),
        ({"f": 7}, "functions.f", "names a Python function as `module:name`"),
    ],
)
def test_what_names_no_function_is_refused_with_its_place(
    tmp_path: Path, functions: object, key: str, rule: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(overlay(tmp_path, functions))
    assert (refused.value.key.replace("'", "").replace('"', ""), rule in refused.value.rule) == (key, True)


@pytest.mark.parametrize("where", ["nothing.of_the_kind:f", "os:nothing", "os:sep"])
def test_what_cannot_be_called_is_refused_with_the_reason(where: str) -> None:
    with pytest.raises(ConfigError, match=r"overlay\.yaml: functions\.f"):
        load_functions({"f": where}, "overlay.yaml")

"""A workflow as a person writes it: what is read, and how each mistake is told."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.workflow.document import definition, load, request
from schemas.errors import ConfigError, InvalidWorkflow
from schemas.workflow import WorkflowDefinition

Read = Callable[[Any], Any]

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["prompt", "actor", "when", "map", "retry", "wait_s", "workflow", "compensation", "inputs", "depends_on"]
    )
    | st.text(max_size=4),
    JUNK,
    max_size=5,
)


def told(text: str, tmp_path: Path) -> list[tuple[str, str]]:
    """The mistakes of a file."""
    file = tmp_path / "w.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidWorkflow) as caught:
        load(file)
    return list(caught.value.findings)


@pytest.mark.parametrize(
    "text",
    [
        "name: w\ntasks: {a: {prompt: x}}",
        "definition: {name: w, tasks: {a: {prompt: x}}}",
        json.dumps({"definition": {"name": "w", "tasks": {"a": {"prompt": "x"}}}}),
    ],
)
def test_a_file_holds_a_definition_or_a_request_with_one(text: str, tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text)
    assert load(file).definition == WorkflowDefinition.model_validate({"name": "w", "tasks": {"a": {"prompt": "x"}}})


def test_a_file_may_name_a_template(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("template: launch\ninputs: {brand: X}\nmax_cost_usd: 2")
    read = load(file)
    assert (read.template, read.inputs, read.max_cost_usd) == ("launch", {"brand": "X"}, 2.0)


def test_what_yaml_reads_otherwise_is_read_as_it_was_meant() -> None:
    # Given a moment without quotes, and the word `on`, which YAML takes for true
    fields = {"wait_until": datetime(2026, 3, 1, 9, tzinfo=UTC), "retry": {True: "any", "attempts": 2}}
    # When it is read
    task = definition({"name": "w", "tasks": {"a": fields}}).tasks["a"]
    # Then both say what was written
    assert task.wait_until == "2026-03-01T09:00:00+00:00"
    assert (task.retry.on, task.retry.attempts) == ("any", 2)


@pytest.mark.parametrize(
    ("text", "place", "rule"),
    [
        ("template: a\ninputs: []", "inputs", "must be a mapping"),
        (
            "template: a\ndefinition: {name: w, tasks: {a: {prompt: x}}}",
            "",
            "give exactly one of template and definition",
        ),
        ("templat: a", "templat", "there is no such field; did you mean 'template'?"),
        ("name: w\ntasks: {}", "tasks", "at least 1 item"),
        ("name: w\ntasks: {a: {promt: x}}", "tasks.a.promt", "there is no such field; did you mean 'prompt'?"),
        ("name: w\ntasks: {a: {prompt: x, depend_on: [b]}}", "tasks.a.depend_on", "did you mean 'depends_on'?"),
        ("name: w\ntasks: {a: {prompt: x, retry: {attemps: 2}}}", "tasks.a.retry.attemps", "did you mean 'attempts'?"),
        ("name: w\ntasks: {a: {prompt: x, map: {ovr: x}}}", "tasks.a.map.ovr", "did you mean 'over'?"),
        ("name: w\ntasks: {a: {prompt: x, map: {}}}", "tasks.a.map.over", "is missing"),
        (
            "name: w\ntasks: {a: {prompt: x, compensation: {actr: x.y}}}",
            "tasks.a.compensation.actr",
            "did you mean 'actor'?",
        ),
        ("name: w\ntasks: {a: {}}", "tasks.a", "exactly one of prompt, actor, function, signal, approval"),
        ("name: w\ntasks: {a: {prompt: x, actor: x.y}}", "tasks.a", "this has prompt and actor"),
        ("name: w\ntasks: {a: {actor: build}}", "tasks.a.actor", "must be an actor and one of its verbs"),
        (
            "name: w\ntasks: {Visual Assets: {prompt: x}}",
            "tasks.Visual Assets",
            "a task's id begins with a small letter",
        ),
        (
            "name: w\ntasks: {a: {prompt: x, depends_on: [B]}}",
            "tasks.a.depends_on.0",
            "a task's id begins with a small",
        ),
        ("name: w\ntasks: {a: {prompt: x, depends_on: b}}", "tasks.a.depends_on", "must be a list"),
        (
            "name: w\ntasks: {a: {prompt: x, when: false}}",
            "tasks.a.when",
            "must be text, and is true or false; put it in quotes",
        ),
        (
            "name: w\ntasks: {a: {prompt: 12}}",
            "tasks.a.prompt",
            "must be text, and is a whole number; put it in quotes",
        ),
        ("name: w\ntasks: {a: {prompt: x, timeout_s: soon}}", "tasks.a.timeout_s", "must be a valid number"),
        ("name: w\ntasks: {a: {prompt: x, allow_failure: maybe}}", "tasks.a.allow_failure", "must be true or false"),
        ("name: w\ntasks: {a: {signal: a.b}}", "tasks.a.signal", "a name has letters, digits, - and _"),
        ("name: w w\ntasks: {a: {prompt: x}}", "name", "a name has letters, digits, - and _"),
        ("name: w\ntasks: {a: {wait_s: [1]}}", "tasks.a.wait_s", "must be"),
        ("name: w\ntasks: {a: {workflow: b c}}", "tasks.a.workflow", "a name has letters, digits, - and _"),
        (
            "name: w\ntasks: {a: {workflow: {name: i, tasks: {b: {prmpt: x}}}}}",
            "tasks.a.workflow.tasks.b.prmpt",
            "did you mean 'prompt'?",
        ),
        ("name: w\ntasks: {a: {workflow: {name: i}}}", "tasks.a.workflow.tasks", "is missing"),
        ("name: w\ntasks: [a]", "tasks", "must be a mapping"),
        ("name: w\ntasks: {a: x}", "tasks.a", "must be a mapping"),
        (
            "definition: {name: w, tasks: {a: {prompt: x}}, output: {}, inputs: {a: 3}}",
            "definition.inputs.a",
            "must be a mapping",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_remedy(text: str, place: str, rule: str, tmp_path: Path) -> None:
    found = told(text, tmp_path)
    assert [where for where, _ in found][:1] == [place]
    assert rule in found[0][1]


def test_a_mistake_in_a_union_is_told_once(tmp_path: Path) -> None:
    text = "name: w\ntasks: {a: {workflow: {name: i, tasks: {b: {prmpt: x}}}}, c: {workflow: {name: i, tasks: 3}}}"
    assert [place for place, _ in told(text, tmp_path)] == ["tasks.a.workflow.tasks.b.prmpt", "tasks.c.workflow.tasks"]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "name: w\ntasks: {a: {promt: x}, b: {prompt: 1, retry: {attempts: 0}}}\nmax_parallel: 3"
    assert {place for place, _ in told(text, tmp_path)} == {
        "tasks.a.promt",
        "tasks.b.prompt",
        "tasks.b.retry.attempts",
        "max_parallel",
    }


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a: [", "line 2, column 1"),
        ("- a", "must be a mapping with a `template` and its `inputs`, or a `definition`"),
        ("name: w\ntasks: {a: {prompt: x}, a: {prompt: y}}", "the key 'a' stands here twice"),
    ],
)
def test_a_file_that_is_no_mapping_is_told_by_its_place(text: str, rule: str, tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert rule in str(caught.value)
    assert caught.value.file == str(file)


@pytest.mark.parametrize("read", [request, definition])
@given(document=JUNK)
def test_nothing_but_a_told_mistake_comes_of_junk(read: Read, document: Any) -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        read(document)
    assert all(rule for _, rule in caught.value.findings)


@given(fields=FIELDS)
def test_nothing_but_a_told_mistake_comes_of_a_task_of_junk(fields: dict[str, Any]) -> None:
    try:
        definition({"name": "w", "tasks": {"a": fields}})
    except InvalidWorkflow as error:
        assert all(place.startswith("tasks") and rule for place, rule in error.findings)

"""Everything that is wrong with a workflow is found before it begins, all at once, each with its place."""

import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.workflow.check import MAX_FINDINGS, Known, check, prepared
from actors.workflow.document import definition
from actors.workflow.graph import cycles, dependencies, dependents, order, precedence
from schemas.errors import InvalidWorkflow
from schemas.problem import Problem
from schemas.workflow import WorkflowDefinition, WorkflowRequest

KNOWN = Known(agents=["groq-lightning", "gemini-flash"], services=["local"], functions=["tidy"], templates=["launch"])
A = {"prompt": "Say something"}


def flow(tasks: Mapping[str, Any], **fields: Any) -> WorkflowDefinition:
    return definition({"name": "w", "tasks": tasks, **fields})


def wrong(definition: WorkflowDefinition, inputs: Mapping[str, Any] | None = None) -> list[tuple[str, str]]:
    try:
        check(definition, inputs, KNOWN)
    except InvalidWorkflow as error:
        return list(error.findings)
    return []


def task(fields: Mapping[str, Any], inputs: Mapping[str, Any] | None = None, **declared: Any) -> list[tuple[str, str]]:
    """What is wrong with one task `a`, beside a sound task `b`; places within `a`."""
    found = wrong(flow({"a": fields, "b": A}, inputs=declared), inputs)
    return [(place.removeprefix("definition.tasks.a."), rule) for place, rule in found]


# -- the graph -----------------------------------------------------------------------------------------------------


def test_what_a_task_needs_is_what_it_names_and_what_its_expressions_refer_to() -> None:
    # Given tasks that refer to others in every place that there is
    whole = flow(
        {
            **dict.fromkeys("bcdefghij", A),
            "a": {
                "actor": "x.y",
                "inputs": {"deep": [{"er": "${tasks.d.output}"}]},
                "otherwise": {"prompt": "${tasks.e.output}"},
                "depends_on": ["c", "b"],
                "when": "tasks.f.status == 'completed'",
                "map": {"over": "tasks.g.output"},
                "compensation": {"prompt": "${tasks.j.output}"},
            },
            "w": {"wait_s": "${tasks.h.output}"},
            "u": {"wait_until": "${tasks.h.output}"},
            "q": {"approval": "${tasks.i.output}"},
        }
    )
    # When their needs are told
    needed = dependencies(whole)
    # Then all of them are there, those that are named first; what undoes a task adds none
    assert needed["a"] == ("c", "b", "d", "e", "f", "g")
    assert (needed["w"], needed["u"], needed["q"]) == (("h",), ("h",), ("i",))
    assert dependents(needed)["h"] == ("w", "u")
    assert order(needed).index("a") > max(order(needed).index(name) for name in needed["a"])


def test_tasks_that_wait_for_each_other_are_named_in_their_order() -> None:
    # Given two circles, one of them by references, and a task that only follows
    tasks = {
        "a": {"prompt": "${tasks.c.output}"},
        "b": {**A, "depends_on": ["a"]},
        "c": {**A, "depends_on": ["b"]},
        "d": {**A, "depends_on": ["e"]},
        "e": {**A, "depends_on": ["d"]},
        "f": {**A, "depends_on": ["a"]},
    }
    # When it is checked
    # Then each circle is told once
    assert wrong(flow(tasks)) == [
        ("definition.tasks.a", "these wait for each other, so none can begin: a → c → b → a"),
        ("definition.tasks.d.depends_on", "these wait for each other, so none can begin: d → e → d"),
    ]


def reached(edges: Mapping[str, list[str]], name: str) -> set[str]:
    """What a task needs, what that needs, and so on."""
    found: set[str] = set()
    todo = [*edges[name]]
    while todo:
        one = todo.pop()
        todo += [] if one in found else edges[one]
        found.add(one)
    return found


GRAPHS = st.dictionaries(st.integers(0, 8), st.sets(st.integers(0, 8), max_size=4), max_size=9)


@given(GRAPHS)
def test_what_has_ended_before_a_task_is_all_that_it_needs(drawn: dict[int, set[int]]) -> None:
    edges = {
        str(name): [str(other) for other in sorted(needed) if other < name and other in drawn]
        for name, needed in drawn.items()
    }
    ended = precedence(edges)
    assert all({first for first in edges if ended(first, name)} == reached(edges, name) for name in edges)


@given(GRAPHS)
def test_circles_are_found_exactly_where_there_are_any(drawn: dict[int, set[int]]) -> None:
    edges = {str(name): [str(other) for other in sorted(needed) if other in drawn] for name, needed in drawn.items()}
    found = cycles(edges)
    assert bool(found) == any(name in reached(edges, name) for name in edges)
    for circle in found:
        assert circle[0] == circle[-1]
        assert all(after in edges[one] for one, after in pairwise(circle))
    assert len({name for circle in found for name in circle[1:]}) == sum(len(circle) - 1 for circle in found)


# -- references ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "findings"),
    [
        ({**A, "depends_on": ["c"]}, [("depends_on", "there is no task 'c'; there are b")]),
        ({**A, "depends_on": ["a"]}, [("depends_on", "a task cannot wait for itself")]),
        ({"prompt": "${tasks.c.output}"}, [("prompt", "there is no task 'c'; there are b")]),
        (
            {"prompt": "${tasks.a.output}"},
            [("prompt", "refers to its own task, which has no output before it has run")],
        ),
        ({"prompt": "${inputs.brnd}"}, [("prompt", "there is no input 'brnd'; did you mean 'brand'?")]),
        ({"prompt": "${item}"}, [("prompt", "item is there only in a task with a map")]),
        (
            {"prompt": "${output}"},
            [("prompt", "output is there only in a compensation; elsewhere write tasks.<id>.output")],
        ),
        ({"prompt": "${tasks.b.outptu}"}, [("prompt", "a task has output, status, problem, and no 'outptu'")]),
        ({"prompt": "${a b}"}, [("prompt", "'a b' cannot be read at character 3: 'b' does not belong there")]),
        ({"prompt": "${tasks.b.output"}, [("prompt", "the ${ at character 1 is never closed")]),
        ({**A, "when": "item == 'x'", "map": {"over": "`[]`"}}, [("when", "item is there only in a task with a map")]),
        ({**A, "map": {"over": "index"}}, [("map.over", "index is there only in a task with a map")]),
        (
            {"actor": "x.y", "inputs": {"deep": ["", {"er": "${inputs.brnd}"}]}},
            [("inputs.deep.1.er", "there is no input 'brnd'; did you mean 'brand'?")],
        ),
        (
            {"actor": "x.y", "otherwise": {"prompt": "${tasks.z.output}"}},
            [("otherwise.prompt", "there is no task 'z'; there are b")],
        ),
        ({"prompt": "${item.x} ${index} ${tasks.b.output} ${inputs.brand}", "map": {"over": "tasks.b.output"}}, []),
    ],
)
def test_references_lead_to_what_is_there(fields: dict[str, Any], findings: list[tuple[str, str]]) -> None:
    found = task(fields, brand={"type": "string"})
    assert [place for place, _ in found] == [place for place, _ in findings]
    assert all(rule in said for (_, said), (_, rule) in zip(found, findings, strict=True))


def test_the_nearest_task_and_the_nearest_field_are_named() -> None:
    found = wrong(
        flow(
            {"visuals": A, "site": {"prompt": "${inputs.params.styel}", "depends_on": ["visual"]}},
            inputs={"params": {"type": "object", "properties": {"style": {}}, "additionalProperties": False}},
        )
    )
    assert found == [
        ("definition.tasks.site.depends_on", "there is no task 'visual'; did you mean 'visuals'?"),
        ("definition.tasks.site.prompt", "inputs.params has no 'styel'; did you mean 'style'?"),
    ]


def test_the_output_of_the_whole_refers_to_what_is_there_too() -> None:
    found = wrong(flow({"logo": A}, output={"x": ["${tasks.lgo.output}"], "y": "${item}"}))
    assert found[0] == ("definition.output.x.0", "there is no task 'lgo'; did you mean 'logo'?")
    assert found[1][0] == "definition.output.y"


@pytest.mark.parametrize(
    ("undo", "place", "rule"),
    [
        ({"prompt": "${output.id} ${tasks.a.output} ${tasks.b.output} ${inputs.x}"}, None, ""),
        ({"prompt": "${item}"}, "prompt", "item is there only"),
        ({"actor": "x.y", "inputs": {"a": "${tasks.c.output}"}}, "inputs.a", "c need not have run when a is undone"),
        ({"prompt": "${tasks.d.output}"}, "prompt", "there is no task 'd'"),
        ({"prompt": "x", "agent": "grok-lightning"}, "agent", "there is no agent 'grok-lightning'; did you mean"),
    ],
)
def test_a_compensation_refers_to_its_own_task_and_to_those_before_it(undo: Any, place: str | None, rule: str) -> None:
    found = wrong(
        flow({"a": {**A, "depends_on": ["b"], "compensation": undo}, "b": A, "c": A}, inputs={"x": {"default": 1}})
    )
    assert len(found) == (place is not None)
    for where, said in found:
        assert where == f"definition.tasks.a.compensation.{place}"
        assert rule in said


def test_what_undoes_an_item_may_refer_to_the_item() -> None:
    undo = {"actor": "x.y", "inputs": {"a": "${item} ${index} ${output}"}}
    assert task({**A, "map": {"over": "`[1]`"}, "compensation": undo}) == []


# -- tasks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "place", "rule"),
    [
        ({"prompt": " "}, "prompt", "is empty; say what is to be done"),
        (
            {"prompt": "x", "agent": "groq-lightnin"},
            "agent",
            "there is no agent 'groq-lightnin'; did you mean 'groq-lightning'?",
        ),
        ({"prompt": "x", "service": "locl"}, "service", "there is no service 'locl'; did you mean 'local'?"),
        ({"prompt": "x", "agent": "groq-lightning", "tier": "mega"}, "agent", "whoever is named answers alone"),
        ({"prompt": "x", "tier": "simple", "agents": 4}, "agents", "a team of tier 'simple' has 1 agent"),
        ({"prompt": "x", "inputs": {"a": 1}}, "inputs", "are for an actor, a function or a workflow"),
        ({"function": "tidi"}, "function", "there is no function 'tidi'; did you mean 'tidy'?"),
        ({"workflow": "lunch"}, "workflow", "there is no template 'lunch'; did you mean 'launch'?"),
        ({"actor": "x.y", "otherwise": {"prompt": "x", "agent": "z"}}, "otherwise.agent", "there is no agent 'z'"),
        (
            {"approval": "ok?", "map": {"over": "`[1]`"}},
            "map",
            "a task that waits (approval) is not done for each item",
        ),
        ({"prompt": "x", "when": "`1` == `2`"}, "when", "is never true, so a never runs"),
        ({"prompt": "x", "when": '`""`'}, "when", "is never true"),
        ({"prompt": "x", "when": "length(`1`) > `2`"}, "when", "length() takes string or array or object"),
        ({"wait_s": -1}, "wait_s", "must be a number of seconds"),
        ({"wait_s": "5m"}, "wait_s", "must be a number of seconds, or ${expression} of one; it is '5m'"),
        ({"wait_s": float("nan")}, "wait_s", "must be a number of seconds"),
        ({"wait_s": 8 * 86400}, "wait_s", "is 691200 s, and the whole workflow has 604800 s (timeout_s)"),
        ({"wait_s": '${`"x"`}'}, "wait_s", "it is 'x'"),
        ({"wait_s": "${inputs.word}"}, "wait_s", "must be a number, and inputs.word is declared as text"),
        ({"wait_until": "tomorrow"}, "wait_until", "must be a moment such as 2026-03-01T09:00:00+01:00"),
        ({"wait_until": "2026-03-01T09:00:00"}, "wait_until", "names no time zone"),
        ({"wait_until": "${inputs.many}"}, "wait_until", "must be text, and inputs.many is declared as an array"),
        (
            {"prompt": "x", "map": {"over": "inputs.word"}},
            "map.over",
            "must be an array, and inputs.word is declared as text",
        ),
        ({"prompt": "x", "map": {"over": "${`{}`}"}}, "map.over", "must be a list, and is {}"),
    ],
)
def test_a_task_that_could_not_run_is_refused(fields: dict[str, Any], place: str, rule: str) -> None:
    found = task(fields, word={"type": "string"}, many={"type": "array"})
    assert [where for where, _ in found] == [place]
    assert rule in found[0][1]


@pytest.mark.parametrize(
    "fields",
    [
        {"wait_s": 0},
        {"wait_s": "${inputs.n}"},
        {"wait_s": "${tasks.b.output.seconds}"},
        {"wait_until": "2026-03-01T09:00:00Z"},
        {"prompt": "x", "when": "`true`"},
        {"prompt": "x", "when": "inputs.n == `3`"},
        {"prompt": "x", "agent": "groq-lightning", "max_tokens": 9},
        {"function": "tidy", "inputs": {"a": 1}},
        {"workflow": "launch"},
        {"signal": "paid"},
    ],
)
def test_a_task_that_can_run_is_not(fields: dict[str, Any]) -> None:
    assert task(fields, {"n": 2}, n={"type": "integer"}) == []


def test_who_is_not_known_to_whoever_checks_may_be_named() -> None:
    check(flow({"a": {"prompt": "x", "agent": "z"}, "b": {"function": "z"}, "c": {"workflow": "z"}}), {}, Known())


def test_those_that_need_a_task_that_never_runs_are_named() -> None:
    found = wrong(
        flow({"a": {**A, "when": "`false`"}, "b": {"prompt": "${tasks.a.output}"}, "c": {**A, "depends_on": ["a"]}})
    )
    assert found == [
        ("definition.tasks.a.when", "is never true, so a never runs, and what needs it gets nothing: b, c")
    ]


@pytest.mark.parametrize(
    ("size", "limit", "rule"),
    [
        (1000, None, None),
        (1001, None, "has 1,001 items; beyond 1,000, say with map.limit how many run at once"),
        (10_000, 5, None),
        (10_001, 5, "has 10,001 items; a map has 10,000 at most"),
    ],
)
def test_a_map_over_too_many_items_is_refused_as_soon_as_they_are_known(
    size: int, limit: int | None, rule: str | None
) -> None:
    over = {"over": "${inputs.many}"} | ({} if limit is None else {"limit": limit})
    found = task({**A, "map": over}, {"many": list(range(size))}, many={"type": "array"})
    assert found == ([] if rule is None else [("map.over", rule)])


# -- inputs --------------------------------------------------------------------------------------------------------


def test_given_inputs_are_held_against_their_schemas() -> None:
    # Given inputs that break rules
    declared = {
        "brand": {"type": "string"},
        "size": {"type": "integer", "minimum": 1},
        "params": {
            "type": "object",
            "properties": {"style": {"enum": ["a", "b"]}, "pages": {"type": "array", "items": {"type": "string"}}},
            "required": ["pages"],
            "additionalProperties": False,
        },
        "left_out": {"default": 3},
    }
    given_ = {"brnd": "x", "size": 0, "params": {"style": "c", "stile": 1}}
    # When they are checked
    found = wrong(flow({"a": A}, inputs=declared), given_)
    # Then each rule is told with its place
    assert sorted(found) == [
        ("inputs.brand", "is missing"),
        ("inputs.brnd", "there is no such input; did you mean 'brand'?"),
        ("inputs.params.pages", "is missing"),
        ("inputs.params.stile", "there is no such field; did you mean 'style'?"),
        ("inputs.params.style", "must be one of 'a', 'b'"),
        ("inputs.size", "0 is less than the minimum of 1"),
    ]
    assert [e.field for e in Problem.of(InvalidWorkflow(tuple(found))).errors] == [place for place, _ in found]


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@pytest.mark.parametrize(
    ("schema", "rule"),
    [
        ({"type": "text"}, "is no JSON Schema: type: 'text' is not valid under any of the given schemas"),
        (
            {"properties": {"a": {"minimum": "x"}}},
            "is no JSON Schema: properties.a.minimum: 'x' is not of type 'number'",
        ),
        ({"pattern": "("}, "is no JSON Schema: pattern: '(' is not a 'regex'"),
        ({"pattern": "[[:foo:]]"}, "has the pattern '[[:foo:]]', which is no regular expression: unknown property"),
        ({"items": {"patternProperties": {"^a": {}}}}, "uses patternProperties, which are not supported"),
    ],
)
def test_an_input_whose_schema_is_none_is_refused(schema: dict[str, Any], rule: str) -> None:
    ((place, said),) = wrong(flow({"a": A}, inputs={"x": schema}))
    assert place == "definition.inputs.x"
    assert rule in said


def test_a_property_may_have_the_name_of_a_rule() -> None:
    declared = {
        "x": {"type": "object", "properties": {"patternProperties": {"type": "string"}, "pattern": {"type": "string"}}}
    }
    assert wrong(flow({"a": A}, inputs=declared), {"x": {"pattern": "("}}) == []


def test_a_default_that_breaks_its_own_schema_is_refused() -> None:
    found = wrong(flow({"a": A}, inputs={"x": {"type": "integer", "default": "three"}}))
    assert found == [("definition.inputs.x.default", "must be a whole number, and is text")]


@pytest.mark.parametrize(
    ("schema", "value", "rule"),
    [
        ({"pattern": "^(a|a)*$"}, "a" * 60 + "b", "cannot be checked: the pattern '^(a|a)*$' takes too long"),
        ({"$ref": "#"}, 1, "cannot be checked: its schema refers to itself without end"),
        ({"$ref": "https://example.com/s"}, 1, "refers to 'https://example.com/s', which is not in it"),
        (
            {
                "$ref": "#/$defs/d0",
                "$defs": {
                    **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)},
                    "d30": {},
                },
            },
            1,
            "follows more than 100,000 references",
        ),
    ],
)
def test_a_schema_cannot_hold_up_whoever_checks(schema: dict[str, Any], value: Any, rule: str) -> None:
    ((place, said),) = wrong(flow({"a": A}, inputs={"x": schema}), {"x": value})
    assert place == "inputs.x"
    assert rule in said


# -- workflows within workflows ------------------------------------------------------------------------------------


def test_mistakes_within_a_workflow_of_a_workflow_have_their_place() -> None:
    # Given a workflow within a workflow, with a mistake of its own, and inputs that do not fit it
    inner = {
        "name": "inner",
        "inputs": {"n": {"type": "integer"}, "s": {"type": "string"}, "t": {"type": "integer"}},
        "tasks": {"x": {"prompt": "${tasks.outer.output}"}},
    }
    found = wrong(flow({"outer": {"workflow": inner, "inputs": {"n": "${tasks.b.output}", "s": 4, "u": 1}}, "b": A}))
    # Then both are told; what is not known yet is not
    assert found == [
        ("definition.tasks.outer.workflow.tasks.x.prompt", "there is no task 'outer'; there are none"),
        ("definition.tasks.outer.inputs.u", "there is no such input; there are n, s, t"),
        ("definition.tasks.outer.inputs.s", "must be text, and is a whole number"),
        ("definition.tasks.outer.inputs.t", "is missing"),
    ]


def test_workflows_within_each_other_have_a_limit() -> None:
    whole = flow({"a": A})
    for _ in range(9):
        whole = flow({"a": {"workflow": whole.model_dump(exclude_unset=True)}})
    assert wrong(whole) == [("definition", "has workflows 9 deep within each other; 8 at most")]


def test_a_definition_has_a_size_that_it_may_have() -> None:
    whole = flow({f"a{n}": {"prompt": "x" * 200_000} for n in range(6)})
    ((place, rule),) = wrong(whole)
    assert place == "definition"
    assert "the limit is 1,000,000" in rule


def test_only_the_first_findings_are_told_when_there_are_very_many() -> None:
    found = wrong(flow({f"t{n}": {"prompt": "${tasks.nobody.output}"} for n in range(MAX_FINDINGS + 7)}))
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1] == ("definition", "there is more; these are the first 100")


@pytest.mark.parametrize(
    "tasks",
    [
        {"a": {"prompt": "".join(f"${{tasks.b{n}.output}}" for n in range(10_000))}},
        {"a": {"prompt": "".join(f"${{inputs.params.b{n}}}" for n in range(10_000))}},
        {"a": {"actor": "x.y", "inputs": {f"i{n}": "${tasks.a.output}" for n in range(10_000)}}},
        {f"t{n}": {"prompt": f"${{tasks.u{n}.output}}"} for n in range(1000)},
        {
            f"t{n}": {
                **A,
                "depends_on": [f"t{m}" for m in range(max(0, n - 120), n)],
                "compensation": {"prompt": "${tasks.t0.output}"},
            }
            for n in range(1000)
        },
    ],
    ids=["tasks", "fields", "places", "unknown", "many edges"],
)
def test_a_large_definition_is_looked_through_in_seconds(tasks: dict[str, Any]) -> None:
    whole = flow(
        tasks, inputs={"params": {"type": "object", "properties": {}, "additionalProperties": False, "default": {}}}
    )
    began = time.monotonic()
    wrong(whole)
    assert time.monotonic() - began < 10


# -- what is begun -------------------------------------------------------------------------------------------------

TEMPLATES = {
    "launch": flow({"a": {"workflow": "inner"}}, inputs={"brand": {"type": "string"}}),
    "inner": flow({"x": A}),
    "one": flow({"x": {"workflow": "two"}}),
    "two": flow({"y": {"workflow": "one"}}),
}


def test_templates_stand_in_place_of_their_names() -> None:
    request = WorkflowRequest(definition=flow({"a": {"workflow": "launch", "inputs": {"brand": "x"}}, "b": A}))
    whole, _ = prepared(request, TEMPLATES)
    assert [each.tasks.keys() for each in whole.within()] == [{"a", "b"}, {"a"}, {"x"}]
    check(whole, {}, Known(templates=()))


def test_a_request_says_otherwise_than_its_definition() -> None:
    request = WorkflowRequest(template="launch", inputs={"brand": "x"}, max_parallel_tasks=3, timeout_s=60)
    whole, inputs = prepared(request, TEMPLATES)
    assert (whole.max_parallel_tasks, whole.timeout_s, whole.max_cost_usd, inputs) == (3, 60, None, {"brand": "x"})
    assert TEMPLATES["launch"].max_parallel_tasks == 10


def test_a_setting_among_the_inputs_of_a_template_is_that_setting() -> None:
    whole, inputs = prepared(
        WorkflowRequest(template="launch", inputs={"brand": "x", "max_parallel_tasks": 5}), TEMPLATES
    )
    assert (whole.max_parallel_tasks, inputs) == (5, {"brand": "x"})
    with pytest.raises(InvalidWorkflow) as caught:
        prepared(WorkflowRequest(template="launch", inputs={"max_parallel_tasks": 0}), TEMPLATES)
    assert caught.value.findings[0][0] == "inputs.max_parallel_tasks"


def test_what_is_left_out_of_the_inputs_is_filled_in_down_to_their_properties() -> None:
    declared = {
        "a": {"default": 1},
        "b": {"properties": {"c": {"default": [2]}, "d": {"default": 3}}, "default": {}},
        "e": {"properties": {"f": {"properties": {"g": {"default": 4}}}}},
    }
    whole = flow({"x": A}, inputs=declared)
    _, inputs = prepared(WorkflowRequest(definition=whole, inputs={"e": {"f": {}}, "z": 9}), {})
    assert inputs == {"a": 1, "b": {"c": [2], "d": 3}, "e": {"f": {"g": 4}}, "z": 9}
    _, inputs = prepared(WorkflowRequest(definition=whole, inputs={"a": None, "b": {"d": 0}, "e": 1}), {})
    assert inputs == {"a": None, "b": {"c": [2], "d": 0}, "e": 1}


@pytest.mark.parametrize(
    ("request_", "place", "rule"),
    [
        ({"template": "lanch"}, "template", "there is no template 'lanch'; did you mean 'launch'?"),
        (
            {"template": "one"},
            "template.tasks.x.workflow.tasks.y.workflow",
            "a template cannot hold itself: one → two → one",
        ),
        (
            {"definition": {"name": "w", "tasks": {"a": {"workflow": "inne"}}}},
            "definition.tasks.a.workflow",
            "there is no template 'inne'; did you mean 'inner'?",
        ),
    ],
)
def test_a_template_that_cannot_be_found_is_told_with_its_place(request_: Any, place: str, rule: str) -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        prepared(WorkflowRequest.model_validate(request_), TEMPLATES)
    assert caught.value.findings == ((place, rule),)

"""Texts with expressions in them: what they refer to, what they come to, and that nothing else ever happens."""

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.workflow.expressions import (
    ExpressionError,
    bare,
    escaped,
    evaluate,
    names,
    references,
    resolve,
    texts,
    truth,
)
from actors.workflow.query import MAX_STEPS

CONTEXT: dict[str, Any] = {
    "inputs": {"brand": "Élégance", "budget": 10000.0, "pages": ["home", "shop"], "none": None, "my-name": "x"},
    "tasks": {
        "logo": {"output": {"answer": "a crown", "size": {"w": 2}}, "status": "completed", "problem": None},
        "site": {"output": None, "status": "skipped", "problem": None},
    },
    "workflow": {"id": "w1", "name": "launch"},
}
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SCRAPS = st.lists(
    st.sampled_from(
        [
            *"${}[]().,|&!<>=@*:?-`'\"\\ \n09azé",
            "${",
            "$${",
            "tasks.",
            "inputs",
            "item",
            "output",
            "length(",
            "map(&",
            "`1`",
        ]
    ),
    max_size=24,
).map("".join)


# -- what they come to ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("${inputs.brand}", "Élégance"),
        ("${inputs.budget}", 10000.0),
        ("${inputs.pages}", ["home", "shop"]),
        ("${inputs.none}", None),
        ("${ inputs.brand }", "Élégance"),
        ("A logo for ${inputs.brand}.", "A logo for Élégance."),
        ("${inputs.brand}${inputs.brand}", "ÉléganceÉlégance"),
        ("budget: ${inputs.budget}", "budget: 10000.0"),
        ("${inputs.pages} and ${tasks.logo.output.size}", '["home","shop"] and {"w":2}'),
        ("true is ${`true`}", "true is true"),
        ("${{a: inputs.brand, b: '}'}}", {"a": "Élégance", "b": "}"}),
        ("x ${{a: {b: inputs.brand}}} y", 'x {"a":{"b":"Élégance"}} y'),
        ('${`{"a": "}"}`.a}', "}"),
        ('${inputs."my-name"}', "x"),
        ("${inputs.absent || 'none'}", "none"),
        ("$${inputs.brand}", "${inputs.brand}"),
        ("costs $5 {or} }so{", "costs $5 {or} }so{"),
        ({"a": ["${inputs.budget}", {"${b}": "${workflow.id}"}]}, {"a": [10000.0, {"${b}": "w1"}]}),
        (("${workflow.name}",), ["launch"]),
        (7, 7),
    ],
)
def test_a_value_is_resolved(value: Any, result: Any) -> None:
    assert resolve(value, CONTEXT) == result


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("by ${inputs.none}", "${inputs.none}: gives nothing"),
        (
            "see ${tasks.logo.output.anwser}",
            "${tasks.logo.output.anwser}: gives nothing; tasks.logo.output has no 'anwser': did you mean 'answer'?",
        ),
        (
            "see ${tasks.site.output.url}",
            "${tasks.site.output.url}: gives nothing; tasks.site.output is null; site is skipped",
        ),
        ("see ${tasks.site.output}", "${tasks.site.output}: gives nothing; site is skipped"),
        ("see ${inputs.brand.name}", "${inputs.brand.name}: gives nothing; inputs.brand is no object"),
        (
            "${length(inputs.none)}",
            "${length(inputs.none)}: length() takes string or array or object, and was given nothing",
        ),
        ("${`1` < 'a'}", "${`1` < 'a'}: compares or combines values of different kinds"),
        ("${to_number('1e999')}", "${to_number('1e999')}: holds a number that is not finite; JSON has none"),
    ],
)
def test_an_expression_without_a_usable_value_says_why(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        resolve(text, CONTEXT)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("inputs.brand == 'Élégance'", True),
        ("${inputs.budget > `5`}", True),
        ("tasks.site.status == 'completed'", False),
        ("tasks.site.output", False),
        ("`0`", True),
        ('`""`', False),
        ("`[]`", False),
        ("`{}`", False),
        ("`false`", False),
        ("inputs.absent", False),
        ("!inputs.absent", True),
        ("!inputs.brand", False),
        ("!inputs.brand == `false`", True),
        ("!tasks.logo.output.size.w && inputs.brand", False),
        ("!inputs.pages[?@ == 'blog']", True),
        ("!inputs.pages[]", False),
    ],
)
def test_a_condition_holds_as_in_jmespath(condition: str, holds: bool) -> None:
    assert truth(condition, CONTEXT) is holds


def test_zero_and_one_are_not_taken_for_truth_values() -> None:
    assert truth("inputs.n", {"inputs": {"n": 0}}) is True
    assert truth("inputs.n", {"inputs": {"n": 0.0}}) is True


def test_an_expression_stands_with_or_without_its_braces() -> None:
    assert evaluate("inputs.pages[0]", CONTEXT) == evaluate(" ${inputs.pages[0]} ", CONTEXT) == "home"
    assert evaluate("inputs.absent", CONTEXT) is None
    with pytest.raises(ValueError, match="put the whole expression into one"):
        bare("${inputs.brand} == 'x'")


# -- what they refer to --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "tasks", "inputs", "roots"),
    [
        ("tasks.a.output.tasks.b", {"a"}, set(), {"tasks"}),
        ("tasks.a.output || tasks.b.output", {"a", "b"}, set(), {"tasks"}),
        ("(tasks.a || tasks.b).output", {"a", "b"}, set(), {"tasks"}),
        ("tasks.{x: a.output, y: b.status}", {"a", "b"}, set(), {"tasks"}),
        ("tasks.[a.output, b.output]", {"a", "b"}, set(), {"tasks"}),
        ("tasks | a.output", {"a"}, set(), {"tasks"}),
        ('tasks."a".output[?tasks.z == `1`].inputs.y', {"a"}, set(), {"tasks"}),
        ("map(&tasks.z, inputs.list)", set(), {"list"}, {"inputs"}),
        ("sort_by(tasks.a.output, &price)[0].name", {"a"}, set(), {"tasks"}),
        ("inputs", set(), set(), {"inputs"}),
        ("item.name == inputs.brand && index == `0`", set(), {"brand"}, {"inputs", "item", "index"}),
        ("output.id", set(), set(), {"output"}),
        ("workflow.id", set(), set(), {"workflow"}),
        ("'tasks.a' == `\"tasks.b\"`", set(), set(), set()),
    ],
)
def test_names_are_found_where_they_are_ours(
    expression: str, tasks: set[str], inputs: set[str], roots: set[str]
) -> None:
    found = names(expression)
    assert (found.tasks, found.inputs, found.roots, found.mistakes) == (tasks, inputs, roots, ())


def test_references_of_a_value_are_those_of_all_its_texts() -> None:
    found = references(
        {"a": ["${tasks.x.output}", "no tasks.z"], "b": "${inputs.y} $${tasks.q.output}", "${tasks.k}": 1}
    )
    assert (found.tasks, found.inputs) == ({"x"}, {"y"})


@pytest.mark.parametrize(
    ("expression", "mistake"),
    [
        ("tasks.*.output", "name each task"),
        ("length(tasks)", "name each task"),
        ("@", "name each task"),
        ("values(@)", "name each task"),
        ("[tasks, inputs]", "name each task"),
        ("brand", "there is no 'brand'; an expression begins with one of inputs, tasks"),
        (
            "tasks.logo.answer",
            "a task has output, status, problem, and no 'answer'; did you mean tasks.logo.output.answer?",
        ),
        ("workflow.tenant", "a workflow has id and name, and no 'tenant'"),
        ('inputs.mood == "calm"', "a text stands in single quotes"),
        ("inputs.on == true", "the value stands in backticks, as `true`"),
    ],
)
def test_what_could_never_be_there_is_a_mistake(expression: str, mistake: str) -> None:
    (said,) = names(expression).mistakes
    assert mistake in said


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("inputs.n > 5", "'inputs.n > 5' cannot be read at character 12: a number stands in backticks, as `5`"),
        ("inputs.a = 'b'", "at character 10: '=' does not belong there; to compare, write =="),
        ("inputs.brand-name", "a name with - in it stands in double quotes"),
        ("inputs.a + inputs.b", "JMESPath does not calculate"),
        ("lenght(inputs.a)", "there is no function lenght(); did you mean 'length'?"),
        ("length(inputs.a, inputs.b)", "length() takes 1 argument, and was given 2"),
        ("join(', ')", "join() takes 2 arguments, and was given 1"),
        ("&inputs.a", "& belongs into a call of map"),
        ("inputs.a[", "it breaks off at its end"),
        ("inputs.", "it breaks off at its end"),
        ("", "it is empty"),
        ("'abc", "the ' at character 1 of \"'abc\" is never closed"),
        ("`abc`", "is no JSON, which backticks hold; a text stands in single quotes"),
        ("`1e999`", "holds a number that is not finite"),
        ("inputs.a == ${inputs.b}", "put the whole expression into one ${…}"),
        ("!" * 100 + "inputs", "nested too deeply"),
        ("(" * 3000, "nested too deeply"),
        ("inputs" + " || inputs" * 100, "nested too deeply"),
        ("a" * 4001, "has 4,000 characters at most; this one has 4,001"),
    ],
)
def test_an_expression_that_cannot_be_read_says_where_and_how_to_mend_it(expression: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        names(expression)
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["a ${inputs.b", "a ${'}", "${{a: inputs.b}", "${"])
def test_braces_that_are_never_closed_are_found(text: str) -> None:
    with pytest.raises(ValueError, match="is never closed"):
        references(text)


# -- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "|".join(["inputs.pages", *["[@, @][]"] * 50]),
        "|".join(["inputs.pages", *["[@, @]"] * 60, "to_string(@)"]),
        "|".join(["inputs.brand", *["join('', [@, @])"] * 60]),
        "|".join(["inputs", *["{a: @, b: @}"] * 60, "@ == @"]),
    ],
)
def test_a_short_expression_cannot_ask_for_a_value_of_any_size(expression: str) -> None:
    began = time.monotonic()
    with pytest.raises(ExpressionError, match=f"takes more than {MAX_STEPS:,} steps"):
        evaluate(expression, CONTEXT)
    assert time.monotonic() - began < 10


def test_a_large_output_cannot_be_set_in_again_and_again() -> None:
    large = {"tasks": {"a": {"output": ["x" * 1000] * 1000, "status": "completed"}}}
    assert resolve(["${tasks.a.output}"] * 10, large)[9] is large["tasks"]["a"]["output"]
    for text in ("${tasks.a.output}", "so ${tasks.a.output}"):
        with pytest.raises(ExpressionError, match="makes this larger than 16,000,000 bytes"):
            resolve([text] * 20, large)


def test_nesting_without_end_is_refused() -> None:
    value: Any = "${inputs.brand}"
    for _ in range(40):
        value = [value]
    for refused in (resolve, lambda value, _: references(value)):
        with pytest.raises(ValueError, match="nested more than 32 deep"):
            refused(value, CONTEXT)


# -- whatever comes ------------------------------------------------------------------------------------------------


@given(st.text().filter(lambda text: "${" not in text))
def test_a_text_without_expressions_stays_as_it_is(text: str) -> None:
    assert resolve(text, CONTEXT) == text
    assert references(text).tasks == set()


@given(SCRAPS | st.text())
@example("$$${")
@example("${${$${")
def test_an_escaped_text_comes_back(text: str) -> None:
    assert resolve(escaped(text), CONTEXT) == text
    assert references(escaped(text)).roots == set()


@given(PLAIN)
def test_one_expression_keeps_its_value_and_one_in_a_text_is_its_json(value: Any) -> None:
    context = {"inputs": {"x": value}}
    assert resolve("${inputs.x}", context) is value
    if value is not None:
        shown = resolve("<${inputs.x}>", context)[1:-1]
        assert shown == value if isinstance(value, str) else json.loads(shown) == value


@given(st.text(st.characters(exclude_characters="\\'", exclude_categories=["Cs"]), max_size=30))
def test_braces_and_quotes_within_an_expression_do_not_end_it(text: str) -> None:
    assert resolve(f"<${{'{text}'}}>", CONTEXT) == f"<{text}>"
    assert resolve(f"<${{{{a: '{text}'}}.a}}>", CONTEXT) == f"<{text}>"


@given(SCRAPS)
def test_nothing_but_a_clear_error_comes_of_scraps(text: str) -> None:
    for attempt in (
        lambda: resolve(text, CONTEXT),
        lambda: truth(text, CONTEXT),
        lambda: names(text),
        lambda: references(text),
    ):
        try:
            attempt()
        except (ExpressionError, ValueError) as error:
            assert str(error).strip()


@given(PLAIN)
def test_every_text_of_a_value_has_its_place(value: Any) -> None:
    found = list(texts({"a": value}))
    assert len(found) == len(list(_texts(value)))
    assert all(place == "a" or place.startswith("a.") for place, _ in found)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in inner for text in _texts(part)]

"""The templates that come with the platform, and the examples, are such that they can be run as they stand."""

from pathlib import Path
from typing import Any

import pytest

from actors.catalogue import load as load_catalogue
from actors.workflow import document
from actors.workflow.catalogue import TEMPLATES, built_in, load, summaries
from actors.workflow.check import Known, check, prepared
from actors.workflow.expressions import resolve
from actors.workflow.graph import dependencies
from schemas.errors import ConfigError, InvalidWorkflow
from schemas.workflow import AgentWork, WorkflowDefinition, WorkflowRequest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
CATALOGUE = load_catalogue()
KNOWN = Known(agents=[*CATALOGUE.carriers], services=[*CATALOGUE.services], functions=(), templates=())

DOCUMENTED = {
    "brand_name": "Élégance Noir",
    "visual_assets_params": {"style": "minimalist_luxury", "color_palette": ["#000000", "#FFFFFF", "#D4AF37"]},
    "website_params": {"theme": "luxury_fashion", "pages": ["home", "shop", "about", "contact"]},
    "inventory_params": {"initial_products": 50, "channels": ["woocommerce", "shopify"]},
    "marketing_params": {"budget": 10000.00, "channels": ["email", "instagram", "facebook"]},
}
LEAST: dict[str, dict[str, Any]] = {
    "fashion_brand_launch": {"brand_name": "Luxe Couture", "max_parallel_tasks": 5},
    "product_launch": {"brand_name": "Luxe Couture", "product_name": "silk scarf"},
    "marketing_campaign": {"brand_name": "Luxe Couture"},
}


def begun(template: str, inputs: dict[str, Any]) -> tuple[WorkflowDefinition, dict[str, Any]]:
    whole, filled = prepared(WorkflowRequest(template=template, inputs=inputs), built_in())
    check(whole, filled, KNOWN)
    return whole, filled


def refused(template: str, inputs: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidWorkflow) as caught:
        begun(template, inputs)
    return list(caught.value.findings)


def test_the_documented_templates_are_there() -> None:
    assert set(built_in()) == set(LEAST)
    assert {one.name for one in summaries(built_in()).templates} == set(LEAST)


@pytest.mark.parametrize("template", LEAST)
def test_a_template_runs_with_nothing_but_what_it_must_have(template: str) -> None:
    begun(template, LEAST[template])


def test_the_documented_launches_are_taken_as_they_stand() -> None:
    # Given the two requests of the document
    # When they are prepared
    full, inputs = begun("fashion_brand_launch", DOCUMENTED)
    least, _ = begun("fashion_brand_launch", LEAST["fashion_brand_launch"])
    # Then what they say is there, and what they leave out too
    assert inputs["marketing_params"]["budget"] == 10000.0
    assert inputs["visual_assets_params"]["color_palette"][2] == "#D4AF37"
    assert inputs["inventory_params"]["low_stock"] == 10
    assert least.max_parallel_tasks == full.max_parallel_tasks == 5


def test_independent_tasks_of_a_launch_run_side_by_side() -> None:
    needed = dependencies(built_in()["fashion_brand_launch"])
    assert needed == {
        "visual_assets": (),
        "website": ("visual_assets",),
        "inventory": (),
        "marketing": ("inventory", "visual_assets", "website"),
    }


@pytest.mark.parametrize("template", LEAST)
def test_only_what_watches_may_fail_and_what_sets_something_up_can_be_undone(template: str) -> None:
    for name, task in built_in()[template].tasks.items():
        written = task.actor in (None, "marketing.create_variants")  # a text leaves nothing behind
        assert task.allow_failure == (name in ("first_sales", "performance", "optimization"))
        assert (task.compensation is not None) != (written or task.allow_failure)


@pytest.mark.parametrize("template", LEAST)
def test_every_task_can_be_done_by_an_agent_alone(template: str) -> None:
    # Given a template with what it must have, and outputs as agents give them
    whole, inputs = begun(template, LEAST[template])
    said = {"answer": "Three short sentences.", "task_id": "t", "in_place_of": "x.y"}
    context = {
        "inputs": inputs,
        "workflow": {"id": "w", "name": template},
        "tasks": {
            name: {"output": [said] if task.map else said, "status": "completed"} for name, task in whole.tasks.items()
        },
        "item": "instagram",
        "index": 0,
        "output": said,
    }
    for task in whole.tasks.values():
        works = [task, *([task.compensation] if task.compensation else [])]
        # When whatever an agent is told is put together
        agents = [work.otherwise if work.actor else work for work in works]
        # Then there is such a thing, and it is short enough for the smallest model
        for work in agents:
            assert isinstance(work, AgentWork)
            assert work.max_tokens is not None
            assert work.max_tokens <= 120
            prompt = resolve(work.prompt, context)
            assert 20 < len(prompt) < 500
            assert "$" not in prompt
            assert "{" not in prompt
        for work in works:
            resolve(work.inputs, context)


@pytest.mark.parametrize(
    ("inputs", "place", "rule"),
    [
        ({}, "inputs.brand_name", "is missing"),
        ({"brand_name": ""}, "inputs.brand_name", "should be non-empty"),
        ({"brandname": "x"}, "inputs.brandname", "there is no such input; did you mean 'brand_name'?"),
        (
            {"website_params": {"theem": "x"}},
            "inputs.website_params.theem",
            "there is no such field; did you mean 'theme'?",
        ),
        ({"website_params": {"pages": "home"}}, "inputs.website_params.pages", "must be an array, and is text"),
        (
            {"visual_assets_params": {"color_palette": ["red"]}},
            "inputs.visual_assets_params.color_palette.0",
            "must match",
        ),
        ({"marketing_params": {"budget": "10000"}}, "inputs.marketing_params.budget", "must be a number, and is text"),
        ({"marketing_params": {"budget": -1}}, "inputs.marketing_params.budget", "less than the minimum of 0"),
    ],
)
def test_a_parameter_that_is_not_documented_is_refused_and_the_nearest_is_named(
    inputs: dict[str, Any], place: str, rule: str
) -> None:
    given = inputs if not inputs or "brand" in next(iter(inputs)) else {"brand_name": "x", **inputs}
    found = dict(refused("fashion_brand_launch", given))
    assert rule in found[place]


def test_variants_and_a_budget_of_a_campaign_are_taken_as_documented() -> None:
    params = {
        "campaign_type": "email",
        "channels": ["email", "instagram", "tiktok"],
        "target_segments": ["vip_customers", "engaged_subscribers"],
        "enable_testing": True,
        "variants": [{"name": "A", "subject_line": "s", "headline": "h", "traffic_allocation": 0.5}],
        "budget": 5000.00,
        "target_conversions": 500,
    }
    begun(
        "marketing_campaign",
        {"brand_name": "x", "campaign_name": "Spring Collection Launch", "marketing_params": params},
    )


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "rule"),
    [
        ("name: other\ntasks: {a: {prompt: x}}", "name", "must be mine, as the file is called"),
        ("name: mine\ntasks: {a: {promt: x}}", "tasks.a.promt", "did you mean 'prompt'?"),
        ("name: mine\ntasks: {a: {prompt: '${tasks.b.output}'}}", "tasks.a.prompt", "there is no task 'b'"),
        ("name: mine\ntasks: {a: {workflow: yours}}", "template.tasks.a.workflow", "there is no template 'yours'"),
        ("name: mine\ntasks: {a: {workflow: mine}}", "template.tasks.a.workflow", "a template cannot hold itself"),
    ],
)
def test_a_template_that_could_not_run_is_refused_as_it_is_loaded(
    text: str, key: str, rule: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert (caught.value.file, caught.value.key) == (str(tmp_path / "mine.yaml"), key)
    assert rule in caught.value.rule


def test_templates_may_hold_each_other(tmp_path: Path) -> None:
    (tmp_path / "outer.yaml").write_text("name: outer\ntasks: {a: {workflow: inner}}")
    (tmp_path / "inner.yaml").write_text("name: inner\ntasks: {b: {prompt: x}}")
    assert load(tmp_path)["outer"].tasks["a"].workflow == "inner"


def test_every_file_of_the_folder_is_a_template() -> None:
    assert {file.name for file in TEMPLATES.iterdir()} == {f"{name}.yaml" for name in built_in()}


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_example_can_be_run_as_it_stands(file: Path) -> None:
    whole, inputs = prepared(document.load(file), built_in())
    check(whole, inputs, KNOWN)


def test_there_are_examples() -> None:
    assert [file.name[:2] for file in sorted(EXAMPLES.glob("*.yaml"))] == ["01", "02", "03"]

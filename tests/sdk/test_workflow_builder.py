"""Workflows written in Python come out as the same data as those written in YAML."""

import subprocess
import sys
from pathlib import Path

import pytest

from devskyy.workflows import TaskHandle, WorkflowBuilder, load
from schemas.errors import InvalidWorkflow
from schemas.workflow import Retry, WorkflowDefinition


def everything() -> WorkflowBuilder:
    """A workflow with one task of each kind."""
    inner = WorkflowBuilder("inner", {"n": {"type": "integer"}})
    inner.prompt("one", f"Count to {inner.input('n')}")
    w = WorkflowBuilder(
        "launch",
        {"brand": {"type": "string"}, "params": {"default": {"channels": ["email"]}}},
        description="All kinds",
        max_parallel_tasks=3,
        timeout_s=3600,
        compensate=False,
    )
    logo = w.prompt(
        "logo", f"A logo for {w.input('brand')}", agent="groq-lightning", max_tokens=60, retry=Retry(on="any")
    )
    site = w.actor(
        "site",
        "web.build",
        {"logo": logo.output("answer"), "all": logo.output()},
        otherwise={"prompt": "Plan a site", "agent": "cerebras-ultra"},
        compensation=w.undo_actor("web.remove", site="${output.id}"),
        timeout_s=60,
    )
    w.function("tidy", "text.tidy", {"text": logo.output("answer")}, compensation=w.undo_function("text.untidy"))
    posts = w.map(
        "posts",
        w.input("params.channels"),
        limit=2,
        prompt="A post for ${item}",
        compensation=w.undo_prompt("Take back ${output.answer}", agent="groq-lightning"),
    )
    review = w.approval("review", f"Publish {posts.output('[0].answer')}?", after=[site, "logo"], timeout_s=600)
    w.signal("paid", after=[review])
    w.signal("shipped", "parcel")
    w.wait("pause", 5, after=[review])
    w.wait("morning", until="2026-03-01T09:00:00Z")
    w.workflow("inside", inner, {"n": 3}, allow_failure=True)
    w.prompt("farewell", "Say goodbye", when=site.completed(), title="The end")
    w.output({"site": site.output(), "status": site.status, "why": site.problem})
    return w


def test_a_builder_says_the_same_as_yaml(tmp_path: Path) -> None:
    # Given a workflow with everything in it
    built = everything().build()
    # When it is written to a file and read again
    file = tmp_path / "launch.yaml"
    file.write_text(everything().to_yaml(), encoding="utf-8")
    # Then nothing was lost
    assert load(file).definition == built
    assert [task.kind for task in built.tasks.values()] == [
        *(
            "prompt",
            "actor",
            "function",
            "prompt",
            "approval",
            "signal",
            "signal",
            "wait_s",
            "wait_until",
            "workflow",
            "prompt",
        )
    ]


def test_what_is_said_of_tasks_stands_in_the_definition() -> None:
    built = everything().build()
    logo, site, posts, review = (built.tasks[name] for name in ("logo", "site", "posts", "review"))
    assert (logo.agent, logo.max_tokens, logo.retry.on) == ("groq-lightning", 60, "any")
    assert site.inputs == {"logo": "${tasks.logo.output.answer}", "all": "${tasks.logo.output}"}
    assert site.otherwise is not None
    assert (site.otherwise.prompt, site.otherwise.agent) == ("Plan a site", "cerebras-ultra")
    assert site.compensation is not None
    assert (site.compensation.actor, site.compensation.inputs) == ("web.remove", {"site": "${output.id}"})
    assert posts.map is not None
    assert (posts.map.over, posts.map.limit) == ("${inputs.params.channels}", 2)
    assert (review.approval, review.depends_on) == ("Publish ${tasks.posts.output[0].answer}?", ("site", "logo"))
    assert (built.tasks["paid"].signal, built.tasks["shipped"].signal) == ("paid", "parcel")
    assert isinstance(built.tasks["inside"].workflow, WorkflowDefinition)
    assert (built.max_parallel_tasks, built.timeout_s, built.compensate) == (3, 3600, False)
    assert built.output == {
        "site": "${tasks.site.output}",
        "status": "${tasks.site.status}",
        "why": "${tasks.site.problem}",
    }


@pytest.mark.parametrize(
    ("path", "reference"),
    [("", "${tasks.a.output}"), ("x.y", "${tasks.a.output.x.y}"), ("[0].x", "${tasks.a.output[0].x}")],
)
def test_a_handle_refers_to_its_output(path: str, reference: str) -> None:
    assert TaskHandle("a").output(path) == reference


def test_all_mistakes_are_told_when_it_is_built() -> None:
    # Given references to what is not there
    w = WorkflowBuilder("w", {"brand": {"type": "string"}})
    w.prompt("logo", f"A logo for {w.input('brnd')}")
    w.prompt("site", TaskHandle("lgo").output("answer"), after=["logos"], when="item == 'x'")
    # When it is built
    with pytest.raises(InvalidWorkflow) as caught:
        w.build()
    # Then each is told with its place
    assert caught.value.findings == (
        ("tasks.logo.prompt", "there is no input 'brnd'; did you mean 'brand'?"),
        ("tasks.site.depends_on", "there is no task 'logos'; did you mean 'logo'?"),
        (
            "tasks.site.when",
            "item is there only in a task with a map, and not in what that map is over or in its `when`",
        ),
        ("tasks.site.prompt", "there is no task 'lgo'; did you mean 'logo'?"),
    )


def test_what_breaks_the_schema_is_told_likewise() -> None:
    w = WorkflowBuilder("w")
    w.actor("a", "web")
    w.wait("b")
    with pytest.raises(InvalidWorkflow) as caught:
        w.build()
    assert [place for place, _ in caught.value.findings] == ["tasks.a.actor", "tasks.b"]


def test_an_id_is_given_once() -> None:
    w = WorkflowBuilder("w")
    w.prompt("a", "x")
    with pytest.raises(InvalidWorkflow, match=r"tasks\.a: there is a task of this id already"):
        w.prompt("a", "y")


def test_building_needs_nothing_of_the_platform() -> None:
    code = (
        "import sys; from devskyy.workflows import WorkflowBuilder as W\n"
        "w = W('w'); w.prompt('a', 'x'); w.to_yaml()\n"
        "print({'ray', 'nats', 'litellm', 'sqlalchemy', 'fastapi', 'typer', 'httpx'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"

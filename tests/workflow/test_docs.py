"""The workflows in the documentation are workflows."""

import re
from pathlib import Path

import pytest
import yaml

from actors.workflow import document
from actors.workflow.check import Known, check, prepared
from schemas.workflow import WorkflowRequest

PAGE = Path(__file__).parents[2] / "docs" / "workflows.md"
WRITTEN = [
    block
    for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    if "tasks" in (block := yaml.safe_load(text))
]


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: str(written["name"]))
def test_a_workflow_of_the_documentation_could_run(written: dict[str, object]) -> None:
    # Given a workflow as the page has it
    definition = document.definition(written)
    # When it is looked through with what it must be given, Then nothing is wrong with it
    asked = WorkflowRequest(definition=definition, inputs={"brand": "Noir"} if "brand" in definition.inputs else {})
    check(*prepared(asked, {}), Known())


def test_there_are_workflows_in_the_documentation() -> None:
    assert len(WRITTEN) >= 2

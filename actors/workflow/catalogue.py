"""The templates that come with the platform: one YAML file each, checked as they are loaded."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from actors.workflow.check import Known, check, prepared
from actors.workflow.document import load_definition
from schemas.errors import ConfigError, InvalidWorkflow
from schemas.workflow import TemplateList, TemplateSummary, WorkflowDefinition, WorkflowRequest

TEMPLATES = Path(__file__).parent / "templates"


def load(folder: Path = TEMPLATES) -> dict[str, WorkflowDefinition]:
    """Every template of a folder by its name, which is also the name of its file.

    Raises:
        ConfigError: a file cannot be read, or holds what could not run; names the file, the place and the rule.
    """
    files = sorted(folder.glob("*.yaml"))
    found: dict[str, WorkflowDefinition] = {}
    for file in files:
        try:
            found[file.stem] = load_definition(file)
        except InvalidWorkflow as error:
            raise ConfigError(str(file), *error.findings[0]) from None
        if found[file.stem].name != file.stem:
            raise ConfigError(str(file), "name", f"must be {file.stem}, as the file is called")
    for file in files:
        try:
            definition, _ = prepared(WorkflowRequest(template=file.stem), found)
            check(definition, None, Known())
        except InvalidWorkflow as error:
            place, rule = error.findings[0]
            raise ConfigError(str(file), place.removeprefix("definition."), rule) from None
    return found


@cache
def built_in() -> Mapping[str, WorkflowDefinition]:
    """The platform's own, which do not change while a process lives."""
    return MappingProxyType(load())


def summaries(templates: Mapping[str, WorkflowDefinition]) -> TemplateList:
    """What there is to choose from."""
    return TemplateList(
        templates=tuple(
            TemplateSummary(name=name, description=each.description, inputs=dict(each.inputs), tasks=tuple(each.tasks))
            for name, each in templates.items()
        )
    )

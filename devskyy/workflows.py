"""Workflows written in Python: tasks are added one after another, and what comes of that is data.

    from devskyy.workflows import WorkflowBuilder

    w = WorkflowBuilder("launch", inputs={"brand": {"type": "string"}})
    logo = w.prompt("logo", f"Describe a logo for {w.input('brand')}", agent="design")
    undo = w.undo_actor("web.remove", site="${output.id}")
    site = w.actor("site", "web.build", {"logo": logo.output("answer")}, compensation=undo)
    w.approval("review", "Publish the site?", after=[site])
    print(w.to_yaml())

A task waits for those in `after` and for those whose output it uses. Nothing here talks to a platform.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from schemas.errors import InvalidWorkflow
from schemas.message import Strict
from schemas.task import Tier
from schemas.workflow import AgentWork, Compensation, Retry, WorkflowDefinition, WorkflowRequest

__all__ = ["AgentOptions", "BuilderOptions", "TaskHandle", "WorkOptions", "WorkflowBuilder", "load"]

Inputs = Mapping[str, Any]
"""For an actor, a function or a workflow; texts in it may hold `${expression}`."""


@dataclass(frozen=True)
class TaskHandle:
    """A task that was added; other tasks refer to it by what this gives."""

    id: str

    def output(self, path: str = "") -> str:
        """`${…}` of its output, or of a part of it.

        Args:
            path: JMESPath from the output on, such as `answer`, `sites[0].url` or `[0]`.
        """
        return f"${{tasks.{self.id}.output{path if not path or path.startswith('[') else f'.{path}'}}}"

    @property
    def status(self) -> str:
        """`${…}` of how it stands: `completed`, `failed`, `skipped` …"""
        return f"${{tasks.{self.id}.status}}"

    @property
    def problem(self) -> str:
        """`${…}` of why it failed; null where it did not."""
        return f"${{tasks.{self.id}.problem}}"

    def completed(self) -> str:
        """The condition that it was completed, for another task's `when`."""
        return f"tasks.{self.id}.status == 'completed'"


class WorkOptions(TypedDict, total=False):
    """All that may be said of any task beside what it does; see `schemas.workflow`."""

    title: str
    after: Sequence[TaskHandle | str]
    """Tasks that it waits for, beside those that it refers to."""
    when: str
    """Skipped where this expression is false."""
    allow_failure: bool
    timeout_s: float
    """Seconds of one attempt."""
    retry: Retry | Mapping[str, Any]
    compensation: Compensation | Mapping[str, Any]
    """What undoes it; see `WorkflowBuilder.undo_actor`, `undo_prompt` and `undo_function`."""


class AgentOptions(TypedDict, total=False):
    """All that may be said of an agent's part beside its prompt."""

    agent: str
    service: str
    tier: Tier
    agents: int
    capabilities: Sequence[str]
    min_quality: float
    max_cost_usd: float
    max_tokens: int
    temperature: float
    json_schema: Mapping[str, Any]


class PromptOptions(AgentOptions, WorkOptions, total=False):
    pass


class MapOptions(PromptOptions, total=False):
    """What is done for each item: exactly one of the first four."""

    prompt: str
    actor: str
    function: str
    workflow: "str | WorkflowDefinition | WorkflowBuilder"
    inputs: Inputs
    otherwise: str | Mapping[str, Any] | AgentWork


class BuilderOptions(TypedDict, total=False):
    """All that may be said of a workflow beside its name, inputs and tasks."""

    description: str
    max_parallel_tasks: int
    max_cost_usd: float
    timeout_s: float
    """Seconds of the whole."""
    compensate: bool
    """Whether what was completed is undone when it fails."""


class WorkflowBuilder:
    """Collects tasks; `build` checks them all at once."""

    def __init__(
        self, name: str, inputs: Mapping[str, Mapping[str, Any]] | None = None, **options: Unpack[BuilderOptions]
    ) -> None:
        """
        Args:
            inputs: a JSON Schema for each; one with a `default` may be left out.
        """
        self._head: dict[str, Any] = {"name": name, **options}
        self._inputs = dict(inputs or {})
        self._tasks: dict[str, dict[str, Any]] = {}
        self._output: Any = None

    def input(self, path: str) -> str:
        """`${…}` of an input, or of a part of it: `brand`, `params.style`."""
        return f"${{inputs.{path}}}"

    # -- tasks -----------------------------------------------------------------------------------------------------

    def prompt(self, task: str, prompt: str, **options: Unpack[PromptOptions]) -> TaskHandle:
        """An agent answers; the output has its `answer` and `task_id`."""
        return self._add(task, {"prompt": prompt}, options)

    def actor(
        self,
        task: str,
        actor: str,
        inputs: Inputs | None = None,
        *,
        otherwise: str | Mapping[str, Any] | AgentWork | None = None,
        **options: Unpack[WorkOptions],
    ) -> TaskHandle:
        """An actor's endpoint, `<actor>.<verb>`, is asked.

        Args:
            otherwise: the prompt for an agent where the actor is not there, or that with an agent's options.
        """
        return self._add(task, {"actor": actor, "inputs": inputs, "otherwise": otherwise}, options)

    def function(
        self, task: str, function: str, inputs: Inputs | None = None, **options: Unpack[WorkOptions]
    ) -> TaskHandle:
        """A function that the platform's engine knows by this name is called."""
        return self._add(task, {"function": function, "inputs": inputs}, options)

    def workflow(
        self,
        task: str,
        workflow: "str | WorkflowDefinition | WorkflowBuilder",
        inputs: Inputs | None = None,
        **options: Unpack[WorkOptions],
    ) -> TaskHandle:
        """Another workflow: a template's name, a definition, or a builder of one."""
        return self._add(task, {"workflow": workflow, "inputs": inputs}, options)

    def signal(self, task: str, name: str | None = None, **options: Unpack[WorkOptions]) -> TaskHandle:
        """Waits for a signal; its payload is the output.

        Args:
            name: the signal's; left out, the task's own.
        """
        return self._add(task, {"signal": name or task}, options)

    def approval(self, task: str, question: str, **options: Unpack[WorkOptions]) -> TaskHandle:
        """Asks a person, and waits for the answer."""
        return self._add(task, {"approval": question}, options)

    def wait(
        self, task: str, seconds: float | str | None = None, *, until: str | None = None, **options: Unpack[WorkOptions]
    ) -> TaskHandle:
        """Waits for a time, or until a moment.

        Args:
            seconds: or `${expression}` of them.
            until: as RFC 3339, or `${expression}` of it.
        """
        return self._add(task, {"wait_s": seconds, "wait_until": until}, options)

    def map(self, task: str, over: str, *, limit: int | None = None, **work: Unpack[MapOptions]) -> TaskHandle:
        """Does the same for each item of a list, which is `item` there, at `index`; the output is a list of outputs.

        Args:
            over: `${expression}` of the list.
            limit: items at once.
        """
        return self._add(task, {"map": {"over": over} | ({} if limit is None else {"limit": limit})}, work)

    def output(self, value: Any) -> None:
        """What the workflow gives back; left out, each task's output by its name."""
        self._output = value

    # -- what undoes a task ------------------------------------------------------------------------------------------

    def undo_actor(self, actor: str, /, **inputs: Any) -> dict[str, Any]:
        """An actor's endpoint undoes a task; `${output}` is what that task gave."""
        return {"actor": actor, "inputs": inputs}

    def undo_function(self, function: str, /, **inputs: Any) -> dict[str, Any]:
        return {"function": function, "inputs": inputs}

    def undo_prompt(self, prompt: str, **options: Unpack[AgentOptions]) -> dict[str, Any]:
        return {"prompt": prompt, **options}

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def build(self) -> WorkflowDefinition:
        """The definition.

        Raises:
            InvalidWorkflow: all that is wrong with it, each with its place.
        """
        # Imported here: whoever only calls a platform needs none of this.
        from actors.workflow.check import Known, check
        from actors.workflow.document import definition

        built = definition(self._document())
        check(built, None, Known(), place="")
        return built

    def to_yaml(self) -> str:
        """The definition as a file that `load` and `devskyy workflows run` read.

        Raises:
            InvalidWorkflow: as `build`.
        """
        import yaml

        written = self.build().model_dump(mode="json", exclude_unset=True)
        return str(yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=120))

    def _document(self) -> dict[str, Any]:
        document = {**self._head, "inputs": self._inputs, "tasks": self._tasks, "output": self._output}
        return {name: value for name, value in document.items() if value not in (None, {}) or name == "tasks"}

    def _add(self, task: str, work: Mapping[str, Any], options: Mapping[str, Any]) -> TaskHandle:
        if task in self._tasks:
            raise InvalidWorkflow(((f"tasks.{task}", "there is a task of this id already"),))
        said = {**work, **options}
        if isinstance(otherwise := said.get("otherwise"), str):
            said["otherwise"] = {"prompt": otherwise}
        if after := said.pop("after", ()):
            said["depends_on"] = [other.id if isinstance(other, TaskHandle) else other for other in after]
        self._tasks[task] = {name: _plain(value) for name, value in said.items() if value is not None}
        return TaskHandle(task)


def _plain(value: Any) -> Any:
    if isinstance(value, WorkflowBuilder):
        return value._document()
    return value.model_dump(exclude_unset=True) if isinstance(value, Strict) else value


def load(path: Path | str) -> WorkflowRequest:
    """What a YAML or JSON file asks for: `template` and `inputs`, or `definition`, or a definition as it stands.

    Raises:
        ConfigError: the file cannot be read, or is no YAML.
        InvalidWorkflow: all that breaks a rule of the schema, each with its place.
    """
    from actors.workflow.document import load as read

    return read(Path(path))

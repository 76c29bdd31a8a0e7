"""What the SDK asks of workflows, and how it reads the replies; `devskyy.wire` has the rest."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypedDict, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from devskyy.errors import BadReply, InvalidTask, WorkflowCancelled, WorkflowFailed
from devskyy.sse import Story
from devskyy.wire import Verb, delete, reader
from schemas.erasure import Erased
from schemas.errors import InvalidRequest, InvalidWorkflow
from schemas.message import Strict
from schemas.problem import Problem, field_errors
from schemas.workflow import (
    ENDED,
    ForkRequest,
    TemplateList,
    TemplateSummary,
    Workflow,
    WorkflowAccepted,
    WorkflowDefinition,
    WorkflowLinks,
    WorkflowList,
    WorkflowRequest,
    WorkflowStatus,
)
from schemas.workflow_doors import CancelRequest, CheckedWorkflow, RetryRequest

S = TypeVar("S", bound=Strict)

WORKFLOWS = "/api/v1/workflows"


class Builder(Protocol):
    """What `devskyy.workflows.WorkflowBuilder` is."""

    def build(self) -> WorkflowDefinition: ...


WorkflowSource = str | Path | Mapping[str, Any] | WorkflowDefinition | WorkflowRequest | Builder
"""A template's name; a file; a definition, or a request with one, as plain values or not; a builder of one."""


class WorkflowOptions(TypedDict, total=False):
    """All that may be said of a workflow beside what it is and its inputs; what is left out stays as it is defined."""

    max_parallel_tasks: int | None
    max_cost_usd: float | None
    """What all its tasks and compensations may cost together."""
    timeout_s: float | None
    """Seconds from its start until it fails."""
    metadata: Mapping[str, Any]


# Requests


def workflow_request(
    source: WorkflowSource, inputs: Mapping[str, Any] | None, options: WorkflowOptions, *, start: bool = True
) -> WorkflowRequest:
    """Check the request here, by the platform's own rules of form.

    Args:
        inputs: beside those that the source has; of two of one name, these count.

    Raises:
        InvalidTask: every field that breaks a rule, named.
        ConfigError: the source is a file that cannot be read, or is no YAML.
    """
    try:
        said = _said(source)
        more = {name: value for name, value in options.items() if value is not None}
        given = {**said.pop("inputs", {}), **(inputs or {})}
        return WorkflowRequest.model_validate({**said, **more, "inputs": given, "start": start})
    except ValidationError as error:
        raise InvalidTask(Problem.of_validation(field_errors(error))) from None
    except InvalidWorkflow as error:
        raise InvalidTask(Problem.of(error)) from None


def _said(source: WorkflowSource) -> dict[str, Any]:
    """The fields of a request."""
    match source:
        case str():
            return {"template": source}
        case WorkflowDefinition():
            return {"definition": source}
        case WorkflowRequest():
            return {name: getattr(source, name) for name in source.model_fields_set}
        case Path():
            from actors.workflow.document import load

            return _said(load(source))
        case Mapping():
            from actors.workflow.document import definition, request

            if "tasks" in source and not {"definition", "template"} & source.keys():
                return {"definition": definition(dict(source))}
            return _said(request(dict(source)))
        case _:
            return {"definition": source.build()}


def create(request: WorkflowRequest, key: str | None, hold_s: int = 0) -> Verb[Workflow | WorkflowAccepted]:
    """Hand in a workflow; with `hold_s` the platform answers with the whole of it if it ends within so many seconds."""
    return Verb(
        "POST",
        WORKFLOWS,
        {200: reader(Workflow), 202: reader(WorkflowAccepted)},
        headers=_headers(key, hold_s),
        body=_body(request),
        held_s=hold_s,
    )


def accepted(reply: Workflow | WorkflowAccepted) -> WorkflowAccepted:
    """A repeat of one that has ended may be answered with the whole of it."""
    if isinstance(reply, WorkflowAccepted):
        return reply
    path = _path(reply.workflow_id)
    links = WorkflowLinks(self=path, events=f"{path}/events")
    return WorkflowAccepted(workflow_id=reply.workflow_id, name=reply.name, status=reply.status, links=links)


def validate(request: WorkflowRequest) -> Verb[CheckedWorkflow]:
    return Verb("POST", f"{WORKFLOWS}/validate", {200: reader(CheckedWorkflow)}, body=_body(request))


def workflow(workflow_id: str) -> Verb[Workflow]:
    return Verb("GET", _path(workflow_id), {200: reader(Workflow)})


def workflows(
    limit: int | None, cursor: str | None, status: WorkflowStatus | None, name: str | None, children: bool
) -> Verb[WorkflowList]:
    asked = {"limit": limit, "cursor": cursor, "status": status, "name": name, "children": "true" if children else None}
    params = {name: str(value) for name, value in asked.items() if value is not None}
    return Verb("GET", WORKFLOWS, {200: reader(WorkflowList)}, params=params)


def templates() -> Verb[tuple[TemplateSummary, ...]]:
    return Verb("GET", f"{WORKFLOWS}/templates", {200: lambda reply: reader(TemplateList)(reply).templates})


def template(name: str) -> Verb[WorkflowDefinition]:
    if not name:
        raise InvalidRequest("name", "is empty")
    return Verb("GET", f"{WORKFLOWS}/templates/{quote(name, safe='')}", {200: reader(WorkflowDefinition)})


def output(workflow_id: str, task: str | None, item: int | None) -> Verb[Any]:
    if task is None:
        return Verb("GET", f"{_path(workflow_id)}/output", {200: _json})
    params = {} if item is None else {"item": str(item)}
    return Verb("GET", f"{_path(workflow_id)}/outputs/{quote(task, safe='')}", {200: _json}, params=params)


def command(
    workflow_id: str, verb: str, key: str | None, hold_s: float = 0.0, body: Strict | None = None
) -> Verb[Workflow]:
    """Ask a workflow's owner for something; with `hold_s` the platform answers once that is done, or the time is up."""
    return _command(workflow_id, verb, key, hold_s, None if body is None else _body(body))


def cancel(workflow_id: str, reason: str | None, compensate: bool, key: str | None, hold_s: float) -> Verb[Workflow]:
    said = {"compensate": compensate} | ({} if reason is None else {"reason": reason})
    return command(workflow_id, "cancel", key, hold_s, _checked(CancelRequest, said))


def delete_workflow(workflow_id: str, with_costs: bool) -> Verb[Erased]:
    return delete(_path(workflow_id), with_costs=with_costs)


def retry(workflow_id: str, task: str | None, key: str | None, hold_s: float) -> Verb[Workflow]:
    return command(workflow_id, "retry", key, hold_s, _checked(RetryRequest, {} if task is None else {"task": task}))


def signal(workflow_id: str, name: str, payload: Any, key: str | None, hold_s: float) -> Verb[Workflow]:
    """Send a signal.

    Raises:
        InvalidRequest: the name is empty, or the payload is nothing that JSON can say.
    """
    if not name:
        raise InvalidRequest("name", "is empty")
    try:
        body = json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequest("payload", f"is nothing that JSON can say: {error}") from None
    return _command(workflow_id, f"signals/{quote(name, safe='')}", key, hold_s, body)


def fork(
    workflow_id: str, after: int, inputs: Mapping[str, Any] | None, start: bool, key: str | None
) -> Verb[Workflow | WorkflowAccepted]:
    said = _checked(ForkRequest, {"after": after, "inputs": dict(inputs or {}), "start": start})
    return Verb(
        "POST",
        f"{_path(workflow_id)}/fork",
        {200: reader(Workflow), 202: reader(WorkflowAccepted)},
        headers=_headers(key),
        body=_body(said),
    )


def _command(workflow_id: str, verb: str, key: str | None, hold_s: float, body: bytes | None) -> Verb[Workflow]:
    return Verb(
        "POST",
        f"{_path(workflow_id)}/{verb}",
        {200: reader(Workflow), 202: reader(Workflow)},
        headers=_headers(key, hold_s),
        body=body,
        held_s=hold_s,
    )


def _headers(key: str | None, hold_s: float = 0.0) -> dict[str, str]:
    """Each has a key, so that it may be sent again when nobody knows what became of it."""
    return {"idempotency-key": key or secrets.token_hex(16)} | ({"prefer": f"wait={hold_s:g}"} if hold_s else {})


def _body(said: Strict) -> bytes:
    return said.model_dump_json(exclude_unset=True).encode()


def _checked(schema: type[S], said: Mapping[str, Any]) -> S:
    try:
        return schema.model_validate(said)
    except ValidationError as error:
        raise InvalidTask(Problem.of_validation(field_errors(error))) from None


def _path(workflow_id: str) -> str:
    if not workflow_id:
        raise InvalidRequest("workflow_id", "is empty")
    return f"{WORKFLOWS}/{quote(workflow_id, safe='')}"


# Replies


def story(workflow_id: str) -> Story:
    """One that has ended may be made to go on, which its events tell too."""
    return Story("workflow", workflow_id, f"{_path(workflow_id)}/events", frozenset(ENDED), may_go_on=True)


def checked(found: Workflow) -> Workflow:
    """The workflow, if it was completed.

    Raises:
        WorkflowFailed, WorkflowCancelled: it ended otherwise.
    """
    match found.status:
        case "failed":
            raise WorkflowFailed(found)
        case "cancelled":
            raise WorkflowCancelled(found)
        case _:
            return found


def _json(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError as error:
        raise BadReply(str(reply.request.url), f"it is no JSON: {error}") from None

"""The description of the doors is complete: whoever reads nothing else can use them."""

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi import FastAPI

from schemas.webhook import EVENTS, TEST
from serve.auth import is_open
from serve.problems import ANTHROPIC_DOORS, OPENAI_DOORS
from tests.serve.keys import doors
from tests.stories import STORIES
from tests.workflow.drive import Drive, created

Operation = tuple[str, str, dict[str, Any]]


def operations(app: FastAPI) -> Iterator[Operation]:
    for path, found in app.openapi()["paths"].items():
        for method, operation in found.items():
            yield method.upper(), path, operation


def resolved(app: FastAPI, schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": app.openapi()["components"]}


def test_every_door_is_described(app: FastAPI) -> None:
    pages = {"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/mcp"}
    there = {(method, path.replace(":path}", "}")) for method, path in doors(app) if method not in ("HEAD", "OPTIONS")}
    described = {(method, path) for method, path, _ in operations(app)}
    assert {door for door in there - described if door[1] not in pages} == set()


def test_every_operation_has_a_summary_and_a_description(app: FastAPI) -> None:
    lacking = [
        f"{method} {path}"
        for method, path, said in operations(app)
        if not said.get("summary") or not said.get("description") or len(said["summary"]) > 120
    ]
    assert lacking == []


def test_every_body_has_an_example_that_its_schema_allows(app: FastAPI) -> None:
    lacking = []
    for method, path, said in operations(app):
        for media_type, body in said.get("requestBody", {}).get("content", {}).items():
            if not media_type.endswith("json"):
                continue
            schema = body["schema"]
            model = (
                app.openapi()["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else {}
            )
            example = body.get("example", model.get("example"))
            if example is None:
                lacking.append(f"{method} {path}")
            else:
                jsonschema.Draft202012Validator(resolved(app, schema)).validate(example)
    assert lacking == []


def test_what_webhooks_are_told_is_described(app: FastAPI) -> None:
    told = app.openapi()["webhooks"]
    assert set(told) == {*EVENTS, TEST}
    for event in told.values():
        assert {each["name"] for each in event["post"]["parameters"]} == {
            *("webhook-id", "webhook-timestamp", "webhook-signature")
        }
        assert set(event["post"]["responses"]) == {"204"}
    body = told["task.completed"]["post"]["requestBody"]["content"]["application/json"]
    jsonschema.Draft202012Validator(resolved(app, body["schema"])).validate(body["example"])


def test_every_operation_says_what_it_may_refuse(app: FastAPI) -> None:
    lacking = []
    for method, path, said in operations(app):
        wanted = {"500"}
        if not is_open(path):
            wanted |= {"401", "403", "429", "529" if path.startswith(ANTHROPIC_DOORS) else "503"}
        if "requestBody" in said:
            wanted |= {"400", "408", "413", "415"}
        if (said.get("parameters") or "requestBody" in said) and not path.startswith(ANTHROPIC_DOORS):
            wanted |= {"422"}
        if "{" in path:
            wanted |= {"404"}
        lacking += [f"{method} {path}: {status}" for status in sorted(wanted - said["responses"].keys())]
    assert lacking == []


def test_every_error_has_the_shape_of_its_doors(app: FastAPI) -> None:
    for method, path, said in operations(app):
        for status, answer in said["responses"].items():
            if int(status) < 400 or (path, status) == ("/health/ready", "503"):
                continue
            shape = "Problem"
            if path.startswith(OPENAI_DOORS):
                shape = "AnthropicFailure" if path.startswith(ANTHROPIC_DOORS) else "OpenAIFailure"
            (content,) = answer["content"].values()
            assert content["schema"] == {"$ref": f"#/components/schemas/{shape}"}, (method, path, status)
            assert answer["description"], (method, path, status)


def test_every_parameter_is_named_as_it_is_sent(app: FastAPI) -> None:
    for method, path, said in operations(app):
        in_path = {each["name"] for each in said.get("parameters", ()) if each["in"] == "path"}
        named = {part[1:-1].removesuffix(":path") for part in path.split("/") if part.startswith("{")}
        assert in_path == named, (method, path)


@pytest.mark.parametrize("story", STORIES)
def test_events_of_tasks_are_as_they_are_described(app: FastAPI, story: str) -> None:
    schema = resolved(app, {"$ref": "#/components/schemas/TaskEvent"})
    for event in STORIES[story]:
        jsonschema.Draft202012Validator(schema).validate(event.model_dump(mode="json"))


def test_events_of_workflows_are_as_they_are_described(app: FastAPI) -> None:
    schema = resolved(app, {"$ref": "#/components/schemas/WorkflowEvent"})
    drive = Drive(created({"tasks": {"draft": {"function": "f"}}}))
    drive.run()
    assert drive.events[-1].event == "completed"
    for event in drive.events:
        jsonschema.Draft202012Validator(schema).validate(event.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("path", "allowed"), [("/api/v1/tasks", "GET, POST"), ("/api/v1/tasks/x", "DELETE, GET"), ("/v1/messages", "POST")]
)
async def test_a_method_that_is_not_there_is_told_which_are(http: httpx.AsyncClient, path: str, allowed: str) -> None:
    reply = await http.put(path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allowed)

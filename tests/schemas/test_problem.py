"""Errors as people and programs outside see them."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from schemas.errors import DevSkyyError, InvalidRequest, InvalidWorkflow, NoService, NotFound, RemoteError
from schemas.problem import FieldError, Problem, field_errors, urn
from schemas.task import TaskRequest


def findings(model: type[BaseModel], value: Any, skip: int = 0) -> list[FieldError]:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(value)
    return field_errors(raised.value, skip)


def test_a_problem_of_an_error() -> None:
    problem = Problem.of(NoService("none can serve", ("a: no key",)), instance="/api/v1/tasks/1")
    assert problem.model_dump(mode="json") == {
        "type": "urn:devskyy:problem:no-service",
        "title": "No service can take this task",
        "status": 503,
        "detail": "none can serve (a: no key)",
        "errors": [],
        "instance": "/api/v1/tasks/1",
        "retryable": True,
        "retry_after_s": None,
    }


def test_a_field_that_breaks_a_rule_is_named() -> None:
    problem = Problem.of(InvalidRequest("agents", "must be at least 1"))
    assert problem.errors == (FieldError(field="agents", message="must be at least 1"),)


def test_every_wrong_field_of_a_workflow_is_named() -> None:
    problem = Problem.of(InvalidWorkflow((("tasks.a.when", "is never true"), ("inputs.brand", "is missing"))))
    assert [error.field for error in problem.errors] == ["tasks.a.when", "inputs.brand"]
    assert (problem.status, problem.detail) == (422, "tasks.a.when: is never true; inputs.brand: is missing")


@pytest.mark.parametrize("error", [DevSkyyError("x"), NotFound("task", "t"), NoService("none", ("a: no key",))])
def test_there_and_back(error: DevSkyyError) -> None:
    again = Problem.of(error).error()
    assert isinstance(again, RemoteError)
    assert (again.code, again.title, again.http_status) == (error.code, error.title, error.http_status)
    assert (str(again), again.retryable) == (str(error), error.retryable)
    assert Problem.of(again) == Problem.of(error)


def test_codes_are_spelled_as_urns() -> None:
    assert urn("no_such_thing") == "urn:devskyy:problem:no-such-thing"
    assert Problem(type=urn("a_b"), title="t", status=400, detail="d").code == "a_b"


def test_every_wrong_field_is_named_at_once() -> None:
    wrong = findings(TaskRequest, {"prompt": " ", "agents": 0, "colour": "red", "inputs": [{"kind": "text"}]})
    named = {error.field: error.message for error in wrong}
    assert named["prompt"] == "is empty; say what is to be done"
    assert named["colour"] == "unknown field"
    assert "greater than or equal to 1" in named["agents"]
    assert "inputs.0.name" in named
    problem = Problem.of_validation(wrong)
    assert (problem.status, problem.code) == (422, "invalid_request")
    assert all(f"{error.field}: {error.message}" in problem.detail for error in wrong)


def test_leading_parts_of_a_path_can_be_left_out() -> None:
    class Body(BaseModel):
        body: TaskRequest

    wrong = findings(Body, {"body": {"prompt": "x", "agents": 0}}, skip=1)
    assert [error.field for error in wrong] == ["agents"]


def test_a_body_that_is_wrong_as_a_whole() -> None:
    wrong = findings(TaskRequest, [])
    assert wrong[0].field == ""
    assert Problem.of_validation(wrong).detail == wrong[0].message

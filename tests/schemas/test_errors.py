"""Every error that the product raises on purpose crosses processes as itself and is told apart by its code."""

import ast
import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_type_hints

import pytest

from schemas.errors import (
    BadInput,
    DevSkyyError,
    NoService,
    RemoteError,
    TooLarge,
    Unavailable,
    UpstreamError,
)
from schemas.problem import Problem
from schemas.task import Task
from schemas.workflow import Workflow, WorkflowProgress

PACKAGES = ("schemas", "bus", "storage", "actors", "serve", "devskyy")

CODES = {
    "DevSkyyError": "internal",
    "BadInput": "bad_input",
    "InvalidRequest": "invalid_request",
    "InvalidWorkflow": "invalid_workflow",
    "ExpressionError": "expression_error",
    "DecodeError": "undecodable",
    "ConfigError": "bad_configuration",
    "TooLarge": "too_large",
    "KeyReused": "idempotency_key_reused",
    "NotFound": "not_found",
    "Conflict": "conflict",
    "NotAuthenticated": "unauthorized",
    "NotAllowed": "forbidden",
    "TooManyRequests": "too_many_requests",
    "Unavailable": "unavailable",
    "BusUnavailable": "bus_unavailable",
    "StorageFull": "storage_full",
    "ResponderLost": "responder_lost",
    "NobodyListens": "nobody_listens",
    "NoService": "no_service",
    "TooBusy": "too_busy",
    "BudgetExceeded": "budget_exceeded",
    "DeadlineExceeded": "deadline_exceeded",
    "Cancelled": "cancelled",
    "UpstreamError": "upstream_error",
    "Fenced": "fenced",
    "StartError": "cannot_start",
    "BackupError": "backup_failed",
}
"""Programs outside compare these: changing one breaks them."""

SAMPLES: dict[Any, Any] = {
    str: "some text",
    int: 503,
    float: 2.5,
    bool: True,
    bytes: b"\xff\x00",
    tuple[str, ...]: ("a: no key", "b: no key"),
    tuple[tuple[str, str], ...]: (("a.b", "is missing"), ("c", "is no text")),
    float | None: 1.5,
    int | None: 429,
    bool | None: None,
    Problem: Problem(type="urn:devskyy:problem:too-large", title="Too large", status=413, detail="it is"),
    Task: Task(task_id="t", status="failed", prompt="p", created_at=datetime(2026, 1, 2, tzinfo=UTC)),
    Workflow: Workflow(
        workflow_id="w",
        name="launch",
        status="failed",
        progress=WorkflowProgress(percentage=50, total=2),
        tasks={},
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        seq=9,
    ),
}


def modules_with_errors() -> list[str]:
    """Modules that define a subclass, found in their source, so that what needs no import is not imported."""
    definitions: dict[str, list[tuple[str, set[str]]]] = {}
    for package in PACKAGES:
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            loader = found.module_finder.find_spec(found.name, None)
            source = loader.loader.get_source(found.name) if loader and loader.loader else None  # type: ignore[attr-defined]
            for node in ast.walk(ast.parse(source or "")):
                if isinstance(node, ast.ClassDef):
                    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                    definitions.setdefault(found.name, []).append((node.name, bases))
    errors = {"DevSkyyError"}
    while True:
        more = {name for each in definitions.values() for name, bases in each if bases & errors} - errors
        if not more:
            return sorted(m for m, each in definitions.items() if any(name in errors for name, _ in each))
        errors |= more


def tree(root: type[DevSkyyError]) -> Iterator[type[DevSkyyError]]:
    yield root
    for kind in root.__subclasses__():
        yield from tree(kind)


for _module in modules_with_errors():
    importlib.import_module(_module)
ERRORS = sorted(
    {kind for kind in tree(DevSkyyError) if kind.__module__.split(".")[0] in PACKAGES},
    key=lambda kind: (kind.__module__, kind.__name__),
)


def example(kind: type[DevSkyyError]) -> DevSkyyError:
    if kind.__init__ is DevSkyyError.__init__:
        return kind("some text")
    hints = get_type_hints(kind.__init__, localns={"Workflow": Workflow})  # the SDK imports it where it is needed
    return kind(*(SAMPLES[hints[name]] for name in list(inspect.signature(kind).parameters)))


def test_the_tree_was_walked() -> None:
    assert {kind.__name__ for kind in ERRORS if kind.__module__ == "schemas.errors"} == {*CODES, "RemoteError"}
    assert {"WrongLastSequence", "ApiError"} <= {kind.__name__ for kind in ERRORS}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_it_survives_pickling(kind: type[DevSkyyError], protocol: int) -> None:
    error = example(kind)
    for again in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)
        assert (again.code, again.title) == (error.code, error.title)
        assert (again.http_status, again.retryable) == (error.http_status, error.retryable)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_it_says_something(kind: type[DevSkyyError]) -> None:
    error = example(kind)
    assert str(error).strip()
    assert error.title.strip()
    assert 400 <= error.http_status <= 599


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_codes_are_stable(name: str, code: str) -> None:
    assert vars(importlib.import_module("schemas.errors"))[name].code == code


def test_codes_are_distinct() -> None:
    """Of what the platform raises; the SDK names again on the caller's side what the platform said."""
    owners: dict[str, str] = {}
    for kind in ERRORS:
        if kind.__module__ == "devskyy.errors" or kind is RemoteError:
            continue
        assert "code" in vars(kind), f"{kind.__name__} has no code of its own"
        assert owners.setdefault(kind.code, kind.__name__) == kind.__name__


def test_a_remote_error_is_told_apart_by_the_code_of_its_problem() -> None:
    error = RemoteError("no_service", "No service", 503, "none can serve", True)
    assert (error.code, error.http_status, error.retryable, str(error)) == ("no_service", 503, True, "none can serve")
    assert RemoteError.code == "internal"


def test_what_may_help_to_try_again_is_part_of_the_type() -> None:
    assert all(kind.retryable for kind in ERRORS if issubclass(kind, Unavailable))
    assert not any(kind.retryable for kind in ERRORS if issubclass(kind, BadInput))


def test_sentences() -> None:
    assert str(TooLarge("the prompt", 300_000, 262_144)) == "the prompt has 300,000 bytes; the limit is 262,144"
    assert str(NoService("none can serve")) == "none can serve"
    assert UpstreamError("groq", "it broke").spent is False

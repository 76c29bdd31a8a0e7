"""What the description of the doors (OpenAPI) says and FastAPI does not know: what any door may answer, one sentence on
each, and an example of what it takes."""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from schemas.problem import MEDIA_TYPE
from serve import problems
from serve.auth import is_open

ALWAYS = {500: "Something went wrong inside; the platform's log says what"}
GUARDED = {503: "Not now; see Retry-After"}
"""Of doors that ask for a key, as keys may be unreadable for a while."""
WITH_PARAMETERS = {422: "A field breaks a rule"}
WITH_BODY = {
    400: "The body is no JSON",
    408: "The body did not arrive",
    413: "The body is too large",
    415: "The body is packed",
    422: "A field breaks a rule",
}
FASTAPIS = "HTTPValidationError"
"""What FastAPI says of fields that break a rule; all errors have our own shapes."""
MAX_SUMMARY = 100

TASK = {"prompt": "Name a use of a tote bag", "tier": "simple", "max_cost_usd": 0.05}
WORKFLOW = {
    "definition": {
        "name": "naming",
        "tasks": {
            "name": {"prompt": "Name a tote bag"},
            "line": {"prompt": "A line for ${tasks.name.output}", "depends_on": ["name"]},
        },
    }
}
EXAMPLES: dict[tuple[str, str], Any] = {
    ("post", "/api/v1/tasks"): TASK,
    ("post", "/api/v1/services/explain"): TASK,
    ("post", "/api/v1/workflows"): WORKFLOW,
    ("post", "/api/v1/workflows/validate"): WORKFLOW,
    ("post", "/api/v1/workflows/{workflow_id}/fork"): {"after": 3, "start": False},
    ("post", "/api/v1/workflows/{workflow_id}/cancel"): {"reason": "nobody wants it any more", "compensate": True},
    ("post", "/api/v1/workflows/{workflow_id}/retry"): {"task": "line"},
    ("post", "/api/v1/workflows/{workflow_id}/signals/{name}"): {"approved": True},
    ("post", "/api/v1/luxury-automation/workflows/create"): {
        "workflow_type": "fashion_brand_launch",
        "workflow_data": {"brand_name": "Aurum"},
    },
    ("post", "/api/v1/keys"): {"name": "Nightly build", "scopes": ["write"], "budget": {"usd": 2}, "rpm": 60},
    ("patch", "/api/v1/keys/{key_id}"): {"budget": {"usd": 5}, "rpm": None},
    ("post", "/api/v1/webhooks"): {
        "url": "https://shop.example/hooks/devskyy",
        "events": ["task.completed", "task.failed"],
        "description": "The shop's back office",
    },
    ("patch", "/api/v1/webhooks/{webhook_id}"): {"enabled": False},
    ("post", "/api/v1/tokens"): {"sub": "ann@example.com", "role": "viewer", "expires_at": "2030-01-01T00:00:00Z"},
}
"""Of bodies whose models do not bring their own."""
TOLD: dict[str, Any] = {
    "task.completed": {
        "type": "task.completed",
        "timestamp": "2026-05-04T12:00:02Z",
        "data": {
            "task_id": "9f3a2c1b",
            "status": "completed",
            "tenant": "default",
            "tier": "simple",
            "shape": "direct",
            "answer": "It carries a week's groceries.",
            "answer_bytes": None,
            "quality": 0.82,
            "quality_met": None,
            "cost_usd": 0.00012,
            "error": None,
            "metadata": {"order": 7},
            "created_at": "2026-05-04T12:00:00Z",
            "finished_at": "2026-05-04T12:00:02Z",
            "links": {"self": "/api/v1/tasks/9f3a2c1b", "events": "/api/v1/tasks/9f3a2c1b/events"},
        },
    }
}
"""Of what webhooks are told."""


def describe(app: FastAPI) -> None:
    """Complete the application's description, after all others have said their part."""
    document: dict[str, Any] = app.openapi()
    for method, path, door in _doors(document):
        _never_null(door)
        door["summary"] = _summary(door.get("description") or door["summary"])
        _errors(path, door)
        if (method, path) in EXAMPLES:
            door["requestBody"]["content"]["application/json"]["example"] = EXAMPLES[method, path]
    for event, told in document["webhooks"].items():
        del told["post"]["responses"]["422"]  # whoever is told refuses in a way of their own
        if event in TOLD:
            told["post"]["requestBody"]["content"]["application/json"]["example"] = TOLD[event]
    for name in (FASTAPIS, "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _doors(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, doors in document["paths"].items():
        for method, door in doors.items():
            yield method, path, door


def _summary(description: str) -> str:
    """The first sentence, as far as its first colon, semicolon or comma where it is long."""
    sentence = re.split(r"(?<=[.:;])\s", " ".join(description.split()), maxsplit=1)[0].rstrip(".:;")
    return sentence if len(sentence) <= MAX_SUMMARY else sentence[:MAX_SUMMARY].rpartition(",")[0] or sentence


def _never_null(door: dict[str, Any]) -> None:
    """A parameter outside a body is there or is left out; FastAPI adds `null`, which there is a word like any."""
    for parameter in door.get("parameters", ()):
        schema = parameter["schema"]
        kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            del schema["anyOf"]
            schema |= kinds[0]


def _errors(path: str, door: dict[str, Any]) -> None:
    answers: dict[str, Any] = door["responses"]
    if FASTAPIS in str(answers.get("422")):
        del answers["422"]
    told = dict(ALWAYS)
    if not is_open(path):
        told |= GUARDED
    if door.get("parameters"):
        told |= WITH_PARAMETERS
    if "requestBody" in door:
        told |= WITH_BODY
    for status, said in problems.documented_at(path, told).items():
        # One model of error has one shape at all doors of its kind.
        content = said.get("content") or {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{said['model'].__name__}"}}
        }
        answers.setdefault(str(problems.told_as(path, int(status))), {**_without_model(said), "content": content})
    for said in answers.values():
        if MEDIA_TYPE in said.get("content", {}):
            said["content"].pop("application/json", None)  # FastAPI adds what it would send itself
    door["responses"] = dict(sorted(answers.items()))


def _without_model(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "model"}

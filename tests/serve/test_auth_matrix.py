"""Who may use which door: every door there is, with every kind of key."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from actors.workflow.state import State
from actors.workflow.view import view_of
from actors.workflow.work import Outcome
from bus.tasklog import OwnedTask, TaskLog
from schemas.budget import Budget
from schemas.key import ROLES, SCOPES, KeyScope, digest, new_secret
from schemas.projection import project
from schemas.receipt import Call, Receipt
from schemas.settings import DEFAULT_TENANT, Settings
from schemas.task import TaskRequest
from schemas.webhook import CreatedWebhook, NewWebhook
from serve import directory
from storage.workflows import News
from tests.broker import Broker
from tests.serve.conftest import claim, complete
from tests.serve.keys import OPERATORS, PAST, at, doors, make
from tests.serve.tokens import SECRET, token
from tests.workflow.drive import Drive, created

NEEDS: dict[tuple[str, str], KeyScope | None] = {
    ("GET", "/health/live"): None,
    ("GET", "/health/ready"): None,
    ("GET", "/.well-known/agent-card.json"): None,
    ("GET", "/metrics"): "read",
    ("GET", "/openapi.json"): "read",
    ("GET", "/asyncapi.yaml"): "read",
    ("GET", "/docs"): "read",
    ("GET", "/docs/oauth2-redirect"): "read",
    ("GET", "/redoc"): "read",
    ("GET", "/api/v1/tasks"): "read",
    ("POST", "/api/v1/tasks"): "write",
    ("GET", "/api/v1/tasks/{task_id}"): "read",
    ("DELETE", "/api/v1/tasks/{task_id}"): "write",
    ("GET", "/api/v1/tasks/{task_id}/events"): "read",
    ("GET", "/api/v1/tasks/{task_id}/recording"): "read",
    ("POST", "/api/v1/recordings"): "write",
    ("GET", "/api/v1/workflows"): "read",
    ("POST", "/api/v1/workflows"): "write",
    ("POST", "/api/v1/workflows/validate"): "read",
    ("GET", "/api/v1/workflows/templates"): "read",
    ("GET", "/api/v1/workflows/templates/{template}"): "read",
    ("GET", "/api/v1/workflows/{workflow_id}"): "read",
    ("GET", "/api/v1/workflows/{workflow_id}/events"): "read",
    ("GET", "/api/v1/workflows/{workflow_id}/history"): "read",
    ("GET", "/api/v1/workflows/{workflow_id}/output"): "read",
    ("GET", "/api/v1/workflows/{workflow_id}/outputs/{task}"): "read",
    ("POST", "/api/v1/workflows/{workflow_id}/start"): "write",
    ("POST", "/api/v1/workflows/{workflow_id}/pause"): "write",
    ("POST", "/api/v1/workflows/{workflow_id}/resume"): "write",
    ("POST", "/api/v1/workflows/{workflow_id}/cancel"): "write",
    ("POST", "/api/v1/workflows/{workflow_id}/retry"): "write",
    ("POST", "/api/v1/workflows/{workflow_id}/signals/{name}"): "write",
    ("POST", "/api/v1/workflows/{workflow_id}/fork"): "write",
    ("POST", "/api/v1/luxury-automation/workflows/create"): "write",
    ("GET", "/api/v1/luxury-automation/workflows/status"): "read",
    ("POST", "/api/v1/luxury-automation/workflows/{workflow_id}/execute"): "write",
    ("GET", "/api/v1/luxury-automation/workflows/{workflow_id}/status"): "read",
    ("GET", "/api/v1/costs"): "read",
    ("GET", "/api/v1/budgets"): "read",
    ("GET", "/api/v1/quality"): "read",
    ("GET", "/api/v1/agents"): "read",
    ("GET", "/api/v1/services"): "read",
    ("POST", "/api/v1/services/explain"): "read",
    ("POST", "/api/v1/keys"): "admin",
    ("GET", "/api/v1/keys"): "admin",
    ("PATCH", "/api/v1/keys/{key_id}"): "admin",
    ("DELETE", "/api/v1/keys/{key_id}"): "admin",
    ("POST", "/a2a"): "write",
    ("GET", "/mcp"): "read",
    ("POST", "/mcp"): "write",
    ("DELETE", "/mcp"): "write",
    ("GET", "/api/v1/webhooks"): "read",
    ("POST", "/api/v1/webhooks"): "write",
    ("GET", "/api/v1/webhooks/{webhook_id}"): "read",
    ("PATCH", "/api/v1/webhooks/{webhook_id}"): "write",
    ("POST", "/api/v1/webhooks/{webhook_id}/test"): "write",
    ("POST", "/api/v1/webhooks/{webhook_id}/rotate"): "write",
    ("GET", "/api/v1/webhooks/{webhook_id}/deliveries"): "read",
    ("POST", "/api/v1/tokens"): "admin",
    ("GET", "/api/v1/audit"): "admin",
    ("POST", "/v1/chat/completions"): "write",
    ("POST", "/v1/messages"): "write",
    ("POST", "/v1/messages/count_tokens"): "read",
    ("POST", "/v1/embeddings"): "write",
    ("POST", "/v1/responses"): "write",
    ("GET", "/v1/responses/{response_id}"): "read",
    ("POST", "/v1/responses/{response_id}/cancel"): "write",
    ("GET", "/v1/models"): "read",
    ("GET", "/v1/models/{model:path}"): "read",
    # Last, as there is less afterwards.
    ("DELETE", "/api/v1/webhooks/{webhook_id}"): "write",
    ("DELETE", "/api/v1/workflows/{workflow_id}"): "write",
    ("DELETE", "/api/v1/tenants/{tenant}"): "admin",
}
"""The scope that each door needs; None: it is open. A new door is entered here, so that nobody forgets to decide."""

OURS = "a secret of ours"


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    fields: dict[str, Any] = {"nats_url": broker.url, "database_url": None, "config": None}
    return Settings(home=home, operator_sha256=digest(OPERATORS), jwt_secret=SECRET, **fields)


@pytest.fixture
async def app(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FastAPI]:
    monkeypatch.setattr(directory, "FRESH_S", 600.0)  # no actor is there, and looking for them takes a while
    yield app


@pytest.fixture
async def task(app: FastAPI, tasks: TaskLog) -> OwnedTask:
    """A task of the platform's own tenant that has ended, in the log and in SQL."""
    accepted, _ = await tasks.accept(TaskRequest(prompt=OURS), DEFAULT_TENANT)
    owned = await claim(tasks, accepted.task_id)
    await complete(owned, OURS)
    call = Call(step="1", agent=OURS, service="groq", model="m", cost_usd=0.25, prompt_tokens=1, completion_tokens=1)
    kept = project(owned.events).model_copy(update={"receipt": Receipt.of((call,), 1.0, "claude-opus", None)})
    await app.state.kept.upsert(DEFAULT_TENANT, kept, 3)
    return owned


@pytest.fixture
async def workflow(app: FastAPI) -> str:
    """The id of a workflow of the platform's own tenant that has completed, in the log and in SQL."""
    drive = Drive(created({"tasks": {"draft": {"function": "f"}}, "output": OURS}, metadata={"about": OURS}))
    drive.answer = lambda state, work: Outcome(work, output=OURS)
    drive.run()
    events = [event.model_copy(update={"workflow_id": "a-workflow-of-ours"}) for event in drive.events]
    place = 0
    for event in events:
        place = await app.state.workflows.append(event, place)
    state = State.of(events)
    await app.state.kept_workflows.take(News([state.created], ended=[(DEFAULT_TENANT, view_of(state))]))
    return state.created.workflow_id


async def a_webhook(app: FastAPI) -> str:
    """The id of a webhook of the platform's own tenant."""
    new = NewWebhook(url="https://hooks.example", description=OURS)
    made: CreatedWebhook = await app.state.webhooks.add(new, DEFAULT_TENANT, private=True)
    return made.webhook.id


def names_of(task: OwnedTask, workflow: str, key: str, webhook: str) -> dict[str, str]:
    """What stands in the paths of doors."""
    of_workflow = {"workflow_id": workflow, "task": "draft", "name": "go", "template": "fashion_brand_launch"}
    of_openai = {"response_id": f"resp_{task.accepted.task_id}", "model:path": "devskyy-auto"}
    return {
        "task_id": task.accepted.task_id,
        "key_id": key,
        "webhook_id": webhook,
        "tenant": "a-tenant-of-nobody",
        **of_workflow,
        **of_openai,
    }


async def knock(app: FastAPI, secret: str | None, door: tuple[str, str], **names: str) -> httpx.Response:
    """Try a door with a body with which none starts anything."""
    method, path = door
    async with at(app, secret) as client:
        change = {"enabled": True} if "webhooks" in path else {"rpm": 600}
        how: dict[str, Any] = {"POST": {"content": b"{}"}, "PATCH": {"json": change}}.get(method, {})
        query = {"by": "agent"} if path == "/api/v1/costs" else {}
        return await client.request(method, re.sub(r"{([\w:]+)}", lambda m: names[m[1]], path), params=query, **how)


def statuses(replies: dict[tuple[str, str], httpx.Response]) -> dict[tuple[str, str], int]:
    return {door: reply.status_code for door, reply in replies.items()}


async def test_every_door_says_here_who_may_use_it(app: FastAPI) -> None:
    assert {door for door in doors(app) if door[0] not in ("HEAD", "OPTIONS")} == set(NEEDS)


TOKENS_OF_NO_USE = {
    "expired token": {"exp": 1_000_000_000},
    "token that does not end": {"exp": None},
    "token for others": {"aud": "another"},
    "token of a tenant that cannot be": {"tenant": "a.b"},
}


@pytest.mark.parametrize(
    "kind",
    [
        *("none", "unknown", "wrong", "expired", "revoked"),
        *("token of another secret", "token without a signature", *TOKENS_OF_NO_USE),
    ],
)
async def test_who_has_no_key_that_may_be_used_gets_into_no_door_but_health(
    app: FastAPI, task: OwnedTask, workflow: str, kind: str
) -> None:
    # Given keys of all scopes, and one that cannot be used
    good, old, gone = await make(app, "admin"), await make(app, "admin", expires_at=PAST), await make(app, "admin")
    await app.state.keys.revoke(gone.key.id)
    await app.state.keyring.look()
    secret = {
        "none": None,
        "unknown": new_secret("nobody-12345678"),
        "wrong": new_secret(good.key.id),
        "expired": old.secret,
        "revoked": gone.secret,
        "token of another secret": token("another secret of more than 32 bytes", role="admin"),
        "token without a signature": token(role="admin").rpartition(".")[0] + ".",
        **{each: token(role="admin", **said) for each, said in TOKENS_OF_NO_USE.items()},
    }[kind]
    # When every door is tried with it
    names = names_of(task, workflow, good.key.id, await a_webhook(app))
    replies = {door: await knock(app, secret, door, **names) for door in NEEDS}
    # Then all but health are shut, and say nothing of ours
    assert {door for door, status in statuses(replies).items() if status != 401} == {
        door for door, scope in NEEDS.items() if scope is None
    }
    assert all("www-authenticate" in reply.headers for door, reply in replies.items() if NEEDS[door])
    assert not any(OURS in reply.text for reply in replies.values())
    # And nothing was done
    assert (await app.state.keys.load()).by_id.keys() == {good.key.id, old.key.id}


@pytest.mark.parametrize("has", SCOPES)
@pytest.mark.parametrize("by", ["key", "token"])
async def test_a_caller_gets_into_the_doors_of_its_scope_and_of_those_below(
    app: FastAPI, task: OwnedTask, workflow: str, has: KeyScope, by: str
) -> None:
    # Given a key or token of one scope or role, and a key that may be revoked
    role = next(role for role, scope in ROLES.items() if scope == has)
    secret, spare = (await make(app, has)).secret if by == "key" else token(role=role), await make(app)
    # When every door is tried with it
    names = names_of(task, workflow, spare.key.id, await a_webhook(app))
    replies = {door: await knock(app, secret, door, **names) for door in NEEDS}
    # Then those above its scope are shut, and no other
    above = {door for door, scope in NEEDS.items() if scope is not None and SCOPES.index(scope) > SCOPES.index(has)}
    found = statuses(replies)
    assert {door for door, status in found.items() if status == 403} == above
    assert 401 not in found.values()
    # And where there is something of ours, it is seen
    seen = {path for (method, path), reply in replies.items() if method == "GET" and OURS in reply.text}
    of_task, of_workflow = "/api/v1/tasks/{task_id}", "/api/v1/workflows/{workflow_id}"
    assert seen == {
        *("/api/v1/tasks", of_task, f"{of_task}/events", f"{of_task}/recording", "/api/v1/costs"),
        *(f"{of_workflow}{what}" for what in ("", "/events", "/history", "/output", "/outputs/{task}")),
        "/api/v1/luxury-automation/workflows/{workflow_id}/status",
        *("/v1/responses/{response_id}", "/api/v1/webhooks", "/api/v1/webhooks/{webhook_id}"),
    }


@pytest.mark.parametrize("by", ["key", "token"])
async def test_another_tenants_caller_sees_and_reaches_nothing_of_ours(
    app: FastAPI, task: OwnedTask, workflow: str, by: str
) -> None:
    # Given the mightiest key or token of another tenant, and a key of ours with a budget
    theirs = await make(app, "admin", tenant="acme", budget=Budget(usd=5).model_dump())
    ours = await make(app, name=OURS, budget=Budget(usd=3).model_dump())
    # When every door is tried with it
    names = names_of(task, workflow, ours.key.id, await a_webhook(app))
    secret = theirs.secret if by == "key" else token(role="admin", tenant="acme", sub="eve")
    replies = {door: await knock(app, secret, door, **names) for door in NEEDS}
    # Then it is let in, and nothing of ours is there
    found = statuses(replies)
    assert not {401, 403} & set(found.values())
    audit = ("GET", "/api/v1/audit")  # has the ids that it named itself just now, and what became of them
    told = [reply.text for door, reply in replies.items() if reply.is_success and door != audit]
    assert not any(each in text for each in (OURS, ours.key.id, workflow) for text in told)
    the_platforms = ("{template}", "{model:path}")
    named = {door for door in NEEDS if "{" in door[1] and not any(each in door[1] for each in the_platforms)}
    assert {door for door, status in found.items() if status == 404} == named
    # And our key may be used still, and of budgets it saw its tenant's alone
    assert ours.key.id in (await app.state.keys.load()).by_id
    shown = replies["GET", "/api/v1/budgets"].json()["budgets"]
    assert [(each["name"], each["limit"]) for each in shown] == [(theirs.key.id, 5.0)]


async def test_the_operator_gets_into_every_door(app: FastAPI, task: OwnedTask, workflow: str) -> None:
    spare = await make(app)
    names = names_of(task, workflow, spare.key.id, await a_webhook(app))
    found = statuses({door: await knock(app, OPERATORS, door, **names) for door in NEEDS})
    assert not {401, 403, 404} & set(found.values())

"""The audit log as doors and the gate fill it, and who may read it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from bus.tasklog import TaskLog
from schemas.key import digest
from schemas.settings import Settings
from tests.broker import Broker
from tests.serve.keys import OPERATORS, at, make
from tests.serve.tokens import SECRET, token

AUDIT, TASKS, KEYS = "/api/v1/audit", "/api/v1/tasks", "/api/v1/keys"


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    fields: dict[str, Any] = {"nats_url": broker.url, "database_url": None, "config": None, "jwt_secret": SECRET}
    return Settings(home=home, operator_sha256=digest(OPERATORS), **fields)


@pytest.fixture
async def operator(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with at(app, OPERATORS) as client:
        yield client


async def entries(client: httpx.AsyncClient, number: int, **params: Any) -> list[dict[str, Any]]:
    """What the log has, oldest first, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            reply = await client.get(AUDIT, params=params)
            assert reply.status_code == 200, reply.text
            if len(found := reply.json()["entries"]) >= number:
                return list(reversed(found))
            await asyncio.sleep(0.05)


def brief(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in ("key", "tenant", "method", "route", "target", "status", "outcome"))


async def test_every_change_is_recorded_with_who_made_it_and_what_it_was(
    app: FastAPI, operator: httpx.AsyncClient
) -> None:
    # Given the operator, and a caller with a token of a tenant
    made = (await operator.post(KEYS, json={"name": "CI", "tenant": "acme"})).json()
    key = made["key"]["id"]
    async with at(app, token(tenant="acme", sub="ada")) as ada, at(app, made["secret"]) as ci:
        ada_is = "jwt_ada_"
        # When they change things, well and badly, and look at others
        task = (await ada.post(TASKS, json={"prompt": "Say hello."})).json()["task_id"]
        await ada.get(f"{TASKS}/{task}")
        await ci.post(TASKS, json={"prompt": ""})
        await ci.delete(f"{TASKS}/{task}")
    await operator.patch(f"{KEYS}/{key}", json={"rpm": 60})
    await operator.delete(f"{KEYS}/{key}")
    # Then each change is there, in its order, and no look
    found = await entries(operator, 6)
    assert [brief(each) for each in found if each["key"] != found[1]["key"]] == [
        ("operator", "default", "POST", KEYS, key, 201, "done"),
        (key, "acme", "POST", TASKS, None, 422, "failed"),
        (key, "acme", "DELETE", f"{TASKS}/{{task_id}}", task, 202, "done"),
        ("operator", "default", "PATCH", f"{KEYS}/{{key_id}}", key, 200, "done"),
        ("operator", "default", "DELETE", f"{KEYS}/{{key_id}}", key, 200, "done"),
    ]
    assert brief(found[1])[1:] == ("acme", "POST", TASKS, task, 202, "done")
    assert found[1]["key"].startswith(ada_is)
    assert {each["address"] for each in found} == {"127.0.0.1"}


async def test_every_refusal_is_recorded_with_the_reason(app: FastAPI, operator: httpx.AsyncClient) -> None:
    # Given a key that may look twice a minute
    made = await make(app, "read", rpm=2)
    async with at(app) as nobody, at(app, made.secret) as reader, at(app, host="10.0.0.7") as stranger:
        # When somebody is refused for each reason there is
        await nobody.get(f"{TASKS}/a-task")
        await reader.delete(f"{TASKS}/a-task")
        await reader.get(TASKS)
        await reader.get(TASKS)
        await stranger.post(TASKS)
    # Then each is there, with the door that it was
    unknown, lacking, often, foreign = await entries(operator, 4, outcome="refused")
    assert brief(unknown) == (None, None, "GET", f"{TASKS}/{{task_id}}", None, 401, "refused")
    assert "no key was sent" in unknown["reason"]
    assert brief(lacking) == (made.key.id, "default", "DELETE", f"{TASKS}/{{task_id}}", None, 403, "refused")
    assert "lacks the scope 'write'" in lacking["reason"]
    assert (often["status"], often["key"]) == (429, made.key.id)
    assert (foreign["status"], foreign["address"], foreign["key"]) == (403, "10.0.0.7", None)


async def test_no_secret_and_nothing_that_was_sent_is_in_it(app: FastAPI, operator: httpx.AsyncClient) -> None:
    # Given secrets of all kinds, and text in every part of a request
    made = await make(app, "admin")
    secrets = [made.secret, token(role="admin"), token("another secret of more than 32 bytes"), OPERATORS]
    for secret in secrets:
        for method, path in (("POST", TASKS), ("DELETE", f"{TASKS}/WORDS"), ("POST", "/WORDS"), ("PATCH", KEYS)):
            async with at(app, secret) as client:
                await client.request(method, f"{path}?WORDS=WORDS", json={"prompt": "WORDS"}, headers={"x-a": "WORDS"})
    async with at(app) as nobody:
        await nobody.get(f"/nowhere/{made.secret}")
        await nobody.get("/a%00b/\N{SNOWMAN}")
    # When the log is read
    text = str(await entries(operator, 10))
    # Then none of it is there, but the id of what there might be
    for secret in secrets:
        assert secret[-40:] not in text
    assert text.count("WORDS") == text.count("'target': 'WORDS'")


async def test_a_tenant_reads_its_own_and_only_its_admins_do(app: FastAPI, operator: httpx.AsyncClient) -> None:
    # Given changes of two tenants
    ours, theirs = await make(app, "admin"), await make(app, "admin", tenant="acme")
    for made in (ours, theirs):
        async with at(app, made.secret) as client:
            await client.post(TASKS, json={"prompt": "Say hello."})
    await entries(operator, 2)
    # When each reads the log, Then it sees what is its own; who is not known, the operator alone
    async with at(app) as nobody:
        await nobody.get(TASKS)
    async with at(app, theirs.secret) as client:
        assert {each["key"] for each in await entries(client, 1)} == {theirs.key.id}
    async with at(app, token(tenant="acme", role="admin")) as client:
        assert {each["key"] for each in await entries(client, 1)} == {theirs.key.id}
    assert {each["key"] for each in await entries(operator, 3)} == {ours.key.id, theirs.key.id, None}
    # And nobody who may not make keys
    async with at(app, (await make(app, "write")).secret) as client:
        assert (await client.get(AUDIT)).status_code == 403


async def test_it_is_read_from_a_moment_on_and_page_by_page(app: FastAPI, operator: httpx.AsyncClient) -> None:
    for _ in range(3):
        await operator.post(TASKS, json={"prompt": "Say hello."})
    found = await entries(operator, 3)
    since = found[1]["at"]
    assert [each["id"] for each in await entries(operator, 2, since=since)] == [each["id"] for each in found[1:]]
    first = (await operator.get(AUDIT, params={"limit": 2})).json()
    rest = (await operator.get(AUDIT, params={"limit": 2, "cursor": first["next"]})).json()
    assert [each["id"] for each in first["entries"] + rest["entries"]] == [each["id"] for each in reversed(found)]
    assert rest["next"] is None


async def test_a_task_of_openais_door_is_named_too(app: FastAPI, operator: httpx.AsyncClient, tasks: TaskLog) -> None:
    # Given a stream that is asked for at OpenAI's door and given up before it ends
    body = {"model": "devskyy-auto", "messages": [{"role": "user", "content": "Hello."}], "stream": True}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await operator.post("/v1/chat/completions", json=body)
    # Then it is in the log with its task
    (found,) = await entries(operator, 1)
    listed = found["target"]
    assert (found["route"], (await tasks.task("default", listed)).task_id) == ("/v1/chat/completions", listed)

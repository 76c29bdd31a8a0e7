"""The gate before every door: who is let in, what they are told, and how often they may come."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from nats.aio.msg import Msg
from starlette.types import Message

from bus.client import Bus
from bus.subjects import TaskEvents
from bus.tasklog import TaskLog
from schemas.budget import Budget
from schemas.event import Accepted
from schemas.key import digest, new_secret
from schemas.settings import DEFAULT_TENANT, Settings
from serve.app import make_app
from serve.auth import is_open, secret_of
from tests.broker import Broker
from tests.serve.conftest import problem
from tests.serve.keys import OPERATORS, PAST, at, make

TASKS = "/api/v1/tasks"
MODELS = "/v1/models"


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    fields: dict[str, Any] = {"nats_url": broker.url, "database_url": None, "config": None}
    return Settings(home=home, operator_sha256=digest(OPERATORS), **fields)


def refused(reply: httpx.Response, challenge: str) -> dict[str, Any]:
    assert reply.headers["www-authenticate"] == challenge
    return problem(reply)


# -- who is let in -------------------------------------------------------------------------------------------------


async def test_until_there_is_a_key_anybody_is_let_in_whatever_they_show(app: FastAPI) -> None:
    # Given no key
    for secret in (None, "", "sk-anything", new_secret("nobody")):
        # When somebody calls with what their client must send, Then they are let in
        async with at(app, secret) as client:
            accepted = await client.post(TASKS, json={"prompt": "Say hello."})
            assert accepted.status_code == 202
            assert (await client.get(f"{TASKS}/{accepted.json()['task_id']}")).json()["key"] is None


async def test_the_first_key_shuts_every_door_but_health(app: FastAPI) -> None:
    # Given a key
    await make(app)
    # When somebody calls without one
    async with at(app) as client:
        reply = await client.get(TASKS)
        # Then they are told how to be let in
        found = refused(reply, 'Bearer realm="devskyy"')
        assert (found["status"], found["type"]) == (401, "urn:devskyy:problem:unauthorized")
        assert "devskyy keys create" in found["detail"]
        # And whether the platform lives is told all the same
        assert (await client.get("/health/live")).status_code == 200


async def test_a_key_is_shown_as_a_bearer_token_or_in_a_header_of_its_own(app: FastAPI) -> None:
    secret = (await make(app)).secret
    shown = ({"Authorization": f"Bearer {secret}"}, {"authorization": f"bearer  {secret}"}, {"X-API-Key": secret})
    async with at(app) as client:
        for headers in shown:
            assert (await client.get(TASKS, headers=headers)).status_code == 200
        both = {"Authorization": "Basic dXNlcjp3b3Jk", "x-api-key": secret}
        assert (await client.get(TASKS, headers=both)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ([], None),
        ([(b"authorization", b"Bearer a")], "a"),
        ([(b"x-api-key", b"b"), (b"authorization", b"BEARER  a ")], "a"),
        ([(b"authorization", b"Basic x"), (b"x-api-key", b" b ")], "b"),
        ([(b"authorization", b"Bearer")], ""),
        ([(b"authorization", b"Bearer \xff")], "ÿ"),
        ([(b"authorization", b"a")], "a"),
    ],
)
def test_what_a_request_shows(headers: list[tuple[bytes, bytes]], secret: str | None) -> None:
    assert secret_of(headers) == secret


async def test_a_key_that_is_wrong_expired_or_revoked_is_refused(app: FastAPI) -> None:
    # Given a key, one that has expired, and one that is revoked
    good, old, gone = await make(app), await make(app, expires_at=PAST), await make(app)
    await app.state.keys.revoke(gone.key.id)
    await app.state.keyring.look()
    wrong = (
        f"{good.secret[:-1]}{'0' if good.secret[-1] != '0' else '1'}",
        new_secret("nobody"),
        "sk-x",
        "ÿ",
        gone.secret,
    )
    # When they are shown, Then none is let in
    for secret in wrong:
        async with at(app) as client:
            reply = await client.get(TASKS, headers=[(b"x-api-key", secret.encode("latin-1"))])
            found = refused(reply, 'Bearer realm="devskyy", error="invalid_token"')
            assert (found["status"], "not known here" in found["detail"]) == (401, True)
    async with at(app, old.secret) as client:
        assert f"{old.key.id} has expired, at " in problem(await client.get(TASKS))["detail"]
    async with at(app, good.secret) as client:
        assert (await client.get(TASKS)).status_code == 200


async def test_the_door_stays_shut_when_the_last_key_is_revoked(app: FastAPI) -> None:
    # Given a platform whose only key is revoked
    made = await make(app)
    async with at(app, OPERATORS) as operator:
        assert (await operator.delete(f"/api/v1/keys/{made.key.id}")).status_code == 200
        # When somebody calls without a key, Then it did not open again; the operator is let in
        async with at(app) as client:
            assert (await client.get(TASKS)).status_code == 401
        assert (await operator.get(TASKS)).status_code == 200


async def test_the_operator_is_known_before_there_is_a_key(app: FastAPI) -> None:
    async with at(app, OPERATORS) as operator:
        accepted = await operator.post(TASKS, json={"prompt": "Say hello."})
        task = (await operator.get(f"{TASKS}/{accepted.json()['task_id']}")).json()
    assert task["key"] == "operator"


async def test_a_door_that_others_reach_is_never_open(settings: Settings, tasks: TaskLog) -> None:
    # Given a platform that listens on every interface, without any key
    app = make_app(settings.model_copy(update={"http_host": "0.0.0.0"}))
    async with app.router.lifespan_context(app):
        # When another machine calls, Then only the operator's key is let in
        async with at(app, host="10.0.0.7") as client:
            assert (await client.get(TASKS)).status_code == 401
        async with at(app, OPERATORS, host="10.0.0.7") as operator:
            assert (await operator.get(TASKS)).status_code == 200


async def test_without_an_operators_key_nobody_is_the_operator(settings: Settings, tasks: TaskLog) -> None:
    app = make_app(settings.model_copy(update={"operator_sha256": None}))
    async with app.router.lifespan_context(app):
        for secret in (None, "", OPERATORS):
            async with at(app, secret) as client:
                assert (await client.get("/api/v1/keys")).status_code == 401


# -- what they may do ----------------------------------------------------------------------------------------------


async def test_a_key_that_may_only_look_is_told_what_it_lacks(app: FastAPI) -> None:
    made = await make(app, "read")
    async with at(app, made.secret) as client:
        assert (await client.get(TASKS)).status_code == 200
        reply = await client.post(TASKS, json={"prompt": "Say hello."})
    found = refused(reply, 'Bearer realm="devskyy", error="insufficient_scope", scope="write"')
    assert (found["status"], found["type"]) == (403, "urn:devskyy:problem:forbidden")
    assert f"{made.key.id} lacks the scope 'write'" in found["detail"]


async def test_a_task_is_its_keys_and_its_tenants(app: FastAPI, bus: Bus, tasks: TaskLog) -> None:
    # Given a key of a tenant, with a budget, and somebody who hears of that tenant's tasks
    made = await make(app, tenant="acme", budget={"usd": 2.0})
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    await bus.client.subscribe(TaskEvents.pattern(tenant="acme", event="accepted"), cb=heard.put)
    await bus.settle()
    # When it starts tasks, at both doors
    async with at(app, made.secret) as client, asyncio.timeout(20):
        await client.post(TASKS, json={"prompt": "Say hello."})
        body = {"model": "devskyy-auto", "messages": [{"role": "user", "content": "Hello."}]}
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        events = [await tasks.event_of(await heard.get()) for _ in range(2)]
        asking.cancel()
    # Then the tasks carry the key's id and what it may spend
    for event in events:
        assert isinstance(event, Accepted)
        assert (event.tenant, event.key, event.key_budget) == ("acme", made.key.id, Budget(usd=2.0))


# -- as OpenAI's clients know it -----------------------------------------------------------------------------------


async def test_openais_client_understands_why_it_is_not_let_in(app: FastAPI) -> None:
    # Given a key that may only look
    made = await make(app, "read")
    async with at(app) as http:

        def client(secret: str) -> openai.AsyncOpenAI:
            return openai.AsyncOpenAI(base_url="http://localhost/v1", api_key=secret, http_client=http, max_retries=0)

        # When OpenAI's own client is used with none of ours, and with that
        with pytest.raises(openai.AuthenticationError) as unknown:
            await client("sk-any").models.list()
        messages: Any = [{"role": "user", "content": "Hello."}]
        with pytest.raises(openai.PermissionDeniedError) as lacking:
            await client(made.secret).chat.completions.create(model="devskyy-auto", messages=messages)
        # Then it tells the two apart
        assert (unknown.value.code, lacking.value.code) == ("unauthorized", "forbidden")
        assert [model.id async for model in client(made.secret).models.list()]


# -- how often -----------------------------------------------------------------------------------------------------


async def test_a_key_is_told_at_each_answer_how_often_it_may_still_come(app: FastAPI) -> None:
    # Given a key for two requests a minute
    made, other = await make(app, rpm=2), await make(app, rpm=1000)
    async with at(app, made.secret) as client, at(app, other.secret) as another:
        # When it asks three times
        replies = [await client.get(MODELS) for _ in range(3)]
        # Then each answer says what is left, and the third is refused with when to come again
        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert [reply.headers["ratelimit-limit"] for reply in replies] == ["2"] * 3
        assert [reply.headers["ratelimit-remaining"] for reply in replies] == ["1", "0", "0"]
        wait_s = int(replies[-1].headers["retry-after"])
        assert 59 <= wait_s <= 61
        assert replies[-1].headers["ratelimit-reset"] == str(wait_s)
        error = replies[-1].json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "too_many_requests")
        assert "x-should-retry" not in replies[-1].headers
        # And at the other doors the refusal is a problem, health costs nothing, and another key has its own minute
        assert problem(await client.get(TASKS))["retry_after_s"] == pytest.approx(wait_s, abs=2)
        assert "ratelimit-limit" not in (await client.get("/health/live")).headers
        assert (await another.get(MODELS)).headers["ratelimit-remaining"] == "999"


async def test_without_a_limit_nothing_is_told_of_one(app: FastAPI) -> None:
    made = await make(app)
    async with at(app, made.secret) as client:
        assert not [name for name in (await client.get(MODELS)).headers if name.startswith("ratelimit")]


# -- secrets -------------------------------------------------------------------------------------------------------


async def test_no_secret_is_in_an_answer_or_a_log(app: FastAPI, settings: Settings) -> None:
    # Given keys of every kind, and the operator
    made = [await make(app, "admin"), await make(app, "read"), await make(app, expires_at=PAST)]
    secrets = [*(each.secret for each in made), OPERATORS, new_secret("nobody")]
    # When each is used, well and badly
    seen = ""
    for secret in secrets:
        async with at(app, secret) as client:
            for method, path in (("GET", TASKS), ("POST", TASKS), ("GET", "/api/v1/keys"), ("GET", "/nowhere")):
                reply = await client.request(method, path, content=b"{", headers={"x-api-key": secret})
                seen += reply.text + repr(reply.headers)
    # Then the random part of none was answered or logged, nor any digest
    logged = "".join(file.read_text() for file in (settings.home / "logs").iterdir())
    for secret in secrets:
        for private in (secret.rpartition("_")[2], digest(secret)):
            assert private not in seen + logged


# -- what else comes through ---------------------------------------------------------------------------------------


@pytest.fixture
async def shut(app: FastAPI) -> AsyncIterator[FastAPI]:
    await make(app)
    yield app


async def test_a_websocket_without_a_key_is_refused_too(shut: FastAPI) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ui", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)}
    await shut(scope | {"extensions": {"websocket.http.response": {}}, "query_string": b""}, receive, send)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 401)


async def test_a_page_that_is_not_there_is_told_to_those_who_may_know(shut: FastAPI) -> None:
    async with at(shut) as client:
        assert (await client.get("/nowhere")).status_code == 401
        assert (await client.get("/health/../api/v1/tasks")).status_code in (401, 404)


async def test_the_description_says_how_to_be_let_in(app: FastAPI, http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, doors in document["paths"].items():
        for door in doors.values():
            wanted = not is_open(path)
            assert ("security" in door, "401" in door["responses"], "403" in door["responses"]) == (wanted,) * 3
    refusal = document["paths"]["/v1/models"]["get"]["responses"]["401"]["content"]
    assert refusal["application/json"]["schema"]["$ref"].endswith("/OpenAIFailure")
    assert DEFAULT_TENANT not in str(document["components"]["securitySchemes"])

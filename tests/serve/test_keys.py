"""The keys door."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from schemas.key import digest
from schemas.message import now
from schemas.settings import Settings
from tests.broker import Broker
from tests.serve.conftest import problem
from tests.serve.keys import OPERATORS, at, make

DOOR = "/api/v1/keys"


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    (home / "overlay.yaml").write_text("budgets: {day: {usd: 20}, keys: {somebodys: {usd: 1}}}\n")
    fields: dict[str, Any] = {"nats_url": broker.url, "database_url": None, "config": home / "overlay.yaml"}
    return Settings(home=home, operator_sha256=digest(OPERATORS), **fields)


@pytest.fixture
async def operator(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with at(app, OPERATORS) as client:
        yield client


async def test_a_key_is_made_and_its_secret_told_once(app: FastAPI, operator: httpx.AsyncClient) -> None:
    # Given the operator, When a key is made
    expires = (now() + timedelta(days=30)).isoformat()
    body = {"name": "CI", "scopes": ["read"], "expires_at": expires, "budget": {"usd": 2}, "rpm": 60}
    reply = await operator.post(DOOR, json=body)
    # Then it is told with its secret, which nobody is to keep on the way
    assert (reply.status_code, reply.headers["cache-control"]) == (201, "no-store")
    made = reply.json()
    assert made["secret"].startswith(f"dsk_{made['key']['id']}_")
    # And works at once, but never comes again
    async with at(app, made["secret"]) as client:
        assert (await client.get("/api/v1/tasks")).status_code == 200
    listed = await operator.get(DOOR)
    assert made["secret"].rpartition("_")[2] not in listed.text
    (key,) = listed.json()["keys"]
    assert key["last_used_at"] is None or key | {"last_used_at": None} == made["key"]
    assert (key["tenant"], key["budget"], key["rpm"]) == ("default", {"usd": 2.0, "tokens": None}, 60)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "ci", "scopes": ["root"]}, "scopes.0"),
        ({"name": "ci", "tenant": "a b"}, "tenant"),
        ({"name": "ci", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "ci", "secret": "dsk_mine"}, "secret"),
    ],
)
async def test_a_key_that_cannot_be_is_refused(operator: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    found = problem(await operator.post(DOOR, json=body))
    assert (found["status"], found["errors"][0]["field"]) == (422, field)
    assert (await operator.get(DOOR)).json() == {"keys": []}


async def test_an_id_that_no_database_could_look_for_is_refused(operator: httpx.AsyncClient) -> None:
    found = problem(await operator.delete(f"{DOOR}/a%00"))
    assert (found["status"], found["errors"][0]["field"]) == (422, "path.key_id")


async def test_a_revoked_key_is_refused_at_once_and_stays_listed(app: FastAPI, operator: httpx.AsyncClient) -> None:
    # Given a key, When it is revoked, twice
    made = await make(app)
    first, again = [await operator.delete(f"{DOOR}/{made.key.id}") for _ in range(2)]
    # Then it opens nothing, and its end is listed
    assert (first.status_code, first.json()["revoked_at"] is not None, again.json()) == (200, True, first.json())
    async with at(app, made.secret) as client:
        assert (await client.get("/api/v1/tasks")).status_code == 401
    assert (await operator.get(DOOR)).json()["keys"] == [first.json()]
    assert problem(await operator.delete(f"{DOOR}/operator"))["status"] == 404


async def test_an_admin_makes_and_sees_keys_of_its_own_tenant_alone(app: FastAPI, operator: httpx.AsyncClient) -> None:
    # Given an admin of a tenant, made by the operator, and a key of the platform's own
    made = (await operator.post(DOOR, json={"name": "boss", "scopes": ["admin"], "tenant": "acme"})).json()
    ours = await make(app)
    async with at(app, made["secret"]) as boss:
        # When it makes keys
        theirs = (await boss.post(DOOR, json={"name": "staff"})).json()["key"]
        other = await boss.post(DOOR, json={"name": "spy", "tenant": "default"})
        # Then they are of its tenant, and there is none of another
        assert theirs["tenant"] == "acme"
        assert (other.status_code, problem(other)["type"]) == (403, "urn:devskyy:problem:forbidden")
        assert {key["id"] for key in (await boss.get(DOOR)).json()["keys"]} == {made["key"]["id"], theirs["id"]}
        assert (await boss.delete(f"{DOOR}/{ours.key.id}")).status_code == 404
    # And the operator sees all
    assert len((await operator.get(DOOR)).json()["keys"]) == 3


async def test_before_the_first_key_only_the_operator_makes_one(app: FastAPI, http: httpx.AsyncClient) -> None:
    # Given an open platform, When anybody makes a key, Then it is not made
    for call in (http.post(DOOR, json={"name": "mine"}), http.get(DOOR), http.delete(f"{DOOR}/x")):
        found = problem(await call)
        assert (found["status"], "devskyy keys" in found["detail"]) == (401, True)
    assert (await app.state.keys.load()).made == 0


async def test_budgets_are_shown_to_those_they_concern(app: FastAPI, operator: httpx.AsyncClient) -> None:
    # Given keys with budgets, of two tenants, beside the overlay's
    ours = [await make(app, "read", budget={"usd": 2}), await make(app, "admin", budget={"tokens": 5})]
    theirs = await make(app, "admin", tenant="acme", budget={"usd": 3})
    plain = await make(app, "read", tenant="acme")

    async def seen(secret: str) -> set[str]:
        async with at(app, secret) as client:
            return {b["name"] for b in (await client.get("/api/v1/budgets")).json()["budgets"] if b["scope"] == "key"}

    # When each looks, Then it sees its own, an admin its tenant's, and the operator all
    first, second = (made.key.id for made in ours)
    assert await seen(ours[0].secret) == {first}
    assert await seen(ours[1].secret) == {first, second}
    assert await seen(theirs.secret) == {theirs.key.id}
    assert await seen(plain.secret) == set()
    assert await seen(OPERATORS) == {first, second, theirs.key.id, "somebodys"}
    # And the day's budget is shown to the platform's own tenant
    for secret, shown in ((ours[0].secret, True), (theirs.secret, False), (OPERATORS, True)):
        async with at(app, secret) as client:
            budgets = (await client.get("/api/v1/budgets")).json()["budgets"]
            assert any(each["scope"] == "day" for each in budgets) is shown


# -- changing them -------------------------------------------------------------------------------------------------


async def test_a_change_of_a_key_holds_at_once(app: FastAPI, operator: httpx.AsyncClient) -> None:
    # Given a key that may come once a minute
    made = await make(app, rpm=1, budget={"usd": 1.0, "tokens": 5000})
    async with at(app, made.secret) as client:
        statuses = [(await client.get("/api/v1/tasks")).status_code for _ in range(2)]
        # When it is allowed more
        body = {"rpm": 100, "budget": {"usd": 3}}
        reply = await operator.patch(f"{DOOR}/{made.key.id}", json=body)
        # Then it may at once, and what was not named is as before
        assert (await client.get("/api/v1/tasks")).headers["ratelimit-limit"] == "100"
        shown = (await client.get("/api/v1/budgets")).json()["budgets"]
    assert (statuses, reply.status_code) == ([200, 429], 200)
    assert reply.json() | {"last_used_at": None} == made.key.model_dump(mode="json") | {
        **{"rpm": 100, "budget": {"usd": 3.0, "tokens": 5000}},
    }
    assert {(each["unit"], each["limit"]) for each in shown if each["name"] == made.key.id} == {
        *(("usd", 3.0), ("tokens", 5000.0)),
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"rpm": 0}, "rpm"),
        ({"budget": {"usd": -1}}, "budget.usd"),
        ({"budget": {"usd": 1, "eur": 1}}, "budget.eur"),
        ({"scopes": ["admin"]}, "scopes"),
        ({"tenant": "acme"}, "tenant"),
        ({"expires_at": "2000-01-01T00:00:00Z"}, "expires_at"),
    ],
)
async def test_a_bad_change_is_named(
    app: FastAPI, operator: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    made = await make(app)
    found = problem(await operator.patch(f"{DOOR}/{made.key.id}", json=body))
    assert (found["status"], [error["field"] for error in found["errors"]]) == (422, [field])


async def test_a_key_that_is_revoked_is_not_changed(app: FastAPI, operator: httpx.AsyncClient) -> None:
    made = await make(app)
    await operator.delete(f"{DOOR}/{made.key.id}")
    assert problem(await operator.patch(f"{DOOR}/{made.key.id}", json={"rpm": 5}))["status"] == 409
    assert problem(await operator.patch(f"{DOOR}/nobody", json={"rpm": 5}))["status"] == 404


async def test_roles_words_will_do_for_scopes(operator: httpx.AsyncClient) -> None:
    made = (await operator.post(DOOR, json={"name": "a", "scopes": ["viewer", "operator", "admin"]})).json()
    assert made["key"]["scopes"] == ["read", "write", "admin"]

"""The webhooks door: what may be asked for, by whom, and what is told and kept back."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from schemas.key import digest
from schemas.settings import Settings
from schemas.webhook import EVENTS, MAX_WEBHOOKS
from tests.broker import Broker
from tests.serve.conftest import problem
from tests.serve.keys import OPERATORS, at, make

DOOR = "/api/v1/webhooks"
HOOK = {"url": "https://a.example/hook", "events": ["task.failed"], "description": "For Ann"}


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    fields: dict[str, Any] = {"nats_url": broker.url, "database_url": None, "config": None}
    return Settings(home=home, operator_sha256=digest(OPERATORS), **fields)


async def test_a_webhook_is_made_listed_changed_and_deleted(app: FastAPI, http: httpx.AsyncClient) -> None:
    # When one is made
    reply = await http.post(DOOR, json=HOOK)
    # Then its secret is told, this once, and nobody keeps the answer
    assert (reply.status_code, reply.headers["cache-control"]) == (201, "no-store")
    made, secret = reply.json()["webhook"], reply.json()["secret"]
    assert secret.startswith("whsec_")
    assert (made["url"], made["events"], made["enabled"], made["tenant"]) == (
        HOOK["url"],
        ["task.failed"],
        True,
        "default",
    )
    listed, one = await http.get(DOOR), await http.get(f"{DOOR}/{made['id']}")
    assert listed.json() == {"webhooks": [made]}
    assert one.json() == made
    # And what is named is changed
    changed = await http.patch(f"{DOOR}/{made['id']}", json={"enabled": False, "events": None})
    assert changed.json() == {**made, "enabled": False, "events": None}
    # And it has another secret when that is asked for
    rotated = await http.post(f"{DOOR}/{made['id']}/rotate")
    assert rotated.headers["cache-control"] == "no-store"
    assert rotated.json()["secret"] not in ("", secret)
    assert rotated.json()["webhook"]["old_secret_until"] is not None
    for reply in (listed, one, changed, await http.get(DOOR)):
        assert secret not in reply.text and rotated.json()["secret"] not in reply.text
    # And it is gone once it is deleted
    assert (await http.delete(f"{DOOR}/{made['id']}")).json()["id"] == made["id"]
    assert (await http.get(DOOR)).json() == {"webhooks": []}
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/rotate")):
        how = {"json": {"enabled": True}} if method == "PATCH" else {}
        assert problem(await http.request(method, f"{DOOR}/{made['id']}{path}", **how))["status"] == 404
    assert problem(await http.get(f"{DOOR}/{made['id']}/deliveries"))["status"] == 404


async def test_secrets_are_in_no_log(app: FastAPI, http: httpx.AsyncClient, settings: Settings) -> None:
    made = (await http.post(DOOR, json=HOOK)).json()
    rotated = (await http.post(f"{DOOR}/{made['webhook']['id']}/rotate")).json()
    written = "".join(path.read_text() for path in (settings.home / "logs").iterdir())
    assert made["webhook"]["id"] in written
    assert made["secret"] not in written and rotated["secret"] not in written


async def test_a_test_is_on_its_way_and_stands_among_the_deliveries(http: httpx.AsyncClient) -> None:
    made = (await http.post(DOOR, json=HOOK)).json()["webhook"]
    reply = await http.post(f"{DOOR}/{made['id']}/test")
    assert reply.status_code == 202
    sent = reply.json()
    assert (sent["event"], sent["state"], sent["attempts"]) == ("webhook.test", "pending", 0)
    assert (await http.get(f"{DOOR}/{made['id']}/deliveries")).json() == {"deliveries": [sent], "next": None}
    # And one that is disabled is sent nothing
    await http.patch(f"{DOOR}/{made['id']}", json={"enabled": False})
    assert "disabled" in problem(await http.post(f"{DOOR}/{made['id']}/test"))["detail"]


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"url": "ftp://a.example"}, "url", "no address of a web server"),
        ({"url": "https://a.example", "events": ["task.complete"]}, "events.0", "did you mean 'task.completed'?"),
        ({"url": "https://a.example", "secret": "whsec_mine"}, "secret", "unknown field"),
        ({"url": "http://8.8.8.8/hook"}, "url", "use https"),
        ({"url": "https://a.example", "description": "a\0b"}, "description", "holds NUL"),
        ({}, "url", "required"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    http: httpx.AsyncClient, body: dict[str, Any], field: str, message: str
) -> None:
    found = problem(await http.post(DOOR, json=body))
    assert found["status"] == 422
    assert found["errors"][0]["field"] == field
    assert message in found["errors"][0]["message"]


async def test_an_id_that_no_database_could_look_for_is_refused(http: httpx.AsyncClient) -> None:
    found = problem(await http.get(f"{DOOR}/wh_%00"))
    assert (found["status"], found["errors"][0]["field"]) == (422, "path.webhook_id")


async def test_a_tenant_has_only_so_many(http: httpx.AsyncClient) -> None:
    for _ in range(MAX_WEBHOOKS):
        assert (await http.post(DOOR, json=HOOK)).status_code == 201
    found = problem(await http.post(DOOR, json=HOOK))
    assert (found["status"], str(MAX_WEBHOOKS) in found["detail"]) == (409, True)


async def test_private_addresses_are_for_who_runs_the_platform(app: FastAPI) -> None:
    # Given the operator, and a key that may write
    key = await make(app)
    here = {"url": "http://127.0.0.1:9999/hook"}
    async with at(app, OPERATORS) as operator, at(app, key.secret) as writer:
        # When each wants to be told on this machine, Then the operator may
        ours = (await operator.post(DOOR, json=here)).json()["webhook"]
        assert ours["private"] is True
        for url in (here["url"], "https://10.0.0.1/", "http://a.example/"):
            found = problem(await writer.post(DOOR, json={"url": url}))
            assert (found["status"], found["errors"][0]["field"]) == (422, "url")
            assert problem(await writer.patch(f"{DOOR}/{ours['id']}", json={"url": url}))["status"] == 422
        # And one whose address somebody else has given is not private any more
        changed = (await writer.patch(f"{DOOR}/{ours['id']}", json={"url": "https://a.example/"})).json()
        assert changed["private"] is False
        # While what else they change leaves it as it was
        again = (await operator.patch(f"{DOOR}/{ours['id']}", json=here)).json()
        assert (await writer.patch(f"{DOOR}/{ours['id']}", json={"description": "x"})).json()["private"] is True
        assert again["private"] is True


@pytest.mark.parametrize(("setting", "status"), [(True, 201), (False, 422), (None, 201)])
async def test_a_setting_goes_before_who_asks(
    app: FastAPI, http: httpx.AsyncClient, settings: Settings, setting: bool | None, status: int
) -> None:
    app.state.settings = settings.model_copy(update={"webhook_private": setting})
    assert (await http.post(DOOR, json={"url": "http://127.0.0.1:9/"})).status_code == status


async def test_who_changed_a_webhook_is_recorded(app: FastAPI) -> None:
    async with at(app, OPERATORS) as operator:
        made = (await operator.post(DOOR, json=HOOK)).json()
        name = made["webhook"]["id"]
        await operator.post(f"{DOOR}/{name}/rotate")
        await operator.delete(f"{DOOR}/{name}")
        await app.state.trail.close()
        told = (await operator.get("/api/v1/audit")).json()["entries"]
    assert [(each["method"], each["route"], each["target"]) for each in told] == [
        ("DELETE", f"{DOOR}/{{webhook_id}}", name),
        ("POST", f"{DOOR}/{{webhook_id}}/rotate", name),
        ("POST", DOOR, name),
    ]
    assert made["secret"] not in str(told)


def test_the_description_names_the_events(app: FastAPI) -> None:
    said = app.openapi()["components"]["schemas"]["NewWebhook"]["properties"]["events"]
    assert tuple(said["anyOf"][0]["items"]["enum"]) == EVENTS

"""What browsers are told: on every answer, and of which sites pages may call."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response

from schemas.settings import Settings
from serve.app import make_app
from serve.security_headers import SecurityHeaders
from tests.broker import Broker
from tests.serve.keys import at, make

TASKS = "/api/v1/tasks"
SITE = "https://app.example"


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    fields: dict[str, Any] = {"nats_url": broker.url, "database_url": None, "config": None}
    return Settings(home=home, cors_origins=(SITE,), **fields)


async def replies(app: FastAPI) -> AsyncIterator[httpx.Response]:
    """Answers of every kind: good, bad, refused, of another machine, of no door."""
    async with at(app) as client:
        yield await client.get(TASKS)
        yield await client.post(TASKS, content=b"{")
        yield await client.get("/nowhere")
        yield await client.get("/health/live")
        yield await client.post(TASKS, content=b"{}", headers={"content-encoding": "gzip"})
        yield await client.get(TASKS, headers={"host": "evil.example"})
        await make(app)
        yield await client.get(TASKS)
    async with at(app, host="10.0.0.7") as stranger:
        yield await stranger.get(TASKS)


async def test_every_answer_tells_browsers_what_not_to_do_with_it(app: FastAPI) -> None:
    statuses = []
    async for reply in replies(app):
        statuses.append(reply.status_code)
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert reply.headers["cache-control"] == "no-store"
    assert statuses == [200, 422, 404, 200, 415, 403, 401, 403]


async def test_what_an_answer_says_of_itself_stays() -> None:
    # Given an application that says itself what may be done with its answer
    said = {"cache-control": "max-age=60", "content-security-policy": "default-src 'self'"}
    guarded = SecurityHeaders(Response("a page", headers=said), {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://localhost") as client:
        reply = await client.get("/")
    # Then that is told, and nothing against it
    for name, value in said.items():
        assert reply.headers.get_list(name) == [value]
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_pages_with_the_description_may_run_what_stands_in_them(app: FastAPI, page: str) -> None:
    # Given the page as it is served
    async with at(app) as client:
        reply = await client.get(page)
    policy = reply.headers["content-security-policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    # Then each script in it is allowed, by its place or its hash, and no other
    for script in re.findall(r"<script>(.*?)</script>", reply.text, re.DOTALL):
        hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{hashed}'" in rules["script-src"]
    for source in re.findall(r'<script src="(https://[^/"]+)', reply.text):
        assert source in rules["script-src"]
    for source in re.findall(r'<link[^>]+stylesheet[^>]+href="(https://[^/"]+)', reply.text):
        assert source in rules["style-src"]
    assert "'unsafe-inline'" not in rules["script-src"]
    assert rules["connect-src"] == ["'self'"]
    assert rules["frame-ancestors"] == ["'none'"]


# -- pages of other sites ------------------------------------------------------------------------------------------

ASKS = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, x-stainless-os"}


async def test_a_page_of_a_site_that_is_named_may_call(app: FastAPI) -> None:
    # Given a browser on a page of that site
    made = await make(app)
    async with at(app) as client:
        # When it asks whether it may, before it shows a key
        before = await client.options(TASKS, headers={"origin": SITE, **ASKS})
        # Then it may, without credentials of the browser's own
        assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, SITE)
        assert "authorization" in before.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in before.headers
    async with at(app, made.secret) as client:
        reply = await client.post(TASKS, json={"prompt": "Say hello."}, headers={"origin": SITE})
    # And what it is told, it may read; so it may why it is refused
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (202, SITE)
    assert "RateLimit-Remaining" in reply.headers["access-control-expose-headers"]
    async with at(app) as client:
        refused = await client.get(TASKS, headers={"origin": SITE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, SITE)


async def test_a_page_of_any_other_site_may_not(app: FastAPI) -> None:
    for origin in ("https://evil.example", "http://app.example", f"{SITE}.evil.example", "null"):
        async with at(app) as client:
            before = await client.options(TASKS, headers={"origin": origin, **ASKS})
            reply = await client.get(TASKS, headers={"origin": origin})
        assert (before.status_code, reply.status_code) == (400, 403)
        for each in (before, reply):
            assert "access-control-allow-origin" not in each.headers


async def test_where_no_site_is_named_none_may(settings: Settings) -> None:
    alone = make_app(settings.model_copy(update={"cors_origins": ()}))
    async with at(alone) as client:
        before = await client.options(TASKS, headers={"origin": SITE, **ASKS})
        assert "access-control-allow-origin" not in before.headers
        assert before.status_code == 403

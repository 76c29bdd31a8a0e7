"""The shorter way to chat completions: nobody can tell by an answer which way a request went."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from serve import openai, shortcut
from serve.app import make_app
from tests.serve.test_openai import Coordinator, coordinator

__all__ = ["coordinator"]

DOOR = shortcut.PATH
JSON = "application/json"
LONG_WAY = "application/json; charset=utf-8"
ASKED: dict[str, Any] = {"model": "devskyy-auto", "messages": [{"role": "user", "content": "hello"}]}


def body(**fields: Any) -> bytes:
    return json.dumps(ASKED | fields).encode()


async def both_ways(
    http: httpx.AsyncClient, content: bytes, *headers: tuple[str, str]
) -> tuple[httpx.Response, httpx.Response]:
    short, long = [
        await http.post(DOOR, content=content, headers=[("content-type", kind), *headers]) for kind in (JSON, LONG_WAY)
    ]
    return short, long


MISTAKES = {
    "no JSON": b"{",
    "nothing": b"",
    "a list": b"[]",
    "no UTF-8": b'{"model": "\xff"}',
    "a field that is missing": b'{"model": "devskyy-auto"}',
    "a number that is none": body(temperature="0.5x"),
    "half of a surrogate pair": body(messages=[{"role": "user", "content": "\ud800"}]),
    "a number that is not finite": body(temperature=float("nan")),
    "metadata that are not finite": body(metadata={"x": float("inf")}),
    "an integer that is too large": body(metadata={"x": 2**70}),
    "no message": body(messages=[]),
    "a role that is none": body(messages=[{"role": "robot", "content": "hello"}]),
    "a model that is not there": body(model="gpt-99"),
    "what cannot be kept": body(n=2),
}


@pytest.mark.parametrize("content", MISTAKES.values(), ids=MISTAKES)
async def test_a_mistake_is_told_the_same_on_both_ways(http: httpx.AsyncClient, content: bytes) -> None:
    short, long = await both_ways(http, content)
    assert short.status_code >= 400
    assert (short.status_code, short.json()) == (long.status_code, long.json())
    assert short.headers.get("x-should-retry") == long.headers.get("x-should-retry")


@pytest.mark.parametrize("key", ["  ", "k" * 256], ids=["empty", "too long"])
async def test_so_is_a_key_that_is_none(http: httpx.AsyncClient, key: str) -> None:
    short, long = await both_ways(http, body(), ("idempotency-key", key))
    assert short.status_code == 422
    assert (short.status_code, short.json()) == (long.status_code, long.json())


async def test_an_answer_is_the_same_on_both_ways(http: httpx.AsyncClient, coordinator: Coordinator) -> None:
    # Given a key, under which a task is asked for twice
    # When that is done once on each way
    short, long = await both_ways(http, body(), ("idempotency-key", "one"))
    # Then there was one task, and the same answer to both
    assert len(coordinator.seen) == 1
    assert (short.status_code, short.json()) == (long.status_code, long.json()) == (200, long.json())
    names = {"devskyy-task", "devskyy-cost-usd", "content-type"}
    assert {n: short.headers.get(n) for n in names} == {n: long.headers.get(n) for n in names}


async def test_a_body_in_pieces_is_put_together(http: httpx.AsyncClient, coordinator: Coordinator) -> None:
    async def pieces() -> Any:
        for start in range(0, len(body()), 10):
            yield body()[start : start + 10]

    answer = await http.post(DOOR, content=pieces(), headers={"content-type": JSON})
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."


async def test_what_is_usual_never_comes_to_fastapi(
    settings: Any, http: httpx.AsyncClient, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a door whose long way is shut
    app: FastAPI = http._transport.app  # type: ignore[attr-defined]
    monkeypatch.setattr(app.router, "app", None)
    # When a client asks as they all do, Then it is answered, and counted by its route
    assert (await http.post(DOOR, json=ASKED)).status_code == 200
    monkeypatch.undo()
    counted = (await http.get("/metrics")).text
    assert 'devskyy_http_requests_total{method="POST",route="/v1/chat/completions",status="200"}' in counted


def test_it_leads_where_the_door_is(settings: Any) -> None:
    paths = make_app(settings).openapi()["paths"]
    assert paths[shortcut.PATH]["post"]["operationId"].startswith(openai.chat_completions.__name__)

"""Bodies that nobody could use or should wait for."""

import asyncio
import gzip
import itertools
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI

from bus.tasklog import TaskLog
from serve import middleware
from serve.nesting import MOST_DEEP
from tests.serve.conftest import problem

TASKS, CHAT = "/api/v1/tasks", "/v1/chat/completions"
DOORS = [TASKS, CHAT, "/api/v1/workflows", "/v1/embeddings", "/api/v1/services/explain"]
JSON = {"content-type": "application/json"}


async def test_what_is_packed_is_refused_unread(http: httpx.AsyncClient) -> None:
    # Given a megabyte that takes a thousand bytes
    body = gzip.compress(b'{"prompt": "' + b"x" * 1_000_000 + b'"}')
    for door, encoding in itertools.product(DOORS, ("gzip", "br", "deflate", "gzip, identity", "x-unknown")):
        # When it is sent
        reply = await http.post(door, content=body, headers={**JSON, "content-encoding": encoding})
        # Then it is refused, and what will do is said
        assert (reply.status_code, reply.headers["accept-encoding"]) == (415, "identity")


async def test_what_says_that_it_is_not_packed_is_taken(http: httpx.AsyncClient) -> None:
    for encoding in ("identity", "Identity", ""):
        reply = await http.post(TASKS, json={"prompt": "Say hello."}, headers={"content-encoding": encoding})
        assert reply.status_code == 202


def pieces(body: bytes) -> AsyncIterator[bytes]:
    async def each() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    return each()


@pytest.mark.parametrize("deep", [MOST_DEEP + 1, 950, 100_000])
async def test_what_is_nested_too_deep_is_refused(http: httpx.AsyncClient, deep: int) -> None:
    # Given a body that would exhaust the stack of whoever reads it
    body = b'{"metadata": ' + b"[" * deep + b"]" * deep + b"}"
    for door, whole in itertools.product(DOORS, (True, False)):
        # When it is sent, at once or bit by bit
        reply = await http.post(door, content=body if whole or deep > 1000 else pieces(body), headers=JSON)
        # Then it is refused as such
        assert (reply.status_code, "nested too deep" in reply.text) == (422, True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "\xff"}',
        b'\xff\xfe{"prompt": "x"}',
        b'{"prompt": "\xed\xa0\x80"}',
        '{"prompt": "x"}'.encode("utf-16"),
        '{"prompt": "x"}'.encode("utf-32"),
        b'{"prompt": "x\x00"}',
        b"\x00",
        b"{" * 50,
        b'{"a":1' * 50,
    ],
)
async def test_what_is_no_json_in_utf_8_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    for door in DOORS:
        reply = await http.post(door, content=body, headers=JSON)
        assert reply.status_code in (400, 422)
        said = reply.json()
        assert said.get("detail") or said["error"]["message"]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(middleware, "SILENCE_S", 0.05)
    yield


@pytest.mark.parametrize("door", [TASKS, CHAT])
async def test_a_body_that_stops_half_way_is_not_waited_for(app: FastAPI, hurried: None, door: str) -> None:
    # Given a caller who sends half a body, and then nothing
    async def half() -> AsyncIterator[bytes]:
        yield b'{"prompt": '
        await asyncio.Event().wait()

    transport = _Streaming(app)
    # When it is waited for, Then not for long
    async with asyncio.timeout(10):
        status, body = await transport.post(door, half())
    assert (status, "11 bytes of the body came" in body) == (408, True)


class _Streaming:
    """Sends a body as it comes; `httpx.ASGITransport` reads all of it before."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def post(self, path: str, body: AsyncIterator[bytes]) -> tuple[int, str]:
        status, said = 0, b""

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": await anext(body), "more_body": True}

        async def send(message: dict[str, object]) -> None:
            nonlocal status, said
            match message:
                case {"type": "http.response.start", "status": int(found)}:
                    status = found
                case {"type": "http.response.body", "body": bytes(part)}:
                    said += part

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
        await self._app(scope | {"client": ("127.0.0.1", 1), "http_version": "1.1", "scheme": "http"}, receive, send)  # type: ignore[arg-type]
        return status, said.decode()


async def test_nothing_of_it_all_is_accepted(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    # Given a body that is right but for one thing, When it is sent
    right = json.dumps({"prompt": "Say hello."}).encode()
    packed = await http.post(TASKS, content=gzip.compress(right), headers={**JSON, "content-encoding": "gzip"})
    deep = await http.post(TASKS, content=right[:-1] + b', "metadata": ' + b"[" * 200 + b"]" * 200 + b"}", headers=JSON)
    # Then no task was accepted
    assert {problem(packed)["status"], problem(deep)["status"]} == {415, 422}
    assert (await http.get(TASKS)).json()["tasks"] == []

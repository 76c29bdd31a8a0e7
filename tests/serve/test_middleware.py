"""What stands before every door: who may knock, how much they may bring, the trace of the request."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from bus.tasklog import TaskLog
from schemas.event import Accepted
from schemas.settings import DEFAULT_TENANT, Settings, is_loopback
from serve.app import make_app
from serve.middleware import BodyLimit, LoopbackOnly
from tests.serve.conftest import problem

DOOR = "/api/v1/tasks"
LIMIT = 1000

# -- loopback only -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_which_addresses_are_this_machines_own(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def client_at(app: Any, host: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(host, 50000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def test_another_machine_is_refused_at_every_door(app: FastAPI) -> None:
    async with client_at(app, "10.0.0.7") as stranger:
        for method, path in (("POST", DOOR), ("GET", "/health/live"), ("GET", "/docs"), ("GET", "/nowhere")):
            found = problem(await stranger.request(method, path, json={"prompt": "x"}))
            assert (found["status"], found["type"]) == (403, "urn:devskyy:problem:not-loopback")


async def test_this_machine_may_call(app: FastAPI) -> None:
    for host in ("127.0.0.1", "::1"):
        async with client_at(app, host) as own:
            assert (await own.get("/health/live")).status_code == 200


async def test_a_platform_that_listens_wider_takes_other_machines(settings: Settings) -> None:
    app = make_app(settings.model_copy(update={"http_host": "0.0.0.0"}))
    async with client_at(app, "10.0.0.7") as stranger:
        assert (await stranger.get("/health/live")).status_code == 200


async def test_a_websocket_of_another_machine_is_refused_too() -> None:
    # Given an application that would take any websocket
    reached: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    # When another machine opens one
    scope = {"type": "websocket", "client": ("10.0.0.7", 5), "path": "/", "headers": [], "extensions": {}}
    await LoopbackOnly(app)(scope, receive, send)
    # Then the application never hears of it
    assert reached == []
    assert sent[0]["status"] == 403


# -- the limit -----------------------------------------------------------------------------------------------------


async def sizes(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads the whole body and answers with its size."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


async def chunks(count: int, size: int = 100, taken: Callable[[], None] = lambda: None) -> AsyncIterator[bytes]:
    for _ in range(count):
        taken()
        yield b"x" * size


async def test_a_body_up_to_the_limit_passes_whether_it_says_its_size_or_not() -> None:
    async with client_at(BodyLimit(sizes, LIMIT), "127.0.0.1") as client:
        assert (await client.post("/", content=b"x" * LIMIT)).text == str(LIMIT)
        assert (await client.post("/", content=chunks(LIMIT // 100))).text == str(LIMIT)


async def test_a_body_that_says_it_is_too_large_is_refused_unread() -> None:
    reads: list[None] = []
    headers = {"Content-Length": str(LIMIT + 1)}
    async with client_at(BodyLimit(sizes, LIMIT), "127.0.0.1") as client:
        content = chunks(100, taken=lambda: reads.append(None))
        found = problem(await client.post("/", content=content, headers=headers))
    assert (found["status"], found["type"]) == (413, "urn:devskyy:problem:too-large")
    assert found["detail"] == "the body has 1,001 bytes; the limit is 1,000"
    assert reads == []


async def test_a_body_that_says_nothing_is_refused_as_soon_as_it_is_too_large() -> None:
    reads: list[None] = []
    async with client_at(BodyLimit(sizes, LIMIT), "127.0.0.1") as client:
        found = problem(await client.post("/", content=chunks(100, taken=lambda: reads.append(None))))
    assert found["status"] == 413
    assert len(reads) == LIMIT // 100 + 1


async def test_a_body_that_lies_about_its_size_is_refused_too() -> None:
    async with client_at(BodyLimit(sizes, LIMIT), "127.0.0.1") as client:
        found = problem(await client.post("/", content=chunks(100), headers={"Content-Length": "5"}))
    assert found["status"] == 413


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
async def test_a_body_over_the_limit_is_refused_at_the_tasks_door(app: FastAPI, announced: bool) -> None:
    # Given the whole application, which reads bodies in its own way
    limit = next(m for m in app.user_middleware if m.cls is BodyLimit)
    limit.kwargs["limit"] = LIMIT
    app.middleware_stack = None
    content = b"x" * 2000 if announced else chunks(20)
    # When the body is too large for it
    async with client_at(app, "127.0.0.1") as client:
        reply = await client.post(DOOR, content=content, headers={"Content-Type": "application/json"})
    # Then it says so
    assert (problem(reply)["status"], reply.json()["type"]) == (413, "urn:devskyy:problem:too-large")


# -- the trace -----------------------------------------------------------------------------------------------------

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = f"00-{TRACE}-00f067aa0ba902b7-01"
WELL_FORMED = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")


def trace_of(traceparent: str | None) -> tuple[str, str]:
    """Trace id and span id."""
    match = WELL_FORMED.fullmatch(traceparent or "")
    assert match is not None
    return match[1], match[2]


async def test_a_trace_that_is_well_formed_is_continued(http: httpx.AsyncClient) -> None:
    reply = await http.get("/health/live", headers={"traceparent": GIVEN})
    trace_id, span_id = trace_of(reply.headers["traceparent"])
    assert trace_id == TRACE
    assert span_id != "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "nonsense",
        GIVEN.upper(),
        GIVEN[:-1],
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        "\u00e9".encode("latin-1"),
    ],
)
async def test_a_trace_that_is_not_is_replaced(http: httpx.AsyncClient, given: str | None) -> None:
    reply = await http.get("/health/live", headers={} if given is None else {"traceparent": given})
    assert trace_of(reply.headers["traceparent"])[0] != TRACE


async def test_errors_carry_the_trace_too(http: httpx.AsyncClient) -> None:
    reply = await http.get("/nowhere", headers={"traceparent": GIVEN})
    assert trace_of(reply.headers["traceparent"])[0] == TRACE


async def test_a_task_keeps_the_trace_of_whoever_sent_it(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    reply = await http.post(DOOR, json={"prompt": "Say hello."}, headers={"traceparent": GIVEN})
    accepted = (await tasks.read(DEFAULT_TENANT, reply.json()["task_id"]))[0].event
    assert isinstance(accepted, Accepted)
    assert trace_of(accepted.trace)[0] == TRACE


async def test_requests_at_once_keep_their_traces_apart(http: httpx.AsyncClient) -> None:
    given = [f"00-{i:032x}-00f067aa0ba902b7-01" for i in range(1, 21)]
    replies = await asyncio.gather(*(http.get("/health/live", headers={"traceparent": each}) for each in given))
    assert [trace_of(reply.headers["traceparent"])[0] for reply in replies] == [each[3:35] for each in given]

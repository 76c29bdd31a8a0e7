"""Clients that send nothing, half a request, or far too much: they are let go, and others are served all the while."""

import contextlib
import gzip
import itertools
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.live import LivePlatform, until

pytestmark = pytest.mark.platform

MANY = 200
HEAD = b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HALVES = (
    b"",
    b"POST /api/v1/tasks HT",
    HEAD + b"X-More: ",
    HEAD + b"Content-Length: 100\r\n\r\n" + b'{"prompt": ',
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
)
"""Requests that never become whole."""
JSON = {"content-type": "application/json"}


def connected(platform: LivePlatform) -> socket.socket:
    return socket.create_connection(("127.0.0.1", platform.port), timeout=100)


@pytest.fixture
def crowd(platform: LivePlatform) -> Iterator[list[socket.socket]]:
    """Two hundred of them, who wait."""
    with contextlib.ExitStack() as stack:
        callers = []
        for half in itertools.islice(itertools.cycle(HALVES), MANY):
            caller = stack.enter_context(connected(platform))
            caller.sendall(half)
            callers.append(caller)
        yield callers


def served(platform: LivePlatform) -> float:
    """Seconds that a look at the tasks takes."""
    began = time.monotonic()
    assert httpx.get(f"{platform.url}/api/v1/tasks", timeout=10).status_code == 200
    return time.monotonic() - began


def test_while_many_send_half_a_request_others_are_served(platform: LivePlatform, crowd: list[socket.socket]) -> None:
    # Given two hundred connections on which nothing more comes
    # When others ask, Then they are served as ever
    took = sorted(served(platform) for _ in range(20))
    assert took[10] < 1.0
    task = httpx.post(
        f"{platform.url}/api/v1/tasks", json={"prompt": "Name a bag"}, headers={"Prefer": "wait=60"}, timeout=70
    )
    assert task.status_code in (200, 202)
    httpx.delete(f"{platform.url}/api/v1/tasks/{task.json()['task_id']}", timeout=10)
    # And who has not sent a whole head is let go after ten seconds
    for caller in (crowd[0], crowd[1], crowd[2]):
        with contextlib.suppress(ConnectionError):
            assert caller.recv(13) in (b"", b"HTTP/1.1 408 ")
    # And nothing of it has become a task, nor is any part of the platform gone
    assert platform.ready()


def test_a_body_that_never_ends_is_not_waited_for(platform: LivePlatform) -> None:
    # Given a caller who sends half a body
    with connected(platform) as caller:
        caller.sendall(HALVES[3])
        # When it waits, Then it is told that its request did not arrive
        answer = b""
        while b"urn:devskyy:problem:request-timeout" not in answer:
            more = caller.recv(4096)
            assert more, answer
            answer += more
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_ten_megabytes_of_headers_are_refused(platform: LivePlatform) -> None:
    # Given a caller who sends headers without end
    with connected(platform) as caller:
        caller.sendall(b"GET /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 10_000_000:
                sent += caller.send(b"X-Long: " + b"x" * 10_000 + b"\r\n")
    # Then it is cut off, and others are served
    assert served(platform) < 5
    # And who sends a little too much is told that it is too much
    refused = httpx.get(f"{platform.url}/api/v1/tasks", headers={"X-Long": "x" * 20_000}, timeout=10)
    assert (refused.status_code, refused.headers["content-type"]) == (431, "application/problem+json")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422),
        (b"[" * 1_000_000, 422),
        (b"[" + b"[]," * 1_000_000 + b"1]", 422),
        (b'{"prompt": "\xff\xfe"}', 400),
        ('{"prompt": "x"}'.encode("utf-32"), 422),
    ],
    ids=["deep", "deeper", "many parts", "no UTF-8", "UTF-32"],
)
@pytest.mark.parametrize("door", ["/api/v1/tasks", "/v1/chat/completions", "/api/v1/workflows"])
def test_a_body_that_nobody_should_read_is_refused(platform: LivePlatform, door: str, body: bytes, status: int) -> None:
    reply = httpx.post(f"{platform.url}{door}", content=body, headers=JSON, timeout=30)
    assert reply.status_code in (status, 400)
    assert reply.headers["content-type"] in ("application/problem+json", "application/json")


def test_a_body_that_would_unpack_to_a_gigabyte_is_not_unpacked(platform: LivePlatform) -> None:
    # Given a megabyte that holds a thousand of them: gzip's parts may follow each other
    bomb = gzip.compress(b'{"prompt": "') + gzip.compress(b" " * 10_000_000) * 100 + gzip.compress(b'"}')
    began = time.monotonic()
    # When it is sent
    reply = httpx.post(
        f"{platform.url}/api/v1/tasks", content=bomb, headers={**JSON, "content-encoding": "gzip"}, timeout=30
    )
    # Then it is refused as it is
    assert (reply.status_code, reply.headers["accept-encoding"]) == (415, "identity")
    assert time.monotonic() - began < 10


def test_who_was_refused_and_what_was_changed_is_in_the_audit_log(platform: LivePlatform) -> None:
    # Given a task that was started, and a page of another site
    task = httpx.post(f"{platform.url}/api/v1/tasks", json={"prompt": "Name a bag"}, timeout=10).json()["task_id"]
    assert httpx.delete(f"{platform.url}/api/v1/tasks/{task}", timeout=10).is_success
    httpx.get(f"{platform.url}/api/v1/tasks", headers={"origin": "https://evil.example"}, timeout=10)

    def told() -> bool:
        found = json.loads(platform.cli("audit", "--since", "5m", "--limit", "1000", "--json").stdout)["entries"]
        did = {(each["method"], each["target"], each["outcome"]) for each in found}
        refused = any(each["status"] == 403 and each["address"] == "127.0.0.1" for each in found)
        return {("POST", task, "done"), ("DELETE", task, "done")} <= did and refused

    # When the log is read, Then all three are there
    until(told, 20, "the entries in the audit log")

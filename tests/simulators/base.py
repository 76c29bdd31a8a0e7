"""What all simulated providers share.

    with OpenAISimulator(Behaviour(latency_s=0.05)) as provider:
        client = httpx.Client(base_url=provider.url)
        provider.behaviour = Behaviour(fault="429", retry_after_s=0.1, faults_left=2)
        ...
        provider.wait_until(lambda: provider.open == 0, timeout_s=5)
        assert [call.status for call in provider.calls] == [429, 429, 200]

Each serves from a thread with an event loop of its own, so synchronous tests, asynchronous tests and other processes
can all call it; `python -m tests.simulators.openai` is the same as a process. Other processes look and steer over HTTP:

    GET  /_sim/calls        what was asked, as a list of `Call`
    GET  /_sim/stats        {"calls", "open", "cut_by_client", "completed"}
    GET  /_sim/behaviour    the present `Behaviour`
    POST /_sim/behaviour    sets it; a field left out has its default

Everything outside `/_sim/` is a call: it is recorded, and the behaviour applies to it, whatever its path.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Annotated, Any, ClassVar, Literal, Self

import uvicorn
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated
from starlette.types import Receive, Scope, Send

from tests.simulators.exchange import ClientLeft, Connection, Exchange, Server, body_of, decoded, text_of

Fault = Literal[
    "401",
    "429",  # refused, with Retry-After
    "500",
    "overloaded",  # refused with a status of 529 or 503, as the provider does
    "hang",  # no answer until the client goes away
    "cut",  # headers and a part of the body, then the connection closes; of a stream, its beginning and one piece
    "stall",  # the same, and then silence
    "unfinished",  # a stream that ends in good order, but before it says that it is done
    "error_midway",  # a stream whose second piece is an error
    "whole",  # a stream is asked for, and the answer comes in one piece of JSON
    "malformed",  # 200, and JSON that breaks off; of a stream, its first piece does
    "html",  # 200, and a page of some proxy
    "error_in_200",
    "usage_missing",
    "usage_lies",  # counts a thousand times too large, and a total that is not their sum
    "empty",  # a proper answer without content: no text, no vectors, no models
]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]

BACKLOG = 4096
"""Connections that may wait to be accepted: 2,000 clients arriving at once must not be turned away."""
PAGE = b"<!doctype html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class Behaviour:
    """How calls are answered from now on; a call keeps the behaviour that it found on arrival."""

    latency_s: Seconds = 0.0
    """From a call's arrival to the first byte of its answer, faults included."""
    fault: Fault | None = None
    retry_after_s: Seconds = 1.0
    faults_left: Count | None = None
    """Calls that meet the fault before the rest are served properly; counts down. `None`: for ever."""
    tokens_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Pace of the text, streamed or not. `None`: all at once."""
    answer: str | None = None
    """`None`: derived from the prompt, the same for the same prompt."""
    prompt_tokens: Count | None = None
    """`None`: as many as the prompt has words between blanks. So for `completion_tokens`."""
    completion_tokens: Count | None = None
    tool_calls: Count | None = None
    """How many calls of the tools on offer an answer holds. `None`: one, or none if there is an `answer`."""
    vectors: Count | None = None
    """How many vectors an answer holds. `None`: one for each text."""

    @property
    def token_s(self) -> float:
        """Seconds that one token takes."""
        return 0.0 if self.tokens_per_s is None else 1 / self.tokens_per_s


@dataclass(frozen=True)
class Call:
    """One call as it stood when it was looked at."""

    number: int
    """Counts from 0 in order of arrival."""
    method: str
    path: str
    arrived_at: float
    """Seconds since 1970, like `ended_at`."""
    body: Any
    """The decoded JSON; `None` where there was none."""
    authorization: bool
    """Whether the call carried one, never which."""
    x_request_id: str | None
    idempotency_key: str | None
    fault: Fault | None
    """The one that it met."""
    status: int | None = None
    """`None` until the answer's first byte."""
    cut_by_client: bool = False
    """The client closed the connection before the answer was finished."""
    ended_at: float | None = None
    client_port: int | None = None
    """Whose end of the connection it came over, where that is known: it tells which process called."""


class BadRequest(Exception):
    """What the caller got wrong."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Stream:
    """A streamed answer, as the events that it consists of."""

    opening: list[bytes]
    pieces: list[bytes]
    """One for each word of the text, and of what tools are called with."""
    closing: list[bytes]
    error: list[bytes]
    """What comes in place of the rest when something goes wrong."""


class Simulator:
    """A provider, less its wire format. Serves while it is started; may be read and steered from any thread.

    Stopped, it breaks off every connection, as a provider that dies does. Started again it comes back on the same port
    and remembers its calls.
    """

    name: ClassVar[str]
    root: ClassVar[str] = ""
    """What a client's base URL ends in."""
    key_header: ClassVar[str] = "authorization"
    overloaded: ClassVar[int] = 503
    """The status that says so."""
    retry_header: ClassVar[bool] = True
    """Whether a rate limit says in a header when to come back."""

    async def serve(self, exchange: Exchange, call: Call, behaviour: Behaviour) -> None:
        """Answer a call that meets no refusal.

        Raises:
            BadRequest: it asks for nothing that the real one would serve.
        """
        raise NotImplementedError

    def refusal(self, status: int, message: str | None = None, retry_after_s: float | None = None) -> dict[str, Any]:
        """The body of an answer with that status; the message left out is the usual one."""
        raise NotImplementedError

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        self._behaviour = behaviour or Behaviour()
        self._port = port
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()  # guards everything below, and tells those who wait
        self._calls: list[Call] = []
        self._open = self._cut_by_client = self._completed = 0

    # Life

    def start(self) -> Self:
        """Returns once calls are accepted.

        Raises:
            RuntimeError: it is started already.
            OSError: the port is taken.
        """
        if self._thread is not None:
            raise RuntimeError("the simulator is started already")
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            listener.listen(BACKLOG)  # from here on clients may connect; the thread takes them up when it runs
        except OSError:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            proxy_headers=False,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            backlog=BACKLOG,
            timeout_keep_alive=600,
        )
        self._server = Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name=f"{self.name}-simulator-{self._port}", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Returns once no call is open. Stopping twice is fine."""
        if self._thread is None or self._server is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._thread = self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # What a test looks at

    @property
    def url(self) -> str:
        """What a client takes as its base URL."""
        return f"http://127.0.0.1:{self._port}{self.root}"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/_sim"

    @property
    def behaviour(self) -> Behaviour:
        with self._changed:
            return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        with self._changed:
            self._behaviour = behaviour

    @property
    def calls(self) -> list[Call]:
        """In order of arrival, as they stand now."""
        with self._changed:
            return self._calls.copy()

    @property
    def open(self) -> int:
        """Calls that have arrived and are not answered yet."""
        with self._changed:
            return self._open

    @property
    def cut_by_client(self) -> int:
        with self._changed:
            return self._cut_by_client

    @property
    def completed(self) -> int:
        """Calls whose answer, good or bad, was sent to its end. Counted before that end leaves: a client that has the
        whole answer finds it counted."""
        with self._changed:
            return self._completed

    @property
    def stats(self) -> dict[str, int]:
        with self._changed:
            return {
                "calls": len(self._calls),
                "open": self._open,
                "cut_by_client": self._cut_by_client,
                "completed": self._completed,
            }

    def wait_until(self, holds: Callable[[], bool], timeout_s: float) -> None:
        """Blocks until that holds, looking again whenever a call arrives, is answered or ends.

        Raises:
            TimeoutError: it does not hold within that time.
        """
        with self._changed:
            if not self._changed.wait_for(holds, timeout_s):
                raise TimeoutError(f"not within {timeout_s:g} s; the simulator stands at {self.stats}")

    # What the exchanges report

    def _arrive(self, scope: Scope, body: bytes) -> tuple[Call, Behaviour]:
        headers = dict(scope["headers"])
        with self._changed:
            behaviour = self._behaviour
            if behaviour.faults_left == 0:
                behaviour = replace(behaviour, fault=None)
            elif behaviour.faults_left is not None:
                self._behaviour = replace(behaviour, faults_left=behaviour.faults_left - 1)
            call = Call(
                number=len(self._calls),
                method=scope["method"],
                path=scope["path"],
                arrived_at=time.time(),
                body=decoded(body),
                authorization=self.key_header.encode() in headers or b"key=" in scope["query_string"],
                x_request_id=text_of(headers.get(b"x-request-id")),
                idempotency_key=text_of(headers.get(b"idempotency-key")),
                fault=behaviour.fault,
                client_port=scope["client"][1] if scope.get("client") else None,
            )
            self._calls.append(call)
            self._open += 1
            self._changed.notify_all()
        return call, behaviour

    def _answered(self, number: int, status: int) -> None:
        with self._changed:
            self._calls[number] = replace(self._calls[number], status=status)
            self._changed.notify_all()

    def _ended(self, number: int, *, completed: bool = False, cut_by_client: bool = False) -> None:
        """Takes the first end that it is told of; an exchange that has reported one may report again."""
        with self._changed:
            if self._calls[number].ended_at is not None:
                return
            self._calls[number] = replace(self._calls[number], cut_by_client=cut_by_client, ended_at=time.time())
            self._open -= 1
            self._completed += completed
            self._cut_by_client += cut_by_client
            self._changed.notify_all()

    # What is served

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await body_of(receive)
        except ClientLeft:
            return  # before there was a call
        if scope["path"].startswith("/_sim/"):
            await self._control(Exchange(scope, receive, send), f"{scope['method']} {scope['path']}", body)
            return
        call, behaviour = self._arrive(scope, body)
        exchange = Exchange(
            scope,
            receive,
            send,
            headers=[("x-request-id", f"req_{call.number:08d}")],
            on_status=lambda status: self._answered(call.number, status),
            on_completed=lambda: self._ended(call.number, completed=True),
        )
        try:
            await self._answer(exchange, call, behaviour)
        except ClientLeft:
            stopping = self._server is None or self._server.should_exit
            self._ended(call.number, cut_by_client=not stopping)
        finally:
            self._ended(call.number)

    async def _answer(self, exchange: Exchange, call: Call, behaviour: Behaviour) -> None:
        fault = behaviour.fault
        if fault == "hang":
            await exchange.hang()
        await exchange.pause(behaviour.latency_s)
        if fault in ("401", "429", "500", "overloaded"):
            status = self.overloaded if fault == "overloaded" else int(fault)
            after_s = behaviour.retry_after_s if fault == "429" else None
            headers = [("retry-after", f"{after_s:g}")] if after_s is not None and self.retry_header else []
            await exchange.reply(status, self.refusal(status, retry_after_s=after_s), headers)
        elif fault == "html":
            await exchange.reply(200, PAGE)
        else:
            try:
                await self.serve(exchange, call, behaviour)
            except BadRequest as problem:
                await exchange.reply(problem.status, self.refusal(problem.status, str(problem)))

    async def _control(self, exchange: Exchange, request: str, body: bytes) -> None:
        with contextlib.suppress(ClientLeft):
            match request:
                case "GET /_sim/calls":
                    await exchange.reply(200, [asdict(call) for call in self.calls])
                case "GET /_sim/stats":
                    await exchange.reply(200, self.stats)
                case "GET /_sim/behaviour":
                    await exchange.reply(200, asdict(self.behaviour))
                case "POST /_sim/behaviour":
                    try:
                        self.behaviour = TypeAdapter(Behaviour).validate_json(body)
                    except ValidationError as error:
                        await exchange.reply(400, {"error": str(error)})
                    else:
                        await exchange.reply(200, asdict(self.behaviour))
                case _:
                    await exchange.reply(404, {"error": f"no {request} here"})


async def send_stream(exchange: Exchange, stream: Stream, behaviour: Behaviour) -> None:
    """Sends an answer as server-sent events, or what the fault leaves of it."""
    fault = behaviour.fault
    await exchange.start(200, "text/event-stream; charset=utf-8", [("cache-control", "no-cache")])
    if fault == "error_in_200":
        await exchange.finish(b"".join(stream.error))
        return
    for event in stream.opening:
        await exchange.part(event)
    for piece in stream.pieces:
        await exchange.pause(behaviour.token_s)
        if fault == "malformed":
            await exchange.part(piece[: len(piece) // 2] + b"\n\n")
            break
        await exchange.part(piece)
        match fault:
            case "cut":
                await exchange.break_off()
                return
            case "stall":
                await exchange.hang()
            case "error_midway":
                await exchange.finish(b"".join(stream.error))
                return
    if fault == "unfinished":
        await exchange.finish(b"")
        return
    *closing, last = stream.closing
    for event in closing:
        await exchange.part(event)
    await exchange.finish(last)


def tokens(behaviour: Behaviour, prompt_words: int, completion_words: int) -> tuple[int, int] | None:
    """What is billed for question and answer; `None`: nothing is said of it."""
    if behaviour.fault == "usage_missing":
        return None
    said = behaviour.prompt_tokens, behaviour.completion_tokens
    prompt, completion = prompt_words if said[0] is None else said[0], completion_words if said[1] is None else said[1]
    times = 1000 if behaviour.fault == "usage_lies" else 1
    return times * prompt, times * completion


def run(simulator: type[Simulator]) -> None:
    """Prints its URL as one line of JSON and serves until it is told to end."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.simulators.{simulator.name}", description=run.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default: any that is free")
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--tokens-per-s", type=float, default=None)
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < BACKLOG:  # often 1,024: too few for 2,000 connections
        resource.setrlimit(resource.RLIMIT_NOFILE, (BACKLOG if hard < 0 else min(BACKLOG, hard), hard))
    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)  # before the thread starts, so that it inherits this
    behaviour = Behaviour(latency_s=arguments.latency_s, tokens_per_s=arguments.tokens_per_s)
    with simulator(behaviour, port=arguments.port) as running:
        print(json.dumps({"url": running.url}), flush=True)
        signal.sigwait(endings)

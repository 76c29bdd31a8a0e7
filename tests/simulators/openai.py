"""A model provider that speaks OpenAI's wire format over real HTTP, and misbehaves on request.

    with OpenAISimulator(Behaviour(latency_s=0.05)) as provider:
        client = httpx.Client(base_url=provider.url)      # http://127.0.0.1:<port>/v1
        provider.behaviour = Behaviour(fault="429", retry_after_s=0.1, faults_left=2)
        ...
        provider.wait_until(lambda: provider.open == 0, timeout_s=5)
        assert [call.status for call in provider.calls] == [429, 429, 200]

It serves from a thread with an event loop of its own, so synchronous tests, asynchronous tests and other processes can
all call it; `python -m tests.simulators.openai` is the same as a process. Other processes look and steer over HTTP:

    GET  /_sim/calls        what was asked, as a list of `Call`
    GET  /_sim/stats        {"calls", "open", "cut_by_client", "completed"}
    GET  /_sim/behaviour    the present `Behaviour`
    POST /_sim/behaviour    sets it; a field left out has its default

Everything outside `/_sim/` is a call: it is recorded, and the behaviour applies to it, whatever its path.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import math
import re
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Annotated, Any, Literal, Self

import uvicorn
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Fault = Literal[
    "429",  # refused, with Retry-After
    "500",
    "hang",  # no answer until the client goes away
    "cut",  # headers and a part of the body, then the connection closes; of a stream, two chunks
    "malformed",  # 200, and JSON that breaks off; of a stream, its second chunk does
    "html",  # 200, and a page of some proxy
    "error_in_200",
    "usage_missing",
    "usage_lies",  # counts a thousand times too large, and a total that is not their sum
    "empty",  # a proper answer without content: no text, no vectors, no models
]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]

MODELS = ("sim-small", "sim-large", "sim-embedding")
"""What `/v1/models` lists. Calls may name any model; its name comes back in the answer."""
DIMENSIONS = 64
"""Of an embedding, unless the call says otherwise."""
BACKLOG = 4096
"""Connections that may wait to be accepted: 2,000 clients arriving at once must not be turned away."""
JSON = "application/json"
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


class OpenAISimulator:
    """Serves while it is started; may be read and steered from any thread.

    Stopped, it breaks off every connection, as a provider that dies does. Started again it comes back on the same port
    and remembers its calls.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        self._behaviour = behaviour or Behaviour()
        self._port = port
        self._server: _Server | None = None
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
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            backlog=BACKLOG,
            timeout_keep_alive=600,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name=f"openai-simulator-{self._port}", daemon=True
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
        """What a client takes as its base URL; ends in /v1."""
        return f"http://127.0.0.1:{self._port}/v1"

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
                body=_decoded(body),
                authorization=b"authorization" in headers,
                x_request_id=_text(headers.get(b"x-request-id")),
                idempotency_key=_text(headers.get(b"idempotency-key")),
                fault=behaviour.fault,
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
            body = await _body(receive)
        except _ClientLeft:
            return  # before there was a call
        if scope["path"].startswith("/_sim/"):
            await self._control(_Exchange(scope, receive, send), f"{scope['method']} {scope['path']}", body)
            return
        call, behaviour = self._arrive(scope, body)
        exchange = _Exchange(
            scope,
            receive,
            send,
            headers=[("x-request-id", f"req_{call.number:08d}")],
            on_status=lambda status: self._answered(call.number, status),
            on_completed=lambda: self._ended(call.number, completed=True),
        )
        try:
            await _answer(exchange, call, behaviour)
        except _ClientLeft:
            stopping = self._server is None or self._server.should_exit
            self._ended(call.number, cut_by_client=not stopping)
        finally:
            self._ended(call.number)

    async def _control(self, exchange: "_Exchange", request: str, body: bytes) -> None:
        with contextlib.suppress(_ClientLeft):
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
                        await exchange.reply(400, _error(str(error), "invalid_request_error"))
                    else:
                        await exchange.reply(200, asdict(self.behaviour))
                case _:
                    await exchange.reply(404, _error(f"no {request} here", "invalid_request_error"))


# The connection


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Breaks everything off; uvicorn's own would wait for a hanging call for ever."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*self.server_state.tasks)


class _Connection(HttpToolsProtocol):
    """uvicorn's own, which hands its transport to the application: only that can close without finishing."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.access_log = False  # here, and not in the configuration: that would silence every uvicorn of the process
        self.scope["state"]["transport"] = self.transport


class _ClientLeft(Exception):
    """The connection is closed; nothing more can be sent."""


class _Exchange:
    """The answer to one call on its way out. Every step raises `_ClientLeft` once the client is gone."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        headers: Iterable[tuple[str, str]] = (),
        on_status: Callable[[int], None] = lambda status: None,
        on_completed: Callable[[], None] = lambda: None,
    ) -> None:
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._receive = receive
        self._send = send
        self._headers = tuple(headers)
        self._on_status = on_status
        self._on_completed = on_completed
        self._due = asyncio.get_running_loop().time()

    async def pause(self, seconds: float) -> None:
        """Waits until so long after the end of the pause before: what sending takes does not slow the pace."""
        self._due += seconds
        if seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._due):
                    await self.hang()
        else:
            await asyncio.sleep(0)  # others may go on, and a closed connection is noticed

    async def hang(self) -> None:
        """Waits until the client is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise _ClientLeft

    async def start(self, status: int, content_type: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        self._check()
        self._on_status(status)
        pairs = [(k.encode(), v.encode()) for k, v in (("content-type", content_type), *self._headers, *headers)]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def part(self, data: bytes) -> None:
        self._check()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes) -> None:
        await self.part(b"")  # waits while the client does not read; it may leave meanwhile
        self._check()
        self._on_completed()
        await self._send({"type": "http.response.body", "body": data})

    async def break_off(self) -> None:
        """Closes the connection in the middle of the answer, after what was sent has left."""
        self._transport.close()
        with contextlib.suppress(_ClientLeft):
            await self.hang()

    async def reply(self, status: int, payload: Any, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Sends a whole answer: JSON, or the bytes of a page."""
        page = isinstance(payload, bytes)
        data = payload if page else json.dumps(payload).encode()
        kind = "text/html; charset=utf-8" if page else JSON
        await self.start(status, kind, [("content-length", str(len(data))), *headers])
        await self.finish(data)

    def _check(self) -> None:
        if self._transport.is_closing():
            raise _ClientLeft


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


# The answers


class _BadRequest(Exception):
    """What the caller got wrong."""


async def _answer(exchange: _Exchange, call: Call, behaviour: Behaviour) -> None:
    if behaviour.fault == "hang":
        await exchange.hang()
    await exchange.pause(behaviour.latency_s)
    try:
        match (behaviour.fault, call.method, call.path):
            case ("429", _, _):
                refusal = _error("Rate limit reached for requests", "requests", "rate_limit_exceeded")
                await exchange.reply(429, refusal, [("retry-after", f"{behaviour.retry_after_s:g}")])
            case ("500", _, _):
                await exchange.reply(500, _error("The server had an error", "server_error"))
            case ("html", _, _):
                await exchange.reply(200, PAGE)
            case (_, "POST", "/v1/chat/completions"):
                await _chat(exchange, call, behaviour)
            case (_, "POST", "/v1/embeddings"):
                await _send(exchange, _embeddings(_fields(call.body, "model", "input"), behaviour), behaviour.fault)
            case (_, "GET", "/v1/models"):
                await _send(exchange, _models(behaviour), behaviour.fault)
            case (_, method, path):
                await exchange.reply(404, _error(f"Invalid URL ({method} {path})", "invalid_request_error"))
    except _BadRequest as problem:
        await exchange.reply(400, _error(str(problem), "invalid_request_error"))


async def _send(exchange: _Exchange, payload: dict[str, Any], fault: Fault | None) -> None:
    """Sends an answer in one piece, or what the fault leaves of it."""
    data = json.dumps(OVERLOADED if fault == "error_in_200" else payload).encode()
    promised = len(data)
    if fault in ("cut", "malformed"):
        data = data[: promised // 2]
    if fault == "malformed":
        promised = len(data)
    await exchange.start(200, JSON, [("content-length", str(promised))])
    if fault == "cut":
        await exchange.part(data)
        await exchange.break_off()
    else:
        await exchange.finish(data)


async def _chat(exchange: _Exchange, call: Call, behaviour: Behaviour) -> None:
    request = _fields(call.body, "model", "messages")
    prompt = _prompt(request["messages"])
    text = "" if behaviour.fault == "empty" else _completion(request, prompt, behaviour)
    usage = _usage(behaviour, len(prompt.split()), len(text.split()))
    head = {
        "id": f"chatcmpl-sim{call.number:08d}",
        "created": int(call.arrived_at),
        "model": request["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_simulator",
    }
    if request.get("stream"):
        with_usage = (request.get("stream_options") or {}).get("include_usage")
        await _stream(exchange, head, text, usage if with_usage else None, behaviour)
        return
    await exchange.pause(len(text.split()) * behaviour.token_s)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": "stop",
    }
    payload: dict[str, Any] = {"object": "chat.completion", **head, "choices": [choice]}
    if usage is not None:
        payload["usage"] = usage
    await _send(exchange, payload, behaviour.fault)


async def _stream(
    exchange: _Exchange, head: dict[str, Any], text: str, usage: dict[str, Any] | None, behaviour: Behaviour
) -> None:
    """Sends an answer as server-sent events, a word at a time. `usage`: `None` where it is not sent."""

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        rest = {} if usage is None else {"usage": None}
        return _event({"object": "chat.completion.chunk", **head, "choices": [choice], **rest})

    fault = behaviour.fault
    await exchange.start(200, "text/event-stream; charset=utf-8", [("cache-control", "no-cache")])
    if fault == "error_in_200":
        await exchange.part(_event(OVERLOADED))
        await exchange.finish(DONE)
        return
    await exchange.part(chunk({"role": "assistant", "content": "", "refusal": None}))
    for word in re.findall(r"\s*\S+|\s+\Z", text):
        await exchange.pause(behaviour.token_s)
        data = chunk({"content": word})
        if fault == "malformed":
            await exchange.part(data[: len(data) // 2] + b"\n\n")
            break
        await exchange.part(data)
        if fault == "cut":
            await exchange.break_off()
            return
    await exchange.part(chunk({}, "stop"))
    if usage is not None:
        await exchange.part(_event({"object": "chat.completion.chunk", **head, "choices": [], "usage": usage}))
    await exchange.finish(DONE)


def _embeddings(request: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    given = request["input"]
    one = isinstance(given, str) or (isinstance(given, list) and isinstance(given[0], int))  # a text, or its tokens
    inputs = [given] if one else given
    if not isinstance(inputs, list) or not all(isinstance(value, str | list) for value in inputs):
        raise _BadRequest("input: must be a text, a list of tokens, or a list of these")
    words = sum(len(value.split() if isinstance(value, str) else value) for value in inputs)
    data = []
    for index, value in enumerate([] if behaviour.fault == "empty" else inputs):
        vector: list[float] | str = _vector(value, request.get("dimensions") or DIMENSIONS)
        if request.get("encoding_format") == "base64":  # what OpenAI's own clients ask for
            vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = _usage(behaviour, words)
    payload = {"object": "list", "data": data, "model": request["model"]}
    return payload if usage is None else {**payload, "usage": usage}


def _vector(value: Any, dimensions: int) -> list[float]:
    """Of length 1, always the same for the same input; says nothing about meaning."""
    raw = hashlib.shake_256(json.dumps(value).encode()).digest(dimensions)
    centred = [byte - 127.5 for byte in raw]
    norm = math.hypot(*centred)
    return [x / norm for x in centred]


def _models(behaviour: Behaviour) -> dict[str, Any]:
    names = () if behaviour.fault == "empty" else MODELS
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "simulator"} for name in names],
    }


def _fields(body: Any, *names: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise _BadRequest("We could not parse the JSON body of your request.")
    for name in names:
        if not body.get(name):
            raise _BadRequest(f"Missing required parameter: '{name}'.")
    return body


def _prompt(messages: Any) -> str:
    """All that the messages say, one after another."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _BadRequest("messages: must be a list of objects")
    texts = []
    for message in messages:
        content = message.get("content") or ""
        parts = [{"text": content}] if isinstance(content, str) else content
        texts += [str(part["text"]) for part in parts if "text" in part]
    return "\n".join(texts)


def _completion(request: dict[str, Any], prompt: str, behaviour: Behaviour) -> str:
    if behaviour.answer is not None:
        return behaviour.answer
    gist = " ".join(_prompt(request["messages"][-1:]).split()[:12])
    text = f"Answer {hashlib.sha256(prompt.encode()).hexdigest()[:8]} to: {gist}"
    wanted = request.get("response_format") or {}
    match wanted.get("type"):
        case "json_schema":
            schema = wanted.get("json_schema", {}).get("schema", {})
            try:
                return json.dumps(smallest_instance(schema, schema))
            except RecursionError:
                raise _BadRequest("response_format: the schema needs itself without end") from None
        case "json_object":
            return json.dumps({"answer": text})
    return text


def _usage(behaviour: Behaviour, prompt_words: int, completion_words: int | None = None) -> dict[str, Any] | None:
    """The object of that name. `completion_words`: `None` where nothing is generated."""
    if behaviour.fault == "usage_missing":
        return None
    counts = {"prompt_tokens": prompt_words if behaviour.prompt_tokens is None else behaviour.prompt_tokens}
    if completion_words is not None:
        said = behaviour.completion_tokens
        counts["completion_tokens"] = completion_words if said is None else said
    if behaviour.fault == "usage_lies":
        return {**{name: 1000 * count for name, count in counts.items()}, "total_tokens": 1}
    return {**counts, "total_tokens": sum(counts.values())}


def _error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


OVERLOADED = _error("The upstream model is overloaded", "server_error", "overloaded")
DONE = b"data: [DONE]\n\n"


# An answer that fits a schema

FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "someone@example.com",
    "uri": "https://example.com/",
}


def smallest_instance(schema: Any, root: Any) -> Any:
    """A small JSON value that fits: required properties only, as few items as allowed, `null` where it may be.

    Args:
        root: the whole schema, in which `$ref` points (`#/…` only). What it does not look at: `allOf`, `not`,
            `pattern`, `multipleOf`, `exclusiveMaximum`.

    Raises:
        RecursionError: a value would have to contain itself.
    """
    match schema:
        case {"$ref": reference}:
            return smallest_instance(_pointed_at(reference, root), root)
        case {"const": value} | {"enum": [value, *_]}:
            return value
        case {"anyOf": options} | {"oneOf": options}:
            return smallest_instance({"type": "null"} if {"type": "null"} in options else options[0], root)
        case {"type": [*kinds]}:
            return smallest_instance({**schema, "type": "null" if "null" in kinds else kinds[0]}, root)
        case {"type": "object"} | {"properties": _}:
            properties = schema.get("properties", {})
            return {name: smallest_instance(properties.get(name), root) for name in schema.get("required", ())}
        case {"type": "array"}:
            return [smallest_instance(schema.get("items"), root) for _ in range(schema.get("minItems", 0))]
        case {"type": "integer" | "number"}:
            at_least = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf) + 1)
            return min(max(0, at_least), schema.get("maximum", math.inf))
        case {"type": "boolean"}:
            return True
        case {"type": "null"}:
            return None
        case {"type": "string"}:
            text = FORMATS.get(schema.get("format", ""), "text").ljust(schema.get("minLength", 0), "x")
            return text[: schema.get("maxLength")]
    return "text"  # no type, or none at all: anything fits


def _pointed_at(reference: str, root: Any) -> Any:
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


# As a process


def main() -> None:
    """Prints its URL as one line of JSON and serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulators.openai", description=main.__doc__)
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
    with OpenAISimulator(behaviour, port=arguments.port) as simulator:
        print(json.dumps({"url": simulator.url}), flush=True)
        signal.sigwait(endings)


if __name__ == "__main__":
    main()

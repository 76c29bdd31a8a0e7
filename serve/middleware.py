"""What stands before every door: who may knock, what and how much they may bring, and the trace of the request."""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bus import trace
from schemas.errors import InvalidRequest, TooLarge
from schemas.problem import Problem, urn
from schemas.settings import is_loopback
from serve import problems
from serve.metrics import REQUESTS, SECONDS
from serve.nesting import Nesting, trouble

MAX_BODY_BYTES = 32 * 1024 * 1024
"""20 MB of inputs in base64, and room for the rest."""
SILENCE_S, BODY_S = 30.0, 600.0
"""How long a body may bring nothing, and take as a whole."""
NO_JSON = (b"multipart/", b"image/", b"audio/", b"video/", b"application/octet-stream")
"""Beginnings of types whose brackets nest nothing."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class LoopbackOnly:
    """Refuses callers from other machines, and pages of other sites in a browser on this one.

    Ray binds the replica's own port wider than the platform wants it. And a page from anywhere can point a name of its
    own at 127.0.0.1 (DNS rebinding): its requests carry that name as host, or the site as origin.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str] = ()) -> None:
        """
        Args:
            origins: sites whose pages may call all the same.
        """
        self._app, self._origins = app, frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (stranger := _stranger(scope, self._origins)) is not None:
            scope.setdefault("state", {})["refusal"] = "it comes from another machine, or from a page of another site"
            problem = Problem(
                type=urn("not_loopback"),
                title="Only this machine may call",
                status=403,
                detail=f"the platform listens on loopback only; this request comes from {stranger}",
            )
            await problems.reply(problem, path=scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _stranger(scope: Scope, origins: Collection[bytes]) -> str | None:
    """What makes a request foreign: its sender, the host it was sent to, or the site that sent it."""
    client = scope.get("client")
    if client is not None and not is_loopback(client[0]):
        return "another machine"
    for name, value in scope["headers"]:
        if name == b"host" or (name == b"origin" and value not in origins):
            text = value.decode("latin-1")
            host = urlsplit(text if name == b"origin" else f"//{text}").hostname or ""
            if not is_loopback(host) and not host.endswith(".localhost"):
                return f"{name.decode()} {text[:100]!r}"
    return None


class _Refused(Exception):
    """Stops whoever reads the body."""


class BodyLimit:
    """Refuses bodies that nobody could use or should wait for: over the limit, whether they announce their size or not;
    packed, since what they unpack to is not known before; of too many parts, or nested too deep; or too slow."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES, larger: Mapping[str, int] | None = None) -> None:
        """`larger` has the limits of the paths that take more."""
        self._app, self._limit, self._larger = app, limit, larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._larger.get(scope["path"], self._limit)
        refusal, json = _by_headers(scope["headers"], limit)
        json = json and scope["path"] not in self._larger  # those read lines
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
            return
        size, whole, started = 0, False, False
        nesting: Nesting | None = None
        patience = asyncio.get_running_loop().time() + BODY_S

        async def counted() -> Message:
            nonlocal size, whole, refusal, nesting
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(min(patience, asyncio.get_running_loop().time() + SILENCE_S)):
                    message = await receive()
            except TimeoutError:
                refusal = _too_slow(size)
                raise _Refused from None
            body: bytes = message.get("body", b"")
            first, whole = not size, not message.get("more_body", False)
            size += len(body)
            if size > limit:
                refusal = Problem.of(TooLarge("the body", size, limit), scope["path"])
            elif json and body:
                if nesting is None and not (first and whole):
                    nesting = Nesting()
                if (wrong := trouble(body, nesting)) is not None:
                    refusal = Problem.of(InvalidRequest("body", wrong), scope["path"])
            if refusal is not None:
                raise _Refused
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            if refusal is not None and not started:
                return  # what the application makes of a body that broke off; FastAPI calls it a bad request
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _Refused:
            if started:
                raise
        if refusal is not None and not started:
            await _refuse(refusal, scope, receive, send)


def _by_headers(headers: Iterable[tuple[bytes, bytes]], limit: int) -> tuple[Problem | None, bool]:
    """Why a body is refused before it is read, if it is; and whether it may be JSON."""
    json = True
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            return Problem.of(TooLarge("the body", int(value), limit)), json
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return _packed(value.decode("latin-1")), json
        if name == b"content-type":
            json = not value.lower().startswith(NO_JSON)
    return None, json


def _packed(encoding: str) -> Problem:
    return Problem(
        type=urn("unsupported_encoding"),
        title="Bodies are not unpacked here",
        status=415,
        detail=f"the body's Content-Encoding is {encoding[:50]!r}; send it as it is",
    )


def _too_slow(size: int) -> Problem:
    return Problem(
        type=urn("request_timeout"),
        title="The request did not arrive",
        status=408,
        detail=f"{size:,} bytes of the body came, then nothing for {SILENCE_S:g} s, or not all of it in {BODY_S:g} s",
        retryable=True,
    )


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Connection": "close"}  # nobody reads the rest of the body
    if problem.status == 415:
        headers["Accept-Encoding"] = "identity"  # RFC 9110, section 15.5.16
    await problems.reply(problem, headers, scope["path"])(scope, receive, send)


class Observed:
    """Starts the request's span and counts it by route, method and status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        parent = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"traceparent"), None)
        traceparent = trace.start(parent)
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"traceparent", traceparent.encode())]}
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route: Any = scope.get("route")
            path = getattr(route, "path", "unmatched")
            method = method_of(scope["method"])
            REQUESTS.labels(method, path, str(status)).inc()
            SECONDS.labels(method, path).observe(time.perf_counter() - began)


def method_of(sent: str) -> str:
    """A caller may send any word as its method; each would be a time series for ever."""
    return sent if sent in METHODS else "other"

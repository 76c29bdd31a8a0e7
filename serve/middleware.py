"""What stands before every door: who may knock, how much they may bring, and the trace of the request."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bus import trace
from schemas.errors import TooLarge
from schemas.problem import Problem, urn
from schemas.settings import is_loopback
from serve import problems
from serve.metrics import REQUESTS, SECONDS

MAX_BODY_BYTES = 32 * 1024 * 1024
"""20 MB of inputs in base64, and room for the rest."""


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class LoopbackOnly:
    """Refuses callers from other machines, and pages of other sites in a browser on this one.

    Ray binds the replica's own port wider than the platform wants it. And a page from anywhere can point a name of its
    own at 127.0.0.1 (DNS rebinding): its requests carry that name as host, or the site as origin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (stranger := _stranger(scope)) is not None:
            problem = Problem(
                type=urn("not_loopback"),
                title="Only this machine may call",
                status=403,
                detail=f"the platform listens on loopback only; this request comes from {stranger}",
            )
            await problems.reply(problem, path=scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _stranger(scope: Scope) -> str | None:
    """What makes a request foreign: its sender, the host it was sent to, or the site that sent it."""
    client = scope.get("client")
    if client is not None and not is_loopback(client[0]):
        return "another machine"
    for name, value in scope["headers"]:
        if name in (b"host", b"origin"):
            text = value.decode("latin-1")
            host = urlsplit(text if name == b"origin" else f"//{text}").hostname or ""
            if not is_loopback(host) and not host.endswith(".localhost"):
                return f"{name.decode()} {text[:100]!r}"
    return None


class _BodyTooLarge(Exception):
    """Stops whoever reads the body."""


class BodyLimit:
    """Refuses bodies over the limit, whether they announce their size or not."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES, larger: Mapping[str, int] | None = None) -> None:
        """`larger` has the limits of the paths that take more."""
        self._app, self._limit, self._larger = app, limit, larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._larger.get(scope["path"], self._limit)
        announced = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > limit:
            await self._refuse(int(announced), limit, scope, receive, send)
            return
        size, started = 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise _BodyTooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            if size > limit and not started:
                return  # what the application makes of a body that broke off; FastAPI calls it a bad request
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _BodyTooLarge:
            if started:
                raise
        if size > limit and not started:
            await self._refuse(size, limit, scope, receive, send)

    async def _refuse(self, size: int, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = problems.reply(Problem.of(TooLarge("the body", size, limit)), path=scope["path"])
        await refusal(scope, receive, send)


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
            # A caller may send any word as its method; each would be a time series for ever.
            method = scope["method"] if scope["method"] in METHODS else "other"
            REQUESTS.labels(method, path, str(status)).inc()
            SECONDS.labels(method, path).observe(time.perf_counter() - began)

"""Whoever is told: a web server on loopback that answers as a test wants it to, and remembers what it was sent.

async with Receiver() as receiver:
    receiver.answers += [Answer(500), Answer(429, {"Retry-After": "7"}), Answer(hangs=True)]    # then 204 for good
    ...
    first, *_ = await receiver.told(1)
"""

import asyncio
import contextlib
import ssl
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from standardwebhooks import Webhook

from bus.tls import Served

LONG_S = 30.0


@dataclass(frozen=True)
class Answer:
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    """Whether it says nothing until the receiver is closed."""
    delay_s: float = 0.0
    endless: bool = False
    """Whether the body never ends."""


@dataclass(frozen=True)
class Told:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """What it says, if it was signed with this secret, as the specification's own library finds."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    def __init__(self, served: Served | None = None) -> None:
        """
        Args:
            served: a certificate, to be told over https.
        """
        self._tls: ssl.SSLContext | None = None
        if served is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(served.cert, served.key)
        self.answers: deque[Answer] = deque()
        self.seen: list[Told] = []
        self.sent_bytes = 0
        """Of bodies that never end."""
        self.most_at_once = self._at_once = 0
        self.url = ""
        self._changed = asyncio.Condition()
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/hook"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._over.set()
        await self._runner.cleanup()

    async def told(self, count: int) -> list[Told]:
        """What came, once so many requests have."""
        async with asyncio.timeout(LONG_S), self._changed:
            await self._changed.wait_for(lambda: len(self.seen) >= count)
        return self.seen

    def go_on(self) -> None:
        """Answer those that hang."""
        self._over.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        told = Told(
            request.path, {name.lower(): value for name, value in request.headers.items()}, await request.read()
        )
        async with self._changed:
            self.seen.append(told)
            self._changed.notify_all()
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            answer = self.answers.popleft() if self.answers else Answer()
            await asyncio.sleep(answer.delay_s)
            if answer.hangs:
                await self._over.wait()
            if answer.endless:
                return await self._pour(request, answer)
            return web.Response(status=answer.status, headers=answer.headers)
        finally:
            self._at_once -= 1

    async def _pour(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while not self._over.is_set():
                await response.write(b"x" * 65536)
                self.sent_bytes += 65536
        return response

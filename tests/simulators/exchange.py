"""One call of a simulated provider on its connection: what comes in, what goes out, who leaves."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

JSON = "application/json"


class Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Breaks everything off; uvicorn's own would wait for a hanging call for ever."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*self.server_state.tasks)


class Connection(HttpToolsProtocol):
    """uvicorn's own, which hands its transport to the application: only that can close without finishing."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.access_log = False  # here, and not in the configuration: that would silence every uvicorn of the process
        self.scope["state"]["transport"] = self.transport


class ClientLeft(Exception):
    """The connection is closed; nothing more can be sent."""


class Exchange:
    """The answer to one call on its way out. Every step raises `ClientLeft` once the client is gone."""

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
        self.request_headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        """Their names in lower case."""
        self.query = parse_qs(scope["query_string"].decode("latin-1"))
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
        raise ClientLeft

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

    async def payload(self, payload: Any, fault: str | None) -> None:
        """Sends a whole answer of JSON, or what the fault leaves of it."""
        data = json.dumps(payload).encode()
        promised = len(data)
        if fault == "malformed":
            data = data[: promised // 2]
            promised = len(data)
        await self.start(200, JSON, [("content-length", str(promised))])
        if fault in ("cut", "stall"):
            await self.part(data[: promised // 2])
            await (self.break_off() if fault == "cut" else self.hang())
        else:
            await self.finish(data)

    async def break_off(self) -> None:
        """Closes the connection in the middle of the answer, after what was sent has left."""
        self._transport.close()
        with contextlib.suppress(ClientLeft):
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
            raise ClientLeft


async def body_of(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def text_of(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")

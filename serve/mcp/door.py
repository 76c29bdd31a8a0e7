"""The MCP door: `/mcp`, as streamable HTTP.

Clients up to protocol 2025-11-25 have sessions, which live in this replica: there is one, and after its death they are
told 404 and begin anew. Without sessions a call could not be cancelled, for that is said in a request of its own.
Clients of 2026-07-28 have none; they cancel by hanging up.
"""

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serve.caller import Caller
from serve.mcp.inside import Inside
from serve.middleware import MAX_BODY_BYTES

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"
MAX_SESSIONS = 1000
SESSION_IDLE_S = 30 * 60.0


class McpDoor:
    """The door. The SDK is loaded, and its sessions kept, from the first request on: most platforms never get one, and
    it takes half a second and 20 MB."""

    def __init__(self) -> None:
        self.route = Route(PATH, self, methods=["GET", "POST", "DELETE"])
        self._leaving = asyncio.Event()
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self.route  # what requests are counted by
        manager = await self._opened()
        scope["user"] = _user(scope["state"]["caller"])
        await manager.handle_request(scope, receive, send)

    async def close(self) -> None:
        """End the sessions. Tasks that calls wait for go on."""
        self._leaving.set()
        if self._keeping is not None:
            await self._keeping

    async def _opened(self) -> "StreamableHTTPSessionManager":
        if self._manager is None:
            self._manager = asyncio.get_running_loop().create_future()
            self._keeping = asyncio.create_task(self._keep(self._manager))
        return await asyncio.shield(self._manager)

    async def _keep(self, opened: "asyncio.Future[StreamableHTTPSessionManager]") -> None:
        """Hold the sessions, in one task from beginning to end, as their task group wants it."""
        try:
            manager = await asyncio.to_thread(self._make)
        except Exception as error:
            self._manager = None
            opened.set_exception(error)
            return
        async with manager.run():
            opened.set_result(manager)
            await self._leaving.wait()

    def _make(self) -> "StreamableHTTPSessionManager":
        sdk = importlib.import_module("mcp.server.streamable_http_manager")
        server = importlib.import_module("serve.mcp.server")
        made: StreamableHTTPSessionManager = sdk.StreamableHTTPSessionManager(
            server.make_server(self._platform, reads_files=False),
            max_request_body_size=MAX_BODY_BYTES,
            session_idle_timeout=SESSION_IDLE_S,
            max_sessions=MAX_SESSIONS,
            # Whose host and origin may be what is checked before every door: see `LoopbackOnly`.
            security_settings=None,
        )
        return made

    def _platform(self, ctx: Any) -> Inside:
        request: Request = ctx.request
        return Inside(request, self._leaving)


def _user(who: Caller) -> Any:
    """The caller as the SDK knows one: whoever began a session is the only one who may use it."""
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
    from mcp.server.auth.provider import AccessToken

    client = f"{who.tenant}/{who.key or ''}"
    return AuthenticatedUser(AccessToken(token="", client_id=client, scopes=sorted(who.scopes)))

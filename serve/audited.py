"""Stands before every door and tells the audit log who changed what, and who was refused."""

import re
import secrets
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bus.subjects import token
from schemas.audit import REFUSALS, AuditEntry
from schemas.message import now
from serve.auth import ASKS_ONLY, LOOKS
from serve.caller import Caller
from serve.middleware import method_of
from serve.trail import Trail

TARGETS = ("task_id", "workflow_id", "key_id", "webhook_id")
"""What a door's path calls that which it is about."""
MOST_OF_AN_ADDRESS = 64
_UNANSWERED = 500


class Doors:
    """The templates of an application's paths, also of requests that no door has seen."""

    def __init__(self, app: FastAPI) -> None:
        """Of an application that was described."""
        self._plain: set[str] = set()
        self._templates: list[tuple[re.Pattern[str], str]] = []
        for path in app.openapi()["paths"]:
            if "{" in path:
                spelled = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))
                self._templates.append((re.compile(spelled), path))
            else:
                self._plain.add(path)

    def template(self, path: str) -> str | None:
        if path in self._plain:
            return path
        return next((template for pattern, template in self._templates if pattern.fullmatch(path)), None)


class Audited:
    """Costs an answer nothing but the noting of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        status, said = _UNANSWERED, None

        async def noted(message: Message) -> None:
            nonlocal status, said
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status, said = message["status"], message.get("headers")
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._note(scope, status, said)

    def _note(self, scope: Scope, status: int, said: Any) -> None:
        state = scope["app"].state
        trail: Trail | None = getattr(state, "trail", None)
        if trail is None:
            return  # the application has not begun
        if status in REFUSALS:
            who: Caller | None = scope["state"].get("caller")
            key = who.key if who is not None else None
            trail.refused(_address(scope), key, status, lambda: _entry(scope, status, said, state.doors))
        elif scope.get("method", "GET") not in LOOKS and scope["path"] not in ASKS_ONLY:
            trail.note(_entry(scope, status, said, state.doors))


def _entry(scope: Scope, status: int, said: Any, doors: Doors) -> AuditEntry:
    who: Caller | None = scope["state"].get("caller")
    route: Any = scope.get("route")
    return AuditEntry(
        id=secrets.token_hex(16),
        at=now(),
        tenant=None if who is None else who.tenant,
        key=None if who is None else who.key,
        method=method_of(scope.get("method", "GET")),
        route=getattr(route, "path", None) or doors.template(scope["path"]),
        target=_target(scope, said),
        status=status,
        address=_address(scope),
        reason=scope["state"].get("refusal"),
    )


def _address(scope: Scope) -> str | None:
    client = scope.get("client")
    return str(client[0])[:MOST_OF_AN_ADDRESS] if client else None


def _target(scope: Scope, said: Any) -> str | None:
    """What was made, by what the door or its answer says of it; else what the path names, if it can be an id."""
    named = scope.get("path_params") or {}
    found = scope["state"].get("concerns") or next((named[name] for name in TARGETS if name in named), None)
    for name, value in said or ():
        if (name := name.lower()) == b"devskyy-task" or (name == b"location" and value.startswith(b"/api/")):
            found = value.rpartition(b"/")[2].decode("latin-1")
    try:
        return None if found is None else token(str(found))
    except ValueError:
        return None

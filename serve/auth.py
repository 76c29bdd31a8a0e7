"""What stands before every door but health: who calls, whether they may, and how often.

The one place for another way to say who one is: whatever gives a `Caller` will do (`_caller`).
"""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import DevSkyyError, NotAllowed, NotAuthenticated, TooManyRequests
from schemas.key import SCOPES, KeyScope
from schemas.problem import Problem
from serve import problems
from serve.caller import ANYBODY, Caller
from serve.jwts import Tokens, is_token
from serve.keyring import Keyring
from serve.rates import Headers, Rate, Rates

HEALTH = "/health/"
OPEN = frozenset({"/.well-known/agent-card.json"})
"""What anybody may read, as health: whoever is to show a key must be able to learn how."""
KEYS, TOKENS, AUDIT, TENANTS = "/api/v1/keys", "/api/v1/tokens", "/api/v1/audit", "/api/v1/tenants"
ADMINS = (KEYS, TOKENS, AUDIT, TENANTS)
LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
ASKS_ONLY = frozenset({"/api/v1/services/explain", "/api/v1/workflows/validate", "/v1/messages/count_tokens"})
"""Posted to, and start nothing."""


def needed(method: str, path: str) -> KeyScope:
    """The scope that a request needs. A door that is not named here needs `write`, unless it is only looked at."""
    if any(path == door or path.startswith(f"{door}/") for door in ADMINS):
        return "admin"
    return "read" if method in LOOKS or path in ASKS_ONLY else "write"


def is_open(path: str) -> bool:
    """Whether anybody may come in there."""
    return path.startswith(HEALTH) or path in OPEN


def secret_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """What a request shows to be let in: a bearer token, or else `x-api-key`."""
    shown = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, credential = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return credential.strip().decode("latin-1")
            shown = shown or value.decode("latin-1")
        elif name == b"x-api-key":
            shown = value.strip().decode("latin-1")
    return shown


class Gate:
    """Lets in whom the application's keyring knows, and tells the doors who it is (`serve.caller`)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._rates = app, Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        secret = secret_of(scope["headers"])
        scope_needed = needed(scope.get("method", "GET"), scope["path"])
        rate: Rate | None = None
        try:
            state["caller"] = who = await _caller(scope["app"].state, secret)
            if who.key is not None and who.rpm is not None:
                rate = self._rates.count(who.key, who.rpm)
                if rate.wait_s:
                    raise TooManyRequests(who.key, who.rpm, rate.wait_s)
            if scope_needed not in who.scopes:
                raise _not_allowed(who, scope_needed)
        except DevSkyyError as error:
            state["refusal"] = str(error)
            headers = _challenge(error, secret, scope_needed) | ({} if rate is None else _as_text(rate.headers))
            refusal = problems.reply(Problem.of(error, scope["path"]), headers, scope["path"])
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send if rate is None else _telling(rate.headers, send))


async def _caller(state: Any, secret: str | None) -> Caller:
    """Whose key or token this is."""
    if secret is not None and is_token(secret):
        tokens: Tokens = state.tokens
        if tokens.taken:
            return await tokens.caller(secret)
    ring: Keyring = state.keyring
    return await ring.caller(secret)


def _not_allowed(who: Caller, scope: KeyScope) -> DevSkyyError:
    if who is ANYBODY:
        return NotAuthenticated("only who runs the platform makes keys: use `devskyy keys`, or send its operator.key")
    has = ", ".join(each for each in SCOPES if each in who.scopes) or "none"
    return NotAllowed(f"the key {who.key} lacks the scope {scope!r}; it has {has}")


def _challenge(error: DevSkyyError, secret: str | None, scope: KeyScope) -> dict[str, str]:
    """RFC 6750, section 3."""
    said = 'Bearer realm="devskyy"'
    match error:
        case NotAuthenticated():
            return {"WWW-Authenticate": said if secret is None else f'{said}, error="invalid_token"'}
        case NotAllowed():
            return {"WWW-Authenticate": f'{said}, error="insufficient_scope", scope="{scope}"'}
    return {}


def _as_text(headers: Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


def _telling(headers: Headers, send: Send) -> Send:
    """`send`, with these headers on the answer."""

    async def telling(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return telling


def describe(app: FastAPI) -> None:
    """Say in the application's description how one is let in, and what every door may refuse."""
    document: dict[str, Any] = app.openapi()
    schemes = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of `devskyy keys create`, or a JSON Web Token",
        },
        "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    document.setdefault("components", {})["securitySchemes"] = schemes
    for path, doors in document["paths"].items():
        if is_open(path):
            continue
        for door in doors.values():
            door["security"] = [{"bearer": []}, {"header": []}]
            for status, said in problems.documented_at(path, REFUSALS).items():
                model = said.pop("model").__name__
                content = said.get("content") or _json(model)
                door["responses"].setdefault(str(status), {"description": said["description"], "content": content})


REFUSALS = {401: "No key, or none that may be used", 403: "The key lacks a scope", 429: "The key is at its limit"}


def _json(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}

"""Headers that tell browsers what they must not do with an answer. Whatever an answer says of itself stays."""

import base64
import hashlib
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
NOTHING = b"default-src 'none'; frame-ancestors 'none'"
"""An answer of an API is no page: shown as one, it may load and run nothing."""
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


class SecurityHeaders:
    """On every answer, refusals included."""

    def __init__(self, app: ASGIApp, pages: dict[str, bytes]) -> None:
        """
        Args:
            pages: the content security policy of each path that is a page.
        """
        self._app, self._pages = app, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = self._pages.get(scope["path"], NOTHING)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *ALWAYS]
                said = {name for name, _ in headers}
                if b"content-security-policy" not in said:
                    headers.append((b"content-security-policy", policy))
                if b"cache-control" not in said:
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, guarded)


def policies(app: FastAPI) -> dict[str, bytes]:
    """What the pages with the description of an application need: its script and style from where FastAPI's pages say,
    and those that stand in them, each by its hash."""
    openapi, redirect = app.openapi_url or "", app.swagger_ui_oauth2_redirect_url
    swagger = get_swagger_ui_html(openapi_url=openapi, title=f"{app.title} - Swagger UI", oauth2_redirect_url=redirect)
    redoc = get_redoc_html(openapi_url=openapi, title=f"{app.title} - ReDoc")
    pages = {app.docs_url: bytes(swagger.body), app.redoc_url: bytes(redoc.body)}
    return {path: policy(page) for path, page in pages.items() if path is not None}


def policy(page: bytes) -> bytes:
    """The content security policy of one of FastAPI's pages."""
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(each).digest()).decode()}'" for each in _SCRIPT.findall(page)]
    cdn = "https://cdn.jsdelivr.net"
    parts = (
        "default-src 'none'",
        f"script-src {cdn} {' '.join(hashes)}".rstrip(),
        f"style-src 'unsafe-inline' {cdn} https://fonts.googleapis.com",
        "font-src https://fonts.gstatic.com",
        "img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly",
        "connect-src 'self'",
        "worker-src blob:",
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    )
    return "; ".join(parts).encode()

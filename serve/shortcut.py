"""A shorter way to the door that is asked most, past FastAPI's routing and reading of requests.

It takes what it understands at once. Whatever is unusual, and every mistake, goes the long way with its body as it
came, so that one place says what is wrong. FastAPI describes the door, and checks what goes that way.
"""

from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import DevSkyyError
from serve import problems
from serve.openai import ChatRequest, chat_completions

PATH = "/v1/chat/completions"
CANCEL = b"devskyy-cancel-on-disconnect"
MAX_KEY = 255
"""Characters of an idempotency key."""


@dataclass(frozen=True)
class _Route:
    """What requests are counted by."""

    path: str = PATH


class Shortcut:
    """Chat completions without the layers that FastAPI puts around a door."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST" or not _usual(scope):
            await self._app(scope, receive, send)
            return
        received = [await receive()]
        while received[-1].get("more_body", False):
            received.append(await receive())
        try:
            chat = ChatRequest.model_validate_json(b"".join([message.get("body", b"") for message in received]))
        except ValidationError:
            await self._app(scope, _again(received, receive), send)
            return
        scope["route"] = _Route()
        response = await _answer(chat, Request(scope, receive))
        await response(scope, receive, send)


async def _answer(chat: ChatRequest, request: Request) -> Response:
    try:
        return await chat_completions(chat, request, request.headers.get("idempotency-key"))
    except DevSkyyError as error:
        return problems.failed(request, error)


def _usual(scope: Scope) -> bool:
    """Whether it says that it is JSON, and brings at most one key, not too long, and no other header of ours."""
    json, keys = False, 0
    for name, value in scope["headers"]:
        if name == b"content-type":
            if value != b"application/json":
                return False
            json = True
        elif name == b"idempotency-key":
            keys += 1
            if keys > 1 or len(value) > MAX_KEY:
                return False
        elif name == CANCEL:
            return False
    return json


def _again(received: list[Message], receive: Receive) -> Receive:
    """`receive`, beginning with what was received already."""
    waiting = iter(received)

    async def again() -> Message:
        return next(waiting, None) or await receive()

    return again

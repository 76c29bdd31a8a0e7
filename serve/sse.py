"""Server-sent events: how doors write them, and how these are described."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar, cast

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter
from starlette.types import Receive, Scope, Send

HEARTBEAT_S = 10.0
HEARTBEAT = b": heartbeat\n\n"
"""A comment: it says that the line is open, and means nothing."""


class Event(Protocol):
    @property
    def event(self) -> str: ...
    @property
    def seq(self) -> int: ...
    def model_dump_json(self) -> str: ...


E = TypeVar("E")


def stream(events: AsyncIterator[Event]) -> StreamingResponse:
    """A response of these events as they come, each with its number for an id."""
    return respond(_written(events))


def respond(
    content: AsyncGenerator[bytes, None],
    headers: Mapping[str, str] = {},
    close: Callable[[], Awaitable[None]] | None = None,
) -> StreamingResponse:
    """A response of what is written already as server-sent events; `content` is closed when it ends, however it does.

    Args:
        close: called after that; also where nothing of `content` was ever read.
    """
    usual = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return _Closing(content, close, media_type="text/event-stream", headers={**usual, **headers})


async def each(events: Iterable[Event]) -> AsyncIterator[Event]:
    """What is there already, to be streamed."""
    for event in events:
        yield event


def describe(app: FastAPI, path: str, name: str, events: TypeAdapter[Any]) -> None:
    """Say in the application's description what the events of a door hold. FastAPI knows no such streams of ours.

    Args:
        path: the door's.
        name: what one event is called there.

    Source: OpenAPI 3.2, section 4.14.4.
    """
    document = app.openapi()
    event = events.json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    event = _entered(document["components"]["schemas"], event, name.removesuffix("Event"))
    document["components"]["schemas"][name] = event
    data = {"contentMediaType": "application/json", "contentSchema": {"$ref": f"#/components/schemas/{name}"}}
    names = {"type": "string", "examples": list(event["discriminator"]["mapping"])}
    item = {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "description": "Counts the events from 1"},
            "event": {**names, "description": "What happened; later versions may have more"},
            "data": {"type": "string", **data},
        },
    }
    told = document["paths"][path]["get"]["responses"]["200"]
    told["description"] = "The events, each with its number, its name, and the whole of it as JSON on one line"
    told["content"] = {"text/event-stream": {"itemSchema": item}}


def _entered(known: dict[str, Any], event: dict[str, Any], kind: str) -> dict[str, Any]:
    """Enter what an event consists of among the schemas that are known, and return the event as it then refers to it.
    Where another schema has a name already, as tasks and workflows both are `Completed`, ours gets another.

    Args:
        kind: what the events are of; begins the other name.
    """
    parts = event.pop("$defs")
    names = {name: name if known.get(name, part) == part else f"{kind}{name}" for name, part in parts.items()}

    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return [renamed(each) for each in value]
        if isinstance(value, dict):
            return {name: renamed(each) for name, each in value.items()}
        if isinstance(value, str) and value.startswith(_SCHEMAS):
            return _SCHEMAS + names.get(value.removeprefix(_SCHEMAS), value.removeprefix(_SCHEMAS))
        return value

    # One that refers to another of another name is another itself.
    while taken := [name for name, part in parts.items() if known.get(names[name], renamed(part)) != renamed(part)]:
        names |= {name: f"{kind}{names[name]}" for name in taken}
    for name, part in parts.items():
        known[names[name]] = renamed(part)
    entered: dict[str, Any] = renamed(event)
    return entered


_SCHEMAS = "#/components/schemas/"


class _Closing(StreamingResponse):
    """Closes what it streams from when it ends, however it ends; starlette leaves that to the garbage collector."""

    def __init__(
        self, content: AsyncGenerator[bytes, None], close: Callable[[], Awaitable[None]] | None, **how: Any
    ) -> None:
        super().__init__(content, **how)
        self._content, self._close = content, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._content.aclose()
            if self._close is not None:
                await self._close()


async def _written(followed: AsyncIterator[Event]) -> AsyncGenerator[bytes, None]:
    """The bytes of events, with heartbeats between them.

    Source: WHATWG HTML, section 9.2.6.
    """
    async with contextlib.aclosing(with_pauses(followed)) as events:
        async for event in events:
            if event is None:
                yield HEARTBEAT
            else:
                yield f"id: {event.seq}\nevent: {event.event}\ndata: {event.model_dump_json()}\n\n".encode()


async def with_pauses(followed: AsyncIterator[E]) -> AsyncGenerator[E | None, None]:
    """What is followed, and None whenever nothing has come for the time of a heartbeat.

    The follower runs in a task of its own, not in a task group around the `yield`s: a response that is cancelled at
    one of these would leave the group's scope in another task than entered it.
    """
    heard: asyncio.Queue[E | Exception | None] = asyncio.Queue(1)  # of what is not read, no more is held

    async def pump() -> None:
        try:
            async with contextlib.aclosing(cast("AsyncGenerator[E, None]", followed)):
                async for event in followed:
                    await heard.put(event)
        except Exception as error:
            await heard.put(error)
        else:
            await heard.put(None)

    pumping = asyncio.create_task(pump())
    try:
        while True:
            try:
                event = await asyncio.wait_for(heard.get(), HEARTBEAT_S)
            except TimeoutError:
                yield None
                continue
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event
    finally:
        pumping.cancel()

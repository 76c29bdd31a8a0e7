"""Who answers in the tests of the bus."""

import asyncio
from collections.abc import Awaitable, Callable

from bus.client import Bus
from schemas.message import Message


class Say(Message):
    text: str


Handler = Callable[[Say], Awaitable[Say]]
Serve = Callable[..., Awaitable[Bus]]


async def echo(message: Say) -> Say:
    return message


class Hanging:
    """A handler that works until it is told to answer; it says when it starts and when it is cancelled."""

    def __init__(self) -> None:
        self.started, self.cancelled, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, message: Say) -> Say:
        self.started.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return message

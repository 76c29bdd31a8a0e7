"""The text of a task as it is written, heard piece by piece."""

import contextlib
from collections.abc import AsyncIterator, Callable

import nats.errors
from nats.aio.msg import Msg

from bus.client import Bus
from bus.codec import decode
from bus.subjects import TaskTokens
from schemas.completion import Delta
from schemas.errors import DecodeError


@contextlib.asynccontextmanager
async def listening(bus: Bus, tenant: str, task_id: str, hear: Callable[[Delta], None]) -> AsyncIterator[None]:
    """While this stands, `hear` is told of each piece that comes; it must return at once.

    Pieces are kept nowhere: those from before this, or while the connection is broken, are not heard.
    """

    async def on_piece(msg: Msg) -> None:
        with contextlib.suppress(DecodeError):  # the whole text comes at the end
            hear(decode(msg.data, Delta))

    subscription = await bus.client.subscribe(str(TaskTokens(tenant, task_id)), cb=on_piece)
    try:
        yield
    finally:
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()

"""What a stream holds on some subjects, read in batches straight from its store."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from bus.client import Bus
from schemas.errors import BusUnavailable

BATCH = 256
CATCH_UP_S = 5.0
"""How long the servers of a cluster may take until one that answers has what the stream's leader has."""
_PAUSE_S = 0.02


async def messages(
    bus: Bus, stream: str, pattern: str, start: int = 1, batch: int = BATCH
) -> AsyncGenerator[Msg, None]:
    """Every message on subjects that match, oldest first, from `start` on; all that was acknowledged before this began.

    In a cluster any server that keeps the stream answers, also one that has not heard of the last messages yet; its
    leader is therefore asked how far they go.

    Args:
        batch: messages that are asked for at once; a reader that stops after so many has them all.

    Raises:
        BusUnavailable: the stream did not answer.
    """
    give_up = asyncio.get_running_loop().time() + CATCH_UP_S
    last = await _last(bus, stream, pattern) if bus.clustered else None
    while last is None or start <= last:
        request = json.dumps({"next_by_subj": pattern, "seq": start, "batch": batch}).encode()
        pending = 0
        async with contextlib.aclosing(bus.ask_many(f"$JS.API.DIRECT.GET.{stream}", request)) as answers:
            async for msg in answers:
                headers = msg.headers or {}
                if "Nats-Sequence" not in headers:  # a status, which a message's own headers may pretend to be
                    pending = int(headers.get("Nats-Num-Pending", "0")) if headers["Status"] == "204" else 0
                    break
                start = int(headers["Nats-Sequence"]) + 1
                yield msg
        if pending:
            continue
        if last is None or start > last:
            return
        if asyncio.get_running_loop().time() > give_up:
            raise BusUnavailable(f"no server has the last messages of {stream} yet; try again")
        await asyncio.sleep(_PAUSE_S)
        last = await _last(bus, stream, pattern)  # it may have been removed since


async def _last(bus: Bus, stream: str, pattern: str) -> int:
    """The place of the last message that matches, as the stream's leader has it; 0 if there is none."""
    try:
        return (await bus.js.get_last_msg(stream, pattern)).seq or 0
    except NotFoundError:
        return 0
    except (nats.errors.Error, APIError, TimeoutError) as error:
        raise BusUnavailable(f"{stream} does not say how far it goes: {error!r}") from error

"""A stream as bytes and back, over JetStream's own API, and how far its consumers have come.

Sources: stream_snapshot_request.json and stream_restore_request.json of nats-io/jsm.go, server/jetstream_api.go of
nats-io/nats-server. nats-py has no calls for them.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgpack
import nats.errors
from nats.aio.msg import Msg
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from bus import history
from bus.client import Bus
from bus.streams import (
    ALERTS,
    CACHE,
    CALLS,
    COMMANDS,
    CONSUMERS,
    DEAD,
    LASTING,
    PAYLOADS,
    PURSE,
    REQUESTS,
    RESERVATIONS,
    SNAPSHOTS,
    STATES,
    SUBMIT,
    TASKS,
    TIMERS,
    VECTORS,
    WAKES,
    WORKFLOWS,
    Consumer,
)
from bus.subjects import WorkflowEvents
from schemas.errors import BusUnavailable, Conflict
from schemas.workflow import ENDED

ORDER = (
    # What a later one tells of, an earlier one may not know; never the other way about: see docs/decisions.md.
    *(SUBMIT, WAKES),
    *(WORKFLOWS, TASKS, COMMANDS),
    *(RESERVATIONS, CALLS, PURSE),
    *(CACHE, ALERTS, DEAD),
    *(f"OBJ_{bucket}" for bucket in (PAYLOADS, LASTING, VECTORS)),
)
"""Streams and stores of a backup, in the order in which they are taken."""
MADE_ANEW = (SNAPSHOTS, f"OBJ_{STATES}", TIMERS, f"OBJ_{REQUESTS}")
"""Those that no backup has: an engine makes snapshots and timers of a workflow's events, and nobody reads a request
again."""
PLACED = tuple(consumer for consumer in CONSUMERS if consumer.stream not in (SUBMIT, WAKES, TIMERS))
"""Consumers of streams that keep what was done with; those of queues begin with what is left in them."""
REPLACED = (CALLS, *(f"OBJ_{bucket}" for bucket in (PAYLOADS, LASTING, VECTORS)))
"""Where a message takes the place of another. One that is replaced while a snapshot is read is not in it, nor is what
replaced it: so what came since is taken too."""

CHUNK = 512 * 1024
"""Bytes of a message that a snapshot travels in; JetStream takes 1 MiB at most."""
WINDOW = 8 * 1024 * 1024
"""Bytes under way at most."""
MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of one message, headers included; NATS takes 1 MiB unless told otherwise."""
AT_ONCE = 1000
"""Messages that are fetched at once."""
SILENCE_S = 30.0
"""For the next chunk, and for one to be taken; the server itself gives up a restore after five."""
ENDING_S = 300.0
"""For a stream to be there once all of it was sent."""


@dataclass(frozen=True)
class Taken:
    """What a snapshot is of."""

    config: dict[str, Any]
    state: dict[str, Any]


async def take(bus: Bus, stream: str, write: Callable[[bytes], object]) -> Taken | None:
    """Write a stream as it is now, without its consumers. None: there is none of that name.

    Raises:
        BusUnavailable: it broke off; what was written is of no use.
    """
    chunks: asyncio.Queue[Msg] = asyncio.Queue()

    async def on_chunk(msg: Msg) -> None:
        chunks.put_nowait(msg)

    inbox = bus.client.new_inbox()
    subscription = await bus.client.subscribe(inbox, cb=on_chunk)
    try:
        asked = {"deliver_subject": inbox, "no_consumers": True, "chunk_size": CHUNK, "window_size": WINDOW}
        said = await _ask(bus, f"$JS.API.STREAM.SNAPSHOT.{stream}", asked)
        if said.get("error", {}).get("code") == 404:
            return None
        _agreed(said, f"{stream} was not read")
        while (msg := await asyncio.wait_for(chunks.get(), SILENCE_S)).data:
            write(msg.data)
            if msg.reply:
                await bus.client.publish(msg.reply)
            _go_on()
    except (nats.errors.Error, TimeoutError) as error:
        raise BusUnavailable(f"{stream} was not read to its end: {error!r}") from error
    finally:
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()
    headers = msg.headers or {}
    if headers.get("Status", "204") != "204":
        raise BusUnavailable(f"{stream} was not read to its end: {headers.get('Description', headers['Status'])}")
    return Taken(said["config"], said["state"])


async def since(bus: Bus, stream: str, state: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    """What was written to a stream since a snapshot that said `state`, up to now, for `write_again`.

    Raises:
        BusUnavailable: the stream did not answer.
    """
    messages = history.messages(bus, stream, ">", int(state["last_seq"]) + 1)
    async with contextlib.aclosing(messages):
        async for msg in messages:
            headers = {name: value for name, value in (msg.headers or {}).items() if _is_kept(name)}
            yield msgpack.packb([(msg.headers or {})["Nats-Subject"], headers, msg.data])


async def write_again(bus: Bus, written: BinaryIO) -> None:
    """Write what `since` gave. It gets new places, which nobody knows yet.

    Raises:
        BusUnavailable: it was not acknowledged.
    """
    for subject, headers, data in msgpack.Unpacker(written, max_buffer_size=MAX_MESSAGE):
        try:
            await bus.js.publish(subject, data, headers=headers or None)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"{subject} was not written: {error!r}") from error


def _is_kept(header: str) -> bool:
    """What the server adds goes, and what was expected of the stream then."""
    return header == "Nats-Rollup" or not header.startswith("Nats-")


async def restore(bus: Bus, config: api.StreamConfig, state: Mapping[str, Any], chunks: Iterable[bytes]) -> None:
    """Make a stream of what `take` wrote.

    Args:
        config: what it is to be like; its name and its subjects are those that it had.
        chunks: of no more than `CHUNK` bytes each.

    Raises:
        Conflict: there is one of that name, or the server does not take it; says why.
        BusUnavailable: the server did not answer.
    """
    what = f"{config.name} was not restored"
    try:
        said = await _ask(bus, f"$JS.API.STREAM.RESTORE.{config.name}", {"config": config.as_dict(), "state": state})
        to = _agreed(said, what)["deliver_subject"]
        for chunk in chunks:
            reply = await bus.client.request(to, chunk, timeout=SILENCE_S)
            if reply.data:
                _agreed(json.loads(reply.data), what)
            _go_on()
        done = await bus.client.request(to, b"", timeout=ENDING_S)
        _agreed(json.loads(done.data), what)
    except (nats.errors.Error, TimeoutError) as error:
        raise BusUnavailable(f"{what}: {error!r}") from error


def name_of(consumer: Consumer) -> str:
    """What a backup calls a consumer."""
    return f"{consumer.stream}/{consumer.name}"


async def position(bus: Bus, consumer: Consumer) -> int:
    """The place in its stream up to which a consumer is done with everything; 0 if there is no such consumer.

    Raises:
        BusUnavailable: the server did not answer.
    """
    try:
        info = await bus.js.consumer_info(consumer.stream, consumer.name)
    except NotFoundError:
        return 0
    except (nats.errors.Error, APIError, TimeoutError) as error:
        raise BusUnavailable(f"{consumer.name} does not say how far it is: {error!r}") from error
    return 0 if info.ack_floor is None else info.ack_floor.stream_seq or 0


async def go_on_after(bus: Bus, consumer: Consumer, place: int) -> None:
    """Have a consumer take everything after that place, as if it had not been given any of it.

    Raises:
        BusUnavailable: the server did not answer; before version 2.14 it cannot do this.
    """
    said = await _ask(bus, f"$JS.API.CONSUMER.RESET.{consumer.stream}.{consumer.name}", {"seq": place + 1})
    _agreed(said, f"{consumer.name} was not set back")


async def unfinished(bus: Bus) -> list[tuple[str, str]]:
    """Workflows that were started and have not ended, each as its tenant and id.

    Raises:
        BusUnavailable: the server did not answer.
    """
    last: dict[tuple[str, str], tuple[int, str]] = {}
    try:
        # The last event of each name; of these the one that lies last is the workflow's last.
        config = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT, headers_only=True, ack_policy=api.AckPolicy.NONE
        )
        names = await bus.js.pull_subscribe(WorkflowEvents.of_tenants(), stream=WORKFLOWS, config=config)
        left = (await names.consumer_info()).num_pending or 0
        while left > 0:
            for msg in await names.fetch(min(left, AT_ONCE), timeout=SILENCE_S):
                event, meta = WorkflowEvents.parse(msg.subject), msg.metadata
                left = meta.num_pending
                workflow = event.tenant, event.workflow
                last[workflow] = max(last.get(workflow, (0, "")), (meta.sequence.stream, event.event))
        await names.unsubscribe()
    except (nats.errors.Error, APIError, TimeoutError) as error:
        raise BusUnavailable(f"{WORKFLOWS} was not read: {error!r}") from error
    return [workflow for workflow, (_, event) in last.items() if event not in {"created", *ENDED}]


async def _ask(bus: Bus, subject: str, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        reply = await bus.client.request(subject, json.dumps(request).encode(), timeout=SILENCE_S)
        said: dict[str, Any] = json.loads(reply.data)
    except (nats.errors.Error, TimeoutError, ValueError) as error:
        raise BusUnavailable(f"{subject} was not answered: {error!r}") from error
    return said


def _go_on() -> None:
    """`wait_for` of Python 3.11 forgets a cancellation that comes together with what it waits for."""
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError


def _agreed(said: dict[str, Any], what: str) -> dict[str, Any]:
    if error := said.get("error"):
        raise Conflict(f"{what}: {error.get('description')}")
    return said

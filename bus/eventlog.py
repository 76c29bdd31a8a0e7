"""What task log and workflow log have in common: one stream, in which each thing is the ordered list of its events.

An owner writes an event only if the last one is the one that it knows. So two writers can never both believe that
they won, and whoever lost stops.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError
from pydantic import BaseModel, TypeAdapter

from bus import history
from bus.blobs import H_REF
from bus.client import Bus
from bus.codec import CONTENT_TYPE, decode_as, encode
from bus.streams import CALLS, PAYLOADS, TASKS, WAKES, WORKFLOWS
from schemas.errors import BusUnavailable, DevSkyyError, NotFound, StorageFull

WRONG_LAST_SEQUENCE = 10071
NO_ROOM = {10023, 10028, 10047, 10077}
"""JetStream's codes for: insufficient resources, storage resources exceeded, stream limits reached."""
FULL_AT_PERCENT = 85
"""Of the stream's bytes; what is above is for the further events of what was accepted."""
ROOM_CHECK_S = 1.0
"""Between two looks at how full the streams are."""
ROOM_ANSWER_S = 1.0
"""How long such a look may take; then it is unknown."""
EVENT_LIMIT = 900_000
"""Bytes of an event that travels as it is, as outside clients cannot read the object store. NATS takes 1 MiB, headers
included."""
ACK_S = 2.0
"""For JetStream's word on one message; then it is sent again."""
RETRY_S = 0.1
"""Between two tries to write."""
FOLLOW_RECHECK_S = 5.0
"""A follower that has heard nothing for this long reads the log again, should the connection have dropped an event."""
FOLLOW_RETRY_S = 0.5
"""Between two tries of a follower to read the log while the bus is away."""
HEARD = 4
"""Messages that wait for a follower. Of more the oldest are forgotten, and it reads them in the log once it goes on:
so one that stands still, as its client does not read, holds no more than these and a portion."""
PORTION = 8
"""Events that a follower reads at once."""

_CALLED = {
    TASKS: "the task log",
    CALLS: "the journal of calls",
    WORKFLOWS: "the workflow log",
    WAKES: "the queue of wakes",
}


class WrongLastSequence(DevSkyyError):
    """Somebody else has written to this task or workflow since."""

    code = "wrong_last_sequence"


class Event(Protocol):
    """What the events of any log have."""

    @property
    def event(self) -> str: ...
    @property
    def event_id(self) -> str:
        """Random; lets a writer that lost its acknowledgement recognise its own event."""

    @property
    def tenant(self) -> str: ...
    @property
    def seq(self) -> int:
        """Counts the events of one thing from 1, without gaps."""


E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Logged(Generic[E]):
    """An event and its place in the stream."""

    stream_seq: int
    event: E


@dataclass(frozen=True)
class Kind(Generic[E]):
    """What sets one log apart from another."""

    noun: str
    stream: str
    events_of: Callable[[str, str], str]
    """The subject of all events of one thing, by tenant and id."""
    entry: Callable[[str, str, str], object]
    """Where its owner writes an event of that name."""
    id_of: Callable[[E], str]
    adapter: TypeAdapter[E]
    terminal: frozenset[str]
    """Events after which nothing comes, as a rule."""
    bucket: str = PAYLOADS
    """Where events lie that are too large to travel."""
    at_once: bool = False
    """Whether an event does not wait for others of the same turn of the event loop: the broker begins sooner, and both
    sides take more CPU. With 16 workflows of functions at once a step takes 0.35 ms then instead of 0.45; tasks over
    HTTP, of which two cores can carry so many, would be a tenth fewer."""


async def write(
    bus: Bus,
    subject: object,
    body: bytes,
    headers: dict[str, Any],
    what: str,
    stream: str,
    patience_s: float,
    at_once: bool = False,
) -> dict[str, Any]:
    """Publish into a stream until JetStream has said what became of it.

    Returns:
        Its acknowledgement.

    Raises:
        APIError: it refused, because of the expected last sequence.
        StorageFull: there is no room.
        BusUnavailable: it did not answer; whether this was written is unknown.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience_s
    while True:
        try:
            return await bus.acknowledged(subject, body, headers, ACK_S, at_once)
        except NoStreamResponseError as error:
            cause: Exception = error
        except APIError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                raise
            if error.err_code in NO_ROOM:
                if "maximum bytes" in (error.description or ""):
                    raise stream_full(stream) from error
                raise StorageFull(
                    f"JetStream has no room to record {what} ({error.description}); "
                    "free disk space under the platform's home, then send it again"
                ) from error
            cause = error
        except (nats.errors.Error, TimeoutError) as error:
            cause = error
        if loop.time() > give_up:
            raise BusUnavailable(
                f"JetStream did not record {what} within {patience_s:g} s ({cause!r}); "
                "if this lasts, look at `devskyy doctor` and the disk under the platform's home"
            ) from cause
        await asyncio.sleep(RETRY_S)


def stream_full(stream: str, held: int | None = None, limit: int | None = None) -> StorageFull:
    of = f" ({held:,} of {limit:,} bytes)" if held is not None else ""
    return StorageFull(
        f"{_CALLED[stream]} is full{of}; a larger DEVSKYY_STREAM_BYTES or a shorter keeping time makes room, "
        "then send it again"
    )


class Room:
    """Whether streams have room for something new and all that is still to be written of it."""

    def __init__(self, bus: Bus, streams: tuple[str, ...], patience_s: float) -> None:
        self._bus, self._streams, self._patience_s = bus, streams, patience_s
        self._full: StorageFull | None = None
        self._read_at = -ROOM_CHECK_S

    async def full(self) -> StorageFull | None:
        """Why nothing new is taken; None while there is room, and while nobody knows."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._read_at >= ROOM_CHECK_S:
            self._read_at = loop.time()
            self._full = None
            with contextlib.suppress(nats.errors.Error, APIError, TimeoutError):
                async with asyncio.timeout(min(ROOM_ANSWER_S, self._patience_s)):
                    for stream in self._streams:
                        info = await self._bus.js.stream_info(stream)
                        held, limit = info.state.bytes, info.config.max_bytes or 0
                        if 0 < limit * FULL_AT_PERCENT <= held * 100:
                            self._full = stream_full(stream, held, limit)
                            break
        return self._full


class EventLog(Generic[E]):
    """Append, read and follow the events of one kind of thing."""

    def __init__(self, bus: Bus, kind: Kind[E], patience_s: float) -> None:
        self._bus, self._kind, self._patience_s = bus, kind, patience_s

    async def append(self, event: E, expected: int) -> int:
        """Write an event if the last one of its thing still lies at `expected` in the stream (0: if there is none).

        A lost acknowledgement is no failure: the last event is read again, and if it is this one, it was written.

        Returns:
            The event's place in the stream.

        Raises:
            WrongLastSequence: somebody else has written since.
            StorageFull: there is no room.
            BusUnavailable: JetStream did not answer; whether the event was written is unknown.
        """
        kind, name, of = self._kind, event.event, self._kind.id_of(event)
        assert isinstance(event, BaseModel)
        body = encode(event)
        headers: dict[str, Any] = {
            "Content-Type": CONTENT_TYPE,
            "Nats-Expected-Last-Subject-Sequence": str(expected),
            "Nats-Expected-Last-Subject-Sequence-Subject": kind.events_of(event.tenant, of),
        }
        subject = str(kind.entry(event.tenant, of, name))
        if len(body) > EVENT_LIMIT:
            headers[H_REF] = await self._bus.blobs.put(body, kind.bucket)
            body = b""
        try:
            ack = await write(
                self._bus, subject, body, headers, repr(name), kind.stream, self._patience_s, kind.at_once
            )
        except APIError:
            return await self._mine_or_raise(event)
        return int(ack["seq"])

    async def _mine_or_raise(self, event: E) -> int:
        of = self._kind.id_of(event)
        try:
            last = (await self.read(event.tenant, of))[-1]
        except NotFound:
            raise WrongLastSequence(of) from None
        if last.event.event_id == event.event_id:
            return last.stream_seq
        raise WrongLastSequence(of) from None

    async def read(
        self, tenant: str, of: str, after: int = 0, start: int = 1, limit: int | None = None
    ) -> list[Logged[E]]:
        """Events of one thing, oldest first, those with `seq` over `after`.

        Args:
            start: the place in the stream to begin at; what lies before is not even loaded.
            limit: events that are loaded at most.

        Raises:
            NotFound: there is none, it has grown too old for the stream, or nothing of it lies from `start` on.
            BusUnavailable: the stream did not answer.
        """
        found: list[Logged[E]] = []
        pattern = self._kind.events_of(tenant, of)
        messages = history.messages(self._bus, self._kind.stream, pattern, start, limit or history.BATCH)
        async with contextlib.aclosing(messages):
            async for msg in messages:
                found.append(Logged(int((msg.headers or {})["Nats-Sequence"]), await self.event_of(msg)))
                if len(found) == limit:
                    break
        if not found:
            raise NotFound(self._kind.noun, of)
        return [entry for entry in found if entry.event.seq > after]

    async def event_of(self, msg: Msg) -> E:
        """The event that a message of the stream stands for, its large parts fetched."""
        return decode_as(await self._bus.blobs.load(msg), self._kind.adapter, f"{self._kind.noun} event")

    async def event_named(self, tenant: str, of: str, name: str) -> E:
        """The last event of that name, as the stream's leader has it.

        Raises:
            NotFound: there is none.
            BusUnavailable: the stream did not answer.
        """
        subject = f"{self._kind.events_of(tenant, of).removesuffix('>')}{name}"
        return await self._one(of, self._bus.js.get_last_msg(self._kind.stream, subject))

    async def event_at(self, tenant: str, of: str, place: int) -> E:
        """The event of one thing that lies at a place in the stream.

        Raises:
            NotFound: it lies there no more.
            BusUnavailable: the stream did not answer.
        """
        event = await self._one(of, self._bus.js.get_msg(self._kind.stream, place))
        if (event.tenant, self._kind.id_of(event)) != (tenant, of):  # another stream of that name
            raise NotFound(self._kind.noun, of)
        return event

    async def _one(self, of: str, asked: Awaitable[RawStreamMsg]) -> E:
        try:
            raw = await asked
        except NotFoundError:
            raise NotFound(self._kind.noun, of) from None
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"{self._kind.noun} {of} was not read: {error!r}") from error
        body = await self._bus.blobs.unwrap(raw.data or b"", raw.headers)
        return decode_as(body, self._kind.adapter, f"{self._kind.noun} event")

    async def follow(self, tenant: str, of: str, after: int = 0, place: int = 0) -> AsyncIterator[E]:
        """Events with `seq` over `after`, those to come included, until the last there is ends it; each once, in order.

        A bus that is away for a while delays events; it loses none and repeats none.

        Args:
            place: where the event `after` lies in the stream. What lies before is not read then, and that it ended the
                thing is no reason to stop.

        Raises:
            NotFound: see `read`.
            BusUnavailable: the stream did not answer at the start, or the connection is gone for good.
        """
        live: asyncio.Queue[Msg] = asyncio.Queue(HEARD)

        async def on_event(msg: Msg) -> None:
            if live.full():
                live.get_nowait()
            live.put_nowait(msg)

        # Subscribed before reading, on one connection: what is stored after the reading will be heard.
        subscription = await self._bus.client.subscribe(self._kind.events_of(tenant, of), cb=on_event)
        try:
            known, begun, ended = after, False, False
            heard: Logged[E] | None = None
            while True:
                try:
                    fresh = await self._news(tenant, of, known, place, heard)
                except BusUnavailable:
                    if not begun or self._bus.closed.is_set():
                        raise
                    heard = None
                    await asyncio.sleep(FOLLOW_RETRY_S)
                    continue
                begun = True
                for entry in fresh:
                    place, ended = entry.stream_seq, entry.event.event in self._kind.terminal
                    if entry.event.seq > known:
                        known = entry.event.seq
                        yield entry.event
                if len(fresh) == PORTION:
                    heard = None
                    continue
                if ended and live.empty():
                    return
                try:
                    msg = await asyncio.wait_for(live.get(), FOLLOW_RECHECK_S)
                    heard = Logged(int((msg.headers or {}).get("Nats-Sequence", 0)), await self.event_of(msg))
                except (TimeoutError, BusUnavailable):
                    heard = None
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _news(self, tenant: str, of: str, known: int, place: int, heard: Logged[E] | None) -> list[Logged[E]]:
        """What follows `place` in the stream: the event just heard if it is the next, else a portion of the log."""
        if heard is not None and heard.stream_seq <= place:
            return []
        if heard is not None and heard.event.seq == known + 1:
            return [heard]
        try:
            return await self.read(tenant, of, 0, place + 1, PORTION)
        except NotFound:
            if not place:
                raise
            return []

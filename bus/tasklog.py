"""The task log: one stream holds every task as the ordered list of its events.

Accepting writes the first event only if there is none; an owner writes each further one only if the last is the one
that it knows. So two writers can never both believe that they won, and whoever lost stops.
"""

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from bus import trace
from bus.blobs import H_REF
from bus.client import Bus
from bus.codec import CONTENT_TYPE, decode, decode_as, encode
from bus.endings import Endings
from bus.streams import CALLS, COMMANDS, TASKS
from bus.subjects import TaskCommand, TaskEvents, TaskLogEntry, token
from schemas.budget import Budget
from schemas.completion import NO_TASK
from schemas.errors import (
    BusUnavailable,
    DevSkyyError,
    Fenced,
    InvalidRequest,
    KeyReused,
    NotFound,
    StorageFull,
    TooLarge,
)
from schemas.event import TASK_EVENT, TERMINAL, Accepted, Command, Ended, TaskEvent
from schemas.message import now
from schemas.progress import progress_of
from schemas.projection import project
from schemas.task import MAX_INPUT_BYTES, MAX_PROMPT_BYTES, Task, TaskRequest

WRONG_LAST_SEQUENCE = 10071
NO_ROOM = {10023, 10028, 10047, 10077}
"""JetStream's codes for: insufficient resources, storage resources exceeded, stream limits reached."""
FULL_AT_PERCENT = 85
"""Of the stream's bytes; what is above is for the further events of tasks that were accepted."""
ROOM_CHECK_S = 1.0
"""Between two looks at how full the stream is."""
ROOM_ANSWER_S = 1.0
"""How long such a look may take; then it is unknown."""
EVENT_LIMIT = 900_000
"""Bytes of an event that travels as it is, as outside clients cannot read the object store. NATS takes 1 MiB, headers
included."""
FOLLOW_RECHECK_S = 5.0
"""A follower that has heard nothing for this long reads the log again, should the connection have dropped an event."""
FOLLOW_RETRY_S = 0.5
"""Between two tries of a follower to read the log while the bus is away."""


class WrongLastSequence(DevSkyyError):
    """Somebody else has written to this task since."""

    code = "wrong_last_sequence"


@dataclass(frozen=True)
class Logged:
    """An event and its place in the stream."""

    stream_seq: int
    event: TaskEvent


def task_id_of(tenant: str, key: str) -> str:
    """The id that an idempotency key stands for: the same for the same tenant and key, for ever."""
    return hashlib.sha256(f"{tenant}\0{key}".encode()).hexdigest()[:32]


def fingerprint(request: TaskRequest) -> str:
    """SHA-256 of what is asked, independent of the order of fields and of fields that a later version adds."""
    body = json.dumps(request.model_dump(mode="json", exclude_defaults=True), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(body.encode()).hexdigest()


def check(request: TaskRequest) -> None:
    """Refuse what this version cannot take, before anything is written.

    Raises:
        TooLarge: the prompt is over 256 KiB, or the inputs together are over 20 MB.
    """
    prompt = len(request.prompt.encode())
    if prompt > MAX_PROMPT_BYTES:
        raise TooLarge("the prompt", prompt, MAX_PROMPT_BYTES)
    inputs = sum(i.size for i in request.inputs) + sum(len(turn.content.encode()) for turn in request.history)
    if inputs > MAX_INPUT_BYTES:
        raise TooLarge("the inputs together (history included)", inputs, MAX_INPUT_BYTES)


class TaskLog:
    """Accept, read, follow, append and command tasks."""

    def __init__(self, bus: Bus, patience_s: float = 5.0) -> None:
        self._bus, self._endings = bus, Endings(bus)
        self._patience_s = patience_s
        self._full_stream: StorageFull | None = None
        """Why no further task is taken; None while there is room, and while nobody knows."""
        self._room_read_at = -ROOM_CHECK_S

    # -- the way in --------------------------------------------------------------------------------------------

    async def accept(
        self,
        request: TaskRequest,
        tenant: str,
        key: str | None = None,
        task_id: str | None = None,
        api_key: str | None = None,
        key_budget: Budget | None = None,
    ) -> tuple[Task, bool]:
        """Put a task on disk; with a key or id that was used before, return that task.

        Args:
            key: an idempotency key.
            api_key: the id of the API key that asks, and in `key_budget` what it may spend in a day.

        Returns:
            The task, and whether this call created it.

        Raises:
            KeyReused: the key or id belongs to a task with another body.
            TooLarge, InvalidRequest: see `check`; `task_id` is no subject token.
            BusUnavailable, StorageFull: nothing was accepted.
        """
        check(request)
        if task_id is not None:
            try:
                token(task_id)
            except ValueError as error:
                raise InvalidRequest("task_id", str(error)) from None
            if task_id == NO_TASK:
                raise InvalidRequest("task_id", f"{NO_TASK!r} stands for calls that belong to no task; take another id")
        wanted = task_id or (task_id_of(tenant, key) if key else secrets.token_hex(16))
        at = now()
        event = Accepted(
            event_id=secrets.token_hex(8),
            task_id=wanted,
            tenant=tenant,
            seq=1,
            at=at,
            request=request,
            body_sha256=fingerprint(request),
            deadline_at=at + timedelta(seconds=request.timeout_s),
            trace=trace.current(),
            key=api_key,
            key_budget=key_budget,
        )
        full = await self._full()
        try:
            if full is None:
                await self.append(event, expected=0)
                return project([event]), True
        except WrongLastSequence:
            pass
        # A repeat takes no room, so it gets its task also when the log is full.
        try:
            there = [entry.event for entry in await self.read(tenant, wanted)]
        except NotFound:
            raise full or BusUnavailable(f"task {wanted} was there a moment ago and is not; try again") from None
        task, first = self._task_of(wanted, there), there[0]
        if isinstance(first, Accepted):
            same, created = first.body_sha256 == event.body_sha256, first.event_id == event.event_id
        else:  # the body has grown too old for the stream; the prompt is what is left of it
            same, created = task.prompt == request.prompt, False
        if not same:
            raise KeyReused(key or wanted, wanted)
        return task, created

    async def _full(self) -> StorageFull | None:
        """Why no further task is taken, if none is: its events or the record of its calls would find no room."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._room_read_at >= ROOM_CHECK_S:
            self._room_read_at = loop.time()
            self._full_stream = None
            with contextlib.suppress(nats.errors.Error, APIError, TimeoutError):
                async with asyncio.timeout(min(ROOM_ANSWER_S, self._patience_s)):
                    for stream in (TASKS, CALLS):
                        info = await self._bus.js.stream_info(stream)
                        held, limit = info.state.bytes, info.config.max_bytes or 0
                        if 0 < limit * FULL_AT_PERCENT <= held * 100:
                            self._full_stream = _stream_full(stream, held, limit)
                            break
        return self._full_stream

    async def command(self, tenant: str, task_id: str, command: Command) -> None:
        """Ask the task's owner for something. It is kept, so that an owner still to come finds it too.

        Raises:
            BusUnavailable: the command was not recorded.
        """
        await self._bus.record(TaskCommand(tenant, task_id), command)

    async def pending_command(self, tenant: str, task_id: str) -> Command | None:
        """The last command that the task was sent, if any."""
        try:
            msg = await self._bus.js.get_last_msg(COMMANDS, str(TaskCommand(tenant, task_id)), direct=True)
        except NotFoundError:
            return None
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"commands of task {task_id} were not read: {error!r}") from error
        return decode(msg.data or b"", Command)

    # -- reading -----------------------------------------------------------------------------------------------

    async def read(self, tenant: str, task_id: str, after: int = 0, start: int = 1) -> list[Logged]:
        """Events of a task, oldest first, those with `seq` over `after`.

        Args:
            start: the place in the stream to begin at; what lies before is not even loaded.

        Raises:
            NotFound: there is no such task, it has grown too old for the stream, or nothing of it lies from `start` on.
            BusUnavailable: the stream did not answer.
        """
        pattern = TaskEvents.of_task(tenant, task_id)
        found: list[Logged] = []
        while True:
            request = json.dumps({"next_by_subj": pattern, "seq": start, "batch": 256}).encode()
            pending = 0
            answers = self._bus.ask_many(f"$JS.API.DIRECT.GET.{TASKS}", request)
            async with contextlib.aclosing(answers):
                async for msg in answers:
                    headers = msg.headers or {}
                    if "Status" in headers:
                        pending = int(headers.get("Nats-Num-Pending", "0")) if headers["Status"] == "204" else 0
                        break
                    start = int(headers["Nats-Sequence"]) + 1
                    found.append(Logged(start - 1, await self.event_of(msg)))
            if not pending:
                break
        if not found:
            raise NotFound("task", task_id)
        return [entry for entry in found if entry.event.seq > after]

    async def event_of(self, msg: Msg) -> TaskEvent:
        """The event that a message of the stream stands for, its large parts fetched."""
        return decode_as(await self._bus.blobs.load(msg), TASK_EVENT, "task event")

    async def task(self, tenant: str, task_id: str) -> Task:
        """The task as its events tell it.

        Raises:
            NotFound: see `read`; or its beginning has grown too old, and it had not ended.
            BusUnavailable: see `read`.
        """
        return self._task_of(task_id, [entry.event for entry in await self.read(tenant, task_id)])

    @staticmethod
    def _task_of(task_id: str, events: list[TaskEvent]) -> Task:
        try:
            task = project(events)
        except ValueError:
            raise NotFound("task", task_id) from None
        progress = progress_of(events)
        return task if progress is None else task.model_copy(update={"progress": progress})

    async def follow(self, tenant: str, task_id: str, after: int = 0) -> AsyncIterator[TaskEvent]:
        """Events with `seq` over `after`, those to come included, until the task has ended; each once, in order.

        A bus that is away for a while delays events; it loses none and repeats none.

        Raises:
            NotFound: see `read`.
            BusUnavailable: the stream did not answer at the start, or the connection is gone for good.
        """
        live: asyncio.Queue[Msg] = asyncio.Queue()

        async def on_event(msg: Msg) -> None:
            live.put_nowait(msg)

        # Subscribed before reading, on one connection: what is stored after the reading will be heard.
        subscription = await self._bus.client.subscribe(TaskEvents.of_task(tenant, task_id), cb=on_event)
        try:
            known, place, begun = after, 0, False
            heard: Logged | None = None
            while True:
                try:
                    fresh = await self._news(tenant, task_id, known, place, heard)
                except BusUnavailable:
                    if not begun or self._bus.closed.is_set():
                        raise
                    heard = None
                    await asyncio.sleep(FOLLOW_RETRY_S)
                    continue
                begun = True
                for entry in fresh:
                    place = entry.stream_seq
                    if entry.event.seq > known:
                        known = entry.event.seq
                        yield entry.event
                    if entry.event.event in TERMINAL:
                        return
                try:
                    msg = await asyncio.wait_for(live.get(), FOLLOW_RECHECK_S)
                    heard = Logged(int((msg.headers or {}).get("Nats-Sequence", 0)), await self.event_of(msg))
                except (TimeoutError, BusUnavailable):
                    heard = None
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _news(self, tenant: str, task_id: str, known: int, place: int, heard: Logged | None) -> list[Logged]:
        """What follows `place` in the stream: the event just heard if it is the next, else whatever the log holds."""
        if heard is not None and heard.stream_seq <= place:
            return []
        if heard is not None and heard.event.seq == known + 1:
            return [heard]
        try:
            return await self.read(tenant, task_id, 0, place + 1)
        except NotFound:
            if not place:
                raise
            return []

    async def wait(self, tenant: str, task_id: str, timeout_s: float) -> Task:
        """The task once it has ended, or as it is after `timeout_s`.

        Raises:
            NotFound, BusUnavailable: see `read`.
        """
        await self._endings.listen()
        with self._endings.expect(tenant, task_id) as ending:
            task = await self.task(tenant, task_id)
            return task if task.ended else await self._ended(tenant, task_id, ending, timeout_s)

    async def perform(
        self,
        request: TaskRequest,
        tenant: str,
        key: str | None,
        timeout_s: float,
        api_key: str | None = None,
        key_budget: Budget | None = None,
    ) -> Task:
        """Accept a task and wait for its end: as `accept` and `wait`, without reading what was just written.

        Raises:
            See `accept` and `wait`.
        """
        await self._endings.listen()
        task_id = task_id_of(tenant, key) if key else secrets.token_hex(16)
        with self._endings.expect(tenant, task_id) as ending:
            task, created = await self.accept(request, tenant, key, task_id, api_key, key_budget)
            if not created:
                task = await self.task(tenant, task_id)
            return task if task.ended else await self._ended(tenant, task_id, ending, timeout_s)

    async def _ended(self, tenant: str, task_id: str, ending: asyncio.Future[Msg], timeout_s: float) -> Task:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while (left_s := until - loop.time()) > 0:
            # A broken connection may have dropped the event, so the log is read again from time to time.
            await asyncio.wait([ending], timeout=min(left_s, FOLLOW_RECHECK_S))
            try:
                if ending.done():
                    event = await self.event_of(ending.result())
                    if isinstance(event, Ended):
                        return event.task
                task = await self.task(tenant, task_id)
            except BusUnavailable:
                if self._bus.closed.is_set():
                    raise
                await asyncio.sleep(FOLLOW_RETRY_S)
                continue
            if task.ended:
                return task
        return await self.task(tenant, task_id)

    # -- writing -----------------------------------------------------------------------------------------------

    async def append(self, event: TaskEvent, expected: int) -> int:
        """Write an event if the task's last one still lies at `expected` in the stream (0: if there is none).

        A lost acknowledgement is no failure: the last event is read again, and if it is this one, it was written.

        Returns:
            The event's place in the stream.

        Raises:
            WrongLastSequence: somebody else has written since.
            StorageFull: there is no room.
            BusUnavailable: JetStream did not answer; whether the event was written is unknown.
        """
        body = encode(event)
        headers: dict[str, Any] = {
            "Content-Type": CONTENT_TYPE,
            "Nats-Expected-Last-Subject-Sequence": str(expected),
            "Nats-Expected-Last-Subject-Sequence-Subject": TaskEvents.of_task(event.tenant, event.task_id),
        }
        subject = str(TaskLogEntry(event.tenant, event.task_id, event.event))
        if len(body) > EVENT_LIMIT:
            headers[H_REF] = await self._bus.blobs.put(body)
            body = b""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience_s
        while True:
            try:
                return await self._bus.put(subject, body, headers, timeout_s=2)
            except NoStreamResponseError as error:
                cause: Exception = error
            except APIError as error:
                if error.err_code == WRONG_LAST_SEQUENCE:
                    return await self._mine_or_raise(event)
                if error.err_code in NO_ROOM:
                    if "maximum bytes" in (error.description or ""):
                        raise _stream_full(TASKS) from error
                    raise StorageFull(
                        f"JetStream has no room to record {event.event!r} ({error.description}); "
                        "free disk space under the platform's home, then send it again"
                    ) from error
                cause = error
            except (nats.errors.Error, TimeoutError) as error:
                cause = error
            if loop.time() > give_up:
                raise BusUnavailable(
                    f"JetStream did not record {event.event!r} within {self._patience_s:g} s ({cause!r}); "
                    "if this lasts, look at `devskyy doctor` and the disk under the platform's home"
                ) from cause
            await asyncio.sleep(0.1)

    async def _mine_or_raise(self, event: TaskEvent) -> int:
        try:
            last = (await self.read(event.tenant, event.task_id))[-1]
        except NotFound:
            raise WrongLastSequence(event.task_id) from None
        if last.event.event_id == event.event_id:
            return last.stream_seq
        raise WrongLastSequence(event.task_id) from None


def _stream_full(stream: str, held: int | None = None, limit: int | None = None) -> StorageFull:
    what = "the task log" if stream == TASKS else "the journal of calls"
    of = f" ({held:,} of {limit:,} bytes)" if held is not None else ""
    return StorageFull(
        f"{what} is full{of}; a larger DEVSKYY_STREAM_BYTES or a shorter keeping time makes room, then send it again"
    )


class OwnedTask:
    """A task in the hands of its present owner, which alone appends to it."""

    def __init__(self, log: TaskLog, history: list[Logged]) -> None:
        self._log = log
        self._last = history[-1].stream_seq
        self.events = [entry.event for entry in history]

    @property
    def accepted(self) -> Accepted:
        first = self.events[0]
        assert isinstance(first, Accepted)
        return first

    @property
    def ended(self) -> bool:
        return self.events[-1].event in TERMINAL

    @property
    def next_fields(self) -> dict[str, Any]:
        """What every event of this task starts with."""
        return {
            "event_id": secrets.token_hex(8),
            "task_id": self.accepted.task_id,
            "tenant": self.accepted.tenant,
            "seq": self.events[-1].seq + 1,
            "at": now(),
        }

    async def append(self, event: TaskEvent) -> None:
        """Write the next event.

        Raises:
            Fenced: a newer owner has written since; stop for good.
            BusUnavailable, StorageFull: see `TaskLog.append`.
        """
        try:
            self._last = await self._log.append(event, self._last)
        except WrongLastSequence:
            raise Fenced(event.task_id, event.event) from None
        self.events.append(event)

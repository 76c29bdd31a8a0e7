"""The task log: one stream holds every task as the ordered list of its events.

Accepting writes the first event only if there is none; its present owner writes each further one.
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from operator import attrgetter
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from bus import eventlog, trace
from bus.client import Bus
from bus.codec import decode
from bus.endings import Endings
from bus.eventlog import FOLLOW_RECHECK_S, FOLLOW_RETRY_S, EventLog, Kind, Room, WrongLastSequence
from bus.streams import CALLS, COMMANDS, TASKS
from bus.subjects import TaskCommand, TaskEvents, TaskLogEntry, token
from schemas.budget import Budget
from schemas.completion import NO_TASK
from schemas.errors import (
    BusUnavailable,
    Fenced,
    InvalidRequest,
    KeyReused,
    NotFound,
    TooLarge,
)
from schemas.event import TASK_EVENT, TERMINAL, Accepted, Command, Ended, TaskEvent
from schemas.message import now
from schemas.progress import progress_of
from schemas.projection import project
from schemas.task import MAX_INPUT_BYTES, MAX_PROMPT_BYTES, Task, TaskRequest

Logged = eventlog.Logged[TaskEvent]

KIND: Kind[TaskEvent] = Kind(
    noun="task",
    stream=TASKS,
    events_of=TaskEvents.of_task,
    entry=TaskLogEntry,
    id_of=attrgetter("task_id"),
    adapter=TASK_EVENT,
    terminal=TERMINAL,
)


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
    inputs = sum(i.size for i in request.inputs) + sum(turn.size for turn in (*request.history, *request.later))
    if inputs > MAX_INPUT_BYTES:
        raise TooLarge("the inputs together (history included)", inputs, MAX_INPUT_BYTES)


class TaskLog:
    """Accept, read, follow, append and command tasks."""

    def __init__(self, bus: Bus, patience_s: float = 5.0) -> None:
        self._bus, self._endings = bus, Endings(bus)
        self._log = EventLog(bus, KIND, patience_s)
        self._room = Room(bus, (TASKS, CALLS), patience_s)

    # -- the way in --------------------------------------------------------------------------------------------

    async def accept(
        self,
        request: TaskRequest,
        tenant: str,
        key: str | None = None,
        task_id: str | None = None,
        api_key: str | None = None,
        key_budget: Budget | None = None,
        workflow: str | None = None,
        workflow_budget: Budget | None = None,
    ) -> tuple[Task, bool]:
        """Put a task on disk; with a key or id that was used before, return that task.

        Args:
            key: an idempotency key.
            api_key: the id of the API key that asks, and in `key_budget` what it may spend in a day.
            workflow: the workflow that it is a task of, and in `workflow_budget` what all of these may spend together.

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
            workflow=workflow,
            workflow_budget=workflow_budget,
        )
        full = await self._room.full()
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

    async def command(self, tenant: str, task_id: str, command: Command) -> None:
        """Ask the task's owner for something. It is kept, so that an owner still to come finds it too.

        Raises:
            BusUnavailable: the command was not recorded.
        """
        await self._bus.record(TaskCommand(tenant, task_id), command)

    async def pending_command(self, tenant: str, task_id: str) -> Command | None:
        """The last command that the task was sent, if any."""
        try:
            msg = await self._bus.js.get_last_msg(
                COMMANDS, str(TaskCommand(tenant, task_id)), direct=not self._bus.clustered
            )
        except NotFoundError:
            return None
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"commands of task {task_id} were not read: {error!r}") from error
        return decode(msg.data or b"", Command)

    # -- reading -----------------------------------------------------------------------------------------------

    async def read(self, tenant: str, task_id: str, after: int = 0, start: int = 1) -> list[Logged]:
        """Events of a task, oldest first, those with `seq` over `after`: see `EventLog.read`."""
        return await self._log.read(tenant, task_id, after, start)

    async def event_of(self, msg: Msg) -> TaskEvent:
        """The event that a message of the stream stands for, its large parts fetched."""
        return await self._log.event_of(msg)

    async def event_at(self, tenant: str, task_id: str, place: int) -> TaskEvent:
        """The event of a task that lies at a place in the stream: see `EventLog.event_at`."""
        return await self._log.event_at(tenant, task_id, place)

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

    def follow(self, tenant: str, task_id: str, after: int = 0) -> AsyncIterator[TaskEvent]:
        """Events with `seq` over `after`, those to come included, until the task has ended: see `EventLog.follow`."""
        return self._log.follow(tenant, task_id, after)

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
        """Write an event if the task's last one still lies at `expected` in the stream: see `EventLog.append`."""
        return await self._log.append(event, expected)


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

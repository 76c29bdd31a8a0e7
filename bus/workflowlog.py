"""The workflow log: one stream holds every workflow as the ordered list of its events, and beside it what its owner
keeps: a queue of wakes, which say that somebody is to go on with it, its next timer, and a snapshot of how it stood.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from bus.blobs import H_REF
from bus.client import Bus
from bus.codec import CONTENT_TYPE, decode, encode
from bus.consumer import Puller
from bus.eventlog import EVENT_LIMIT, RETRY_S, EventLog, Kind, Logged, Room, WrongLastSequence, write
from bus.streams import LASTING, OWN_IDS, PAYLOADS, SNAPSHOTS, STATES, TIMEKEEPERS, TIMERS, WAKES, WORKFLOWS
from bus.subjects import WorkflowDue, WorkflowEvents, WorkflowLogEntry, WorkflowSnapshot, WorkflowTimer, WorkflowWake
from schemas.errors import BusUnavailable, DecodeError, DevSkyyError, KeyReused, NotFound
from schemas.message import Message, now
from schemas.workflow import ENDED
from schemas.workflow_event import WORKFLOW_EVENT, Created, WorkflowCommand, WorkflowEvent

TIMERS_AT_ONCE = 64
"""Of those that have gone off."""
THREAD_BYTES = 64 * 1024
"""A snapshot of more is compressed and read beside the event loop: a megabyte takes some 15 ms."""

log = structlog.get_logger()

KIND: Kind[WorkflowEvent] = Kind(
    noun="workflow",
    stream=WORKFLOWS,
    events_of=WorkflowEvents.of_workflow,
    entry=WorkflowLogEntry,
    id_of=attrgetter("workflow_id"),
    adapter=WORKFLOW_EVENT,
    terminal=ENDED,
    bucket=LASTING,
    at_once=True,
)


def owner_of(tenant: str, workflow_id: str) -> str:
    """What the names of objects begin with that belong to one workflow."""
    return f"{tenant}.{workflow_id}"


class Snapshot(Message):
    """How a workflow stood after one of its events, as its owner wrote it."""

    code: str
    """Names the version of the code that wrote the state; another cannot read it."""
    seq: int
    """The event's number."""
    stream_seq: int
    """The event's place in the stream."""
    state: bytes


class WorkflowLog:
    """Create, read, follow, append and wake workflows."""

    def __init__(self, bus: Bus, patience_s: float = 5.0) -> None:
        self._bus, self._patience_s = bus, patience_s
        self._log = EventLog(bus, KIND, patience_s)
        self._room = Room(bus, (WORKFLOWS, WAKES), patience_s)
        self._own_ids: str | None = None

    # -- events ------------------------------------------------------------------------------------------------

    async def create(self, event: Created) -> tuple[Created, bool]:
        """Put a workflow on disk; where there is one of this id already, return how that one was created.

        Returns:
            The workflow's first event, and whether this call wrote it.

        Raises:
            KeyReused: the workflow that is there was created from another body.
            BusUnavailable, StorageFull: nothing was created.
        """
        full = await self._room.full()
        try:
            if full is None:
                await self._log.append(event, expected=0)
                return event, True
        except WrongLastSequence:
            pass
        # A repeat takes no room, so it gets its workflow also when the log is full.
        try:
            there = await self.created(event.tenant, event.workflow_id)
        except NotFound:
            raise full or BusUnavailable(
                f"workflow {event.workflow_id} was there a moment ago and is not; try again"
            ) from None
        if there.body_sha256 != event.body_sha256:
            raise KeyReused(event.workflow_id, event.workflow_id)
        return there, there.event_id == event.event_id

    async def append(self, event: WorkflowEvent, expected: int) -> int:
        """Write an event if the workflow's last one still lies at `expected` in the stream: see `EventLog.append`."""
        return await self._log.append(event, expected)

    async def read(self, tenant: str, workflow_id: str, after: int = 0, start: int = 1) -> list[Logged[WorkflowEvent]]:
        """Events of a workflow, oldest first, those with `seq` over `after`: see `EventLog.read`."""
        return await self._log.read(tenant, workflow_id, after, start)

    async def created(self, tenant: str, workflow_id: str) -> Created:
        """A workflow's first event.

        Raises:
            NotFound: there is no such workflow, or it has grown too old for the stream.
            BusUnavailable: the stream did not answer.
        """
        first = await self._log.event_named(tenant, workflow_id, "created")
        assert isinstance(first, Created)
        return first

    async def event_of(self, msg: Msg) -> WorkflowEvent:
        """The event that a message of the stream stands for, its large parts fetched."""
        return await self._log.event_of(msg)

    async def event_at(self, tenant: str, workflow_id: str, place: int) -> WorkflowEvent:
        """The event of a workflow that lies at a place in the stream: see `EventLog.event_at`."""
        return await self._log.event_at(tenant, workflow_id, place)

    def follow(self, tenant: str, workflow_id: str, after: int = 0, place: int = 0) -> AsyncIterator[WorkflowEvent]:
        """Events with `seq` over `after`, those to come included: see `EventLog.follow`.

        A workflow that has ended may be made to go on; whoever follows it until its end does not see that.
        """
        return self._log.follow(tenant, workflow_id, after, place)

    async def forget(self, tenant: str, workflow_id: str) -> None:
        """Remove what is kept of a workflow: its events, its snapshot and its timer.

        Raises:
            BusUnavailable: something may still be there.
        """
        try:
            for stream, subject in (
                (TIMERS, str(WorkflowTimer(tenant, workflow_id))),
                (SNAPSHOTS, str(WorkflowSnapshot(tenant, workflow_id))),
                (WORKFLOWS, WorkflowEvents.of_workflow(tenant, workflow_id)),
            ):
                await self._bus.js.purge_stream(stream, subject=subject)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"workflow {workflow_id} was not removed: {error!r}") from error

    async def store(self, data: bytes, until: datetime, owner: str | None = None) -> str:
        """Store what an event refers to, and return its name for `Bus.blobs.get`.

        Args:
            owner: whose it is alone, so that it can be erased with it: see `owner_of`.
            until: when the workflow is over; what is stored outlives that by at least half of the time
                that payloads are kept.

        Raises:
            BusUnavailable: it was not stored.
        """
        left_s = (until - now()).total_seconds()
        short = left_s < await self._bus.blobs.keep_s(PAYLOADS) / 2
        return await self._bus.blobs.put(data, PAYLOADS if short else LASTING, owner)

    # -- wakes -------------------------------------------------------------------------------------------------

    async def wake(self, tenant: str, workflow_id: str, command: WorkflowCommand, once: str | None = None) -> bool:
        """Ask whoever owns a workflow, or else any engine, for something. It is kept until that is done.

        Args:
            once: of wakes of one workflow with the same, sent within ten minutes, the first counts; left out, the
                command's id.

        Returns:
            Whether it is new. One whose acknowledgement got lost, and which was therefore sent again here, is not.

        Raises:
            BusUnavailable, StorageFull: it was not recorded.
        """
        what = f"{command.kind!r} of workflow {workflow_id}"
        known = f"{await self._own(what)}.{tenant}.{workflow_id}.{once or command.command}"
        headers: dict[str, Any] = {"Nats-Msg-Id": known}
        body = await self._body(command, headers, PAYLOADS)
        subject = WorkflowWake(tenant, workflow_id)
        said = await self._put(subject, body, headers, what, WAKES)
        return not said.get("duplicate", False)

    async def _own(self, what: str) -> str:
        """What the ids of wakes begin with: see `OWN_IDS`."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience_s
        while self._own_ids is None:
            try:
                held = (await self._bus.js.stream_info(WAKES)).config
                self._own_ids = (held.metadata or {}).get(OWN_IDS, "")
            except (nats.errors.Error, APIError, TimeoutError) as error:
                if loop.time() > give_up:
                    raise BusUnavailable(f"{what} was not recorded: {error!r}") from error
                await asyncio.sleep(RETRY_S)
        return self._own_ids

    async def wake_at(self, tenant: str, workflow_id: str, at: datetime, command: WorkflowCommand) -> None:
        """Wake a workflow at a moment, or at once where that has passed. Its earlier timer is forgotten.

        It takes a `timekeeper`. The server looks every quarter of a second, so it may come that much late.

        Raises:
            BusUnavailable, StorageFull: it was not recorded.
        """
        headers: dict[str, Any] = {
            "Nats-Schedule": f"@at {at.astimezone(UTC).isoformat(timespec='milliseconds').replace('+00:00', 'Z')}",
            "Nats-Schedule-Target": str(WorkflowDue(tenant, workflow_id)),
        }
        body = await self._body(command, headers, LASTING)
        await self._put(WorkflowTimer(tenant, workflow_id), body, headers, f"a timer of workflow {workflow_id}", TIMERS)

    def timekeeper(self) -> Puller:
        """Makes wakes of timers that go off, for as long as it runs. Of several, each timer is taken by one."""

        async def wake(msg: Msg) -> None:
            due = WorkflowDue.parse(msg.subject)
            headers = {name: value for name in ("Content-Type", H_REF) if (value := (msg.headers or {}).get(name))}
            subject = WorkflowWake(due.tenant, due.workflow)
            await self._put(subject, msg.data, headers, f"a timer of workflow {due.workflow}", WAKES)

        return Puller(self._bus, TIMEKEEPERS, wake, concurrency=TIMERS_AT_ONCE, outlasts_outages=True)

    async def command_of(self, msg: Msg) -> WorkflowCommand:
        """What a wake asks for.

        Raises:
            DecodeError: it is no command.
            BusUnavailable: its large parts were not fetched.
        """
        return decode(await self._bus.blobs.load(msg), WorkflowCommand)

    async def _body(self, command: WorkflowCommand, headers: dict[str, Any], bucket: str) -> bytes:
        headers["Content-Type"] = CONTENT_TYPE
        return await self._bus.blobs.offload(encode(command), headers, bucket)

    async def _put(
        self, subject: object, body: bytes, headers: dict[str, Any], what: str, stream: str
    ) -> dict[str, Any]:
        try:
            return await write(self._bus, subject, body, headers, what, stream, self._patience_s)
        except APIError as error:
            raise BusUnavailable(f"{what} was not recorded: {error!r}") from error

    # -- snapshots ---------------------------------------------------------------------------------------------

    async def keep(self, tenant: str, workflow_id: str, snapshot: Snapshot) -> None:
        """Keep how a workflow stands, in place of what was kept before. That it cannot be kept is no failure."""
        subject = WorkflowSnapshot(tenant, workflow_id)
        headers: dict[str, str] = {"Content-Type": CONTENT_TYPE}
        try:
            plain = encode(snapshot)
            body = await _beside(len(plain), zlib.compress, plain, 1)
            if len(body) > EVENT_LIMIT:
                # Always under this name, so that the last one goes.
                headers[H_REF] = await self._bus.blobs.replace(owner_of(tenant, workflow_id), body, STATES)
                body = b""
            await self._bus.put(subject, body, headers)
        except (DevSkyyError, nats.errors.Error, APIError, TimeoutError) as error:
            log.warning("a snapshot was not kept", workflow=workflow_id, seq=snapshot.seq, error=repr(error))

    async def snapshot(self, tenant: str, workflow_id: str) -> Snapshot | None:
        """What was kept last; None where nothing is, or it cannot be read."""
        try:
            raw = await self._bus.js.get_last_msg(SNAPSHOTS, str(WorkflowSnapshot(tenant, workflow_id)), direct=True)
            # One that is being replaced may be lost in the midst of being read, and would be waited for.
            async with asyncio.timeout(self._patience_s):
                body = await self._bus.blobs.unwrap(raw.data or b"", raw.headers)
            return decode(await _beside(len(body), zlib.decompress, body), Snapshot)
        except NotFoundError:
            return None
        except (DecodeError, BusUnavailable, nats.errors.Error, APIError, TimeoutError, zlib.error) as error:
            log.warning("a snapshot was not read", workflow=workflow_id, error=repr(error))
            return None


async def _beside(size: int, work: Any, *args: Any) -> bytes:
    done: bytes = work(*args) if size < THREAD_BYTES else await asyncio.to_thread(work, *args)
    return done

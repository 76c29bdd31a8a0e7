"""Erasing what streams and stores keep of a task, a workflow, or a tenant.

Objects go before the messages that name them, so that an erasure which broke off finds the rest when it is repeated.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import nats.errors
from nats.js.errors import APIError, NotFoundError

from bus import history
from bus.blobs import H_REF
from bus.client import Bus
from bus.streams import (
    CACHE,
    CALLS,
    COMMANDS,
    LASTING,
    PAYLOADS,
    PURSE,
    SNAPSHOTS,
    STATES,
    SUBMIT,
    TASKS,
    TIMERS,
    WAKES,
    WORKFLOWS,
)
from bus.subjects import (
    CachedAnswer,
    CallJournal,
    PurseCounter,
    Submit,
    TaskCommand,
    TaskEvents,
    WorkflowDue,
    WorkflowEvents,
    WorkflowSnapshot,
    WorkflowTimer,
    WorkflowWake,
)
from bus.workflowlog import WorkflowLog, owner_of
from schemas.errors import BusUnavailable, DecodeError

Place = tuple[str, str]
"""A stream, and a subject or pattern in it."""

OWNED = (PAYLOADS, LASTING, STATES)
"""Stores in which names begin with whose it is, where it is somebody's alone."""
PURGE_S = 30.0
"""How long the removal of a tenant's messages may take."""


@dataclass
class Parts:
    """What a workflow's events name."""

    refs: set[str] = field(default_factory=set)
    """Ids of the agent tasks and workflows that did its tasks, those of earlier attempts included."""
    objects: set[str] = field(default_factory=set)
    """Outputs that are its own."""


class Eraser:
    """Every method returns how many messages and objects went, by stream and store. Repeated, it does no harm.

    Every method raises `BusUnavailable` when something may still be there.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus, self._flows = bus, WorkflowLog(bus)

    async def task(self, tenant: str, task_id: str) -> Counter[str]:
        """A task that has ended: its events, journal of calls, commands and counters."""
        events, calls = TaskEvents.of_task(tenant, task_id), CallJournal.of_task(tenant, task_id)
        # Events and entries say whose they are, so no others have the same bytes.
        objects = await self._named((TASKS, events), (CALLS, calls))
        return await self._erase(
            objects,
            (
                (COMMANDS, str(TaskCommand(tenant, task_id))),
                (PURSE, PurseCounter.pattern(scope="tree", within=tenant, name=task_id)),
                (CALLS, calls),
                (TASKS, events),
            ),
        )

    async def parts_of(self, tenant: str, workflow_id: str) -> Parts:
        """What a workflow's events name, as far as they are kept still."""
        parts, mine = Parts(), f"{owner_of(tenant, workflow_id)}."
        pattern = WorkflowEvents.of_workflow(tenant, workflow_id)
        async with contextlib.aclosing(history.messages(self._bus, WORKFLOWS, pattern)) as messages:
            async for msg in messages:
                try:
                    event = await self._flows.event_of(msg)
                except DecodeError:  # an erasure that broke off has left this
                    continue
                parts.refs |= {change.ref for change in event.changes if change.ref is not None}
                blobs = {change.blob for change in event.changes} | {getattr(event, "blob", None)}
                parts.objects |= {name for name in blobs if name and name.rpartition("/")[2].startswith(mine)}
        return parts

    async def workflow(self, tenant: str, workflow_id: str, parts: Parts) -> Counter[str]:
        """A workflow that has ended: its events, outputs, snapshot, timer, wakes and counters; not its tasks.

        Args:
            parts: what `parts_of` gave.
        """
        events = WorkflowEvents.of_workflow(tenant, workflow_id)
        snapshot = str(WorkflowSnapshot(tenant, workflow_id))
        objects = await self._named((WORKFLOWS, events), (SNAPSHOTS, snapshot))
        return await self._erase(
            [*parts.objects, *objects],
            (
                (TIMERS, str(WorkflowTimer(tenant, workflow_id))),
                (TIMERS, str(WorkflowDue(tenant, workflow_id))),
                (WAKES, str(WorkflowWake(tenant, workflow_id))),
                (PURSE, PurseCounter.pattern(scope="workflow", within=tenant, name=workflow_id)),
                (SNAPSHOTS, snapshot),
                (WORKFLOWS, events),
            ),
        )

    async def tenant(self, tenant: str) -> Counter[str]:
        """Everything of a tenant, recordings and cached answers included."""
        logs = (
            (TASKS, TaskEvents.of_tenant(tenant)),
            (CALLS, CallJournal.pattern(tenant=tenant)),
            (CACHE, CachedAnswer.pattern(tenant=tenant)),
            (SNAPSHOTS, WorkflowSnapshot.pattern(tenant=tenant)),
            (WORKFLOWS, WorkflowEvents.of_tenant(tenant)),
        )
        objects = await self._named(*logs)
        return await self._erase(
            [*objects, *await self._owned(tenant)],
            (
                (SUBMIT, str(Submit(tenant))),
                (COMMANDS, TaskCommand.pattern(tenant=tenant)),
                (TIMERS, WorkflowTimer.pattern(tenant=tenant)),
                (TIMERS, WorkflowDue.pattern(tenant=tenant)),
                (WAKES, WorkflowWake.pattern(tenant=tenant)),
                *((PURSE, PurseCounter.pattern(scope=scope, within=tenant)) for scope in ("workflow", "tree")),
                *logs,
            ),
        )

    async def _named(self, *places: Place) -> list[str]:
        """Objects that messages stand for."""
        found = []
        for stream, pattern in places:
            async with contextlib.aclosing(history.messages(self._bus, stream, pattern)) as messages:
                async for msg in messages:
                    if (name := (msg.headers or {}).get(H_REF)) is not None:
                        found.append(name)
        return found

    async def _owned(self, tenant: str) -> list[str]:
        """Objects whose names say that they are a tenant's. It reads the names of all that there are."""
        found = []
        for bucket in OWNED:
            stream, pattern = f"OBJ_{bucket}", f"$O.{bucket}.M.>"
            if not await self._is_there(stream):
                continue
            async with contextlib.aclosing(history.messages(self._bus, stream, pattern)) as messages:
                async for msg in messages:
                    told = json.loads(msg.data)
                    if told["name"].startswith(f"{tenant}.") and not told.get("deleted"):
                        found.append(f"{bucket}/{told['name']}")
        return found

    async def _is_there(self, stream: str) -> bool:
        """Some stores are made when they are first needed."""
        try:
            await self._bus.js.stream_info(stream)
        except NotFoundError:
            return False
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"{stream} does not answer: {error!r}") from error
        return True

    async def _erase(self, objects: Iterable[str], places: Iterable[Place]) -> Counter[str]:
        removed: Counter[str] = Counter()
        for name in dict.fromkeys(objects):
            removed["objects"] += await self._bus.blobs.erase(name)
        for stream, subject in places:
            removed[stream] += await self._purge(stream, subject)
        return +removed

    async def _purge(self, stream: str, subject: str) -> int:
        """As `purge_stream`, which does not say how many messages there were."""
        try:
            asked = json.dumps({"filter": subject}).encode()
            reply = await self._bus.client.request(f"$JS.API.STREAM.PURGE.{stream}", asked, timeout=PURGE_S)
            said = json.loads(reply.data)
        except (nats.errors.Error, TimeoutError, ValueError) as error:
            raise BusUnavailable(f"{subject} was not removed from {stream}: {error!r}") from error
        if not said.get("success"):
            raise BusUnavailable(f"{subject} was not removed from {stream}: {said.get('error')}")
        return int(said["purged"])

"""How a workflow comes to be: the same for HTTP and NATS, and whether it is new or begins as another one stood."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from actors.catalogue import Catalogue
from actors.workflow import document
from actors.workflow.catalogue import built_in
from actors.workflow.check import Known, check
from actors.workflow.fork import inherited
from actors.workflow.inputs import filled
from actors.workflow.preparation import prepared
from actors.workflow.recovery import recovered
from actors.workflow.state import State
from bus import trace
from bus.client import Bus
from bus.subjects import token
from bus.workflowlog import WorkflowLog, owner_of
from schemas.budget import Budget
from schemas.errors import (
    BusUnavailable,
    Conflict,
    DecodeError,
    InvalidRequest,
    InvalidWorkflow,
    KeyReused,
    NotFound,
    StorageFull,
    TooLarge,
    Unavailable,
)
from schemas.message import now
from schemas.workflow import (
    MAX_OUTPUT_BYTES,
    YEAR_S,
    ForkRequest,
    Origin,
    WorkflowAccepted,
    WorkflowDefinition,
    WorkflowLinks,
    WorkflowRequest,
)
from schemas.workflow_event import Change, Created, WorkflowCommand

MAX_INPUT_BYTES = MAX_OUTPUT_BYTES
"""Of all inputs and metadata together, as JSON."""
TAKEN = frozenset({"templates", "validate"})
"""No workflow may be called so: there are doors of these names."""
THREAD_TASKS = 20
"""A definition of more tasks is checked beside the event loop: twenty take 2 ms, a thousand 200."""


@dataclass(frozen=True)
class Asker:
    """Who asks for a workflow, and who pays."""

    tenant: str
    key: str | None = None
    """The API key, by its id."""
    budget: Budget | None = None
    """What that may spend in a day."""


def workflow_id_of(tenant: str, key: str) -> str:
    """The id that an idempotency key stands for; another than that of a task with the same."""
    return hashlib.sha256(f"workflow\0{tenant}\0{key}".encode()).hexdigest()[:32]


def fingerprint(asked: BaseModel, *about: str) -> str:
    """SHA-256 of what is asked, independent of the order of fields and of fields that a later version adds."""
    body = [asked.model_dump(mode="json", exclude_defaults=True), *about]
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def asked(body: Any) -> WorkflowRequest:
    """A request of plain values, from wherever they come.

    Raises:
        InvalidWorkflow: all that breaks a rule of its schema.
    """
    try:
        return document.request(body)
    except RecursionError:
        raise InvalidWorkflow((("", "is nested too deep"),)) from None


def accepted(state: State) -> WorkflowAccepted:
    """What whoever asked for a workflow is told."""
    workflow_id = state.created.workflow_id
    return WorkflowAccepted(
        workflow_id=workflow_id, name=state.definition.name, status=state.status, links=links(workflow_id)
    )


def links(workflow_id: str) -> WorkflowLinks:
    path = f"/api/v1/workflows/{workflow_id}"
    return WorkflowLinks(self=path, events=f"{path}/events")


class Creation:
    """Puts workflows on disk, and has them started."""

    def __init__(
        self,
        bus: Bus,
        catalogue: Catalogue,
        templates: Mapping[str, WorkflowDefinition] | None = None,
        patience_s: float = 5.0,
    ) -> None:
        """Without `templates` there are those that come with the platform."""
        self._bus, self._workflows = bus, WorkflowLog(bus, patience_s)
        self.templates = built_in() if templates is None else templates
        self._known = Known(
            agents=catalogue.carriers,
            services=catalogue.services,
            functions=catalogue.functions,
            templates=self.templates,
        )

    async def prepare(self, request: WorkflowRequest) -> tuple[WorkflowDefinition, dict[str, Any]]:
        """The definition and the inputs that a workflow of this request would have.

        Raises:
            InvalidWorkflow: all that is wrong with it.
            TooLarge: its inputs are.
        """
        size = len(json.dumps([request.inputs, request.metadata], ensure_ascii=False).encode())
        if size > MAX_INPUT_BYTES:
            raise TooLarge("the inputs together (metadata included)", size, MAX_INPUT_BYTES)
        if request.definition is None or sum(len(each.tasks) for each in request.definition.within()) <= THREAD_TASKS:
            return self._prepared(request)
        return await asyncio.to_thread(self._prepared, request)

    def _prepared(self, request: WorkflowRequest) -> tuple[WorkflowDefinition, dict[str, Any]]:
        definition, inputs = prepared(request, self.templates)
        check(definition, inputs, self._known)
        return definition, inputs

    async def create(
        self, request: WorkflowRequest, asker: Asker, key: str | None = None, workflow_id: str | None = None
    ) -> State:
        """Put a workflow on disk and have it started; with a key or id that was used before, that workflow.

        A repeat makes good what a failure left out: one that was to be started and is not is started.

        Args:
            key: an idempotency key.

        Raises:
            InvalidWorkflow, TooLarge: see `prepare`.
            InvalidRequest: `workflow_id` is no subject token, or the name of a door.
            KeyReused: the key or id belongs to a workflow of another body.
            BusUnavailable, StorageFull: nothing was created, or it was and is not started; its sentence says which.
        """
        if workflow_id is not None:
            _check_id(workflow_id)
        definition, inputs = await self.prepare(request)
        first = _first(
            asker,
            workflow_id or _id(asker, key),
            definition,
            template=request.template,
            inputs=inputs,
            metadata=request.metadata,
            body_sha256=fingerprint(request),
        )
        return await self._put(first, key, request.start)

    async def fork(self, workflow_id: str, request: ForkRequest, asker: Asker, key: str | None = None) -> State:
        """Put a workflow on disk that begins as another stood after one of its events.

        Raises:
            NotFound: there is no such workflow, or the stream has forgotten its beginning.
            InvalidRequest: it has no such event.
            InvalidWorkflow: its inputs would not do.
            Conflict: an output that it would begin with is not kept any more.
            KeyReused, BusUnavailable, StorageFull: see `create`.
        """
        events = [logged.event for logged in await self._workflows.read(asker.tenant, workflow_id)]
        if not isinstance(origin := events[0], Created):
            raise NotFound("workflow", workflow_id)
        if request.after > events[-1].seq:
            raise InvalidRequest("after", f"is {request.after}; the last event of the workflow is {events[-1].seq}")
        state = State.of(events[: request.after])
        inputs = filled({**origin.inputs, **request.inputs}, origin.definition.inputs)
        check(origin.definition, inputs, self._known)
        fork_id = _id(asker, key)
        owner = owner_of(asker.tenant, fork_id)
        forked = _first(
            asker,
            fork_id,
            origin.definition,
            template=origin.template,
            inputs=inputs,
            metadata=origin.metadata,
            body_sha256=fingerprint(request, workflow_id),
            forked_from=Origin(workflow_id=workflow_id, after=request.after),
            changes=tuple([await self._own(change, owner) for change in inherited(state, request.inputs)]),
        )
        forked = forked.model_copy(update={"percentage": State.of([forked]).percentage})
        return await self._put(forked, key, request.start)

    async def _own(self, change: Change, owner: str) -> Change:
        """A large output is stored once more, as the fork's own: it is to be there for as long as that may take."""
        if change.blob is None:
            return change
        try:
            data = await self._bus.blobs.get(change.blob)
        except DecodeError:
            raise Conflict(f"the output of {change.task} is not kept any more; fork from before it was done") from None
        lasting = now() + timedelta(seconds=YEAR_S)
        return change.model_copy(update={"blob": await self._workflows.store(data, lasting, owner)})

    async def start(self, tenant: str, workflow_id: str, command: str | None = None) -> bool:
        """Have a workflow started.

        Args:
            command: the id of the command that asks for it.

        Returns:
            Whether nobody else has asked for it within the last ten minutes.

        Raises:
            BusUnavailable, StorageFull: it was not recorded.
        """
        once = f"{workflow_id}.start"
        return await self._workflows.wake(
            tenant, workflow_id, WorkflowCommand(kind="start", command=command or once), once=once
        )

    async def _put(self, first: Created, key: str | None, start: bool) -> State:
        tenant, workflow_id = first.tenant, first.workflow_id
        try:
            _, new = await self._workflows.create(first)
        except KeyReused:
            raise KeyReused(key or workflow_id, workflow_id, "workflow") from None
        state = State.of([first]) if new else await recovered(self._workflows, tenant, workflow_id)
        if start and state.status == "pending":
            try:
                await self.start(tenant, workflow_id)
            except Unavailable as error:
                again = "send the same again with the same idempotency key, or start it by its id"
                kind = StorageFull if isinstance(error, StorageFull) else BusUnavailable
                raise kind(f"workflow {workflow_id} is created and not started; {again} ({error})") from error
        return state


def _id(asker: Asker, key: str | None) -> str:
    return workflow_id_of(asker.tenant, key) if key else secrets.token_hex(16)


def _check_id(workflow_id: str) -> None:
    try:
        token(workflow_id)
    except ValueError as error:
        raise InvalidRequest("workflow_id", str(error)) from None
    if workflow_id in TAKEN:
        raise InvalidRequest("workflow_id", f"{workflow_id!r} is the name of a door; take another id")


def _first(asker: Asker, workflow_id: str, definition: WorkflowDefinition, **said: Any) -> Created:
    return Created(
        event_id=secrets.token_hex(8),
        workflow_id=workflow_id,
        tenant=asker.tenant,
        seq=1,
        at=now(),
        status="pending",
        percentage=0.0,
        definition=definition,
        key=asker.key,
        key_budget=asker.budget,
        trace=trace.current(),
        **said,
    )

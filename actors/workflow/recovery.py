"""How a workflow stands, from what is written down: its last snapshot and what happened since."""

import contextlib

import structlog

from actors.workflow import snapshot as snapshots
from actors.workflow.state import State
from bus.eventlog import Logged
from bus.workflowlog import Snapshot, WorkflowLog
from schemas.errors import NotFound
from schemas.workflow_event import Created, WorkflowEvent

log = structlog.get_logger()


async def recovered(workflows: WorkflowLog, tenant: str, workflow_id: str) -> State:
    """The state after the last event.

    Raises:
        NotFound: there is no such workflow, or it has grown too old for the stream.
        BusUnavailable: the stream did not answer.
    """
    snapshot = await workflows.snapshot(tenant, workflow_id)
    if snapshot is not None and snapshot.code == snapshots.CODE:
        state = _restored(await workflows.created(tenant, workflow_id), snapshot)
        if state is not None:
            with contextlib.suppress(NotFound):  # nothing has happened since
                _go_on(state, await workflows.read(tenant, workflow_id, snapshot.seq, snapshot.stream_seq + 1))
            return state
    history = await workflows.read(tenant, workflow_id)
    first = history[0].event
    if not isinstance(first, Created):
        raise NotFound("workflow", workflow_id)
    state = State(first)
    _go_on(state, history)
    return state


def _go_on(state: State, events: list[Logged[WorkflowEvent]]) -> None:
    for logged in events:
        state.take(logged.event, logged.stream_seq)
    state.replayed = len(events)


def snapshot_of(state: State) -> Snapshot:
    return Snapshot(code=snapshots.CODE, seq=state.seq, stream_seq=state.stream_seq, state=snapshots.dump(state))


def _restored(created: Created, snapshot: Snapshot) -> State | None:
    """None: the snapshot cannot be read, and the whole history has to be."""
    try:
        return snapshots.load(created, snapshot.state)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        log.warning("a snapshot is of no use", workflow=created.workflow_id, error=repr(error))
        return None

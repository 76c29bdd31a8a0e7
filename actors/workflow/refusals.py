"""Why a command can have no effect on a workflow as it stands, in words for whoever sent it."""

from datetime import datetime

from actors.catalogue.entry import nearest
from actors.workflow.commands import too_old
from actors.workflow.state import State
from schemas.errors import InvalidRequest
from schemas.message import now
from schemas.workflow import RETRY_WITHIN_S
from schemas.workflow_event import WorkflowCommand

_STANDS = {
    "pending": "it has not been started",
    "running": "it is running",
    "waiting": "it is waiting",
    "completed": "it has completed",
    "failed": "it has failed",
    "cancelled": "it was cancelled",
}


def how_it_stands(state: State) -> str:
    """A clause about it."""
    if state.status == "compensating":
        return "it is being cancelled" if state.cancelled else "it is failing"
    return "it is paused" if state.paused else _STANDS[state.status]


def refused(
    state: State, command: WorkflowCommand, at: datetime | None = None, retry_within_s: float = RETRY_WITHIN_S
) -> str | None:
    """Why a command has no effect now, or at that moment; None: it has one, as `commands.answer` decides."""
    stands = how_it_stands(state)
    over, started = state.ended is not None or state.problem is not None, state.started_at is not None
    match command.kind:
        case "start" if started or over:
            return stands if not started else f"it was started already; {stands}"
        case "signal" if over:
            return f"{stands}; nothing waits for signals any more"
        case "pause" if over or state.paused:
            return f"{stands}{'' if state.paused else '; there is nothing left to pause'}"
        case "resume" if over or not state.paused:
            return f"{stands}; only one that is paused can be resumed"
        case "cancel" if over:
            return f"{stands}; there is nothing left to cancel"
        case "retry" if state.ended not in ("failed", "cancelled"):
            return f"{stands}; only one that has failed or was cancelled can be retried"
        case "retry" if not started:
            return f"{stands} before it was started; create it again"
        case "retry" if too_old(state, at or now(), retry_within_s):
            return f"{stands} more than {retry_within_s / 86400:.0f} days ago; create it again"
        case "undo" if state.ended != "completed":
            return f"{stands}; only one that has completed can be undone"
    return None


def check_command(state: State, command: WorkflowCommand) -> None:
    """Refuse a command that names what is not there, or brings what its task cannot use.

    Raises:
        InvalidRequest: it is a signal that no task of the workflow waits for, an approval that says neither yes nor no,
            or a retry from a task that is not there.
    """
    tasks = state.definition.tasks
    if command.kind == "retry" and command.task is not None and command.task not in tasks:
        raise InvalidRequest("task", f"there is no task {command.task!r}; {nearest(command.task, tasks)}")
    if command.kind != "signal":
        return
    wanted = {signal: name for name in tasks if (signal := state.signal_of(name)) is not None}
    if command.name not in wanted:
        raise InvalidRequest("name", f"no task waits for a signal {command.name!r}; {nearest(command.name, wanted)}")
    if tasks[wanted[command.name]].kind != "approval":
        return
    if not isinstance(command.payload, dict) or not isinstance(command.payload.get("approved"), bool):
        raise InvalidRequest("approved", "must be true or false: the task asks a person to approve it")

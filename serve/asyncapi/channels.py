"""What is said on each subject: the messages there, and what is answered."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from actors.gateway.actor import Alive
from actors.intake.submission import TaskSubmission, WorkflowSubmission
from actors.workflow.engine import Heard, Told
from bus import subjects
from bus.cache import Cached
from bus.journal import Entry
from bus.pieces import Fetch, Keep, Kept, Piece
from bus.subjects import AnySubject
from bus.workflowlog import Snapshot
from schemas import event, workflow_event
from schemas.agent import Answer, Ask
from schemas.budget import Reservation
from schemas.completion import Complete, Completion, Delta, Embed, Embeddings, Generate, Generated
from schemas.event import Alert, Command, DeadLetter
from schemas.figures import Figures
from schemas.fleet import Forget, Forgotten, Scale, Scaled
from schemas.task import TaskAccepted
from schemas.workflow import Done, Job, WorkflowAccepted
from schemas.workflow_event import WorkflowCommand

TASK_EVENTS = (
    *(event.Accepted, event.Claimed, event.Dispatched, event.Answered, event.Decided),
    *(event.Completed, event.Failed, event.CancelledEvent),
)
WORKFLOW_EVENTS = (
    *(workflow_event.Created, workflow_event.Started, workflow_event.Claimed, workflow_event.Advanced),
    *(workflow_event.Signalled, workflow_event.Paused, workflow_event.Resumed, workflow_event.Failing),
    *(workflow_event.Cancelling, workflow_event.Retried),
    *(workflow_event.Completed, workflow_event.Failed, workflow_event.Cancelled),
)


class Nothing(BaseModel):
    """An empty body: the subject and the headers say it all."""


@dataclass(frozen=True)
class Channel:
    """One kind of subject."""

    subject: type[AnySubject]
    action: Literal["send", "receive"]
    """What the platform does there; inside, where it does both, what whoever owns the subject does."""
    messages: tuple[type[BaseModel], ...]
    reply: tuple[type[BaseModel], ...] = ()
    """What is answered, besides a problem; none where nobody waits for an answer."""
    outside: bool = False
    """Whether outside clients may use it."""


CHANNELS = (
    Channel(
        subjects.Submit,
        "receive",
        (TaskSubmission, WorkflowSubmission),
        (TaskAccepted, WorkflowAccepted),
        outside=True,
    ),
    Channel(subjects.TaskEvents, "send", TASK_EVENTS, outside=True),
    Channel(subjects.TaskTokens, "send", (Delta,), outside=True),
    Channel(subjects.TaskCommand, "receive", (Command,), outside=True),
    Channel(subjects.WorkflowEvents, "send", WORKFLOW_EVENTS, outside=True),
    Channel(subjects.WorkflowWake, "receive", (WorkflowCommand,), outside=True),
    Channel(subjects.TaskLogEntry, "receive", TASK_EVENTS),
    Channel(subjects.WorkflowLogEntry, "receive", WORKFLOW_EVENTS),
    Channel(subjects.WorkflowSnapshot, "receive", (Snapshot,)),
    Channel(subjects.WorkflowTimer, "receive", (WorkflowCommand,)),
    Channel(subjects.WorkflowDue, "send", (WorkflowCommand,)),
    Channel(subjects.EngineTell, "receive", (Told,), (Heard,)),
    Channel(subjects.ActorJob, "receive", (Job,), (Done,)),
    Channel(subjects.AgentAsk, "receive", (Ask,), (Answer,)),
    Channel(subjects.FleetForget, "receive", (Forget,), (Forgotten,)),
    Channel(subjects.FleetScale, "receive", (Scale,), (Scaled,)),
    Channel(subjects.ModelsComplete, "receive", (Complete,), (Completion,)),
    Channel(subjects.ModelsEmbed, "receive", (Embed,), (Embeddings,)),
    Channel(subjects.EmbeddedModel, "receive", (Generate, Embed), (Generated, Embeddings)),
    Channel(subjects.GatewayAlive, "receive", (Alive,), (Alive,)),
    Channel(subjects.GatewayFigures, "send", (Figures,)),
    Channel(subjects.CallJournal, "receive", (Entry,)),
    Channel(subjects.CachedAnswer, "receive", (Cached,)),
    Channel(subjects.PurseCounter, "receive", (Nothing,)),
    Channel(subjects.OpenReservation, "receive", (Reservation,)),
    Channel(subjects.Payload, "receive", (Fetch, Keep), (Piece, Kept)),
    Channel(subjects.Abort, "receive", (Nothing,)),
    Channel(subjects.AlertSubject, "send", (Alert,)),
    Channel(subjects.DeadLetterSubject, "send", (DeadLetter,)),
)

PARAMETERS: dict[str, str] = {
    "tenant": "Whose it is; of an outside client the one that its user was made for, of the first one `default`",
    "task": "A task's id",
    "workflow": "A workflow's id",
    "event": "What happened, as the message says it too",
    "agent": "An agent or a specialist, by its name",
    "caller": "Whoever asks: an agent, or what else calls models",
    "instance": "One life of a gateway",
    "gateway": "A gateway, by its actor's name",
    "step": "A step of the task",
    "digest": "The beginning of the SHA-256 of the question",
    "service": "A service, by its name in the catalogue",
    "scope": "What the budget is of",
    "within": "The day in UTC; of a tree of tasks its tenant",
    "name": "What has the budget: a day, service, key or task",
    "unit": "What is counted",
    "reservation": "A reservation's id",
    "by": "Whose request it is, by the user's name; or `tasks`",
    "work": "The id of a request, or of a task for everything under it",
    "level": "1 notice, 2 warning, 3 error, 4 emergency",
    "origin": "The stream or the door that the message came through",
    "model": "An embedded model",
    "verb": "What is asked of whoever is named before it",
    "engine": "An engine, by its actor's name",
    "actor": "An actor, by its name",
}
"""What the tokens of subjects that vary stand for."""
CHOICES: dict[str, tuple[str, ...]] = {
    "unit": ("usd", "tokens"),
    "scope": ("day", "service", "key", "tree"),
    "level": ("1", "2", "3", "4"),
}
"""What they may be, where that is settled."""

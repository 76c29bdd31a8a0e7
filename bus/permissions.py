"""Who may say and hear what on the embedded broker: one user for each part of the platform, each with its subjects.

What somebody may answer follows from what others may ask: where a subject that it answers is one that another may ask,
it may publish to the inbox that this other's answers come to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bus import streams as s
from bus.inboxes import IMPORTED, answers_of, inbox_of
from bus.subjects import (
    Abort,
    ActorJob,
    AgentAsk,
    AlertSubject,
    AnySubject,
    CachedAnswer,
    CallJournal,
    DeadLetterSubject,
    EmbeddedModel,
    EngineTell,
    FleetForget,
    FleetScale,
    GatewayAlive,
    GatewayFigures,
    ModelsComplete,
    ModelsEmbed,
    OpenReservation,
    Payload,
    PurseCounter,
    Submit,
    TaskCommand,
    TaskEvents,
    TaskLogEntry,
    TaskTokens,
    WorkflowEvents,
    WorkflowLogEntry,
    WorkflowSnapshot,
    WorkflowTimer,
    WorkflowWake,
    overlap,
)

SUPERVISOR = "supervisor"
"""May do everything: it makes the streams, and answers for the fleet. Tools of whoever runs the platform use it too."""
COORDINATOR, GATEWAY, ENGINE, INTAKE = "coordinator", "gateway", "engine", "intake"
MODELS, PROJECTOR, HTTP, SPECIALISTS = "models", "projector", "http", "specialists"
AGENT = "agent-"
"""An agent's user is called `agent-<agent>`, as its actor is."""


@dataclass(frozen=True)
class User:
    """What one part of the platform does on the bus."""

    name: str
    says: tuple[str, ...] = ()
    """Subjects that it asks on and publishes to."""
    answers: tuple[str, ...] = ()
    """Subjects of its services."""
    hears: tuple[str, ...] = ()
    """Subjects that it subscribes to besides."""
    jetstream: tuple[str, ...] = ()
    """Subjects of JetStream's API, of its acknowledgements and of object stores, which it publishes to."""
    discovered: tuple[str, ...] = ("$SRV.>",)
    """Where its services are discovered."""


@dataclass(frozen=True)
class Permissions:
    """Allow-lists as nats-server takes them; everything else is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def users(agents: Iterable[str], specialists: Iterable[str]) -> tuple[User, ...]:
    """Every user but the supervisor.

    Args:
        agents: the names of those that have an actor each.
        specialists: the names of those that hosts carry.
    """
    return (*_core(), *(_agent(AGENT + name, (name,)) for name in agents), _agent(SPECIALISTS, tuple(specialists)))


def table(everybody: Sequence[User]) -> dict[str, Permissions]:
    """What each of these users may do, by name."""
    return {user.name: _permissions(user, everybody) for user in everybody}


def _permissions(user: User, everybody: Sequence[User]) -> Permissions:
    served = (*user.answers, *user.discovered)
    askers = [each.name for each in everybody if any(overlap(a, b) for a in each.says for b in served)]
    inbox = inbox_of(user.name)
    publish = [
        *user.says,
        *user.jetstream,
        *(f"{answers_of(asker)}.>" for asker in (SUPERVISOR, *askers)),
        f"{answers_of(user.name)}.>",  # by which a connection learns that the server knows its subscriptions
    ]
    subscribe = [*user.answers, *user.hears, *user.discovered, Abort.pattern(), f"{inbox}.>"]
    return Permissions(tuple(dict.fromkeys(publish)), tuple(dict.fromkeys(subscribe)))


# -- JetStream -----------------------------------------------------------------------------------------------------


def _reads(*streams: str) -> list[str]:
    return [
        subject
        for stream in streams
        for subject in (
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.STREAM.MSG.GET.{stream}",
            f"$JS.API.DIRECT.GET.{stream}",
            f"$JS.API.DIRECT.GET.{stream}.>",
        )
    ]


def _consumes(*consumers: s.Consumer) -> list[str]:
    return [
        subject
        for each in consumers
        for subject in (
            f"$JS.API.CONSUMER.MSG.NEXT.{each.stream}.{each.name}",
            f"$JS.ACK.{each.stream}.{each.name}.>",
        )
    ]


def _loads(*buckets: str) -> list[str]:
    return _reads(*(f"OBJ_{bucket}" for bucket in buckets))


def _stores(*buckets: str) -> list[str]:
    """To purge takes away what a payload consisted of that was replaced."""
    written = [
        subject
        for bucket in buckets
        for subject in (f"$O.{bucket}.C.*", f"$O.{bucket}.M.*", f"$JS.API.STREAM.PURGE.OBJ_{bucket}")
    ]
    return [*_loads(*buckets), *written]


# -- the users -----------------------------------------------------------------------------------------------------


def _patterns(*kinds: type[AnySubject]) -> list[str]:
    return [kind.pattern() for kind in kinds]


_TELLS = _patterns(AlertSubject, DeadLetterSubject)
_ACCEPTS = [TaskLogEntry.pattern(event="accepted")]
_CREATES = [WorkflowLogEntry.pattern(event="created"), WorkflowWake.pattern()]


def _core() -> list[User]:
    return [
        User(
            COORDINATOR,
            says=(
                *_patterns(TaskLogEntry, AgentAsk, ModelsComplete, FleetScale),
                *_TELLS,
                *_aborts(COORDINATOR, tasks=True),
            ),
            hears=tuple(_patterns(TaskCommand, GatewayFigures)),
            jetstream=(
                *_consumes(s.COORDINATORS),
                *_reads(s.TASKS, s.CALLS, s.COMMANDS),
                *_stores(s.PAYLOADS, s.REQUESTS),
            ),
        ),
        User(
            GATEWAY,
            says=(
                *_patterns(EmbeddedModel, GatewayAlive, GatewayFigures, TaskTokens),
                *_patterns(CallJournal, CachedAnswer, PurseCounter, OpenReservation),
                *_TELLS,
                *_aborts(GATEWAY),
            ),
            answers=tuple(_patterns(ModelsComplete, ModelsEmbed, GatewayAlive, Payload)),
            jetstream=(
                *_reads(s.CALLS, s.CACHE, s.PURSE, s.RESERVATIONS),
                f"$JS.API.STREAM.PURGE.{s.RESERVATIONS}",
                *_stores(s.PAYLOADS, s.REQUESTS, s.VECTORS),
            ),
        ),
        User(
            ENGINE,
            says=(
                *_patterns(WorkflowLogEntry, WorkflowSnapshot, WorkflowWake, WorkflowTimer),
                *_patterns(EngineTell, ActorJob, TaskCommand),
                *_ACCEPTS,
                *_TELLS,
                *_aborts(ENGINE, tasks=True),
            ),
            answers=(EngineTell.pattern(),),
            hears=(TaskEvents.of_tenants(), WorkflowEvents.of_tenants()),
            jetstream=(
                *_consumes(s.ENGINES, s.TIMEKEEPERS),
                *_reads(s.WORKFLOWS, s.SNAPSHOTS, s.WAKES, s.TASKS, s.CALLS, s.COMMANDS),
                *_stores(s.PAYLOADS, s.REQUESTS, s.LASTING, s.STATES),
            ),
        ),
        User(
            INTAKE,
            # What comes from another account is answered where the server says.
            says=(*_ACCEPTS, *_CREATES, *_TELLS, f"{IMPORTED}>"),
            hears=(Submit.pattern(),),
            jetstream=(
                *_consumes(s.INTAKE),
                *_reads(s.TASKS, s.CALLS, s.WORKFLOWS, s.SNAPSHOTS, s.WAKES),
                *_stores(s.PAYLOADS, s.LASTING),
                *_loads(s.STATES),
            ),
        ),
        User(
            MODELS,
            says=(*_patterns(Payload), *_aborts(MODELS)),
            answers=(EmbeddedModel.pattern(),),
        ),
        User(
            PROJECTOR,
            says=tuple(_TELLS),
            jetstream=(
                *_consumes(s.PROJECTOR, s.LEDGER, s.WORKFLOW_PROJECTOR, s.TASK_ENDINGS, s.WORKFLOW_ENDINGS),
                *_reads(s.TASKS, s.WORKFLOWS, s.SNAPSHOTS),
                # It sweeps away what is kept of workflows that ended long ago.
                *(f"$JS.API.STREAM.PURGE.{stream}" for stream in (s.WORKFLOWS, s.SNAPSHOTS, s.TIMERS)),
                *_stores(s.PAYLOADS),
                *_loads(s.LASTING, s.STATES),
            ),
        ),
        User(
            HTTP,
            says=(
                *(ModelsEmbed.pattern(caller=HTTP), str(FleetScale()), str(FleetForget()), TaskCommand.pattern()),
                "$SRV.STATS",
                *_ACCEPTS,
                *_CREATES,
                *_TELLS,
                *_aborts(HTTP),
            ),
            hears=(
                *_patterns(GatewayFigures, TaskTokens),
                TaskEvents.of_tenants(),
                WorkflowEvents.of_tenants(),
            ),
            jetstream=(
                *_reads(s.TASKS, s.CALLS, s.COMMANDS, s.WORKFLOWS, s.SNAPSHOTS, s.WAKES, s.PURSE, s.CACHE),
                *_stores(s.PAYLOADS, s.REQUESTS, s.LASTING, s.STATES),
                *_loads(s.VECTORS),
                # What somebody deletes is erased here: see `bus.erasure`.
                *(f"$JS.API.STREAM.PURGE.{stream}" for stream in s.ERASABLE),
            ),
        ),
    ]


def _agent(name: str, carried: tuple[str, ...]) -> User:
    """Those who ask models and hold what these wrote have no JetStream: see `bus.pieces`."""
    return User(
        name,
        says=(*(str(ModelsComplete(each)) for each in carried), *_patterns(Payload), *_aborts(name)),
        answers=tuple(str(AgentAsk(each)) for each in carried),
        discovered=("$SRV.*", f"$SRV.*.{name}", f"$SRV.*.{name}.*") if name != SPECIALISTS else ("$SRV.>",),
    )


def _aborts(user: str, *, tasks: bool = False) -> list[str]:
    own = Abort.pattern(by=user)
    return [own, Abort.of_tasks()] if tasks else [own]

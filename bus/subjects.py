"""Every subject, spelled in this one place. A subject is a checked value; `str()` gives its spelling."""

import re
from dataclasses import dataclass
from typing import ClassVar, Self

ROOT = "devskyy.v1"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")


def token(text: str) -> str:
    """Check one token of a subject.

    Raises:
        ValueError: it is empty, longer than 128 characters, or holds anything but letters, digits, `_` and `-`
            (a dot, a wildcard or a space would change what the subject means).
    """
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{text[:140]!r} is no subject token: letters, digits, '_' and '-' only, 1 to 128 of them")
    return text


def overlap(one: str, other: str) -> bool:
    """Whether there is a subject that two patterns both match."""
    ours, theirs = one.split("."), other.split(".")
    for our, their in zip(ours, theirs, strict=False):
        if ">" in (our, their):
            return True
        if our != their and "*" not in (our, their):
            return False
    return len(ours) == len(theirs)


class AnySubject:
    """What all kinds of subjects have in common."""

    __slots__ = ()
    _parts: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        for part in self._parts:
            if part[0] == "{":
                token(getattr(self, part[1:-1]))

    def __str__(self) -> str:
        spelled = ROOT
        for part in self._parts:
            spelled += f".{getattr(self, part[1:-1])}" if part[0] == "{" else f".{part}"
        return spelled

    @classmethod
    def parse(cls, subject: str) -> Self:
        """Read a subject back.

        Raises:
            ValueError: it is another kind of subject.
        """
        tokens = subject.removeprefix(ROOT + ".").split(".")
        if not subject.startswith(ROOT + ".") or len(tokens) != len(cls._parts):
            raise ValueError(f"{subject!r} is no {cls.__name__}")
        values = {}
        for part, text in zip(cls._parts, tokens, strict=True):
            if part[0] == "{":
                values[part[1:-1]] = text
            elif part != text:
                raise ValueError(f"{subject!r} is no {cls.__name__}")
        return cls(**values)

    @classmethod
    def pattern(cls, **known: str) -> str:
        """The subject with `*` for every token that is not given."""
        tokens = [token(known[p[1:-1]]) if p[1:-1] in known else "*" if p[0] == "{" else p for p in cls._parts]
        return ".".join([ROOT, *tokens])

    @classmethod
    def template(cls) -> str:
        """The subject with `{name}` for every token that varies, as documents spell it."""
        return ".".join([ROOT, *cls._parts])

    @classmethod
    def varying(cls) -> tuple[str, ...]:
        """The names of these tokens, in their order."""
        return tuple(part[1:-1] for part in cls._parts if part[0] == "{")


@dataclass(frozen=True, slots=True)
class Submit(AnySubject):
    """Tasks from outside NATS clients."""

    tenant: str
    _parts: ClassVar[tuple[str, ...]] = ("submit", "{tenant}")


@dataclass(frozen=True, slots=True)
class TaskEvents(AnySubject):
    """One event of a task, as it is stored and as everybody reads it."""

    tenant: str
    task: str
    event: str
    _parts: ClassVar[tuple[str, ...]] = ("tasks", "{tenant}", "{task}", "{event}")

    @classmethod
    def of_task(cls, tenant: str, task: str) -> str:
        return f"{ROOT}.tasks.{token(tenant)}.{token(task)}.>"

    @classmethod
    def of_tenant(cls, tenant: str) -> str:
        return f"{ROOT}.tasks.{token(tenant)}.>"

    @classmethod
    def of_tenants(cls) -> str:
        return f"{ROOT}.tasks.>"


@dataclass(frozen=True, slots=True)
class TaskLogEntry(AnySubject):
    """Where an owner writes an event. The stream stores it under `TaskEvents` and publishes it there again.

    Written and read subjects differ because a core subscriber sees every publish, also one that the stream then
    refuses; nobody may ever see an event that was fenced off.
    """

    tenant: str
    task: str
    event: str
    _parts: ClassVar[tuple[str, ...]] = ("log", "{tenant}", "{task}", "{event}")


@dataclass(frozen=True, slots=True)
class TaskTokens(AnySubject):
    """The text of a task's calls as it is written, piece by piece; kept nowhere."""

    tenant: str
    task: str
    _parts: ClassVar[tuple[str, ...]] = ("tokens", "{tenant}", "{task}")


@dataclass(frozen=True, slots=True)
class TaskCommand(AnySubject):
    """Asks the owner of a task for something: cancel, signals."""

    tenant: str
    task: str
    _parts: ClassVar[tuple[str, ...]] = ("commands", "{tenant}", "{task}")


@dataclass(frozen=True, slots=True)
class AgentAsk(AnySubject):
    """Ask an agent."""

    agent: str
    _parts: ClassVar[tuple[str, ...]] = ("agents", "{agent}", "ask")


@dataclass(frozen=True, slots=True)
class FleetScale(AnySubject):
    """Ask the fleet for hosts of specialists; answered by the process that starts actors."""

    _parts: ClassVar[tuple[str, ...]] = ("fleet", "scale")


@dataclass(frozen=True, slots=True)
class FleetForget(AnySubject):
    """Have a tenant's NATS users erased; answered by the process that starts actors."""

    _parts: ClassVar[tuple[str, ...]] = ("fleet", "forget")


@dataclass(frozen=True, slots=True)
class ModelsComplete(AnySubject):
    """Ask the gateway for a completion, as `caller`."""

    caller: str
    _parts: ClassVar[tuple[str, ...]] = ("models", "{caller}", "complete")


@dataclass(frozen=True, slots=True)
class ModelsEmbed(AnySubject):
    """Ask for embeddings, as `caller`."""

    caller: str
    _parts: ClassVar[tuple[str, ...]] = ("models", "{caller}", "embed")


@dataclass(frozen=True, slots=True)
class GatewayAlive(AnySubject):
    """Whether the gateway that began a call still lives."""

    instance: str
    _parts: ClassVar[tuple[str, ...]] = ("gateways", "{instance}", "alive")


@dataclass(frozen=True, slots=True)
class GatewayFigures(AnySubject):
    """How the services are doing, as the gateway of that actor's name sees them; said every second, kept nowhere."""

    gateway: str
    _parts: ClassVar[tuple[str, ...]] = ("gateways", "{gateway}", "figures")


@dataclass(frozen=True, slots=True)
class CallJournal(AnySubject):
    """The journal entry of one call of a model."""

    tenant: str
    task: str
    step: str
    digest: str
    _parts: ClassVar[tuple[str, ...]] = ("calls", "{tenant}", "{task}", "{step}", "{digest}")

    @classmethod
    def of_task(cls, tenant: str, task: str) -> str:
        return f"{ROOT}.calls.{token(tenant)}.{token(task)}.>"


@dataclass(frozen=True, slots=True)
class CachedAnswer(AnySubject):
    """The last answer of a service to one question."""

    tenant: str
    service: str
    digest: str
    _parts: ClassVar[tuple[str, ...]] = ("cache", "{tenant}", "{service}", "{digest}")


@dataclass(frozen=True, slots=True)
class PurseCounter(AnySubject):
    """What one budget has come to: `scope` is day, service, key or tree, `unit` usd or tokens."""

    scope: str
    within: str
    """The day in UTC; of a tree of tasks its tenant."""
    name: str
    unit: str
    _parts: ClassVar[tuple[str, ...]] = ("purse", "{scope}", "{within}", "{name}", "{unit}")


@dataclass(frozen=True, slots=True)
class OpenReservation(AnySubject):
    """A reservation that a gateway has not settled yet."""

    instance: str
    reservation: str
    _parts: ClassVar[tuple[str, ...]] = ("reservations", "{instance}", "{reservation}")


@dataclass(frozen=True, slots=True)
class Abort(AnySubject):
    """Stop working. `by` is the user that asked, and `work` the id of its request; or `by` is `tasks`, and `work` the
    id of a task, for everything under it. So whoever may only ask can call off its own requests, and nobody else's."""

    by: str
    work: str
    _parts: ClassVar[tuple[str, ...]] = ("aborts", "{by}", "{work}")

    @classmethod
    def of_task(cls, task: str) -> Self:
        return cls("tasks", task)

    @classmethod
    def of_tasks(cls) -> str:
        return cls.pattern(by="tasks")


@dataclass(frozen=True, slots=True)
class Payload(AnySubject):
    """Ask the gateway for what is too large to travel, piece by piece; `verb` is `fetch` or `keep`. For those who have
    no JetStream."""

    verb: str
    _parts: ClassVar[tuple[str, ...]] = ("payloads", "{verb}")


@dataclass(frozen=True, slots=True)
class AlertSubject(AnySubject):
    """Something that a person should look at, by its level."""

    level: str
    _parts: ClassVar[tuple[str, ...]] = ("alerts", "{level}")


@dataclass(frozen=True, slots=True)
class DeadLetterSubject(AnySubject):
    """Messages that could not be used; `origin` names the stream or door they came through."""

    origin: str
    _parts: ClassVar[tuple[str, ...]] = ("dead", "{origin}")


@dataclass(frozen=True, slots=True)
class EmbeddedModel(AnySubject):
    """Ask a model that runs inside the platform; `verb` is `complete` or `embed`. Only the gateway asks."""

    model: str
    verb: str
    _parts: ClassVar[tuple[str, ...]] = ("embedded", "{model}", "{verb}")


@dataclass(frozen=True, slots=True)
class WorkflowEvents(AnySubject):
    """One event of a workflow, as it is stored and as everybody reads it."""

    tenant: str
    workflow: str
    event: str
    _parts: ClassVar[tuple[str, ...]] = ("workflows", "{tenant}", "{workflow}", "{event}")

    @classmethod
    def of_workflow(cls, tenant: str, workflow: str) -> str:
        return f"{ROOT}.workflows.{token(tenant)}.{token(workflow)}.>"

    @classmethod
    def of_tenant(cls, tenant: str) -> str:
        return f"{ROOT}.workflows.{token(tenant)}.>"

    @classmethod
    def of_tenants(cls) -> str:
        return f"{ROOT}.workflows.>"


@dataclass(frozen=True, slots=True)
class WorkflowLogEntry(AnySubject):
    """Where an owner writes an event: see `TaskLogEntry`."""

    tenant: str
    workflow: str
    event: str
    _parts: ClassVar[tuple[str, ...]] = ("flow", "{tenant}", "{workflow}", "{event}")


@dataclass(frozen=True, slots=True)
class WorkflowSnapshot(AnySubject):
    """How a workflow stood after one of its events, so that its owner need not read all of them."""

    tenant: str
    workflow: str
    _parts: ClassVar[tuple[str, ...]] = ("snapshots", "{tenant}", "{workflow}")


@dataclass(frozen=True, slots=True)
class WorkflowWake(AnySubject):
    """Asks whoever owns a workflow, or else any engine, to go on with it."""

    tenant: str
    workflow: str
    _parts: ClassVar[tuple[str, ...]] = ("wakes", "{tenant}", "{workflow}")


@dataclass(frozen=True, slots=True)
class WorkflowTimer(AnySubject):
    """Becomes a wake at its time. A workflow has one, the next."""

    tenant: str
    workflow: str
    _parts: ClassVar[tuple[str, ...]] = ("timers", "{tenant}", "{workflow}")


@dataclass(frozen=True, slots=True)
class WorkflowDue(AnySubject):
    """Where a timer goes off. A timekeeper makes a wake of it."""

    tenant: str
    workflow: str
    _parts: ClassVar[tuple[str, ...]] = ("due", "{tenant}", "{workflow}")


@dataclass(frozen=True, slots=True)
class EngineTell(AnySubject):
    """Hand a wake to the engine that owns the workflow."""

    engine: str
    _parts: ClassVar[tuple[str, ...]] = ("engines", "{engine}", "tell")


@dataclass(frozen=True, slots=True)
class ActorJob(AnySubject):
    """Ask an actor for a task of a workflow."""

    actor: str
    verb: str
    _parts: ClassVar[tuple[str, ...]] = ("jobs", "{actor}", "{verb}")

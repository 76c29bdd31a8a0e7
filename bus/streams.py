"""The streams, buckets and consumers, created at boot. Creating them again changes nothing."""

import asyncio
import secrets
from dataclasses import dataclass

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BadRequestError, NotFoundError

from bus.subjects import (
    ROOT,
    AlertSubject,
    CachedAnswer,
    CallJournal,
    DeadLetterSubject,
    OpenReservation,
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
from schemas.completion import NO_TASK
from schemas.errors import BusUnavailable, ConfigError
from schemas.event import TERMINAL
from schemas.workflow import YEAR_S

log = structlog.get_logger()

TASKS, CALLS, SUBMIT, COMMANDS, ALERTS, DEAD = "TASKS", "CALLS", "SUBMIT", "COMMANDS", "ALERTS", "DEAD"
CACHE = "CACHE"
PURSE, RESERVATIONS = "PURSE", "RESERVATIONS"
WORKFLOWS, SNAPSHOTS, WAKES, TIMERS = "WORKFLOWS", "SNAPSHOTS", "WAKES", "TIMERS"
PAYLOADS = "payloads"
"""Object store for what is too large to travel."""
REQUESTS = "requests"
"""Object store of requests and replies, which nobody reads again later."""
VECTORS = "vectors"
"""Object store of vectors that were paid for, for whoever asks again."""
LASTING = "lasting"
"""Object store of what workflows refer to that may go on for a year."""
STATES = "states"
"""Object store of snapshots that are too large to travel, each under the name of its workflow."""

ERASABLE = (TASKS, CALLS, COMMANDS, SUBMIT, CACHE, PURSE, WORKFLOWS, SNAPSHOTS, WAKES, TIMERS)
"""Streams in which the subject says whose a message is."""

KEEP_S = 30 * 86_400.0
"""How long everything is kept, unless told otherwise; finished tasks stay in SQL."""
STORES = (REQUESTS, VECTORS, LASTING, STATES)
"""Object stores made when first needed."""
PAYLOADS_PERCENT = 22
"""Of all bytes. Each of the stores made later may take half as many, beyond what is shared out."""
WAKE_REPEAT_S = 600.0
"""For so long a wake that is sent again has no effect."""
OWN_IDS = "devskyy_own_ids"
"""What the message ids of the platform's own wakes begin with is kept under this name, where nobody from outside may
read it. Ids are a stream's, of all tenants together: who knew them could have others' wakes dropped as repeats."""
SHORTEST_REPEAT_S = 0.1
"""Where it is not the stream that tells repeats: ids of one tenant are not to get in the way of another's."""
GIB = 1024**3
BUDGET_BYTES = 16 * GIB
"""What all streams together may take on disk, unless told otherwise. JetStream sets it aside when it creates them."""

PURSE_KEEP_S = 8 * 86_400.0
"""A counter nobody has touched for so long is forgotten: a day is over by then, and no task lives longer than seven."""
PURSE_REPEAT_S = 600.0
"""For so long a repeated change of a counter has no effect. The server keeps the names of that time in memory."""
PURSE_HISTORY = 10_000
"""Changes kept of each counter, of some 200 bytes: by them it knows after a restart what must not be repeated."""

ACK_WAIT_S = 5.0
"""A coordinator or an engine that has not been heard of for this long has lost its task or workflow."""


@dataclass(frozen=True)
class Consumer:
    """A durable pull consumer, shared by everybody who does the same work."""

    stream: str
    name: str
    filter_subject: str
    ack_wait_s: float = ACK_WAIT_S
    max_ack_pending: int = 20_000
    more_subjects: tuple[str, ...] = ()
    """Besides the first."""
    without_bodies: bool = False
    """Whether it is enough to know that there is a message."""

    def config(self) -> api.ConsumerConfig:
        several = [self.filter_subject, *self.more_subjects] if self.more_subjects else None
        return api.ConsumerConfig(
            durable_name=self.name,
            filter_subject=None if several else self.filter_subject,
            filter_subjects=several,
            headers_only=self.without_bodies or None,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self.ack_wait_s,
            # Deliveries are bounded by the reader, which still can write down why it gave up.
            max_deliver=-1,
            max_ack_pending=self.max_ack_pending,
        )


COORDINATORS = Consumer(TASKS, "coordinators", TaskEvents.pattern(event="accepted"))
PROJECTOR = Consumer(TASKS, "projector", f"{ROOT}.tasks.>")
LEDGER = Consumer(CALLS, "ledger", CallJournal.pattern(task=NO_TASK))
"""Calls that belong to no task; those of tasks come with a task's end."""
INTAKE = Consumer(SUBMIT, "intake", Submit.pattern())
ENGINES = Consumer(WAKES, "engines", WorkflowWake.pattern())
"""A wake that is not acknowledged is the lease on its workflow."""
TIMEKEEPERS = Consumer(TIMERS, "timekeepers", WorkflowDue.pattern())
WORKFLOW_PROJECTOR = Consumer(WORKFLOWS, "workflow-projector", f"{ROOT}.workflows.>")


def _endings(stream: str, subject: type[TaskEvents | WorkflowEvents]) -> Consumer:
    """Of tasks or workflows, for webhooks. What such an event says is read when it is told."""
    first, *more = (subject.pattern(event=event) for event in sorted(TERMINAL))
    return Consumer(stream, "webhooks", first, more_subjects=tuple(more), without_bodies=True)


TASK_ENDINGS, WORKFLOW_ENDINGS = _endings(TASKS, TaskEvents), _endings(WORKFLOWS, WorkflowEvents)
CONSUMERS = (
    *(COORDINATORS, PROJECTOR, LEDGER, INTAKE, ENGINES, TIMEKEEPERS, WORKFLOW_PROJECTOR),
    *(TASK_ENDINGS, WORKFLOW_ENDINGS),
)


def _log(name: str, written: str, stored: str, keep_s: float, max_bytes: int) -> api.StreamConfig:
    """A stream of events: owners write them under one subject, everybody reads them under another."""
    written, stored = f"{ROOT}.{written}.>", f"{ROOT}.{stored}.>"
    return api.StreamConfig(
        name=name,
        subjects=[written],
        subject_transform=api.SubjectTransform(src=written, dest=stored),
        republish=api.RePublish(src=stored, dest=stored),
        allow_direct=True,
        max_age=keep_s,
        max_bytes=max_bytes,
        # A full stream refuses what is new; it never drops what was accepted.
        discard=api.DiscardPolicy.NEW,
    )


def _store(bucket: str, keep_s: float, max_bytes: int) -> api.StreamConfig:
    """As the client library makes an object store; that one cannot change its limits later."""
    return api.StreamConfig(
        name=f"OBJ_{bucket}",
        subjects=[f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"],
        allow_direct=True,
        allow_rollup_hdrs=True,
        max_age=keep_s,
        max_bytes=max_bytes,
        discard=api.DiscardPolicy.NEW,
    )


def lasting_s(keep_s: float) -> float:
    """How long what workflows need is kept: for the longest that one may take, and as long as all else beyond."""
    return YEAR_S + keep_s


def store_config(bucket: str, payloads: api.StreamConfig) -> api.StreamConfig:
    """One of `STORES`, as the payloads' store is."""
    keep_s = float(payloads.max_age or KEEP_S)
    ages = {REQUESTS: 3600.0, VECTORS: 86_400.0, LASTING: lasting_s(keep_s), STATES: keep_s}
    config = _store(bucket, ages[bucket], max(0, payloads.max_bytes or 0) // 2)
    config.num_replicas = payloads.num_replicas
    return config


def stream_configs(budget: int = BUDGET_BYTES, replicas: int = 1, keep_s: float = KEEP_S) -> list[api.StreamConfig]:
    """Every stream, the payloads' store among them.

    Args:
        budget: bytes on the disk of one server; each stream's limit is a share of it.
        replicas: servers that keep a copy of each; more than one needs a cluster.
        keep_s: how long tasks are kept, and what belongs to them.
    """
    configs = _stream_configs(budget, keep_s)
    for config in configs:
        config.num_replicas = replicas
        if replicas > 1:
            config.persist_mode = None  # with several copies the server writes none of them in the background
    return configs


def _stream_configs(budget: int, keep_s: float) -> list[api.StreamConfig]:
    lasting = lasting_s(keep_s)
    return [
        _log(TASKS, "log", "tasks", keep_s, budget * 30 // 100),
        _log(WORKFLOWS, "flow", "workflows", lasting, budget * 15 // 100),
        api.StreamConfig(
            name=SNAPSHOTS,
            subjects=[WorkflowSnapshot.pattern()],
            allow_direct=True,
            max_msgs_per_subject=1,
            max_age=lasting,
            max_bytes=budget * 3 // 100,
            # Each can be made again from the events.
            persist_mode=api.PersistMode.ASYNC,
        ),
        # Timers are not kept in the queue of wakes itself. Whoever may publish to a stream with schedules, as outside
        # clients may to that queue, can put one onto any of its subjects, and `Nats-Rollup` empties it; nor can such a
        # stream refuse what is new when it is full. The queue cannot have this one as its source either: of a work
        # queue the server does not know any more how far it has come, and leaves out what it should have taken.
        api.StreamConfig(
            name=TIMERS,
            subjects=[WorkflowTimer.pattern(), WorkflowDue.pattern()],
            retention=api.RetentionPolicy.WORK_QUEUE,
            allow_msg_schedules=True,
            max_age=lasting,
            max_bytes=budget // 100,
        ),
        api.StreamConfig(
            name=WAKES,
            # An engine that starts looks through what its predecessor had in hand.
            allow_direct=True,
            subjects=[WorkflowWake.pattern()],
            retention=api.RetentionPolicy.WORK_QUEUE,
            duplicate_window=WAKE_REPEAT_S,
            max_bytes=budget * 3 // 100,
            discard=api.DiscardPolicy.NEW,
        ),
        api.StreamConfig(
            name=CALLS,
            subjects=[CallJournal.pattern()],
            allow_direct=True,
            max_msgs_per_subject=1,
            max_age=keep_s,
            max_bytes=budget * 12 // 100,
            discard=api.DiscardPolicy.NEW,
        ),
        api.StreamConfig(
            name=SUBMIT,
            subjects=[Submit.pattern()],
            retention=api.RetentionPolicy.WORK_QUEUE,
            # The intake answers on the reply subject; JetStream's own acknowledgement would come first.
            no_ack=True,
            duplicate_window=SHORTEST_REPEAT_S,
            max_bytes=budget * 3 // 100,
            discard=api.DiscardPolicy.NEW,
        ),
        api.StreamConfig(
            name=COMMANDS,
            subjects=[TaskCommand.pattern()],
            allow_direct=True,
            duplicate_window=SHORTEST_REPEAT_S,
            max_msgs_per_subject=16,
            max_age=keep_s,
            max_bytes=budget // 50,
        ),
        api.StreamConfig(name=ALERTS, subjects=[AlertSubject.pattern()], max_age=keep_s, max_bytes=budget // 100),
        api.StreamConfig(name=DEAD, subjects=[DeadLetterSubject.pattern()], max_age=keep_s, max_bytes=budget // 50),
        api.StreamConfig(
            name=CACHE,
            subjects=[CachedAnswer.pattern()],
            allow_direct=True,
            # Each answer lives as long as whoever stored it said.
            allow_msg_ttl=True,
            max_msgs_per_subject=1,
            max_age=keep_s,
            # A full cache forgets its oldest answers; nothing else depends on it, so its disk need not keep up.
            max_bytes=budget // 50,
            persist_mode=api.PersistMode.ASYNC,
        ),
        api.StreamConfig(
            name=PURSE,
            subjects=[PurseCounter.pattern()],
            allow_msg_counter=True,
            allow_direct=True,
            duplicate_window=PURSE_REPEAT_S,
            max_msgs_per_subject=PURSE_HISTORY,
            max_age=PURSE_KEEP_S,
            # The server has no counters that refuse when they are full: the oldest changes of all go first.
            max_bytes=budget * 3 // 100,
        ),
        api.StreamConfig(
            name=RESERVATIONS,
            subjects=[OpenReservation.pattern()],
            allow_direct=True,
            max_msgs_per_subject=1,
            # No age: a reservation stays until somebody has settled it.
            max_bytes=budget // 100,
            discard=api.DiscardPolicy.NEW,
        ),
        _store(PAYLOADS, keep_s, budget * PAYLOADS_PERCENT // 100),
    ]


async def ensure(
    client: Client,
    patience_s: float = 30.0,
    budget: int = BUDGET_BYTES,
    replicas: int = 1,
    *,
    keep_s: float = KEEP_S,
    all_stores: bool = False,
) -> None:
    """Create what is missing and bring what is there up to date, waiting for JetStream to be up.

    Args:
        keep_s: see `stream_configs`. Where it is less than before, what is older goes at once.
        all_stores: also those that are else made when first needed, where those who need them may not make any.

    Raises:
        BusUnavailable: JetStream did not answer in time.
        BadRequestError: an existing stream cannot be changed into ours.
        ConfigError: there are to be several copies, and the server is no cluster.
    """
    deadline = asyncio.get_running_loop().time() + patience_s
    told = ""
    while True:
        try:
            await _ensure_once(
                client.jetstream(timeout=5), stream_configs(budget, replicas, keep_s), replicas, all_stores
            )
            return
        except (nats.errors.Error, APIError, TimeoutError) as error:
            code = error.err_code if isinstance(error, APIError) else None
            if code == _NO_CLUSTER:
                rule = f"{replicas} copies need a NATS cluster of as many servers, and this NATS is one server"
                raise ConfigError("environment", "DEVSKYY_STREAM_REPLICAS", rule) from error
            if isinstance(error, BadRequestError) and code != _TOO_FEW_SERVERS:
                raise
            why = str(error) or repr(error)
            if asyncio.get_running_loop().time() > deadline:
                raise BusUnavailable(f"JetStream did not come up within {patience_s:g} s: {why}") from error
            if why != told:
                told = why
                log.warning("waiting for JetStream", error=why)
            await asyncio.sleep(0.2)


async def _ensure_once(js: JetStreamContext, configs: list[api.StreamConfig], replicas: int, all_stores: bool) -> None:
    for bucket in STORES:
        # With several copies it takes all servers to make a store, so none is left for when one of them is down.
        if all_stores or replicas > 1 or await _there(js, f"OBJ_{bucket}"):
            configs.append(store_config(bucket, configs[-1]))
    growths: list[tuple[int, api.StreamConfig]] = []
    for config in configs:
        assert config.name is not None and config.max_bytes is not None
        before = 0
        there = await _there(js, config.name)
        if config.name == WAKES:
            known = (there.config.metadata or {}).get(OWN_IDS) if there is not None else None
            config.metadata = {OWN_IDS: known or secrets.token_hex(12)}
        if there is not None:
            if there.config.persist_mode != config.persist_mode:
                await js.delete_stream(config.name)  # this cannot be changed; what is written so can be done without
            else:
                before = there.config.max_bytes or 0
                # Nothing that is there is lost, nor what is written while the limit is lowered.
                config.max_bytes = max(config.max_bytes, min(before, there.state.bytes * 5 // 4))
        growths.append((config.max_bytes - before, config))
    # What is set aside for the others may leave no room until those that shrink have given theirs back.
    for _, config in sorted(growths, key=lambda growth: growth[0]):
        try:
            await js.add_stream(config)
        except BadRequestError as error:
            if error.err_code != _STREAM_NAME_IN_USE:
                raise
            await js.update_stream(config)
    for consumer in CONSUMERS:
        await js.add_consumer(consumer.stream, consumer.config())


async def _there(js: JetStreamContext, stream: str) -> api.StreamInfo | None:
    try:
        return await js.stream_info(stream)
    except NotFoundError:
        return None


_STREAM_NAME_IN_USE = 10058
_TOO_FEW_SERVERS = 10005
"""Not as many servers as there are to be copies are known so far."""
_NO_CLUSTER = 10074

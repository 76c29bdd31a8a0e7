"""Each user of the broker says and hears what the table allows, and a real server refuses it everything else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg

from bus import permissions, streams, subjects
from bus.accounts import OUTSIDE
from bus.client import Bus
from bus.codec import encode
from bus.desk import Endpoint
from bus.inboxes import answers_of, inbox_of
from bus.permissions import SUPERVISOR, Permissions
from bus.server import Credentials
from bus.streams import REQUESTS, RESERVATIONS, TASKS, WORKFLOWS
from bus.subjects import AgentAsk, AnySubject, ModelsComplete, TaskEvents, TaskLogEntry, WorkflowLogEntry, overlap
from bus.tasklog import TaskLog
from schemas.errors import ConfigError
from tests.broker import AGENTS, SPECIALISTS, Broker, until
from tests.bus.responders import Hanging, Say
from tests.bus.test_tasklog import HELLO, TENANT

ANSWER_S = 30.0
TABLE = permissions.table(permissions.users(AGENTS, SPECIALISTS))
TALKERS = ["agent-coding", "agent-writing", "models", "specialists"]
"""Those who have no JetStream."""

KINDS = [
    kind
    for kind in vars(subjects).values()
    if isinstance(kind, type) and issubclass(kind, AnySubject) and kind is not AnySubject
]
SUBJECTS = [
    *(str(kind(**dict.fromkeys(kind.varying(), "x"))) for kind in KINDS),
    *(str(AgentAsk(name)) for name in (*AGENTS, *SPECIALISTS)),
    *(str(ModelsComplete(name)) for name in (*AGENTS, *SPECIALISTS, "http")),
    *(str(entry("t", "i", event)) for entry in (TaskLogEntry, WorkflowLogEntry) for event in ("accepted", "created")),
    *(f"devskyy.v1.aborts.{by}.w" for by in (*TABLE, "tasks")),
    *(f"{answers_of(name)}.guess.1" for name in (*TABLE, SUPERVISOR)),
    *(f"{inbox_of(name)}.guess" for name in (*TABLE, SUPERVISOR)),
    *("$SRV.PING", "$SRV.STATS", "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$SYS.REQ.SERVER.PING", "_R_.x.y"),
    *(
        f"$JS.API.{verb}.{config.name}"
        for config in streams.stream_configs()
        for verb in (
            *("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.INFO", "STREAM.MSG.GET"),
            *("STREAM.MSG.DELETE", "STREAM.SNAPSHOT", "CONSUMER.CREATE", "CONSUMER.LIST", "DIRECT.GET"),
        )
    ),
    *(
        f"{what}.{each.stream}.{each.name}{rest}"
        for each in streams.CONSUMERS
        for what, rest in (
            *(("$JS.API.CONSUMER.MSG.NEXT", ""), ("$JS.ACK", ".1.1.1.1.1"), ("$JS.API.CONSUMER.DELETE", "")),
            *(("$JS.API.CONSUMER.DURABLE.CREATE", ""), ("$JS.API.CONSUMER.CREATE", ""), ("$JS.API.CONSUMER.INFO", "")),
        )
    ),
    *(f"$O.{bucket}.{part}.x" for bucket in (streams.PAYLOADS, *streams.STORES) for part in "CM"),
]
"""One of each kind, and those that tell one user from another."""


class Client:
    """A connection as one user, with what the server refused it."""

    def __init__(self, client: NatsClient, refused: list[str]) -> None:
        self.client, self.refused = client, refused

    async def refusals(self, what: str) -> set[str]:
        """Subjects refused so far: the server answers in order."""
        await self.client.flush(timeout=ANSWER_S)
        await self.client.flush(timeout=ANSWER_S)
        marks = f'permissions violation for {what} to "'
        found = {error.partition(marks)[2].partition('"')[0] for error in self.refused if marks in error}
        self.refused.clear()
        return found


Connect = Callable[[str], Awaitable[Client]]


@pytest.fixture
async def connect(broker: Broker) -> AsyncIterator[Connect]:
    opened: list[NatsClient] = []

    async def connect(user: str) -> Client:
        refused: list[str] = []

        async def on_error(error: Exception) -> None:
            refused.append(str(error).lower())

        client = await nats.connect(broker.url_of(user), error_cb=on_error, inbox_prefix=inbox_of(user))
        opened.append(client)
        return Client(client, refused)

    yield connect
    for client in opened:
        await client.close()


def allowed(patterns: tuple[str, ...], subject: str) -> bool:
    return any(overlap(pattern, subject) for pattern in patterns)


@pytest.mark.parametrize("user", sorted(TABLE))
async def test_the_server_lets_a_user_say_what_its_table_says_and_nothing_else(user: str, connect: Connect) -> None:
    me = await connect(user)
    for subject in SUBJECTS:
        await me.client.publish(subject, b"{}", reply=f"{inbox_of(user)}.nobody")
    wanted = {subject.lower() for subject in SUBJECTS if not allowed(TABLE[user].publish, subject)}
    assert await me.refusals("publish") == wanted


@pytest.mark.parametrize("user", sorted(TABLE))
async def test_the_server_lets_a_user_hear_what_its_table_says_and_nothing_else(user: str, connect: Connect) -> None:
    me = await connect(user)
    for subject in (*SUBJECTS, ">", "*", "devskyy.>", "_INBOX.>", "$JS.>", "$SYS.>"):
        await me.client.subscribe(subject)
    wanted = {subject.lower() for subject in SUBJECTS if not allowed(TABLE[user].subscribe, subject)}
    wanted |= {">", "*", "devskyy.>", "_inbox.>", "$js.>", "$sys.>"}
    assert await me.refusals("subscription") == wanted


# -- what the table says ---------------------------------------------------------------------------------------------


def may_say(subject: str) -> set[str]:
    return {user for user, may in TABLE.items() if allowed(may.publish, subject)}


def may_hear(subject: str) -> set[str]:
    return {user for user, may in TABLE.items() if allowed(may.subscribe, subject)}


@pytest.mark.parametrize(
    ("subject", "users"),
    [
        (str(TaskLogEntry("t", "i", "completed")), {"coordinator"}),
        (str(TaskLogEntry("t", "i", "accepted")), {"coordinator", "engine", "http", "intake"}),
        (str(TaskEvents("t", "i", "completed")), set()),
        (str(WorkflowLogEntry("t", "i", "advanced")), {"engine"}),
        (str(WorkflowLogEntry("t", "i", "created")), {"engine", "http", "intake"}),
        ("devskyy.v1.workflows.t.i.advanced", set()),
        ("devskyy.v1.calls.t.i.s.d", {"gateway"}),
        ("devskyy.v1.purse.day.d.n.usd", {"gateway"}),
        ("devskyy.v1.reservations.g.r", {"gateway"}),
        ("devskyy.v1.cache.t.s.d", {"gateway"}),
        (f"$JS.API.STREAM.PURGE.{RESERVATIONS}", {"gateway"}),
        (f"$JS.API.STREAM.PURGE.{TASKS}", {"http"}),
        (f"$JS.API.STREAM.PURGE.{WORKFLOWS}", {"http", "projector"}),
        (str(ModelsComplete("writing")), {"agent-writing", "coordinator"}),
        (str(AgentAsk("writing")), {"coordinator"}),
        ("devskyy.v1.aborts.tasks.t", {"coordinator", "engine"}),
        ("devskyy.v1.aborts.agent-writing.r", {"agent-writing"}),
        ("devskyy.v1.embedded.m.complete", {"gateway"}),
    ],
)
def test_who_may_say_what(subject: str, users: set[str]) -> None:
    assert may_say(subject) == users


@pytest.mark.parametrize(
    ("subject", "users"),
    [
        (str(AgentAsk("writing")), {"agent-writing"}),
        (str(ModelsComplete("writing")), {"gateway"}),
        (str(TaskEvents("t", "i", "completed")), {"engine", "http"}),
        ("devskyy.v1.tokens.t.i", {"http"}),
        ("devskyy.v1.submit.t", {"intake"}),
        *((f"{answers_of(user)}.x.y", {user}) for user in TABLE),
        *((f"{inbox_of(user)}.x", {user}) for user in TABLE),
    ],
)
def test_who_may_hear_what(subject: str, users: set[str]) -> None:
    assert may_hear(subject) == users


@pytest.mark.parametrize("user", TALKERS)
def test_whoever_speaks_with_models_has_no_jetstream(user: str) -> None:
    assert not [subject for subject in TABLE[user].publish if subject.startswith(("$JS", "$O"))]


@pytest.mark.parametrize("verb", ["CREATE", "UPDATE", "DELETE", "SNAPSHOT", "RESTORE", "MSG.DELETE"])
def test_nobody_but_the_supervisor_changes_streams(verb: str) -> None:
    assert not may_say(f"$JS.API.STREAM.{verb}.{TASKS}")


def test_nobody_but_the_supervisor_makes_consumers() -> None:
    assert not may_say(f"$JS.API.CONSUMER.CREATE.{TASKS}.mine.{TaskEvents.of_tenants()}")
    assert not may_say(f"$JS.API.CONSUMER.CREATE.OBJ_{REQUESTS}.mine.x")


def test_who_answers_may_publish_to_the_inbox_of_whoever_asks_and_to_no_other() -> None:
    may = TABLE["agent-writing"].publish
    inboxes = {subject for subject in may if subject.startswith("_INBOX")}
    asks = ("agent-writing", "coordinator", "http", SUPERVISOR)  # itself, to know its subscriptions stand
    assert inboxes == {f"{answers_of(user)}.>" for user in asks}


# -- an agent that has been taken over -------------------------------------------------------------------------------


async def test_an_agent_cannot_write_events(bus: Bus, tasks: TaskLog, connect: Connect) -> None:
    # Given a task that runs
    task, _ = await tasks.accept(HELLO, TENANT)
    agent = await connect("agent-writing")
    # When an agent says that it is over, where its owner would, and where everybody reads
    said = [str(kind(TENANT, task.task_id, "completed")) for kind in (TaskLogEntry, TaskEvents)]
    for subject in said:
        await agent.client.publish(subject, b"x")
    # Then neither is heard
    assert await agent.refusals("publish") == {subject.lower() for subject in said}
    assert len(await tasks.read(TENANT, task.task_id)) == 1


async def test_an_agent_cannot_have_an_answer_sent_where_it_may_not_publish(broker: Broker) -> None:
    # Given a gateway that answers, and somebody who hears what is said
    gateway = await Bus(broker.url_of("gateway"), "gateway").connect()
    worked_on, heard = list[Say](), list[str]()

    async def complete(message: Say) -> Say:
        worked_on.append(message)
        return message

    watcher = await broker.connect()

    async def watch(msg: Msg) -> None:
        heard.append(msg.subject)

    agent = await Bus(broker.url_of("agent-writing"), "agent-writing", jetstream=False).connect()
    try:
        await gateway.serve("gateway", [Endpoint("complete", ModelsComplete.pattern(), Say, complete)], "", {})
        await watcher.client.subscribe("devskyy.v1.>", cb=watch)
        await watcher.settle()
        # When an agent wants its answer in the journal, which the gateway may write to
        for reply in ("devskyy.v1.calls.default.t.s.d", "devskyy.v1.aborts.gateway.r", "$JS.API.STREAM.PURGE.TASKS"):
            await agent.client.publish(str(ModelsComplete("writing")), encode(Say(text="steered")), reply=reply)
        # Then none of that is even worked on, while a proper question is
        proper = Say(text="proper")
        assert await agent.request(ModelsComplete("writing"), proper, Say, timeout_s=ANSWER_S) == proper
        assert worked_on == [proper]
        await watcher.settle()
        assert set(heard) == {str(ModelsComplete("writing"))}
    finally:
        for each in (agent, watcher, gateway):
            await each.close(grace_s=0)


async def test_an_agent_cannot_have_the_server_report_where_it_may_not_publish(bus: Bus, connect: Connect) -> None:
    """A header has nats-server publish what became of a message."""
    # Given somebody who hears what is said
    heard: list[str] = []

    async def watch(msg: Msg) -> None:
        heard.append(msg.subject)

    await bus.client.subscribe(">", cb=watch)
    await bus.settle()
    agent, question = await connect("agent-writing"), str(ModelsComplete("writing"))
    # When an agent wants the report of its question where events are written
    for target in (str(TaskLogEntry("t", "i", "completed")), "devskyy.v1.calls.t.i.s.d", "$JS.API.STREAM.PURGE.TASKS"):
        await agent.client.publish(question, b"{}", headers={"Nats-Trace-Dest": target})
    # And one where it may publish
    await agent.client.publish(question, b"{}", headers={"Nats-Trace-Dest": "devskyy.v1.payloads.fetch"})
    # Then that alone comes
    await until(lambda: "devskyy.v1.payloads.fetch" in heard)
    assert {subject for subject in heard if not subject.startswith("_INBOX")} == {question, "devskyy.v1.payloads.fetch"}


async def test_an_agent_cannot_call_off_what_others_asked(broker: Broker, connect: Connect) -> None:
    # Given an agent that works on a coordinator's question
    hanging = Hanging()
    coordinator = await Bus(broker.url_of("coordinator"), "coordinator").connect()
    writing = await Bus(broker.url_of("agent-writing"), "writing", jetstream=False).connect()
    seen: list[Msg] = []

    async def note(msg: Msg) -> None:
        seen.append(msg)

    spy = await broker.connect()
    coding = await connect("agent-coding")
    try:
        await writing.serve("agent-writing", [Endpoint("ask", str(AgentAsk("writing")), Say, hanging)], "", {})
        await spy.client.subscribe(str(AgentAsk("writing")), cb=note)
        await spy.settle()
        question = asyncio.create_task(
            coordinator.request(AgentAsk("writing"), Say(text="?"), Say, timeout_s=ANSWER_S, work="task-1")
        )
        await asyncio.wait_for(hanging.started.wait(), ANSWER_S)
        await until(lambda: bool(seen))
        request_id = (seen[0].headers or {})["Devskyy-Request"]
        # When another agent, which somehow knows its name and its task, calls it off in every way there is
        tries = [f"devskyy.v1.aborts.{by}.{work}" for by in ("coordinator", "tasks") for work in (request_id, "task-1")]
        for subject in (*tries, f"devskyy.v1.aborts.agent-coding.{request_id}"):
            await coding.client.publish(subject, b"")
        refused = await coding.refusals("publish")
        await writing.settle()
        # Then the work goes on, and is answered
        assert refused == set(tries)
        assert not hanging.cancelled.is_set()
        hanging.go_on.set()
        assert (await question).text == "?"
        # And whoever asked may call its own off
        hanging.go_on.clear()
        again = asyncio.create_task(coordinator.request(AgentAsk("writing"), Say(text="?"), Say, timeout_s=ANSWER_S))
        await until(lambda: len(seen) == 2)
        again.cancel()
        await asyncio.wait_for(hanging.cancelled.wait(), ANSWER_S)
    finally:
        for each in (spy, coordinator, writing):
            await each.close(grace_s=0)


@pytest.mark.parametrize(
    "subject",
    [
        *(
            TaskEvents.of_tenants(),
            TaskEvents.of_task("default", "t"),
            "devskyy.v1.workflows.>",
            "devskyy.v1.tokens.*.*",
        ),
        *(str(AgentAsk("coding")), ModelsComplete.pattern(), f"{inbox_of('coordinator')}.>", f"{inbox_of('http')}.>"),
        *("_INBOX.>", "$SRV.STATS.agent-coding", "$JS.EVENT.>"),
    ],
)
async def test_an_agent_cannot_listen_to_others(subject: str, connect: Connect) -> None:
    agent = await connect("agent-writing")
    await agent.client.subscribe(subject)
    assert await agent.refusals("subscription") == {subject.lower()}


@pytest.mark.parametrize(
    "subject",
    [
        str(ModelsComplete("coding")),
        str(ModelsComplete("http")),
        "$JS.API.CONSUMER.CREATE.TASKS",
        "$JS.API.CONSUMER.DURABLE.CREATE.TASKS.mine",
        "$JS.API.STREAM.PURGE.TASKS",
        "$JS.API.STREAM.DELETE.TASKS",
        f"$JS.API.DIRECT.GET.{TASKS}",
        f"$O.{REQUESTS}.C.x",
        f"{inbox_of('coordinator')}.x",
        f"{inbox_of('http')}.x.y",
        "$JS.ACK.TASKS.coordinators.1.1.1.1.1",
    ],
)
async def test_an_agent_cannot_ask_for_what_is_not_its_own(subject: str, connect: Connect) -> None:
    agent = await connect("agent-writing")
    await agent.client.publish(subject, b"{}", reply=f"{inbox_of('agent-writing')}.x")
    assert await agent.refusals("publish") == {subject.lower()}


def test_the_permissions_of_a_user_hold_for_its_name_alone() -> None:
    one, two = (permissions.table(permissions.users((name,), ()))[f"agent-{name}"] for name in ("a", "ab"))
    assert isinstance(one, Permissions)
    own = [p for p in two.publish if not allowed(one.publish, p)]
    assert own == ["devskyy.v1.models.ab.complete", "devskyy.v1.aborts.agent-ab.*", f"{answers_of('agent-ab')}.>"]


def test_credentials_of_an_earlier_version_keep_the_outside_clients_password(tmp_path: Path) -> None:
    # Given a home from before each part had a user
    (tmp_path / "credentials.json").write_text('{"nats": {"platform": "old", "outside": "given to many"}}')
    # When it is read for users of today, twice
    made, again = (Credentials.of_home(tmp_path, TABLE) for _ in range(2))
    # Then outside clients go on, and everybody has a password that stays
    assert made.outside == "given to many"
    assert made == again
    assert len({made.passwords[user] for user in (*TABLE, SUPERVISOR, OUTSIDE)}) == len(TABLE) + 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nats": 3}', '{"nats": [1]}'])
def test_credentials_that_cannot_be_read_say_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "credentials.json").write_text(text)
    with pytest.raises(ConfigError, match="cannot be read"):
        Credentials.of_home(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        *(("a.b", "a.b", True), ("a.*", "a.b", True), ("a.*", "*.b", True), ("a.>", "*.b.c", True)),
        *(("a.b", "a.c", False), ("a.*", "a", False), ("a.>", "a", False), ("a.*", "a.b.c", False), (">", "a", True)),
    ],
)
def test_patterns_that_share_a_subject_overlap(one: str, other: str, meet: bool) -> None:
    assert overlap(one, other) is overlap(other, one) is meet

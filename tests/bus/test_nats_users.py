"""Clients from outside, each with a user and an account of its own: what is let in, what is heard, and what is not."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import bcrypt
import nats.errors
import pytest
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg

from bus.accounts import ways
from bus.client import Bus
from bus.nats_users import NatsUsers
from bus.streams import SUBMIT, TASKS, WORKFLOWS
from bus.subjects import Submit, TaskCommand, TaskEvents, TaskLogEntry, TaskTokens, WorkflowWake, overlap
from bus.tasklog import TaskLog
from bus.workflowlog import WorkflowLog
from schemas.completion import Delta
from schemas.errors import ConfigError, Conflict, InvalidRequest, NotFound
from schemas.nats_user import NatsScope
from tests.broker import Broker, settle, until
from tests.bus.test_permissions import KINDS, Client
from tests.bus.test_permissions import SUBJECTS as OF_THE_PLATFORM
from tests.bus.test_tasklog import HELLO, LONG_S
from tests.bus.workflows import created

TENANTS = ("default", "acme", "other")
OF_TENANTS = [
    str(kind(**{**dict.fromkeys(kind.varying(), "x"), "tenant": tenant}))
    for kind in KINDS
    if "tenant" in kind.varying()
    for tenant in TENANTS
]
GETS = [
    f"$JS.API.DIRECT.GET.{stream}.devskyy.v1.{log}.{tenant}.x.{event}"
    for stream, log in ((TASKS, "tasks"), (WORKFLOWS, "workflows"), (TASKS, "log"), ("CALLS", "calls"))
    for tenant in TENANTS
    for event in ("accepted", "completed")
]
SUBJECTS = [*OF_THE_PLATFORM, *OF_TENANTS, *GETS, "_INBOX.guess", "_R_.guess.x"]
WILDCARDS = [
    *(">", "*", "devskyy.>", "devskyy.v1.*.*.*.*", "$JS.>", "$SYS.>", "_R_.>", "*.>"),
    *(f"devskyy.v1.{what}.>" for what in ("tasks", "workflows", "tokens", "submit", "commands", "wakes", "log")),
    *(f"devskyy.v1.{what}.*.x.completed" for what in ("tasks", "workflows")),
    *(f"devskyy.v1.{what}.other.>" for what in ("tasks", "workflows", "tokens")),
]


class Outsiders:
    """Connections as clients from outside."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._opened, self.urls = broker, list[NatsClient](), dict[str, str]()

    async def __call__(self, name: str, tenant: str, scope: NatsScope = "write") -> Client:
        self.urls[name] = await self._broker.let_in(name, tenant, scope)
        return await self.at(self.urls[name])

    async def at(self, url: str, *, stays: bool = True) -> Client:
        refused: list[str] = []

        async def on_error(error: Exception) -> None:
            refused.append(str(error).lower())

        client = NatsClient()
        self._opened.append(client)
        await client.connect(url, error_cb=on_error, allow_reconnect=stays)
        return Client(client, refused)

    async def close(self) -> None:
        for client in self._opened:
            await client.close()


@pytest.fixture
async def outsiders(broker: Broker) -> AsyncIterator[Outsiders]:
    outsiders = Outsiders(broker)
    yield outsiders
    await outsiders.close()


def may_say(tenant: str, scope: NatsScope, subject: str) -> bool:
    """As `docs/nats.md` says."""
    asked = [f"devskyy.v1.submit.{tenant}", f"devskyy.v1.commands.{tenant}.*", f"devskyy.v1.wakes.{tenant}.*"]
    gets = [
        f"$JS.API.DIRECT.GET.TASKS.devskyy.v1.tasks.{tenant}.>",
        f"$JS.API.DIRECT.GET.WORKFLOWS.devskyy.v1.workflows.{tenant}.>",
    ]
    return any(overlap(pattern, subject) for pattern in [*gets, *(asked if scope == "write" else ())])


def may_hear(tenant: str, subject: str) -> bool:
    own = (f"devskyy.v1.tasks.{tenant}.>", f"devskyy.v1.workflows.{tenant}.>", f"devskyy.v1.tokens.{tenant}.*")
    return any(overlap(pattern, subject) for pattern in (*own, "_INBOX.>"))


@pytest.mark.parametrize(("tenant", "scope"), [("acme", "read"), ("acme", "write"), ("default", "read")])
async def test_a_client_says_and_hears_what_is_its_tenants_and_nothing_else(
    outsiders: Outsiders, bus: Bus, tenant: str, scope: NatsScope
) -> None:
    # Given a client of one tenant
    me = await outsiders("me", tenant, scope)
    # When it tries every subject there is
    for subject in SUBJECTS:
        await me.client.publish(subject, b"x", reply="_INBOX.mine")
    # Then exactly what its scope allows of its own tenant is let through
    assert await me.refusals("publish") == {s.lower() for s in SUBJECTS if not may_say(tenant, scope, s)}
    for subject in (*SUBJECTS, *WILDCARDS):
        await me.client.subscribe(subject)
    heard = {s.lower() for s in SUBJECTS if not may_hear(tenant, s)} | {s.lower() for s in WILDCARDS}
    assert await me.refusals("subscription") == heard


async def test_the_first_client_is_one_of_the_default_tenant_that_may_write(
    outsiders: Outsiders, broker: Broker
) -> None:
    me = await outsiders.at(broker.outside_url)
    for subject in SUBJECTS:
        await me.client.publish(subject, b"x", reply="_INBOX.mine")
    assert await me.refusals("publish") == {s.lower() for s in SUBJECTS if not may_say("default", "write", s)}


@pytest.mark.parametrize("scope", ["read", "write"])
def test_what_a_client_is_told_is_what_it_may(scope: NatsScope) -> None:
    for way, subject in ways("acme", scope).items():
        one = subject.replace("*", "x").replace(">", "x.completed")
        if way in ("submit", "commands", "wakes"):
            assert scope == "write" and may_say("acme", scope, one)
        else:
            assert may_hear("acme", one)


async def test_clients_of_two_tenants_submit_and_hear_apart(outsiders: Outsiders, bus: Bus, tasks: TaskLog) -> None:
    # Given one client for each of two tenants, who hear all that they may
    taken: list[tuple[str, str]] = []

    async def intake(msg: Msg) -> None:
        taken.append((msg.subject, msg.data.decode()))
        await bus.client.publish(msg.reply, b"taken")

    await bus.client.subscribe(Submit.pattern(), cb=intake)
    await bus.settle()
    clients = {tenant: await outsiders(f"of-{tenant}", tenant) for tenant in ("acme", "other")}
    heard: dict[str, list[str]] = {tenant: [] for tenant in clients}
    for tenant, me in clients.items():

        async def hear(msg: Msg, mine: list[str] = heard[tenant]) -> None:
            mine.append(msg.subject)

        for way in ("events", "tokens", "workflows"):
            await me.client.subscribe(ways(tenant, "read")[way], cb=hear)
        await settle(me.client)
    # When both submit, and things happen in both tenants
    for tenant, me in clients.items():
        assert (await me.client.request(str(Submit(tenant)), tenant.encode(), timeout=LONG_S)).data == b"taken"
        task, _ = await tasks.accept(HELLO, tenant)
        await bus.publish(TaskTokens(tenant, task.task_id), Delta(step="direct", attempt=1, offset=0, text="A"))
        await WorkflowLog(bus).create(created(tenant=tenant))
    await bus.settle()
    # Then each is taken for its own tenant's, and hears that alone
    await until(lambda: all(len(mine) >= 3 for mine in heard.values()))
    assert taken == [(str(Submit(tenant)), tenant) for tenant in clients]
    for tenant, mine in heard.items():
        assert {subject.split(".")[3] for subject in mine} == {tenant}


# -- answers ---------------------------------------------------------------------------------------------------------


async def seen_by(bus: Bus) -> list[str]:
    seen: list[str] = []

    async def watch(msg: Msg) -> None:
        seen.append(msg.subject)

    await bus.client.subscribe("devskyy.v1.>", cb=watch)
    await bus.settle()
    return seen


def steered() -> list[str]:
    """Where somebody may wish that an answer went."""
    return [
        *(str(kind(tenant)) for kind in (Submit,) for tenant in ("acme", "default")),
        *(str(kind(tenant, "t")) for kind in (TaskCommand, WorkflowWake) for tenant in ("acme", "default")),
        *(str(TaskLogEntry(tenant, "t", "completed")) for tenant in ("acme", "default")),
        *(str(TaskEvents(tenant, "t", "completed")) for tenant in ("acme", "default")),
        *("devskyy.v1.aborts.tasks.t", "devskyy.v1.agents.writing.ask", "_INBOX_http.answers.x.y"),
        *("$JS.API.STREAM.PURGE.TASKS", "$JS.API.STREAM.DELETE.TASKS", "$SYS.REQ.SERVER.PING"),
    ]


@pytest.mark.parametrize("scope", ["read", "write"])
async def test_an_answer_goes_nowhere_that_its_asker_may_not_publish(
    outsiders: Outsiders, bus: Bus, tasks: TaskLog, scope: NatsScope
) -> None:
    # Given a client that can read a task of its own, beside one of its tenant that may write
    await outsiders("beside", "acme")
    me = await outsiders("me", "acme", scope)
    task, _ = await tasks.accept(HELLO, "acme")
    seen = await seen_by(bus)
    get = f"$JS.API.DIRECT.GET.{TASKS}.{TaskEvents('acme', task.task_id, 'accepted')}"
    # When it has answers sent where it would like to write
    for target in steered():
        await me.client.publish(get, b"", reply=target)
        await me.client.publish(get, b"", reply="_INBOX.mine", headers={"Nats-Trace-Dest": target})
        if scope == "write":
            await me.client.publish(str(TaskCommand("acme", "t")), b"x", reply=target)
    await me.client.request(get, b"", timeout=LONG_S)  # answered after those before it
    await bus.publish(TaskTokens("acme", "last"), Delta(step="direct", attempt=1, offset=0, text="A"))
    last = str(TaskTokens("acme", "last"))
    await until(lambda: last in seen)
    # Then nobody of the platform hears what it could not have said itself
    assert [subject for subject in seen if subject != last and not may_say("acme", scope, subject)] == []
    assert (await bus.js.stream_info(TASKS)).state.messages == 1
    if scope == "read":
        assert (await bus.js.stream_info(SUBMIT)).state.messages == 0


@pytest.mark.parametrize(
    "body",
    [
        {"multi_last": ["devskyy.v1.tasks.other.>"], "batch": 9},
        {"last_by_subj": "devskyy.v1.tasks.other.t.accepted"},
        {"next_by_subj": "devskyy.v1.tasks.other.>", "seq": 1, "batch": 9},
        {"seq": 1},
        {"start_time": "2020-01-01T00:00:00Z", "batch": 9},
    ],
    ids=lambda body: next(iter(body)),
)
async def test_the_body_of_a_direct_get_reaches_no_other_tenant(
    outsiders: Outsiders, tasks: TaskLog, body: dict[str, object]
) -> None:
    # Given a task of another tenant, and one of its own
    await tasks.accept(HELLO.model_copy(update={"prompt": "of another"}), "other")
    task, _ = await tasks.accept(HELLO, "acme")
    me = await outsiders("me", "acme", "read")
    # When it reads its own, and asks for the other's in the body
    answers = await me.client.subscribe("_INBOX.mine")
    for subject in (str(TaskEvents("acme", task.task_id, "accepted")), "devskyy.v1.tasks.acme.>"):
        await me.client.publish(f"$JS.API.DIRECT.GET.{TASKS}.{subject}", json.dumps(body).encode(), "_INBOX.mine")
        told = await answers.next_msg(timeout=LONG_S)
        # Then what it is told is its own, or a refusal
        assert b"of another" not in told.data
        assert "other" not in (told.headers or {}).get("Nats-Subject", "")


async def test_answers_to_one_client_are_not_heard_by_another_of_its_tenant(
    outsiders: Outsiders, bus: Bus, tasks: TaskLog
) -> None:
    # Given two clients of one tenant, of whom one hears every inbox that it can
    task, _ = await tasks.accept(HELLO, "acme")
    asker, spy = await outsiders("asker", "acme"), await outsiders("spy", "acme", "read")
    heard: list[str] = []

    async def hear(msg: Msg) -> None:
        heard.append(msg.subject)

    await spy.client.subscribe("_INBOX.>", cb=hear)
    await settle(spy.client)
    # When the other is answered
    get = f"$JS.API.DIRECT.GET.{TASKS}.{TaskEvents('acme', task.task_id, 'accepted')}"
    await asker.client.request(get, b"", timeout=LONG_S)
    await spy.client.publish(get, b"", reply="_INBOX.own")
    await until(lambda: bool(heard))
    # Then it hears what it asked itself alone
    assert heard == ["_INBOX.own"]


# -- coming and going ------------------------------------------------------------------------------------------------


async def test_clients_come_and_go_while_everybody_else_goes_on(outsiders: Outsiders, broker: Broker, bus: Bus) -> None:
    # Given somebody inside who writes and is asked all the time, and a client from outside who hears it
    async def intake(msg: Msg) -> None:
        await bus.client.publish(msg.reply, msg.data)

    await bus.client.subscribe(Submit.pattern(), cb=intake)
    await bus.settle()
    stays = await outsiders("stays", "acme")
    heard: list[str] = []

    async def hear(msg: Msg) -> None:
        heard.append(msg.subject)

    await stays.client.subscribe(ways("acme", "read")["events"], cb=hear)
    await settle(stays.client)
    left: list[str] = []

    async def lost() -> None:
        left.append("lost")

    stays.client._disconnected_cb = bus.client._disconnected_cb = lost
    tasks, written, going = TaskLog(bus), 0, True

    async def write() -> None:
        nonlocal written
        while going:
            await tasks.accept(HELLO, "acme")
            written += 1

    writing = asyncio.create_task(write())
    # When others come, and are revoked
    for name in ("one", "two"):
        other = await outsiders(name, "acme")
        assert (await other.client.request(str(Submit("acme")), b"work", timeout=LONG_S)).data == b"work"
        before = written
        NatsUsers(broker.home).revoke(name)
        await broker.reload()
        await until(lambda other=other: other.client.is_reconnecting or other.client.is_closed)  # type: ignore[misc]
        with pytest.raises(nats.errors.Error):
            await outsiders.at(outsiders.urls[name], stays=False)
        await until(lambda before=before: written > before)  # type: ignore[misc]
    going = False
    await writing
    # Then nobody else lost a connection or a message
    await until(lambda: len(heard) == written)
    assert left == []
    assert (await stays.client.request(str(Submit("acme")), b"work", timeout=LONG_S)).data == b"work"


async def test_who_is_let_in_is_let_in_by_the_next_server_too(outsiders: Outsiders, broker: Broker) -> None:
    await outsiders("me", "acme")
    broker.kill()
    broker.start()
    assert (await outsiders.at(outsiders.urls["me"])).client.is_connected


# -- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def users(tmp_path: Path) -> NatsUsers:
    return NatsUsers(tmp_path / "home")


def test_of_a_password_only_a_hash_is_kept_for_the_owner_of_the_home(users: NatsUsers) -> None:
    made, password = users.create("app", "acme", "read")
    (kept,) = users.valid()
    assert bcrypt.checkpw(password.encode(), kept.bcrypt.encode())
    assert password not in users.path.read_text()
    assert users.path.stat().st_mode & 0o777 == 0o600
    assert (made.user, made.tenant, made.scope) == ("outside-app", "acme", "read")
    assert kept.bcrypt not in repr(kept) and "bcrypt" not in made.model_dump()


def test_a_revoked_name_is_free_again_and_a_living_one_is_not(users: NatsUsers) -> None:
    users.create("app", "acme", "read")
    with pytest.raises(Conflict, match="there is a NATS user app"):
        users.create("app", "other", "write")
    assert users.revoke("app").revoked_at == users.revoke("app").revoked_at
    assert users.valid() == ()
    users.create("app", "other", "write")
    assert [(user.name, user.tenant) for user in users.all()] == [("app", "other")]


def test_a_tenant_is_erased_with_all_that_there_were(users: NatsUsers) -> None:
    for name, tenant in (("a", "acme"), ("b", "acme"), ("c", "other")):
        users.create(name, tenant, "write")
    users.revoke("b")
    assert (users.erase("acme"), users.erase("acme")) == (2, 0)
    assert [user.name for user in users.all()] == ["c"]
    assert "acme" not in users.path.read_text()


def test_who_is_not_there_cannot_be_revoked(users: NatsUsers) -> None:
    with pytest.raises(NotFound, match="nobody"):
        users.revoke("nobody")


@pytest.mark.parametrize(
    ("name", "tenant", "field"),
    [
        *(("", "acme", "name"), ("a.b", "acme", "name"), ("*", "acme", "name"), ('a", b', "acme", "name")),
        *(("n" * 65, "acme", "name"), ("a", "", "tenant"), ("a", ">", "tenant"), ("a", "b c", "tenant")),
        ("a", "é", "tenant"),
    ],
)
def test_a_name_that_would_change_what_the_configuration_means_is_refused(
    users: NatsUsers, name: str, tenant: str, field: str
) -> None:
    with pytest.raises(InvalidRequest, match=field):
        users.create(name, tenant, "write")
    assert not users.path.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"users": [{}]}', '{"users": 3}'])
def test_a_file_that_cannot_be_read_lets_nobody_in_unnoticed(users: NatsUsers, text: str) -> None:
    users.path.parent.mkdir()
    users.path.write_text(text)
    with pytest.raises(ConfigError, match="restore it, or delete it"):
        users.valid()


def test_several_programs_may_make_users_at_once(users: NatsUsers) -> None:
    from concurrent.futures import ThreadPoolExecutor

    make: Callable[[int], object] = lambda i: NatsUsers(users.path.parent).create(f"u{i}", "acme", "read")  # noqa: E731
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(40)))
    assert {user.name for user in users.all()} == {f"u{i}" for i in range(40)}

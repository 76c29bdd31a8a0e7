"""What the outside user may do, on a real server: submit, command, wake and read its tenant's, and nothing else."""

import asyncio
import contextlib
from urllib.parse import SplitResult, urlsplit

import nats.errors
import pytest
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg

from bus import history, streams
from bus.client import Bus
from bus.codec import decode, decode_as, encode
from bus.streams import TASKS, WAKES, WORKFLOWS
from bus.subjects import (
    AgentAsk,
    ModelsComplete,
    Submit,
    TaskCommand,
    TaskEvents,
    TaskLogEntry,
    TaskTokens,
    WorkflowDue,
    WorkflowEvents,
    WorkflowLogEntry,
    WorkflowSnapshot,
    WorkflowTimer,
    WorkflowWake,
)
from bus.tasklog import TaskLog
from bus.workflowlog import WorkflowLog
from schemas.completion import Delta
from schemas.errors import NotFound
from schemas.event import TASK_EVENT, Command
from schemas.workflow_event import WORKFLOW_EVENT, WorkflowCommand
from tests.broker import Broker, until
from tests.bus.outside import Outside
from tests.bus.test_tasklog import HELLO, LONG_S, TENANT, completed, own
from tests.bus.workflows import advanced, command, created


async def test_the_outside_user_submits_and_is_answered(bus: Bus, outside: Outside) -> None:
    async def intake(msg: Msg) -> None:
        await bus.client.publish(msg.reply, b"taken: " + msg.data)

    await bus.client.subscribe(Submit.pattern(), cb=intake)
    await bus.settle()
    answer = await outside.client.request(str(Submit(TENANT)), b"work", timeout=LONG_S)
    assert answer.data == b"taken: work"
    assert (await bus.js.stream_info("SUBMIT")).state.messages == 1


async def test_the_outside_user_commands_and_reads_its_tenant(bus: Bus, tasks: TaskLog, outside: Outside) -> None:
    task, _ = await tasks.accept(HELLO, TENANT)
    read = await outside.client.subscribe(TaskEvents.of_task(TENANT, task.task_id))
    # Given what it missed, through a direct get (and with it the subscription is known to the server)
    subject = f"$JS.API.DIRECT.GET.{TASKS}.{TaskEvents(TENANT, task.task_id, 'accepted')}"
    missed = await outside.client.request(subject, b"", timeout=LONG_S)
    assert decode_as(missed.data, TASK_EVENT, "task event").event == "accepted"
    # When it commands, and the owner goes on
    await outside.client.publish(str(TaskCommand(TENANT, task.task_id)), encode(Command(reason="enough")))
    await outside.client.flush()
    owned = await own(tasks, task.task_id)
    await owned.append(completed(owned))
    # Then the command is kept, and the event is heard
    heard = await read.next_msg(timeout=LONG_S)
    assert decode_as(heard.data, TASK_EVENT, "task event").event == "completed"
    async with asyncio.timeout(LONG_S):
        while (command := await tasks.pending_command(TENANT, task.task_id)) is None:
            pass
    assert command.reason == "enough"


async def test_the_outside_user_reads_the_text_of_its_tenants_tasks_as_it_is_written(
    bus: Bus, outside: Outside
) -> None:
    # Given one who listens to the text of all its tasks, which an answer shows to be known by now: a flush overtakes it
    read = await outside.client.subscribe(TaskTokens.pattern(tenant=TENANT))
    await outside.client.request(f"$JS.API.DIRECT.GET.{TASKS}.{TaskEvents(TENANT, 't', 'accepted')}", b"", LONG_S)
    # When pieces of another tenant's task and of one of its own are published
    delta = Delta(step="direct", attempt=1, offset=0, text="A bag")
    await bus.publish(TaskTokens("other", "t"), delta)
    await bus.publish(TaskTokens(TENANT, "t"), delta)
    # Then it hears its own only
    heard = await read.next_msg(timeout=LONG_S)
    assert (heard.subject, decode(heard.data, Delta)) == (str(TaskTokens(TENANT, "t")), delta)


async def test_the_outside_user_wakes_and_reads_the_workflows_of_its_tenant(bus: Bus, outside: Outside) -> None:
    # Given a workflow, and a listener
    flows = WorkflowLog(bus)
    await flows.create(created())
    read = await outside.client.subscribe(WorkflowEvents.of_tenant(TENANT))
    # Given what it missed, through a direct get (and with it the subscription is known to the server)
    subject = f"$JS.API.DIRECT.GET.{WORKFLOWS}.{WorkflowEvents(TENANT, 'w', 'created')}"
    missed = await outside.client.request(subject, b"", timeout=LONG_S)
    assert decode_as(missed.data, WORKFLOW_EVENT, "workflow event") == (await flows.read(TENANT, "w"))[0].event
    # When it signals, and the owner goes on
    signal = command(payload={"approved": True})
    acknowledged = await outside.client.request(str(WorkflowWake(TENANT, "w")), encode(signal), timeout=LONG_S)
    await flows.append(advanced(2), 1)
    # Then the signal is kept, which it is told, and the event is heard
    assert b'"stream":"WAKES"' in acknowledged.data
    raw = await bus.js.get_last_msg(WAKES, str(WorkflowWake(TENANT, "w")))
    assert decode(raw.data or b"", WorkflowCommand) == signal
    heard = await read.next_msg(timeout=LONG_S)
    assert decode_as(heard.data, WORKFLOW_EVENT, "workflow event").event == "advanced"


@pytest.mark.parametrize(
    "headers",
    [
        {"Nats-Rollup": "all"},
        {"Nats-Rollup": "sub"},
        {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": str(WorkflowWake("other", "w"))},
        {"Nats-TTL": "1s"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_a_wake_from_outside_neither_empties_the_queue_nor_wakes_what_is_not_its_own(
    bus: Bus, outside: Outside, headers: dict[str, str]
) -> None:
    # Given a wake of another tenant
    await WorkflowLog(bus).wake("other", "w", command())
    # When one comes from outside with more in its headers than a wake has
    reply = await outside.client.request(str(WorkflowWake(TENANT, "w")), b"x", timeout=LONG_S, headers=headers)
    # Then it is refused
    assert b'"error"' in reply.data
    assert (await bus.js.stream_info(WAKES)).state.messages == 1


async def test_a_wake_whose_headers_pretend_to_be_a_status_does_not_end_the_reading_of_those_after_it(
    bus: Bus, outside: Outside
) -> None:
    # Given a wake from outside that looks like the end of a batch, and one of another tenant after it
    pretended = {"Status": "204", "Nats-Num-Pending": "0"}
    await outside.client.request(str(WorkflowWake(TENANT, "w")), b"x", timeout=LONG_S, headers=pretended)
    await WorkflowLog(bus).wake("other", "w", command())
    # When an engine that starts looks through them
    async with contextlib.aclosing(history.messages(bus, WAKES, WorkflowWake.pattern())) as wakes:
        found = [(msg.headers or {})["Nats-Subject"] async for msg in wakes]
    # Then it sees both
    assert found == [str(WorkflowWake(TENANT, "w")), str(WorkflowWake("other", "w"))]


async def test_a_wake_from_outside_does_not_pass_for_a_repeat_of_another_tenants(bus: Bus, outside: Outside) -> None:
    # Given a wake that bears all that is known of one that another tenant is about to send
    sent = command()
    headers = {"Nats-Msg-Id": f"other.w.{sent.command}"}
    await outside.client.request(str(WorkflowWake(TENANT, "w")), b"x", timeout=LONG_S, headers=headers)
    # Then that is kept too, and only itself a repeat, also after the streams were brought up to date
    flows = WorkflowLog(bus)
    assert await flows.wake("other", "w", sent)
    await streams.ensure(bus.client)
    assert not await WorkflowLog(bus).wake("other", "w", sent)


UNREADABLE = [
    b"PUB devskyy.v1.commands.default.\xff 1\r\nx\r\n",
    b"PUB devskyy.v1.commands.default.a\x0bb 1\r\nx\r\n",
    b"PUB devskyy.v1.commands.default.a\x0cb 1\r\nx\r\n",
    b"PUB devskyy.v1.commands.default.a\x00b 1\r\nx\r\n",
    b"HPUB devskyy.v1.commands.default.h\x0bi 24 25\r\nNATS/1.0\r\nName: more\r\n\r\nx\r\n",
    b"HPUB devskyy.v1.submit.default 8 9\r\nNATS/1.0x\r\n",
    b"HPUB devskyy.v1.submit.default 15 16\r\nNATS/1.0 \xff\xff\r\n\r\nx\r\n",
    b"HPUB devskyy.v1.submit.default 19 20\r\nNATS/1.0 100 \xff\xff\r\n\r\nx\r\n",
    b"HPUB devskyy.v1.submit.default 18 19\r\nNATS/1.0\r\n\xff: a\r\n\r\nx\r\n",
]


async def test_nothing_that_comes_from_outside_makes_the_platform_deaf(broker: Broker, bus: Bus) -> None:
    heard: list[bytes] = []

    async def hear(msg: Msg) -> None:
        heard.append(msg.data)

    await bus.client.subscribe("devskyy.v1.>", cb=hear)
    await bus.settle()
    # Given a client that writes to the socket what no library would
    at = urlsplit(broker.outside_url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    await reader.readline()
    writer.write(b'CONNECT {"headers":true,"verbose":false,"user":"%s","pass":"%s"}\r\n' % _login(at))
    # When it sends that
    for line in UNREADABLE:
        writer.write(line)
    writer.write(b"PUB devskyy.v1.submit.default 4\r\nlast\r\n")
    await writer.drain()
    # Then all of it is heard, on the one connection
    await until(lambda: b"last" in heard)
    assert heard == [b"x"] * len(UNREADABLE) + [b"last"]
    assert bus.client.stats["reconnects"] == 0
    writer.close()
    await writer.wait_closed()


def _login(url: SplitResult) -> tuple[bytes, bytes]:
    assert url.username is not None and url.password is not None
    return url.username.encode(), url.password.encode()


FORBIDDEN_TO_PUBLISH = [
    str(TaskLogEntry(TENANT, "t", "completed")),
    str(TaskEvents(TENANT, "t", "completed")),
    str(ModelsComplete("coordinator")),
    str(AgentAsk("writing")),
    "devskyy.v1.aborts.tasks.t",
    "devskyy.v1.alerts.4",
    str(TaskTokens(TENANT, "t")),
    "devskyy.v1.calls.default.t.s.d",
    str(Submit("other")),
    str(TaskCommand("other", "t")),
    str(WorkflowLogEntry(TENANT, "w", "advanced")),
    str(WorkflowEvents(TENANT, "w", "advanced")),
    str(WorkflowWake("other", "w")),
    str(WorkflowTimer(TENANT, "w")),
    str(WorkflowDue(TENANT, "w")),
    str(WorkflowSnapshot(TENANT, "w")),
    "_INBOX_supervisor.guess",
    "$SRV.PING",
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.INFO.TASKS",
    "$JS.API.STREAM.PURGE.TASKS",
    "$JS.API.STREAM.DELETE.TASKS",
    "$JS.API.STREAM.MSG.GET.TASKS",
    "$JS.API.STREAM.CREATE.MINE",
    "$JS.API.CONSUMER.CREATE.TASKS",
    "$JS.API.CONSUMER.MSG.NEXT.TASKS.coordinators",
    "$JS.API.DIRECT.GET.TASKS",
    "$JS.API.DIRECT.GET.CALLS.devskyy.v1.calls.default.t.s.d",
    "$JS.API.DIRECT.GET.TASKS.devskyy.v1.tasks.other.t.accepted",
    "$JS.API.DIRECT.GET.WORKFLOWS",
    "$JS.API.DIRECT.GET.WORKFLOWS.devskyy.v1.workflows.other.w.created",
    "$JS.API.DIRECT.GET.SNAPSHOTS.devskyy.v1.snapshots.default.w",
    "$JS.API.DIRECT.GET.WAKES.devskyy.v1.wakes.default.w",
    "$JS.ACK.TASKS.coordinators.1.1.1.1.1",
    "$SYS.REQ.SERVER.PING",
]


async def test_the_outside_user_publishes_nothing_else(bus: Bus, outside: Outside) -> None:
    seen: list[str] = []

    async def watch(msg: Msg) -> None:
        seen.append(msg.subject)

    await bus.client.subscribe("devskyy.v1.>", cb=watch)
    await bus.settle()
    for subject in FORBIDDEN_TO_PUBLISH:
        await outside.client.publish(subject, b"x", reply="_INBOX.mine")
        assert f'permissions violation for publish to "{subject.lower()}"' in (await outside.refusal()).lower()
    # A permitted one, last of all, is the only one that arrives.
    await outside.client.publish(str(Submit(TENANT)), b"x")
    await until(lambda: bool(seen))
    assert seen == [str(Submit(TENANT))]


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "devskyy.v1.>",
        "devskyy.v1.tasks.>",
        "devskyy.v1.tasks.*.t.>",
        "devskyy.v1.tasks.other.>",
        "devskyy.v1.tokens.>",
        "devskyy.v1.tokens.other.*",
        "devskyy.v1.log.default.>",
        "devskyy.v1.workflows.>",
        "devskyy.v1.workflows.other.>",
        "devskyy.v1.flow.default.>",
        "devskyy.v1.wakes.default.*",
        "devskyy.v1.due.>",
        "devskyy.v1.snapshots.default.*",
        "devskyy.v1.commands.default.>",
        "devskyy.v1.submit.default",
        "devskyy.v1.agents.>",
        "devskyy.v1.models.>",
        "devskyy.v1.calls.>",
        "devskyy.v1.alerts.>",
        "_INBOX_supervisor.>",
        "$JS.>",
        "$SRV.>",
        "$SYS.>",
    ],
)
async def test_the_outside_user_subscribes_to_nothing_else(outside: Outside, subject: str) -> None:
    await outside.client.subscribe(subject)
    assert f'permissions violation for subscription to "{subject.lower()}"' in (await outside.refusal()).lower()


async def test_an_answer_cannot_be_steered_where_the_outside_user_may_not_publish(
    bus: Bus, tasks: TaskLog, outside: Outside
) -> None:
    """JetStream answers with its own permissions; in one account the reply subject would be the asker's to choose."""
    task, _ = await tasks.accept(HELLO, TENANT)
    seen: list[str] = []

    async def watch(msg: Msg) -> None:
        seen.append(msg.subject)

    await bus.client.subscribe("devskyy.v1.>", cb=watch)
    await bus.settle()
    targets = ["devskyy.v1.aborts.tasks.victim", str(TaskLogEntry("other", "t", "completed")), str(AgentAsk("writing"))]
    for target in targets:
        await outside.client.publish(str(TaskCommand(TENANT, "t")), b"x", reply=target)
        await outside.client.publish(
            f"$JS.API.DIRECT.GET.{TASKS}.{TaskEvents(TENANT, task.task_id, 'accepted')}", b"", reply=target
        )
    # Answers to what was asked after them come after theirs.
    await outside.client.request(
        f"$JS.API.DIRECT.GET.{TASKS}.{TaskEvents(TENANT, task.task_id, 'accepted')}", b"", timeout=LONG_S
    )
    await outside.client.publish(str(TaskCommand(TENANT, "last")), b"x")
    await until(lambda: str(TaskCommand(TENANT, "last")) in seen)
    await bus.settle()
    assert set(seen) == {str(TaskCommand(TENANT, "t")), str(TaskCommand(TENANT, "last"))}
    with pytest.raises(NotFound):
        await tasks.read("other", "t")


async def test_a_guessed_password_does_not_connect(broker: Broker) -> None:
    url = broker.outside_url.replace(broker.credentials.outside, broker.credentials.supervisor)

    async def quiet(error: Exception) -> None: ...

    client = NatsClient()
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        await client.connect(url, allow_reconnect=False, error_cb=quiet)
    await client.close()

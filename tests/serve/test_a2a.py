"""The official A2A SDK, unmodified, against the door on a real port; and calls that no client of its would send."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as a2a
from a2a.utils.errors import InvalidParamsError, TaskNotCancelableError, TaskNotFoundError
from fastapi import FastAPI
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st

from bus.tasklog import TaskLog
from schemas.settings import DEFAULT_TENANT
from serve.a2a import rpc
from tests.broker import Broker
from tests.serve.conftest import claim, complete
from tests.serve.stack import Stack, stack
from tests.simulators.openai import Behaviour, OpenAISimulator

TEXT = "Carry books,\n\nor bread. Größe: egal."
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ALONE = {"devskyy": {"service": "simulated"}}


@pytest.fixture(scope="module")
def sim() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as made:
        yield made


@pytest.fixture
async def live(broker: Broker, sim: OpenAISimulator, tmp_path: Path) -> AsyncIterator[Stack]:
    sim.behaviour = Behaviour()
    async with stack(broker.url, tmp_path / "home", sim, images=True) as made:
        yield made


@contextlib.asynccontextmanager
async def _client(url: str, *, streaming: bool) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(timeout=60) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        yield ClientFactory(ClientConfig(streaming=streaming, httpx_client=http)).create(card)


@pytest.fixture
async def client(live: Stack) -> AsyncIterator[Client]:
    async with _client(live.url, streaming=False) as made:
        yield made


@pytest.fixture
async def streaming(live: Stack) -> AsyncIterator[Client]:
    async with _client(live.url, streaming=True) as made:
        yield made


def message(text: str = "Name a use of a tote bag", name: str = "m1", **fields: Any) -> a2a.SendMessageRequest:
    parts = fields.pop("parts", [a2a.Part(text=text)])
    metadata = fields.pop("metadata", ALONE)
    settings = a2a.SendMessageConfiguration(return_immediately=fields.pop("at_once", False))
    said = a2a.Message(role=a2a.ROLE_USER, message_id=name, parts=parts, **fields)
    return ParseDict({"metadata": metadata}, a2a.SendMessageRequest(message=said, configuration=settings))


async def task_of(client: Client, request: a2a.SendMessageRequest) -> a2a.Task:
    (only,) = [each async for each in client.send_message(request)]
    return only.task


def text_of(task: a2a.Task) -> str:
    return "".join(part.text for artifact in task.artifacts for part in artifact.parts)


async def rpc_call(http: httpx.AsyncClient, method: str, params: Any = None, **more: Any) -> dict[str, Any]:
    reply = await http.post("/a2a", json={"jsonrpc": "2.0", "id": 7, "method": method, "params": params or {}, **more})
    assert reply.status_code == 200
    return dict(reply.json())


def plain(text: str = "Name a bag", name: str = "m1", **fields: Any) -> dict[str, Any]:
    parts = fields.pop("parts", [{"kind": "text", "text": text}])
    return {"message": {"kind": "message", "role": "user", "messageId": name, "parts": parts, **fields}}


# -- with the SDK ------------------------------------------------------------------------------------------------------


async def test_the_card_says_where_the_door_is_and_what_it_can(live: Stack) -> None:
    async with httpx.AsyncClient() as http:
        card = await A2ACardResolver(http, live.url).get_agent_card()
    (interface,) = card.supported_interfaces
    assert (interface.url, interface.protocol_binding) == (f"{live.url}/a2a", "JSONRPC")
    assert card.capabilities.streaming
    assert not card.capabilities.push_notifications
    assert [skill.id for skill in card.skills] == ["task"]


async def test_whoever_may_come_in_reads_which_agents_there_are(live: Stack, client: Client) -> None:
    card = await client.get_extended_agent_card(a2a.GetExtendedAgentCardRequest())
    names = {f"agent-{name}" for name in live.app.state.catalogue.carriers}
    assert {skill.id for skill in card.skills} == {"task"} | names


async def test_a_message_becomes_a_task_with_its_answer_and_its_receipt(client: Client, sim: OpenAISimulator) -> None:
    # Given a model with an answer
    sim.behaviour = Behaviour(answer=TEXT, prompt_tokens=100, completion_tokens=50)
    # When a message is sent
    task = await task_of(client, message())
    # Then the task that comes back has it
    assert task.status.state == a2a.TASK_STATE_COMPLETED
    assert text_of(task) == TEXT
    assert [part.text for part in task.history[0].parts] == ["Name a use of a tote bag"]
    receipt = MessageToDict(task.metadata)["devskyy"]["receipt"]
    assert receipt["cost_usd"] == pytest.approx(0.0002)
    # And it is read again by its id
    assert await client.get_task(a2a.GetTaskRequest(id=task.id)) == task


async def test_a_message_that_is_sent_again_finds_its_task(client: Client, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer=TEXT)
    first = await task_of(client, message())
    calls = len(sim.calls)
    assert (await task_of(client, message())).id == first.id
    assert len(sim.calls) == calls
    with pytest.raises(InvalidParamsError, match="came before with another message"):
        await task_of(client, message("Name a shop"))


async def test_what_was_said_in_a_context_is_known_to_what_follows(client: Client, sim: OpenAISimulator) -> None:
    # Given a context with an answer
    sim.behaviour = Behaviour(answer="Books.")
    first = await task_of(client, message("Name a use of a bag"))
    # When a message follows in it, and another
    second = await task_of(client, message("And another?", "m2", context_id=first.context_id))
    third = await task_of(client, message("A last one", "m3", context_id=first.context_id))
    # Then the model was told all of it, in order
    assert len({first.id, second.id, third.id}) == 3
    said = [(each["role"], each["content"]) for each in sim.calls[-1].body["messages"]]
    assert said == [
        *(("user", "Name a use of a bag"), ("assistant", "Books."), ("user", "And another?")),
        *(("assistant", "Books."), ("user", "A last one")),
    ]
    # And a message that refers to a task of another context has it before
    sim.behaviour = Behaviour(answer="Yes.")
    await task_of(client, message("Still so?", "m4", reference_task_ids=[first.id]))
    assert [each["content"] for each in sim.calls[-1].body["messages"]] == [
        "Name a use of a bag",
        "Books.",
        "Still so?",
    ]


async def test_messages_of_a_context_that_come_at_once_are_a_task_each(client: Client, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer=TEXT)
    requests = [message(f"Number {n}", f"m{n}", context_id="one") for n in range(5)]
    done = await asyncio.gather(*(task_of(client, each) for each in requests))
    assert len({task.id for task in done}) == 5
    assert {task.status.state for task in done} == {a2a.TASK_STATE_COMPLETED}


async def test_pictures_and_data_are_part_of_what_is_asked(client: Client, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer="Red.")
    data = ParseDict({"colour": "red"}, a2a.Part().data.struct_value)
    part = a2a.Part()
    part.data.struct_value.CopyFrom(data)
    picture = a2a.Part(raw=PNG, media_type="image/png", filename="bag.png")
    task = await task_of(client, message(parts=[a2a.Part(text="Which colour?"), picture, part]))
    assert text_of(task) == "Red."
    content = sim.calls[-1].body["messages"][-1]["content"]
    assert "Which colour?" in content[0]["text"]
    assert '"colour": "red"' in content[0]["text"]
    assert base64.b64decode(content[1]["image_url"]["url"].partition(",")[2]) == PNG


async def test_a_stream_tells_the_answer_as_it_is_written(streaming: Client, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer="word " * 40, tokens_per_s=200)
    events = [each async for each in streaming.send_message(message())]
    kinds = [each.WhichOneof("payload") for each in events]
    assert (kinds[0], kinds[1], kinds[-1]) == ("task", "status_update", "status_update")
    pieces = [each.artifact_update for each in events if each.HasField("artifact_update")]
    assert len(pieces) > 3
    assert [piece.append for piece in pieces] == [False, *([True] * (len(pieces) - 1))]
    assert "".join(part.text for piece in pieces for part in piece.artifact.parts).strip() == ("word " * 40).strip()
    assert pieces[-1].last_chunk
    assert events[-1].status_update.status.state == a2a.TASK_STATE_COMPLETED
    assert MessageToDict(events[-1].status_update.metadata)["devskyy"]["receipt"]


async def test_a_task_that_fails_says_why(client: Client, streaming: Client, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(fault="401")
    task = await task_of(client, message())
    assert task.status.state == a2a.TASK_STATE_FAILED
    assert "simulated" in task.status.message.parts[0].text
    events = [each async for each in streaming.send_message(message(name="m2"))]
    assert events[-1].status_update.status.state == a2a.TASK_STATE_FAILED
    assert "simulated" in events[-1].status_update.status.message.parts[0].text


async def test_a_stream_that_broke_off_is_taken_up_again(
    live: Stack, client: Client, streaming: Client, sim: OpenAISimulator
) -> None:
    # Given a task that takes its time
    sim.behaviour = Behaviour(answer="word " * 100, tokens_per_s=100)
    begun = await task_of(client, message(at_once=True))
    assert begun.status.state in (a2a.TASK_STATE_SUBMITTED, a2a.TASK_STATE_WORKING)
    # When it is followed
    events = [each async for each in streaming.subscribe(a2a.SubscribeToTaskRequest(id=begun.id))]
    # Then its end comes, with the whole answer
    assert events[0].task.id == begun.id
    assert events[-1].status_update.status.state == a2a.TASK_STATE_COMPLETED
    (whole,) = [each.artifact_update for each in events if each.HasField("artifact_update")]
    assert whole.artifact.parts[0].text.strip() == ("word " * 100).strip()
    # And of one that has ended, it comes at once
    again = [each async for each in streaming.subscribe(a2a.SubscribeToTaskRequest(id=begun.id))]
    assert text_of(again[0].task).strip() == ("word " * 100).strip()
    assert again[-1].status_update.status.state == a2a.TASK_STATE_COMPLETED


async def test_a_task_is_cancelled_once(client: Client, sim: OpenAISimulator) -> None:
    # Given a task that takes its time
    sim.behaviour = Behaviour(answer="word " * 500, tokens_per_s=20)
    begun = await task_of(client, message(at_once=True))
    # When it is cancelled
    cancelled = await client.cancel_task(a2a.CancelTaskRequest(id=begun.id))
    # Then it is, and cannot be again
    assert cancelled.status.state == a2a.TASK_STATE_CANCELED
    with pytest.raises(TaskNotCancelableError):
        await client.cancel_task(a2a.CancelTaskRequest(id=begun.id))


async def test_a_task_that_is_not_there_is_said_to_be_so(client: Client) -> None:
    for call in (
        client.get_task(a2a.GetTaskRequest(id="nothing")),
        client.get_task(a2a.GetTaskRequest(id="no. *>")),
        client.cancel_task(a2a.CancelTaskRequest(id="nothing")),
        task_of(client, message(reference_task_ids=["nothing"])),
        task_of(client, message(name="m2", task_id="nothing")),
    ):
        with pytest.raises(TaskNotFoundError, match="there is no task"):
            await call


# -- without it --------------------------------------------------------------------------------------------------------


async def test_a_task_of_another_door_is_read_too(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    task_id = (await http.post("/api/v1/tasks", json={"prompt": "Name a bag"})).json()["task_id"]
    asked = (await rpc_call(http, "tasks/get", {"id": task_id}))["result"]
    assert (asked["status"]["state"], asked["contextId"], asked["artifacts"]) == ("submitted", task_id, [])
    await complete(await claim(tasks, task_id), "A tote.")
    done = (await rpc_call(http, "tasks/get", {"id": task_id}))["result"]
    assert done["artifacts"][0]["parts"] == [{"kind": "text", "text": "A tote."}]


async def test_a_task_that_the_log_has_forgotten_is_read_from_what_is_kept(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    task_id = (await http.post("/api/v1/tasks", json={"prompt": "Name a bag"})).json()["task_id"]
    kept = await app.state.tasks.task(DEFAULT_TENANT, task_id)
    old = kept.model_copy(update={"task_id": "old", "status": "completed", "answer": "A tote."})
    await app.state.kept.upsert(DEFAULT_TENANT, old, 3)
    done = (await rpc_call(http, "tasks/get", {"id": "old"}))["result"]
    assert done["artifacts"][0]["parts"] == [{"kind": "text", "text": "A tote."}]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("message/nothing", {}, rpc.METHOD),
        ("tasks/pushNotificationConfig/set", {}, rpc.NO_PUSH),
        ("message/send", {}, rpc.PARAMS),
        ("message/send", plain(""), rpc.PARAMS),
        ("message/send", plain(role="agent"), rpc.PARAMS),
        ("message/send", plain(parts=[{"kind": "text"}]), rpc.PARAMS),
        ("message/send", plain(parts=[{"kind": "file", "file": {"uri": "http://a/b"}}]), rpc.CONTENT),
        ("message/send", plain(parts=[{"kind": "file", "file": {"bytes": "?"}}]), rpc.PARAMS),
        ("message/send", {**plain(), "metadata": {"devskyy": {"tiers": 1}}}, rpc.PARAMS),
        ("message/send", {**plain(), "metadata": {"devskyy": {"tier": "huge"}}}, rpc.PARAMS),
        ("message/send", {**plain(), "metadata": {"devskyy": {"agent": "nobody"}}}, rpc.PARAMS),
        ("message/send", {**plain(), "configuration": {"acceptedOutputModes": ["video/mp4"]}}, rpc.CONTENT),
        ("message/send", {**plain(), "configuration": {"pushNotificationConfig": {"url": "x"}}}, rpc.NO_PUSH),
        ("message/stream", plain(""), rpc.PARAMS),
        ("tasks/get", {}, rpc.PARAMS),
        ("tasks/resubscribe", {"id": "nothing"}, rpc.NO_TASK),
    ],
)
async def test_a_call_that_cannot_be_answered_has_an_error_and_starts_nothing(
    http: httpx.AsyncClient, method: str, params: dict[str, Any], code: int
) -> None:
    said = await rpc_call(http, method, params)
    assert (said["id"], said["error"]["code"]) == (7, code)
    assert said["error"]["message"]
    assert (await http.get("/api/v1/tasks")).json()["tasks"] == []


async def test_a_task_takes_one_message(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    begun = (await rpc_call(http, "message/send", {**plain(), "configuration": {"blocking": False}}))["result"]
    said = await rpc_call(http, "message/send", plain("More", "m2", taskId=begun["id"]))
    assert said["error"]["code"] == rpc.UNSUPPORTED
    await complete(await claim(tasks, begun["id"]))
    said = await rpc_call(http, "message/send", plain("More", "m2", taskId=begun["id"]))
    assert said["error"]["code"] == rpc.PARAMS
    assert "contextId" in said["error"]["message"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", rpc.PARSE),
        (b"{", rpc.PARSE),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": NaN}}', rpc.PARSE),
        (b"[]", rpc.REQUEST),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "tasks/get"}', rpc.REQUEST),
        (b'{"jsonrpc": "2.0", "method": "tasks/get"}', rpc.REQUEST),
        (b'{"jsonrpc": "2.0", "id": true, "method": "tasks/get"}', rpc.REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": [1]}', rpc.PARAMS),
    ],
)
async def test_what_is_no_call_is_said_to_be_none(http: httpx.AsyncClient, body: bytes, code: int) -> None:
    reply = await http.post("/a2a", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 200
    assert reply.json()["error"]["code"] == code


def test_what_is_nested_too_deep_is_no_call() -> None:
    with pytest.raises(rpc.Refused) as refused:
        rpc.call_of(b'{"jsonrpc": "2.0", "id": 1, "method": "m", "params": ' + b"[" * 5000)
    assert refused.value.code == rpc.PARSE


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists) | st.binary())
def test_no_bytes_are_more_than_a_call_or_a_refusal(value: Any) -> None:
    body = value if isinstance(value, bytes) else json.dumps({"jsonrpc": "2.0", "id": value, "method": value}).encode()
    try:
        call = rpc.call_of(body)
    except rpc.Refused as refused:
        assert refused.code in (rpc.PARSE, rpc.REQUEST, rpc.PARAMS)
    else:
        assert isinstance(call.method, str)

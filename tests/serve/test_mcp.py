"""The MCP door on a real port, asked by the official SDK's own client, in both eras of the protocol."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent, TextResourceContents
from nats.aio.msg import Msg

from bus.client import Bus
from bus.subjects import ROOT
from bus.tasklog import TaskLog
from schemas.event import Answered, Decided, Dispatched
from schemas.receipt import Call, Receipt
from schemas.settings import DEFAULT_TENANT
from schemas.task import Task, TaskRequest
from schemas.team import Contribution, Decision, Step
from serve import directory
from serve.mcp.tools import TOOLS
from tests.broker import Broker
from tests.serve.conftest import claim, complete
from tests.serve.keys import make
from tests.serve.stack import Stack, on_a_port, stack
from tests.simulators.openai import Behaviour, OpenAISimulator

LONG_S = 20.0
TEXT = "Carry books.\nOr bread."
ERAS = pytest.mark.parametrize("era", ["legacy", "auto"])


@pytest.fixture(scope="module")
def sim() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as made:
        yield made


@pytest.fixture
async def live(broker: Broker, sim: OpenAISimulator, tmp_path: Path) -> AsyncIterator[Stack]:
    """With coordinator, gateway and agents."""
    sim.behaviour = Behaviour()
    async with stack(broker.url, tmp_path / "home", sim) as made:
        yield made


@pytest.fixture
async def url(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Without: a test plays the coordinator."""
    monkeypatch.setattr(directory, "FRESH_S", 600.0)  # no actor is there, and looking for them takes a while
    async with on_a_port(app) as address:
        yield address


@asynccontextmanager
async def connected(url: str, era: str = "auto", secret: str | None = None) -> AsyncIterator[Client]:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=era, read_timeout_seconds=60) as client:  # type: ignore[arg-type]
            yield client


def words(result: CallToolResult) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def told(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool gives back as data, which is as its description says."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, words(result)
    data = dict(result.structured_content)
    Draft202012Validator(TOOLS[tool].gives.model_json_schema(mode="serialization")).validate(data)
    return data


@dataclass
class News:
    """The ids of tasks, as they are handed in and as they are to be cancelled."""

    accepted: asyncio.Queue[str]
    cancelled: asyncio.Queue[str]

    async def the_task(self) -> str:
        return await asyncio.wait_for(self.accepted.get(), LONG_S)

    async def the_cancelled(self) -> str:
        return await asyncio.wait_for(self.cancelled.get(), LONG_S)


@pytest.fixture
async def news(bus: Bus) -> News:
    made = News(asyncio.Queue(), asyncio.Queue())
    heard = {f"{ROOT}.tasks.*.*.accepted": made.accepted, f"{ROOT}.commands.*.*": made.cancelled}
    for subject, queue in heard.items():

        async def on(msg: Msg, queue: asyncio.Queue[str] = queue) -> None:
            queue.put_nowait(msg.subject.split(".")[4])

        await bus.client.subscribe(subject, cb=on)
    await bus.settle()
    return made


# -- what is offered -------------------------------------------------------------------------------------------------


@ERAS
async def test_six_tools_are_offered_and_described(url: str, era: str) -> None:
    async with connected(url, era) as client:
        listed = (await client.list_tools()).tools
        assert client.instructions is not None
        assert "delegate" in client.instructions
    assert [tool.name for tool in listed] == ["delegate", "status", "result", "cancel", "list", "costs"]
    for tool in listed:
        assert tool.description
        assert tool.output_schema is not None
        Draft202012Validator.check_schema(tool.input_schema)
        Draft202012Validator.check_schema(tool.output_schema)
    # And no file of the platform's machine can be asked for
    assert "files" not in json.dumps(listed[0].model_dump(mode="json", by_alias=True))


# -- a task ------------------------------------------------------------------------------------------------------------


@ERAS
async def test_a_delegated_task_has_its_answer_its_receipt_and_what_it_saved(
    live: Stack, sim: OpenAISimulator, era: str
) -> None:
    # Given a provider that counts its tokens
    sim.behaviour = Behaviour(answer=TEXT, prompt_tokens=100, completion_tokens=50)
    # When a task is delegated with a text
    async with connected(live.url, era) as client:
        given = [{"name": "bag.txt", "text": "A tote bag."}]
        result = await client.call_tool("delegate", {"prompt": "Name two uses", "inputs": given, "tier": "simple"})
        data = dict(result.structured_content)
    # Then the answer stands in both forms
    assert (data["status"], data["answer"], result.is_error) == ("completed", TEXT, False)
    assert words(result).startswith(TEXT)
    # And with it who served, at which cost, and what the premium service would have taken
    assert data["receipt"]["cost_usd"] == pytest.approx(0.0002)
    assert data["receipt"]["services"] == ["simulated"]
    saved = data["saved"]
    assert saved["premium_completion_tokens"] == 50
    assert 0 < saved["premium_prompt_tokens"] <= 100
    assert saved["usd"] == pytest.approx(saved["premium_cost_usd"] - 0.0002)
    assert f"50 premium tokens against {saved['premium_service']}" in words(result)
    # And the model was given the text
    assert "A tote bag." in json.dumps(sim.calls[-1].body)


@ERAS
async def test_a_task_that_takes_longer_is_fetched_afterwards(url: str, tasks: TaskLog, era: str) -> None:
    async with connected(url, era) as client:
        # Given a task that nobody works on
        begun = await told(client, "delegate", prompt="Name a bag", wait_s=0.2)
        assert (begun["status"], begun["answer"]) == ("accepted", None)
        # When it is looked at, and waited for while it is done
        owned = await claim(tasks, begun["task_id"])
        assert (await told(client, "status", task_id=begun["task_id"]))["status"] == "running"
        waiting = asyncio.create_task(told(client, "result", task_id=begun["task_id"]))
        await complete(owned, TEXT)
        # Then its answer is there, then and later
        assert (await waiting)["answer"] == TEXT
        assert (await told(client, "result", task_id=begun["task_id"], wait_s=0))["answer"] == TEXT


@ERAS
async def test_whoever_waits_hears_what_happens(url: str, tasks: TaskLog, news: News, era: str) -> None:
    heard: list[tuple[float, str]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message or ""))

    async with connected(url, era) as client:
        # Given a call that waits
        call = client.call_tool("delegate", {"prompt": "Name a bag"}, progress_callback=hear)
        calling = asyncio.create_task(call)
        owned = await claim(tasks, await news.the_task())
        # When a team works
        steps = tuple(Step(step=f"draft-{n}", agent=f"agent-{n}", kind="draft") for n in (1, 2))
        await owned.append(Dispatched(**owned.next_fields, epoch=1, phase="drafts", steps=steps))
        said = Contribution(step="draft-1", agent="agent-1", kind="draft", text="A bag.")
        await owned.append(Answered(**owned.next_fields, epoch=1, contributions=(said,)))
        chosen = Decision(name="vote", reasons=("two of two want it",))
        await owned.append(Decided(**owned.next_fields, epoch=1, decisions=(chosen,)))
        state = await told(client, "status", task_id=owned.accepted.task_id)
        await complete(owned, TEXT)
        await calling
    # Then each event was told, numbered upwards
    assert [number for number, _ in heard] == sorted({number for number, _ in heard})
    lines = [line for _, line in heard]
    assert lines[1:] == [
        "simple, direct: writing",
        "drafts: 0 of 2 steps ended",
        "drafts: 1 of 2 steps ended",
        "two of two want it",
        "completed",
    ]
    # And whoever asked meanwhile was told the same
    assert state["progress"]["phase"] == "drafts"
    assert (state["progress"]["asked"], state["progress"]["answered"]) == (2, 1)


@ERAS
async def test_a_call_that_is_cancelled_cancels_its_task(url: str, tasks: TaskLog, news: News, era: str) -> None:
    # Given a call that waits for a task under way
    async with connected(url, era) as client:
        calling = asyncio.create_task(client.call_tool("delegate", {"prompt": "Name a bag"}))
        task_id = await news.the_task()
        # When it is cancelled
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calling
        # Then so is the task, and the client may go on
        assert await news.the_cancelled() == task_id
        assert (await told(client, "status", task_id=task_id))["task_id"] == task_id


@ERAS
async def test_a_call_that_only_waits_leaves_its_task_alone(url: str, tasks: TaskLog, era: str) -> None:
    async with connected(url, era) as client:
        # Given somebody who waits for the result of a task
        begun = await told(client, "delegate", prompt="Name a bag", wait_s=0)
        heard = asyncio.Event()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.set()

        call = client.call_tool("result", {"task_id": begun["task_id"]}, progress_callback=hear)
        waiting = asyncio.create_task(call)
        await asyncio.wait_for(heard.wait(), LONG_S)
        # When the wait is cancelled
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        # Then the task goes on to its end
        await complete(await claim(tasks, begun["task_id"]), TEXT)
        assert (await told(client, "result", task_id=begun["task_id"]))["answer"] == TEXT
    assert await tasks.pending_command(DEFAULT_TENANT, begun["task_id"]) is None


async def test_a_platform_that_is_shut_down_leaves_tasks_running(
    app: FastAPI, url: str, tasks: TaskLog, news: News
) -> None:
    # Given a call in a session that waits for its task
    async with httpx2.AsyncClient(timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http, terminate_on_close=False)
        async with Client(transport, mode="legacy") as client:
            calling = asyncio.create_task(client.call_tool("delegate", {"prompt": "Name a bag"}))
            task_id = await news.the_task()
            # When the sessions are ended
            door = next(route for route in app.routes if getattr(route, "path", "") == "/mcp")
            await door.app.close()  # type: ignore[attr-defined]
            with pytest.raises(MCPError):
                await calling
    # Then nobody has cancelled the task
    assert await tasks.pending_command(DEFAULT_TENANT, task_id) is None


async def test_a_task_is_cancelled_by_the_tool(live: Stack, sim: OpenAISimulator) -> None:
    # Given a task whose model thinks for long
    sim.behaviour = Behaviour(latency_s=60)
    async with connected(live.url) as client:
        begun = await told(client, "delegate", prompt="Name a bag", tier="simple", wait_s=0.5)
        assert begun["status"] in ("accepted", "running")
        # When it is cancelled
        ended = await told(client, "cancel", task_id=begun["task_id"])
        # Then it has ended, and stays so
        assert ended["status"] == "cancelled"
        assert (await told(client, "cancel", task_id=begun["task_id"]))["status"] == "cancelled"


# -- what goes wrong -------------------------------------------------------------------------------------------------


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("delegate", {"prompt": " "}, "prompt: is empty; say what is to be done"),
    ("delegate", {}, "prompt: Field required"),
    ("delegate", {"prompt": "x", "tier": "huge"}, "tier: Input should be 'simple'"),
    ("delegate", {"prompt": "x", "max_cost": 1}, "max_cost: unknown field"),
    ("delegate", {"prompt": "x", "capabilities": ["cooking"]}, "cooking"),
    ("delegate", {"prompt": "x", "files": ["/etc/passwd"]}, "files: are read by `devskyy mcp` alone"),
    ("delegate", {"prompt": "x", "wait_s": -1}, "wait_s: "),
    ("status", {"task_id": "none"}, "there is no task 'none'\nremedy: take a task_id that `delegate` returned"),
    ("result", {"task_id": "a.b"}, "there is no task 'a.b'"),
    ("cancel", {"task_id": "*"}, "there is no task '*'"),
    ("costs", {"since": "yesterday"}, "since: "),
]


async def test_a_mistake_is_an_answer_that_says_what_to_do(url: str) -> None:
    async with connected(url) as client:
        for tool, given, says in MISTAKES:
            result = await client.call_tool(tool, given)
            assert result.is_error, given
            assert says in words(result)


async def test_a_tool_that_is_not_there_is_the_protocols_error(url: str) -> None:
    async with connected(url) as client:
        with pytest.raises(MCPError, match="there is no tool 'dance'; there are delegate, status"):
            await client.call_tool("dance", {})


async def test_a_task_that_fails_is_an_error_with_what_it_cost(live: Stack, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(fault="401")
    async with connected(live.url) as client:
        result = await client.call_tool("delegate", {"prompt": "Name a bag", "tier": "simple"})
    assert result.is_error
    data = dict(result.structured_content)
    assert (data["status"], data["answer"], data["saved"]) == ("failed", None, None)
    assert data["error"]["detail"] in words(result)
    assert f"task {data['task_id']} failed" in words(result)


# -- who is there, what was spent, the stories -----------------------------------------------------------------------


async def test_who_can_take_work_is_listed_and_the_others_with_the_reason_when_asked(live: Stack) -> None:
    async with connected(live.url) as client:
        short, whole = await told(client, "list"), await told(client, "list", unavailable=True)
        text = words(await client.call_tool("list", {}))
    assert "simulated" in {who["name"] for who in short["services"]}
    assert {who["state"] for who in short["services"]} == {"available"}
    assert len(whole["services"]) == len(short["services"]) + short["services_left_out"]
    assert all(who["why"] for who in whole["services"] if who["state"] == "unavailable")
    assert f"and {short['services_left_out']} services cannot serve now" in text


async def test_costs_are_summed(url: str, app: FastAPI, tasks: TaskLog) -> None:
    # Given a task in the ledger
    accepted, _ = await tasks.accept(TaskRequest(prompt="Name a bag"), DEFAULT_TENANT)
    await complete(await claim(tasks, accepted.task_id))
    call = Call(step="1", agent="a", service="groq", model="m", cost_usd=0.25, prompt_tokens=3, completion_tokens=4)
    paid = Receipt.of((call,), 1.0, "claude-opus", 1.0, None)
    task = (await tasks.task(DEFAULT_TENANT, accepted.task_id)).model_copy(update={"receipt": paid})
    await app.state.kept.upsert(DEFAULT_TENANT, task, 3)
    # When what was spent is asked for
    async with connected(url) as client:
        found = await told(client, "costs", by="task")
        text = words(await client.call_tool("costs", {}))
    # Then both sides are told
    assert (found["spent_usd"], found["premium_cost_usd"], found["saved_usd"]) == (0.25, 1.0, 0.75)
    assert [row["key"] for row in found["rows"]] == [accepted.task_id]
    assert "spent $0.250 in 1 calls" in text
    assert "saved $0.750" in text


@ERAS
async def test_the_story_of_a_task_is_a_resource(url: str, app: FastAPI, tasks: TaskLog, era: str) -> None:
    # Given a team's task that has ended
    accepted, _ = await tasks.accept(TaskRequest(prompt="Name a bag"), DEFAULT_TENANT)
    owned = await claim(tasks, accepted.task_id)
    steps = tuple(Step(step=f"draft-{n}", agent=f"agent-{n}", kind="draft") for n in (1, 2))
    await owned.append(Dispatched(**owned.next_fields, epoch=1, phase="drafts", steps=steps))
    said = Contribution(step="draft-1", agent="agent-1", kind="draft", text="A bag.", quality=0.5)
    await owned.append(Answered(**owned.next_fields, epoch=1, contributions=(said,)))
    chosen = Decision(name="vote", reasons=("nobody else answered",))
    await owned.append(Decided(**owned.next_fields, epoch=1, decisions=(chosen,)))
    await complete(owned, TEXT)
    await app.state.kept.upsert(DEFAULT_TENANT, await tasks.task(DEFAULT_TENANT, accepted.task_id), 6)
    async with connected(url, era) as client:
        # When resources are looked for
        templates = (await client.list_resource_templates()).resource_templates
        listed = (await client.list_resources()).resources
        # Then the template and the task are there
        assert [template.uri_template for template in templates] == ["devskyy://tasks/{task_id}"]
        assert [resource.uri for resource in listed] == [f"devskyy://tasks/{accepted.task_id}"]
        # And the page tells all that happened
        page = (await client.read_resource(listed[0].uri)).contents[0]
        assert isinstance(page, TextResourceContents)
        for what in ("Name a bag", "**agent-1** (draft, quality 0.50)", "A bag.", "nobody else answered", TEXT):
            assert what in page.text
        for uri in ("devskyy://tasks/none", "file:///etc/passwd"):
            with pytest.raises(MCPError, match="there is no"):
                await client.read_resource(uri)


# -- who may come in -------------------------------------------------------------------------------------------------


async def test_without_a_key_nobody_is_let_in_once_there_is_one(url: str, app: FastAPI) -> None:
    await make(app)
    reader = await make(app, "read")
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with httpx2.AsyncClient() as http:
        nobody = await http.post(f"{url}/mcp", json=body)
        looks = await http.post(f"{url}/mcp", json=body, headers={"authorization": f"Bearer {reader.secret}"})
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="devskyy"')
    assert looks.status_code == 403


@ERAS
async def test_each_key_sees_the_tasks_of_its_own_tenant(url: str, app: FastAPI, tasks: TaskLog, era: str) -> None:
    # Given keys of two tenants
    ours, theirs = await make(app), await make(app, tenant="acme")
    async with connected(url, era, ours.secret) as mine, connected(url, era, theirs.secret) as other:
        # When one delegates
        begun = await told(mine, "delegate", prompt="Name a bag", wait_s=0)
        # Then the task is that key's
        task: Task = await tasks.task(DEFAULT_TENANT, begun["task_id"])
        assert task.key == ours.key.id
        # And the other cannot see, fetch, stop or read it
        for tool in ("status", "result", "cancel"):
            result = await other.call_tool(tool, {"task_id": begun["task_id"]})
            assert result.is_error
            assert "there is no task" in words(result)
        with pytest.raises(MCPError, match="there is no task"):
            await other.read_resource(f"devskyy://tasks/{begun['task_id']}")
        assert (await other.list_resources()).resources == []
    assert await tasks.pending_command(DEFAULT_TENANT, begun["task_id"]) is None


async def test_a_session_is_of_the_key_that_began_it(url: str, app: FastAPI) -> None:
    # Given a session of one key
    ours, theirs = await make(app), await make(app)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    accept = {"accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(headers=accept) as http:

        async def say(secret: str, method: str, params: dict[str, Any], **more: str) -> httpx2.Response:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            headers = {"authorization": f"Bearer {secret}", **more}
            return await http.post(f"{url}/mcp", json=body, headers=headers)

        begun = await say(ours.secret, "initialize", hello)
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        # When another key asks in it
        refused = await say(theirs.secret, "ping", {}, **session)
        answered = await say(ours.secret, "ping", {}, **session)
    # Then to that one it is not there
    assert (begun.status_code, refused.status_code, answered.status_code) == (200, 404, 200)


async def test_a_page_of_another_site_is_refused(url: str) -> None:
    async with httpx2.AsyncClient() as http:
        reply = await http.post(f"{url}/mcp", json={}, headers={"origin": "https://evil.example"})
    assert reply.status_code == 403


async def test_the_sdk_is_loaded_when_it_is_needed() -> None:
    said = "import sys, serve.app; print([name for name in ('mcp', 'sse_starlette') if name in sys.modules])"
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", said], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr

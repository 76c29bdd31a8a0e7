"""Streams of OpenAI's doors, byte by byte: what is told when, what is lost, what fails, and who leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from bus.client import Bus
from bus.codec import decode_as
from bus.subjects import TaskCommand, TaskTokens
from bus.tasklog import OwnedTask, TaskLog
from schemas.completion import Delta, ToolCall, ToolCallPiece
from schemas.errors import DevSkyyError, NoService, UpstreamError
from schemas.event import TASK_EVENT, Completed, Failed
from schemas.problem import Problem
from schemas.projection import project
from schemas.receipt import Call, Receipt
from schemas.settings import DEFAULT_TENANT
from schemas.task import TaskRequest
from tests.broker import until
from tests.serve.conftest import claim, complete, play
from tests.serve.stack import on_a_port
from tests.stories import STORIES

LONG_S = 30.0
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "stream": True}
INPUT: dict[str, Any] = {"input": "hello", "stream": True}
PAID = Call(step="direct", agent="writing", service="groq", model="m", outcome="failed", cost_usd=0.25)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams begin though nothing has happened."""
    monkeypatch.setattr("serve.openai.chat.PATIENCE_S", 0.05)


@dataclass
class Reader:
    """Reads one stream while it is written."""

    http: httpx.AsyncClient
    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    status: int = 0
    got: dict[str, str] = field(default_factory=dict)

    def start(self) -> "Reader":
        self.reading = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        async with self.http.stream("POST", self.path, json=self.body, headers=self.headers) as reply:
            self.status, self.got = reply.status_code, dict(reply.headers)
            async for text in reply.aiter_text():
                self.text += text

    def has(self, text: str) -> Callable[[], bool]:
        return lambda: text in self.text

    async def ended(self) -> list[dict[str, Any]]:
        await asyncio.wait_for(self.reading, LONG_S)
        return self.events

    @property
    def events(self) -> list[dict[str, Any]]:
        """The data of each event so far; comments and `[DONE]` left out."""
        lines = [line.removeprefix("data: ") for line in self.text.splitlines() if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    @property
    def content(self) -> str:
        deltas = [each["choices"][0]["delta"] for each in self.events if each.get("choices")]
        return "".join(delta.get("content") or "" for delta in deltas)

    async def leave(self) -> None:
        self.reading.cancel()
        await asyncio.wait([self.reading])


@dataclass
class Work:
    """A task as whoever carries it has it."""

    bus: Bus
    tasks: TaskLog
    task_id: str
    told: dict[int, int] = field(default_factory=dict)

    async def claimed(self) -> "Work":
        self.owned = await claim(self.tasks, self.task_id)
        return self

    async def write(self, text: str, attempt: int = 1, step: str = "direct", lose: bool = False) -> None:
        """Publish a piece of the text as a gateway does, or lose it."""
        offset = self.told.get(attempt, 0)
        self.told[attempt] = offset + len(text)
        if not lose:
            piece = Delta(step=step, attempt=attempt, offset=offset, text=text)
            await self.bus.publish(TaskTokens(DEFAULT_TENANT, self.task_id), piece)

    async def wish(self, call: ToolCall, begin: int, end: int | None = None) -> None:
        """Publish a piece of a wish for a tool as a gateway does."""
        said = call.arguments[begin:end]
        wished = ToolCallPiece(place=0, id=call.id, name=call.name, offset=begin, arguments=said)
        piece = Delta(step="direct", attempt=1, offset=self.told.get(1, 0), text="", tool_call=wished)
        await self.bus.publish(TaskTokens(DEFAULT_TENANT, self.task_id), piece)

    async def complete(self, answer: str) -> None:
        await complete(self.owned, answer)

    async def wished(self, *calls: ToolCall) -> None:
        """End it with these wishes and no text."""
        fields = self.owned.next_fields
        ended = {"status": "completed", "finished_at": fields["at"], "tool_calls": calls}
        await self.owned.append(Completed(**fields, epoch=1, task=project(self.owned.events).model_copy(update=ended)))

    async def fail(self, error: DevSkyyError, *calls: Call) -> None:
        fields = self.owned.next_fields
        ended = {
            "status": "failed",
            "finished_at": fields["at"],
            "error": Problem.of(error),
            "receipt": Receipt.of(calls, wall_ms=1.0),
        }
        task = project(self.owned.events).model_copy(update=ended)
        await self.owned.append(Failed(**fields, epoch=1, task=task))


Begin = Callable[..., Any]


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with on_a_port(app, "off") as url, httpx.AsyncClient(base_url=url, timeout=LONG_S) as client:
        yield client


@pytest.fixture
async def begin(http: httpx.AsyncClient, bus: Bus, tasks: TaskLog) -> AsyncIterator[Begin]:
    """Starts to read a stream; returns the reader, and the task that it is of, claimed."""
    accepted: asyncio.Queue[str] = asyncio.Queue()
    readers: list[Reader] = []

    async def on_accepted(msg: Any) -> None:
        accepted.put_nowait(decode_as(msg.data, TASK_EVENT, "task event").task_id)

    subscription = await bus.client.subscribe(f"devskyy.v1.tasks.{DEFAULT_TENANT}.*.accepted", cb=on_accepted)
    await bus.settle()

    async def start(path: str = CHAT, headers: dict[str, str] | None = None, **fields: Any) -> tuple[Reader, Work]:
        body = {"model": "service/local", **(HELLO if path == CHAT else INPUT), **fields}
        readers.append(Reader(http, path, body, headers or {}).start())
        task_id = await asyncio.wait_for(accepted.get(), LONG_S)
        return readers[-1], await Work(bus, tasks, task_id).claimed()

    yield start
    for reader in readers:
        await reader.leave()
    await subscription.unsubscribe()


# -- chat --------------------------------------------------------------------------------------------------------------


async def test_pieces_are_told_at_once_and_the_end_says_that_it_is_one(begin: Begin) -> None:
    reader, work = await begin()
    # Given a text that is being written
    await work.write("Carry")
    await until(reader.has("Carry"))
    assert not reader.reading.done()
    # When it is whole
    await work.write(" books.")
    await work.complete("Carry books.")
    events = await reader.ended()
    # Then each piece came once, and then the end
    assert [event["choices"][0]["delta"].get("content") for event in events] == [None, "Carry", " books.", None]
    assert reader.text.endswith("data: [DONE]\n\n")
    assert {event["id"] for event in events} == {f"chatcmpl-{work.task_id}"}
    assert (reader.got["devskyy-task"], events[-1]["devskyy"]["task_id"]) == (work.task_id, work.task_id)
    assert reader.got["content-type"].startswith("text/event-stream")


async def test_a_piece_that_was_lost_comes_with_the_end(begin: Begin) -> None:
    reader, work = await begin()
    await work.write("one")
    await work.write(" two", lose=True)
    await work.write(" three")
    await until(reader.has("one"))
    await work.complete("one two three")
    await reader.ended()
    assert reader.content == "one two three"


async def test_a_text_that_is_written_anew_alike_goes_on(begin: Begin) -> None:
    reader, work = await begin()
    await work.write("one two")
    await until(reader.has("one two"))
    await work.write("one two three", attempt=2)
    await until(reader.has(" three"))
    await work.complete("one two three")
    await reader.ended()
    assert reader.content == "one two three"


async def test_a_text_that_is_written_anew_with_other_words_is_not_taken_for_the_answer(begin: Begin) -> None:
    # Given a reader of a text that broke off
    reader, work = await begin()
    await work.write("one two")
    await until(reader.has("one two"))
    # When it is written anew, and is another
    await work.write("uno dos tres", attempt=2)
    await work.complete("uno dos tres")
    events = await reader.ended()
    # Then the stream says so, in the way on which clients raise, and where the answer is
    assert reader.content == "one two"
    assert events[-1]["error"]["code"] == "begun_anew"
    assert work.task_id in events[-1]["error"]["message"]
    assert "[DONE]" not in reader.text


async def test_a_failure_in_the_middle_is_an_error_in_openais_shape(begin: Begin) -> None:
    reader, work = await begin()
    await work.write("one")
    await until(reader.has("one"))
    await work.fail(UpstreamError("groq", "HTTP 500"), PAID)
    last = (await reader.ended())[-1]
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "upstream_error")
    assert last["devskyy"]["receipt"]["cost_usd"] == 0.25
    assert "[DONE]" not in reader.text


async def test_what_fails_before_a_word_has_a_status(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.openai.chat.PATIENCE_S", LONG_S)
    for path in (CHAT, RESPONSES):
        reader, work = await begin(path)
        await work.fail(NoService("all have failed"), PAID)
        await asyncio.wait_for(reader.reading, LONG_S)
        assert (reader.status, json.loads(reader.text)["error"]["code"]) == (503, "no_service")
        assert (reader.got["x-should-retry"], reader.got["devskyy-task"]) == ("false", work.task_id)
        assert float(reader.got["devskyy-cost-usd"]) == 0.25


async def test_a_task_that_does_not_end_in_its_time_ends_the_stream(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.openai.live.GRACE_S", 0.2)
    reader, _ = await begin(timeout_s=0.1)
    assert (await reader.ended())[-1]["error"]["code"] == "overdue"


async def test_while_nothing_happens_comments_keep_the_line_open(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.sse.HEARTBEAT_S", 0.05)
    reader, work = await begin()
    await until(lambda: reader.text.count(": heartbeat\n\n") >= 3)
    await work.complete("Hello.")
    await reader.ended()
    assert reader.content == "Hello."


async def test_a_repeat_under_a_key_is_told_all_of_it_at_once(begin: Begin, http: httpx.AsyncClient) -> None:
    # Given a stream under a key, read to its end
    reader, work = await begin(headers={"Idempotency-Key": "order-7"})
    await work.complete("Hello.")
    first = await reader.ended()
    # When it is asked for again
    again = Reader(http, CHAT, reader.body, reader.headers).start()
    # Then it is the same task, and nobody was asked anew
    events = await again.ended()
    assert (again.content, events[-1]["devskyy"]) == ("Hello.", first[-1]["devskyy"])


@pytest.mark.parametrize("model", ["devskyy-auto", "devskyy-moderate"])
async def test_of_a_team_its_steps_are_thoughts_and_its_drafts_are_not_told(begin: Begin, model: str) -> None:
    # Given a task that a team does, each of them writing
    reader, work = await begin(model=model)
    await work.write("A draft.", step="draft-1")
    work.owned = OwnedTask(work.tasks, await work.tasks.read(DEFAULT_TENANT, work.task_id))
    await play(work.owned, STORIES["parallel"])
    # When it has its answer
    await work.complete("The answer.")
    events = await reader.ended()
    # Then what it did stands before it, a line each, and no draft
    thoughts = "".join(event["choices"][0]["delta"].get("reasoning_content", "") for event in events)
    assert thoughts.count("\n") >= 3
    assert "drafts: " in thoughts
    assert reader.content == "The answer."
    assert "A draft." not in reader.text


# -- wishes for tools --------------------------------------------------------------------------------------------------

WISH = ToolCall(id="call_1", name="look", arguments='{"place": "the door"}')


async def test_a_wish_is_told_as_it_is_written(begin: Begin) -> None:
    reader, work = await begin()
    # Given a model that begins to wish for a tool
    await work.wish(WISH, 0, 0)
    await work.wish(WISH, 0, 10)
    await until(reader.has("place"))
    assert not reader.reading.done()
    # When the wish is whole, the last of it unheard
    await work.wished(WISH)
    events = await reader.ended()
    # Then the first piece says what is wished for, and each has its share of the arguments
    deltas = [event["choices"][0]["delta"] for event in events]
    first, second, third = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert first == {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    assert (second, third) == (
        {"index": 0, "function": {"arguments": WISH.arguments[:10]}},
        {"index": 0, "function": {"arguments": WISH.arguments[10:]}},
    )
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_a_wish_that_is_written_anew_is_not_taken_for_the_answer(begin: Begin, path: str) -> None:
    # Given a reader of a wish that broke off
    reader, work = await begin(path)
    await work.wish(WISH, 0, 10)
    await until(reader.has("place"))
    # When the answer has another, Then the stream says so
    await work.wished(WISH.model_copy(update={"id": "call_2"}))
    last = (await reader.ended())[-1]
    assert (last if path == RESPONSES else last["error"])["code"] == "begun_anew"


async def test_a_response_tells_a_function_call_as_it_is_written(begin: Begin) -> None:
    reader, work = await begin(RESPONSES)
    await work.wish(WISH, 0, 10)
    await until(reader.has("place"))
    assert not reader.reading.done()
    await work.wished(WISH)
    events = await reader.ended()
    # The item is there before its arguments, and whole after them
    kinds = [event["type"].removeprefix("response.") for event in events]
    arguments = ["function_call_arguments.delta"] * 2 + ["function_call_arguments.done"]
    assert kinds[2:] == ["output_item.added", *arguments, "output_item.done", "completed"]
    assert "".join(event["delta"] for event in events if "delta" in event) == WISH.arguments
    assert events[-2]["item"] == events[-1]["response"]["output"][0]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


# -- who leaves --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def commands(bus: Bus) -> AsyncIterator[list[str]]:
    """The tasks that somebody has cancelled."""
    cancelled: list[str] = []

    async def on_command(msg: Any) -> None:
        cancelled.append(TaskCommand.parse(msg.subject).task)

    subscription = await bus.client.subscribe(TaskCommand.pattern(), cb=on_command)
    await bus.settle()
    yield cancelled
    await subscription.unsubscribe()


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_a_task_goes_on_when_its_reader_leaves(
    app: FastAPI, begin: Begin, commands: list[str], path: str
) -> None:
    # Given a reader in the middle of a text
    reader, work = await begin(path)
    await work.write("one")
    await until(reader.has("one"))

    def listening() -> list[str]:
        return [each.subject for each in app.state.bus.client._subs.values() if work.task_id in each.subject]

    assert len(listening()) == 2
    # When it leaves
    await reader.leave()
    # Then nobody listens for it any more, and nobody has cancelled anything
    await until(lambda: not listening())
    await work.complete("one two")
    assert (await work.tasks.task(DEFAULT_TENANT, work.task_id)).answer == "one two"
    assert commands == []


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_a_task_is_cancelled_with_its_reader_where_that_was_asked_for(
    begin: Begin, commands: list[str], path: str
) -> None:
    reader, work = await begin(path, headers={"Devskyy-Cancel-On-Disconnect": "true"})
    await work.write("one")
    await until(reader.has("one"))
    await reader.leave()
    await until(lambda: commands == [work.task_id])


async def test_a_stream_that_was_read_to_its_end_cancels_nothing(begin: Begin, commands: list[str]) -> None:
    reader, work = await begin(headers={"Devskyy-Cancel-On-Disconnect": "true"})
    await work.complete("one")
    await reader.ended()
    other, second = await begin(headers={"Devskyy-Cancel-On-Disconnect": "true"})
    await second.write("one")
    await until(other.has("one"))
    await other.leave()
    await until(lambda: bool(commands))
    assert commands == [second.task_id]


# -- responses ---------------------------------------------------------------------------------------------------------


async def test_a_response_that_fails_in_the_middle_says_so(begin: Begin) -> None:
    reader, work = await begin(RESPONSES)
    await work.write("one")
    await until(reader.has("one"))
    await work.fail(UpstreamError("groq", "HTTP 500"), PAID)
    last = (await reader.ended())[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "upstream_error"
    assert last["response"]["devskyy"]["receipt"]["cost_usd"] == 0.25


async def test_a_response_that_is_written_anew_with_other_words_says_so(begin: Begin) -> None:
    reader, work = await begin(RESPONSES)
    await work.write("one")
    await until(reader.has("one"))
    await work.complete("uno")
    events = await reader.ended()
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "begun_anew")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


async def test_a_response_cut_by_its_limit_is_incomplete(begin: Begin, http: httpx.AsyncClient) -> None:
    reader, work = await begin(RESPONSES)
    fields = work.owned.next_fields
    ended = {"status": "completed", "answer": "one", "finish_reason": "length", "finished_at": fields["at"]}
    await work.owned.append(Completed(**fields, epoch=1, task=project(work.owned.events).model_copy(update=ended)))
    last = (await reader.ended())[-1]
    assert (last["type"], last["response"]["incomplete_details"]) == (
        "response.incomplete",
        {"reason": "max_output_tokens"},
    )
    read = (await http.get(f"{RESPONSES}/resp_{work.task_id}")).json()
    assert read == last["response"]


async def test_a_response_goes_on_only_from_one_that_has_an_answer(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    # Given a task that has not ended
    task, _ = await tasks.accept(TaskRequest(prompt="hello"), DEFAULT_TENANT)
    # When a response is to go on from it, Then it is refused by name
    body = {"model": "service/local", "input": "Why?", "previous_response_id": f"resp_{task.task_id}"}
    reply = await http.post(RESPONSES, json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "previous_response_id")
    # And of another door it is the same conversation
    await complete(await claim(tasks, task.task_id), "Hi.")
    accepted = (await http.post(RESPONSES, json={**body, "background": True})).json()
    history = (await tasks.read(DEFAULT_TENANT, accepted["id"].removeprefix("resp_")))[0].event
    assert [turn["content"] for turn in history.model_dump()["request"]["history"]] == ["hello", "Hi."]

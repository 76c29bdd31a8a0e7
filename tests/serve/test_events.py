"""A task's events as server-sent events: framing, resuming, following, heartbeats, leaving."""

import asyncio
import gc
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from bus.eventlog import EVENT_LIMIT
from bus.tasklog import OwnedTask, TaskLog
from schemas.event import TASK_EVENT, Answered, Dispatched
from schemas.settings import DEFAULT_TENANT
from schemas.task import TaskRequest
from serve import sse
from tests.broker import until
from tests.serve.conftest import claim, complete, play, problem
from tests.stories import STORIES, said, step

LONG_S = 30.0


class Stream:
    """A reader of one response while it is being written; httpx's own transport would wait for its end."""

    def __init__(self, app: FastAPI, path: str, slow: bool) -> None:
        self.status = 0
        self.body = b""
        self._slow = slow
        self._left = asyncio.Event()
        self._asked = False
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 80),
        }
        self.answering = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.body += message.get("body", b"")
        if self._slow and self.body:
            await asyncio.Event().wait()  # the line is full, and nothing is read any more

    def has(self, text: str) -> Callable[[], bool]:
        return lambda: text.encode() in self.body

    async def leave(self) -> None:
        self._left.set()
        await asyncio.wait({self.answering}, timeout=LONG_S)


Read = Callable[..., Awaitable[Stream]]


@pytest.fixture
async def read(app: FastAPI) -> AsyncIterator[Read]:
    """Starts to read a task's events."""
    streams: list[Stream] = []

    async def start(task_id: str, slow: bool = False) -> Stream:
        streams.append(Stream(app, f"/api/v1/tasks/{task_id}/events", slow))
        return streams[-1]

    yield start
    for stream in streams:
        await stream.leave()


@pytest.fixture
async def task_id(tasks: TaskLog) -> str:
    task, _ = await tasks.accept(TaskRequest(prompt="Say hello.\nTwice."), DEFAULT_TENANT)
    return task.task_id


def events_of(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Id, name and data of each event; whatever is no event must be a heartbeat."""
    found = []
    assert text.endswith("\n\n")
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block == ": heartbeat":
            continue
        id_, event, data = block.split("\n")
        fields = json.loads(data.removeprefix("data: "))
        found.append((int(id_.removeprefix("id: ")), event.removeprefix("event: "), fields))
    return found


# -- so far --------------------------------------------------------------------------------------------------------


async def test_events_are_framed_with_id_name_and_data(http: httpx.AsyncClient, tasks: TaskLog, task_id: str) -> None:
    # Given a task that has ended
    owned = await claim(tasks, task_id)
    await complete(owned)
    # When its events are read
    reply = await http.get(f"/api/v1/tasks/{task_id}/events")
    # Then each is one block, its id its number, its data the whole event on one line
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-store"
    found = events_of(reply.text)
    assert [(id_, name) for id_, name, _ in found] == [(1, "accepted"), (2, "claimed"), (3, "completed")]
    assert [TASK_EVENT.validate_python(data) for _, _, data in found] == owned.events
    assert found[-1][2]["task"]["answer"] == "Hello."


async def test_without_following_only_what_there_is_comes(http: httpx.AsyncClient, task_id: str) -> None:
    reply = await http.get(f"/api/v1/tasks/{task_id}/events?follow=false")
    assert [name for _, name, _ in events_of(reply.text)] == ["accepted"]


@pytest.mark.parametrize(("query", "headers"), [("", {"Last-Event-ID": "2"}), ("?after=2", {})])
async def test_a_reader_resumes_after_the_last_event_it_knows(
    http: httpx.AsyncClient, tasks: TaskLog, task_id: str, query: str, headers: dict[str, str]
) -> None:
    await complete(await claim(tasks, task_id))
    reply = await http.get(f"/api/v1/tasks/{task_id}/events{query}", headers=headers)
    assert [id_ for id_, _, _ in events_of(reply.text)] == [3]


async def test_a_reader_that_knows_all_of_an_ended_task_gets_nothing_more(
    http: httpx.AsyncClient, tasks: TaskLog, task_id: str
) -> None:
    await complete(await claim(tasks, task_id))
    reply = await http.get(f"/api/v1/tasks/{task_id}/events", headers={"Last-Event-ID": "3"})
    assert (reply.status_code, reply.text) == (200, "")


@pytest.mark.parametrize("given", ["nine", "-1", "1.5", "0x1", "\u00b2".encode("latin-1"), "9" * 5000])
async def test_an_event_number_that_is_none_is_refused(http: httpx.AsyncClient, task_id: str, given: str) -> None:
    found = problem(await http.get(f"/api/v1/tasks/{task_id}/events", headers={"Last-Event-ID": given}))
    assert (found["status"], found["errors"][0]["field"]) == (422, "Last-Event-ID")


# -- of a team -----------------------------------------------------------------------------------------------------


async def owned_by(tasks: TaskLog, task_id: str) -> OwnedTask:
    return OwnedTask(tasks, await tasks.read(DEFAULT_TENANT, task_id))


@pytest.mark.parametrize("name", STORIES)
async def test_the_events_of_a_team_are_numbered_without_gap_and_can_be_resumed_anywhere(
    http: httpx.AsyncClient, tasks: TaskLog, task_id: str, name: str
) -> None:
    # Given a task that a team has carried to its end
    owned = await owned_by(tasks, task_id)
    await play(owned, STORIES[name])
    await complete(owned)
    whole = events_of((await http.get(f"/api/v1/tasks/{task_id}/events")).text)
    assert [id_ for id_, _, _ in whole] == list(range(1, len(STORIES[name]) + 1))
    assert [TASK_EVENT.validate_python(data) for _, _, data in whole] == owned.events
    # When a reader comes back after any of them, Then it gets those that it lacks, each once
    for last in range(1, len(whole)):
        reply = await http.get(f"/api/v1/tasks/{task_id}/events", headers={"Last-Event-ID": str(last)})
        assert events_of(reply.text) == whole[last:]


async def test_an_event_too_large_for_the_bus_comes_whole(read: Read, tasks: TaskLog, task_id: str) -> None:
    # Given a reader of a task, and an answer of more than what one message of the bus takes, with ends of lines in it
    stream = await read(task_id)
    await until(stream.has("event: accepted"))
    owned = await owned_by(tasks, task_id)
    of = step("draft", "writing")
    text = "Zürich\r\n\n\u2028data: x\n" * (2 * EVENT_LIMIT // 20)
    await owned.append(Dispatched(**owned.next_fields, epoch=1, phase="drafts", steps=(of,)))
    # When it is written, and the task ends
    await owned.append(Answered(**owned.next_fields, epoch=1, contributions=(said(of, text),)))
    await complete(owned)
    await asyncio.wait_for(stream.answering, LONG_S)
    # Then the reader has all of it, in its place
    found = events_of(stream.body.decode())
    assert [(id_, name) for id_, name, _ in found] == [
        (1, "accepted"),
        (2, "dispatched"),
        (3, "answered"),
        (4, "completed"),
    ]
    assert found[2][2]["contributions"][0]["text"] == text


async def test_a_running_team_says_how_far_it_is(http: httpx.AsyncClient, tasks: TaskLog, task_id: str) -> None:
    # Given a team at work
    owned = await owned_by(tasks, task_id)
    await play(owned, STORIES["parallel"][:5])
    # When its task is asked for
    task = (await http.get(f"/api/v1/tasks/{task_id}")).json()
    # Then it comes with the steps that were asked for and those that are over
    assert (task["status"], task["shape"]) == ("running", "parallel")
    assert task["progress"] == {"phase": "drafts", "asked": 3, "answered": 1, "failed": 1, "left_out": 0}
    # And once it has ended, the rest of it tells
    await complete(owned)
    assert (await http.get(f"/api/v1/tasks/{task_id}")).json()["progress"] is None


async def test_one_agent_who_answers_alone_has_no_progress_to_tell(
    http: httpx.AsyncClient, tasks: TaskLog, task_id: str
) -> None:
    await claim(tasks, task_id)
    assert (await http.get(f"/api/v1/tasks/{task_id}")).json()["progress"] is None


async def test_the_description_says_what_events_hold(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    door = document["paths"]["/api/v1/tasks/{task_id}/events"]["get"]
    item = door["responses"]["200"]["content"]["text/event-stream"]["itemSchema"]["properties"]
    assert {"dispatched", "answered", "decided"} < set(item["event"]["examples"])
    schemas = document["components"]["schemas"]
    assert item["data"]["contentSchema"] == {"$ref": "#/components/schemas/TaskEvent"}
    assert set(schemas["TaskEvent"]["discriminator"]["mapping"]) == set(item["event"]["examples"])
    assert {"text", "remarks", "quality", "problem"} < schemas["Contribution"]["properties"].keys()
    # And every schema that is named is there
    named = re.findall(r"#/components/schemas/([\w.-]+)", json.dumps(document))
    assert set(named) <= schemas.keys()


# -- followed ------------------------------------------------------------------------------------------------------


async def test_a_follower_hears_each_event_as_it_happens_until_the_end(
    read: Read, tasks: TaskLog, task_id: str
) -> None:
    # Given a reader of a task that has just been accepted
    stream = await read(task_id)
    await until(stream.has("event: accepted"))
    # When it is claimed, and then done
    owned = await claim(tasks, task_id)
    await until(stream.has("event: claimed"))
    assert not stream.answering.done()
    await complete(owned)
    # Then the reader has each event once, and the stream ends by itself
    await asyncio.wait_for(stream.answering, LONG_S)
    assert stream.status == 200
    assert [id_ for id_, _, _ in events_of(stream.body.decode())] == [1, 2, 3]


async def test_between_events_heartbeats_say_that_the_line_is_open(
    read: Read, tasks: TaskLog, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.sse.HEARTBEAT_S", 0.05)
    stream = await read(task_id)
    # Given a task of which nothing is heard for a while
    await until(lambda: stream.body.count(b": heartbeat\n\n") >= 3)
    # When it goes on
    await complete(await claim(tasks, task_id))
    await asyncio.wait_for(stream.answering, LONG_S)
    # Then the comments have cost no event
    assert [name for _, name, _ in events_of(stream.body.decode())] == ["accepted", "claimed", "completed"]


@pytest.mark.parametrize("slow", [False, True], ids=["between two events", "while one is being sent"])
async def test_a_reader_that_leaves_leaves_nothing_behind(
    app: FastAPI, read: Read, task_id: str, slow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    # Given readers of a task that goes on
    subscriptions = app.state.bus.client._subs
    before = set(subscriptions)
    streams = [await read(task_id, slow) for _ in range(5)]
    for stream in streams:
        await until(stream.has("event: accepted"))
    assert len(set(subscriptions) - before) == 5
    # When they go away
    for stream in streams:
        await stream.leave()
    # Then nobody listens for them any more
    await until(lambda: set(subscriptions) == before)
    gc.collect()
    await asyncio.sleep(0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_the_end_of_one_reader_is_not_that_of_another(read: Read, tasks: TaskLog, task_id: str) -> None:
    leaver, stayer = await read(task_id), await read(task_id)
    for stream in (leaver, stayer):
        await until(stream.has("event: accepted"))
    await leaver.leave()
    await complete(await claim(tasks, task_id))
    await asyncio.wait_for(stayer.answering, LONG_S)
    assert [id_ for id_, _, _ in events_of(stayer.body.decode())] == [1, 2, 3]


def test_what_events_consist_of_keeps_clear_of_schemas_that_have_their_names() -> None:
    # Given schemas with the names of parts of an event: one that is another, and one that refers to it
    ref, holder = {"$ref": "#/components/schemas/Done"}, {"$ref": "#/components/schemas/Holder"}
    known: dict[str, Any] = {"Done": {"const": 1}, "TaskDone": {"const": 2}, "Holder": ref, "Call": {"const": 4}}
    parts = {"Done": {"const": 3}, "Holder": ref, "Call": {"const": 4}}
    # When the event is entered among them
    event = sse._entered(known, {"oneOf": [ref, holder], "$defs": parts}, "Task")
    # Then what was there is as it was, and the event refers to its own
    assert (known["Done"], known["TaskDone"], known["Holder"]) == ({"const": 1}, {"const": 2}, ref)
    assert event == {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("TaskTaskDone", "TaskHolder")]}
    assert known["TaskTaskDone"] == {"const": 3}
    assert known["TaskHolder"] == {"$ref": "#/components/schemas/TaskTaskDone"}
    assert "TaskCall" not in known

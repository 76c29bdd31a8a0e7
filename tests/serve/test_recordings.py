"""The recordings door."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from bus.client import Bus
from bus.journal import Entry, Journal, key_of, question_of
from bus.tasklog import OwnedTask, TaskLog
from schemas.completion import Completion
from schemas.message import now
from schemas.receipt import Call
from schemas.recording import MAX_RECORDING_BYTES
from schemas.settings import DEFAULT_TENANT
from schemas.task import TaskRequest
from tests.gateway.doubles import ask
from tests.serve.conftest import claim, complete, problem

DOOR = "/api/v1/recordings"
CALL = Call(step="direct", agent="writing", service="groq", model="m", prompt_tokens=10, cost_usd=0.25)


async def started(bus: Bus, tasks: TaskLog) -> OwnedTask:
    """A task with one answered question."""
    accepted, _ = await tasks.accept(TaskRequest(prompt="Say hello.", temperature=0.5), DEFAULT_TENANT)
    owned = await claim(tasks, accepted.task_id)
    asked = ask(task_id=accepted.task_id)
    answered = Completion(text="Hello.", calls=(CALL,))
    fields: dict[str, Any] = {"gateway": "g", "began_at": now(), "question": question_of(asked)}
    await Journal(bus).write(key_of(asked), Entry(state="ended", calls=(CALL,), completion=answered, **fields), 0)
    return owned


@pytest.fixture
async def recorded(http: httpx.AsyncClient, bus: Bus, tasks: TaskLog) -> httpx.Response:
    owned = await started(bus, tasks)
    await complete(owned)
    return await http.get(f"/api/v1/tasks/{owned.accepted.task_id}/recording")


async def test_a_task_that_has_ended_is_given_out_as_lines(recorded: httpx.Response) -> None:
    # Given a task that has ended, When its recording is fetched
    # Then it is JSON lines, to be saved as a file
    assert (recorded.status_code, recorded.headers["content-type"]) == (200, "application/jsonl")
    header, *rest = map(json.loads, recorded.text.splitlines())
    assert recorded.headers["content-disposition"] == f'attachment; filename="{header["task_id"]}.jsonl"'
    assert [next(iter(line)) for line in rest] == ["event", "event", "event", "call", "end"]


async def test_its_events_are_those_that_the_events_door_gives(
    recorded: httpx.Response, http: httpx.AsyncClient
) -> None:
    lines = [json.loads(line) for line in recorded.text.splitlines()]
    streamed = (await http.get(f"/api/v1/tasks/{lines[0]['task_id']}/events")).text
    data = [json.loads(line.removeprefix("data: ")) for line in streamed.splitlines() if line.startswith("data: ")]
    assert [line["event"] for line in lines if "event" in line] == data


async def test_a_task_that_goes_on_or_is_not_there_has_no_recording(
    http: httpx.AsyncClient, bus: Bus, tasks: TaskLog
) -> None:
    # Given a task that goes on
    owned = await started(bus, tasks)
    # When its recording is fetched, or that of a task which is not there
    going = await http.get(f"/api/v1/tasks/{owned.accepted.task_id}/recording")
    missing = [await http.get(f"/api/v1/tasks/{name}/recording") for name in ("nowhere", "a.b")]
    # Then it is said why
    assert (going.status_code, problem(going)["type"]) == (409, "urn:devskyy:problem:not-recordable")
    assert "has not ended yet" in problem(going)["detail"]
    assert [problem(reply)["status"] for reply in missing] == [404, 404]


async def test_a_recording_that_is_handed_in_can_be_replayed_as_it_is_told(
    recorded: httpx.Response, http: httpx.AsyncClient
) -> None:
    # Given a recording, When it is handed in, twice
    replies = [await http.post(DOOR, content=recorded.content) for _ in range(2)]
    # Then it has one name, and the reply holds the request that replays it
    assert [reply.status_code for reply in replies] == [200, 200]
    first, second = (reply.json() for reply in replies)
    assert first == second
    assert first["request"] == {"prompt": "Say hello.", "temperature": 0.5, "replay": first["recording"]}
    accepted = await http.post("/api/v1/tasks", json=first["request"])
    assert accepted.status_code == 202


async def test_a_damaged_recording_is_refused_and_its_line_named(
    recorded: httpx.Response, http: httpx.AsyncClient
) -> None:
    # Given a recording in which somebody has changed a price, and one that broke off
    changed = recorded.content.replace(b'"cost_usd":0.25', b'"cost_usd":0.24')
    # When they are handed in, Then the lines are named
    for content, line in ((changed, "line 5"), (recorded.content[:-9], "line 6"), (b"", "line 1"), (b"\xff", "line 1")):
        refused = await http.post(DOOR, content=content)
        assert refused.status_code == 422
        assert [error["field"] for error in problem(refused)["errors"]] == [line]


async def test_a_task_is_refused_whose_recording_is_not_there(http: httpx.AsyncClient) -> None:
    refused = await http.post("/api/v1/tasks", json={"prompt": "p", "replay": "0" * 64})
    assert refused.status_code == 422
    assert problem(refused)["errors"][0]["field"] == "replay"
    assert (await http.get("/api/v1/tasks")).json()["tasks"] == []


async def test_recordings_may_be_larger_than_other_bodies(http: httpx.AsyncClient, app: FastAPI) -> None:
    # Given bodies that say that they are larger than a task may be, and larger than a recording may be
    replies = []
    for size in (MAX_RECORDING_BYTES, MAX_RECORDING_BYTES + 1):
        replies.append(await http.post(DOOR, content=b"{}", headers={"content-length": str(size)}))
    task = await http.post("/api/v1/tasks", content=b"{}", headers={"content-length": str(MAX_RECORDING_BYTES)})
    # When they come, Then only the first is read
    assert [reply.status_code for reply in (*replies, task)] == [422, 413, 413]

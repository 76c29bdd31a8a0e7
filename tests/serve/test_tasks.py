"""The tasks door: accept, repeat, wait, read, list, cancel."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from bus.client import Bus
from bus.streams import TASKS
from bus.tasklog import TaskLog, task_id_of
from schemas.message import now
from schemas.settings import DEFAULT_TENANT
from schemas.task import Status, Task
from serve.headers import MAX_WAIT_S, wait_s
from tests.serve.conftest import claim, complete, problem

DOOR = "/api/v1/tasks"
HELLO = {"prompt": "Say hello."}


async def written(bus: Bus) -> int:
    return (await bus.js.stream_info(TASKS)).state.messages


# -- accepted ------------------------------------------------------------------------------------------------------


async def test_a_task_is_accepted_and_on_disk_before_the_answer(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    # When a task is sent
    reply = await http.post(DOOR, json=HELLO)
    # Then it is accepted, with where to look
    assert reply.status_code == 202
    task_id = reply.json()["task_id"]
    path = f"{DOOR}/{task_id}"
    links = {"self": path, "events": f"{path}/events"}
    assert reply.json() == {"task_id": task_id, "status": "accepted", "links": links}
    assert reply.headers["location"] == path
    # And it is in the log
    assert (await tasks.task(DEFAULT_TENANT, task_id)).prompt == "Say hello."


async def test_a_repeat_with_the_same_key_gets_the_same_task(http: httpx.AsyncClient, bus: Bus) -> None:
    replies = [await http.post(DOOR, json=HELLO, headers={"Idempotency-Key": "order 66"}) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert {reply.json()["task_id"] for reply in replies} == {task_id_of(DEFAULT_TENANT, "order 66")}
    assert await written(bus) == 1


async def test_many_at_once_with_one_key_make_one_task(http: httpx.AsyncClient, bus: Bus) -> None:
    replies = await asyncio.gather(*(http.post(DOOR, json=HELLO, headers={"Idempotency-Key": "k"}) for _ in range(20)))
    assert len({reply.json()["task_id"] for reply in replies}) == 1
    assert await written(bus) == 1


async def test_a_key_with_another_body_is_refused(http: httpx.AsyncClient) -> None:
    first = await http.post(DOOR, json=HELLO, headers={"Idempotency-Key": "k"})
    found = problem(await http.post(DOOR, json={"prompt": "Say goodbye."}, headers={"Idempotency-Key": "k"}))
    assert (found["status"], found["type"]) == (422, "urn:devskyy:problem:idempotency-key-reused")
    assert first.json()["task_id"] in found["detail"]


@pytest.mark.parametrize("key", ["", "  ", "x" * 256])
async def test_a_key_that_is_none_is_refused(http: httpx.AsyncClient, bus: Bus, key: str) -> None:
    found = problem(await http.post(DOOR, json=HELLO, headers={"Idempotency-Key": key}))
    assert found["status"] == 422
    assert "idempotency-key" in found["errors"][0]["field"].lower()
    assert await written(bus) == 0


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{}", 422, "prompt"),
        (b'{"prompt": " "}', 422, "prompt"),
        (b'{"prompt": "x", "promt": "y"}', 422, "promt"),
        (b'{"prompt": "x", "tier": "huge"}', 422, "tier"),
        (b'{"prompt": "x", "tier": "simple", "agents": 4}', 422, "agents"),
        (b'{"prompt": "x", "max_cost_usd": NaN}', 422, "max_cost_usd"),
        (b'{"prompt": "x", "metadata": {"a": 1e999}}', 422, "metadata"),
        (b'{"prompt": "\\ud800"}', 422, "prompt"),
        (b'{"prompt": "x", "inputs": [{"kind": "image", "name": "a", "base64": "!"}]}', 422, "inputs.0"),
        (b"[1, 2]", 422, ""),
        (b"", 422, ""),
        (b'{"prompt": ', 400, ""),
        (b"\xff\xfe", 400, ""),
    ],
)
async def test_what_cannot_be_a_task_is_refused_with_the_field(
    http: httpx.AsyncClient, bus: Bus, body: bytes, status: int, field: str
) -> None:
    reply = await http.post(DOOR, content=body, headers={"Content-Type": "application/json"})
    found = problem(reply)
    assert found["status"] == status
    assert field in [error["field"] for error in found.get("errors", [{"field": ""}])]
    assert await written(bus) == 0


async def test_a_prompt_that_is_too_large_is_refused_with_both_sizes(http: httpx.AsyncClient, bus: Bus) -> None:
    found = problem(await http.post(DOOR, json={"prompt": "x" * 300_000}))
    assert found["status"] == 413
    assert "300,000" in found["detail"]
    assert "262,144" in found["detail"]
    assert await written(bus) == 0


# -- waited for ----------------------------------------------------------------------------------------------------


async def test_whoever_prefers_to_wait_gets_the_whole_task(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    # Given a task that its sender waits for
    headers = {"Prefer": "respond-async, wait=20", "Idempotency-Key": "k"}
    waiting = asyncio.create_task(http.post(DOOR, json=HELLO, headers=headers))
    task_id = task_id_of(DEFAULT_TENANT, "k")
    async with asyncio.timeout(30):
        while (await http.get(f"{DOOR}/{task_id}")).status_code == 404:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)
    # When it is done
    await complete(await claim(tasks, task_id), "Hello to you.")
    # Then the sender has it
    reply = await waiting
    assert (reply.status_code, reply.headers["preference-applied"]) == (200, "wait=20")
    assert (reply.json()["status"], reply.json()["answer"]) == ("completed", "Hello to you.")


async def test_whoever_waits_too_short_gets_the_task_as_it_is(http: httpx.AsyncClient) -> None:
    reply = await http.post(DOOR, json=HELLO, headers={"Prefer": "wait=0.2"})
    assert (reply.status_code, reply.json()["status"]) == (202, "accepted")
    assert reply.headers["preference-applied"] == "wait=0.2"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0.0),
        ("wait=5", 5.0),
        ('wait="5"', 5.0),
        ("Wait = 2.5", 2.5),
        ("respond-async, wait=10", 10.0),
        ("handling=lenient; wait=3", 3.0),
        ("wait=99999", MAX_WAIT_S),
        ("wait=" + "9" * 5000, MAX_WAIT_S),
        ("await=5", 0.0),
        ("wait=-5", 0.0),
        ("wait=soon", 0.0),
    ],
)
def test_what_a_sender_prefers(prefer: str | None, seconds: float) -> None:
    assert wait_s(prefer) == seconds


NUMBERS = st.integers().map(str) | st.floats().map(str) | st.text("0123456789.\u0664\u00b2", max_size=400)


@given(st.text() | st.builds("{}wait={}{}".format, st.sampled_from(["", "a, ", ";"]), NUMBERS, st.text(max_size=3)))
def test_whatever_a_sender_prefers_the_wait_is_bounded(prefer: str) -> None:
    assert 0 <= wait_s(prefer) <= MAX_WAIT_S


# -- read, listed, cancelled ---------------------------------------------------------------------------------------


async def test_a_task_is_read_as_it_is(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    task_id = (await http.post(DOOR, json=HELLO)).json()["task_id"]
    assert (await http.get(f"{DOOR}/{task_id}")).json()["status"] == "accepted"
    owned = await claim(tasks, task_id)
    assert (await http.get(f"{DOOR}/{task_id}")).json()["tier"] == "simple"
    await complete(owned)
    body = (await http.get(f"{DOOR}/{task_id}")).json()
    assert (body["task_id"], body["status"], body["answer"], body["error"]) == (task_id, "completed", "Hello.", None)


@pytest.mark.parametrize("task_id", ["nobody-knows-this", "a b", "a.b", ">", "*", "x" * 128, "ä", "a%00b"])
async def test_a_task_that_is_not_there_is_not_found(http: httpx.AsyncClient, task_id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        found = problem(await http.request(method, f"{DOOR}/{task_id}{path}"))
        assert (found["status"], found["type"]) == (404, "urn:devskyy:problem:not-found")


def kept(number: int, status: Status = "completed") -> Task:
    at = now()
    return Task(task_id=f"old-{number}", status=status, prompt=f"number {number}", created_at=at, finished_at=at)


async def test_tasks_are_listed_newest_first_page_by_page(http: httpx.AsyncClient, app: FastAPI) -> None:
    # Given three tasks that SQL keeps
    for number in range(3):
        await app.state.kept.upsert(DEFAULT_TENANT, kept(number), 3)
    # When they are read in pages of two
    first = (await http.get(f"{DOOR}?limit=2")).json()
    second = (await http.get(DOOR, params={"limit": 2, "cursor": first["next"]})).json()
    # Then each comes once, the newest first
    listed = [task["prompt"] for page in (first, second) for task in page["tasks"]]
    assert listed == ["number 2", "number 1", "number 0"]
    assert second["next"] is None


async def test_tasks_are_listed_by_status(http: httpx.AsyncClient, app: FastAPI) -> None:
    await app.state.kept.upsert(DEFAULT_TENANT, kept(1, "failed"), 3)
    await app.state.kept.upsert(DEFAULT_TENANT, kept(2, "completed"), 3)
    found = (await http.get(f"{DOOR}?status=failed")).json()["tasks"]
    assert [task["task_id"] for task in found] == ["old-1"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("cursor=%00", "cursor"),
        ("cursor=ä", "cursor"),
        ("status=x", "status"),
    ],
)
async def test_a_list_that_cannot_be_is_refused(http: httpx.AsyncClient, query: str, field: str) -> None:
    found = problem(await http.get(f"{DOOR}?{query}"))
    assert found["status"] == 422
    assert found["errors"][0]["field"].endswith(field)


async def test_a_task_that_has_left_the_stream_is_read_from_sql(http: httpx.AsyncClient, app: FastAPI) -> None:
    await app.state.kept.upsert(DEFAULT_TENANT, kept(1), 3)
    assert (await http.get(f"{DOOR}/old-1")).json()["prompt"] == "number 1"
    assert (await http.delete(f"{DOOR}/old-1")).status_code == 200


async def test_a_cancel_is_asked_of_the_tasks_owner(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    task_id = (await http.post(DOOR, json=HELLO)).json()["task_id"]
    reply = await http.delete(f"{DOOR}/{task_id}")
    assert (reply.status_code, reply.json()["status"]) == (202, "accepted")
    assert await tasks.pending_command(DEFAULT_TENANT, task_id) is not None


async def test_a_task_that_has_ended_is_not_cancelled(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    task_id = (await http.post(DOOR, json=HELLO)).json()["task_id"]
    await complete(await claim(tasks, task_id))
    reply = await http.delete(f"{DOOR}/{task_id}")
    assert (reply.status_code, reply.json()["status"]) == (200, "completed")
    assert await tasks.pending_command(DEFAULT_TENANT, task_id) is None


async def test_without_a_broker_nothing_is_accepted_and_the_caller_is_told_when_to_come_again(
    http: httpx.AsyncClient, app: FastAPI
) -> None:
    # Given a connection that is gone
    await app.state.bus.close(grace_s=0.1)
    app.state.tasks = TaskLog(app.state.bus, patience_s=0.1)
    # When a task is sent
    reply = await http.post(DOOR, json=HELLO)
    # Then it is refused for now
    assert (problem(reply)["status"], reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["retryable"] is True

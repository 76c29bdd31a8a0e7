"""What may be asked of a workflow at its doors has its effect once, or is refused with how the workflow stands."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bus.client import Bus
from bus.streams import WAKES
from tests.serve.conftest import problem
from tests.serve.flows import ADDS, DOOR, HELD, WAITS, Doing, created, ended
from tests.workflow.engines import Engines

WAIT = {"Prefer": "wait=20"}


@pytest.fixture
def doing() -> Doing:
    return Doing()


@pytest.fixture
async def engine(engines: Engines, doing: Doing) -> AsyncIterator[Engines]:
    await engines.start(doing.functions)
    yield engines
    doing.release.set()


async def ask(http: httpx.AsyncClient, workflow_id: str, what: str, **how: Any) -> httpx.Response:
    return await http.post(f"{DOOR}/{workflow_id}/{what}", **how)


# -- started -------------------------------------------------------------------------------------------------------


async def test_of_many_who_start_a_workflow_at_once_one_is_told_that_it_did(
    http: httpx.AsyncClient, bus: Bus, engine: Engines, doing: Doing
) -> None:
    # Given a workflow that waits to be started
    workflow_id = await engine.create(dict(ADDS), {"n": 1})
    # When many start it at once
    replies = await asyncio.gather(*(ask(http, workflow_id, "start") for _ in range(10)))
    # Then one of them did
    assert sorted(reply.status_code for reply in replies) == [202, *[409] * 9]
    assert (await ended(http, workflow_id))["output"] == 3
    assert doing.calls == ["add 1", "add 2"]
    # And later it has been, too
    found = problem(await ask(http, workflow_id, "start"))
    assert (found["status"], found["detail"]) == (409, "it was started already; it has completed")


async def test_one_that_was_created_to_be_started_cannot_be_started(http: httpx.AsyncClient) -> None:
    definition = {"name": "one", "tasks": {"go": {"signal": "go"}}}
    workflow_id = await created(http, definition)
    assert problem(await ask(http, workflow_id, "start"))["detail"] == "it was asked to start already"


async def test_whoever_repeats_a_start_with_its_key_is_told_the_same(http: httpx.AsyncClient, engine: Engines) -> None:
    workflow_id = await engine.create(dict(ADDS), {"n": 1})
    headers = {"Idempotency-Key": "mine"}
    replies = await asyncio.gather(*(ask(http, workflow_id, "start", headers=headers) for _ in range(3)))
    assert [reply.status_code for reply in replies] == [202] * 3
    await ended(http, workflow_id)
    assert (await ask(http, workflow_id, "start", headers=headers)).status_code == 202
    other = await ask(http, workflow_id, "start", headers={"Idempotency-Key": "another"})
    assert problem(other)["status"] == 409


async def test_whoever_waits_for_a_start_sees_it_begun(http: httpx.AsyncClient, engine: Engines) -> None:
    workflow_id = await engine.create(dict(HELD))
    reply = await ask(http, workflow_id, "start", headers=WAIT)
    assert (reply.status_code, reply.json()["status"]) == (200, "running")
    assert reply.headers["preference-applied"] == "wait=20"


# -- paused, resumed, cancelled ------------------------------------------------------------------------------------


async def test_a_workflow_is_paused_and_resumed(http: httpx.AsyncClient, engine: Engines, doing: Doing) -> None:
    # Given one whose first task runs
    tasks = {"hold": {"function": "hold"}, "next": {"function": "one", "depends_on": ["hold"]}}
    workflow_id = await engine.begin({"tasks": tasks})
    await engine.until(workflow_id, "started")
    # When it is paused, and that task ends
    reply = await ask(http, workflow_id, "pause", headers=WAIT)
    assert (reply.status_code, reply.json()["paused"]) == (200, True)
    assert problem(await ask(http, workflow_id, "pause"))["detail"] == "it is paused"
    doing.release.set()
    await engine.waits(workflow_id)
    assert not doing.calls
    # Then the next begins once it is resumed
    reply = await ask(http, workflow_id, "resume", headers=WAIT)
    assert (reply.status_code, reply.json()["paused"]) == (200, False)
    assert (await ended(http, workflow_id))["status"] == "completed"
    assert doing.calls == ["one"]
    found = problem(await ask(http, workflow_id, "resume"))
    assert found["detail"] == "it has completed; only one that is paused can be resumed"


@pytest.mark.parametrize(("body", "undone"), [({}, ["one"]), ({"compensate": False, "reason": "no budget"}, [])])
async def test_a_cancelled_workflow_is_undone_unless_that_is_not_wanted(
    http: httpx.AsyncClient, engine: Engines, doing: Doing, body: dict[str, Any], undone: list[str]
) -> None:
    tasks = {
        "first": {"function": "add", "inputs": {"n": 1}, "compensation": {"function": "one"}},
        "wait": {"signal": "go", "depends_on": ["first"]},
    }
    workflow_id = await engine.begin({"tasks": tasks})
    await engine.waits(workflow_id)
    # When it is cancelled
    reply = await ask(http, workflow_id, "cancel", json=body, headers=WAIT)
    assert reply.status_code == 200
    # Then it ends as that, with the reason
    found = await ended(http, workflow_id)
    assert found["status"] == "cancelled"
    assert found["error"]["detail"] == body.get("reason", "cancelled by its caller")
    assert doing.calls == ["add 1", *undone]
    # And not a second time
    refusal = problem(await ask(http, workflow_id, "cancel"))
    assert refusal["detail"] == "it was cancelled; there is nothing left to cancel"


async def test_one_that_was_never_started_is_cancelled_at_once(http: httpx.AsyncClient, engine: Engines) -> None:
    workflow_id = await engine.create(dict(ADDS))
    reply = await ask(http, workflow_id, "cancel", headers=WAIT)
    assert (reply.status_code, reply.json()["status"]) == (200, "cancelled")
    assert problem(await ask(http, workflow_id, "start"))["detail"] == "it was cancelled"


# -- retried -------------------------------------------------------------------------------------------------------


async def test_a_failed_workflow_goes_on_when_it_is_retried(
    http: httpx.AsyncClient, engine: Engines, doing: Doing
) -> None:
    # Given one whose second task failed
    doing.broken = True
    tasks = {"a": {"function": "one"}, "b": {"function": "breaks", "depends_on": ["a"], "retry": {"attempts": 1}}}
    workflow_id = await engine.begin({"tasks": tasks})
    assert (await ended(http, workflow_id))["status"] == "failed"
    # When what was broken is mended, and it is retried
    doing.broken = False
    reply = await ask(http, workflow_id, "retry", headers=WAIT)
    # Then that task is done again, and only that
    assert reply.status_code == 200
    assert (await ended(http, workflow_id))["status"] == "completed"
    assert doing.calls == ["one", "breaks", "breaks"]
    found = problem(await ask(http, workflow_id, "retry"))
    assert found["detail"] == "it has completed; only one that has failed or was cancelled can be retried"


async def test_a_retry_may_begin_at_a_task(http: httpx.AsyncClient, engine: Engines, doing: Doing) -> None:
    doing.broken = True
    tasks = {"a": {"function": "one"}, "b": {"function": "breaks", "depends_on": ["a"], "retry": {"attempts": 1}}}
    workflow_id = await engine.begin({"tasks": tasks})
    await ended(http, workflow_id)
    doing.broken = False
    found = problem(await ask(http, workflow_id, "retry", json={"task": "c"}))
    assert (found["status"], found["errors"][0]["field"]) == (422, "task")
    await ask(http, workflow_id, "retry", json={"task": "a"}, headers=WAIT)
    assert (await ended(http, workflow_id))["status"] == "completed"
    assert doing.calls == ["one", "breaks", "one", "breaks"]


# -- signals -------------------------------------------------------------------------------------------------------


async def test_signals_reach_their_tasks_before_and_while_these_wait(http: httpx.AsyncClient, engine: Engines) -> None:
    # Given a workflow that waits for approval, and for a signal after that
    workflow_id = await engine.begin(dict(WAITS))
    await engine.waits(workflow_id)
    shown = (await http.get(f"{DOOR}/{workflow_id}")).json()["tasks"]["review"]
    assert (shown["status"], shown["waits_for"], shown["asks"]) == ("waiting", "review", "Publish it?")
    # When the signal comes first, and then the approval
    early = await ask(http, workflow_id, "signals/go", json={"at": "noon"}, headers=WAIT)
    assert (early.status_code, early.json()["status"]) == (200, "waiting")
    approved = await ask(http, workflow_id, "signals/review", json={"approved": True, "comment": "fine"}, headers=WAIT)
    assert approved.status_code == 200
    # Then both were heard
    found = await ended(http, workflow_id)
    assert found["status"] == "completed"
    assert found["output"] == {
        "first": 1,
        "review": {"approved": True, "comment": "fine"},
        "release": {"at": "noon"},
    }
    refusal = problem(await ask(http, workflow_id, "signals/go"))
    assert (refusal["status"], refusal["detail"]) == (409, "it has completed; nothing waits for signals any more")


async def test_a_refused_approval_fails_its_task_with_the_comment(http: httpx.AsyncClient, engine: Engines) -> None:
    workflow_id = await engine.begin(dict(WAITS))
    await engine.waits(workflow_id)
    await ask(http, workflow_id, "signals/review", json={"approved": False, "comment": "not in May"})
    found = await ended(http, workflow_id)
    assert (found["status"], found["error"]["detail"]) == ("failed", "review: not in May")


@pytest.mark.parametrize(
    ("name", "content", "status", "field"),
    [
        ("review", b'{"approved": "yes"}', 422, "approved"),
        ("review", b"", 422, "approved"),
        ("review", b"[true]", 422, "approved"),
        ("revue", b'{"approved": true}', 422, "name"),
        ("a b", b"1", 422, "name"),
        ("go", b'{"a": 1e999}', 422, "payload"),
        ("go", b'"\\ud800"', 422, "payload"),
        ("go", b"[" * 40 + b"]" * 40, 422, "payload"),
        ("go", b"[" * 100_000, 422, "body"),
        ("go", b'"' + b"x" * 262_143 + b'"', 413, None),
        ("go", b"{", 400, ""),
    ],
)
async def test_a_signal_that_no_task_could_use_is_refused(
    http: httpx.AsyncClient, bus: Bus, engines: Engines, name: str, content: bytes, status: int, field: str | None
) -> None:
    workflow_id = await engines.create(dict(WAITS))
    found = problem(await ask(http, workflow_id, f"signals/{name}", content=content))
    assert (found["status"], [error["field"] for error in found.get("errors", [])]) == (
        status,
        [] if field is None else [field],
    )
    assert (await bus.js.stream_info(WAKES)).state.messages == 0


# -- repeated ------------------------------------------------------------------------------------------------------


async def test_a_repeated_command_has_one_effect(http: httpx.AsyncClient, engine: Engines) -> None:
    # Given a workflow that waits for the same signal twice
    tasks = {"a": {"signal": "go"}, "b": {"signal": "go", "depends_on": ["a"]}}
    workflow_id = await engine.begin({"tasks": tasks})
    await engine.waits(workflow_id)
    # When one signal is sent three times with one key
    headers = {**WAIT, "Idempotency-Key": "k"}
    replies = [await ask(http, workflow_id, "signals/go", json=1, headers=headers) for _ in range(3)]
    # Then it was heard once
    assert [reply.status_code for reply in replies] == [200] * 3
    assert [reply.json()["tasks"]["b"]["status"] for reply in replies] == ["waiting"] * 3
    # And another payload under the key is refused, another command is not
    found = problem(await ask(http, workflow_id, "signals/go", json=2, headers=headers))
    assert (found["status"], found["type"]) == (422, "urn:devskyy:problem:idempotency-key-reused")
    assert (await ask(http, workflow_id, "pause", headers=headers)).status_code == 200
    assert (await ask(http, workflow_id, "pause", headers=headers)).status_code == 200


async def test_of_two_who_wait_for_the_same_both_are_told_when_it_is_so(
    http: httpx.AsyncClient, engine: Engines
) -> None:
    workflow_id = await engine.begin(dict(HELD))
    await engine.until(workflow_id, "started")
    async with asyncio.timeout(15):  # not after their 20 seconds
        replies = await asyncio.gather(*(ask(http, workflow_id, "pause", headers=WAIT) for _ in range(2)))
    assert all(reply.json().get("paused") or reply.status_code == 409 for reply in replies)
    assert 200 in {reply.status_code for reply in replies}


async def test_whoever_does_not_wait_is_told_how_it_stood(http: httpx.AsyncClient, engines: Engines) -> None:
    # Given no engine
    workflow_id = await engines.create(dict(ADDS))
    # When it is started, by somebody who waits a little
    reply = await ask(http, workflow_id, "start", headers={"Prefer": "wait=0.2"})
    # Then it has not begun
    assert (reply.status_code, reply.json()["status"]) == (202, "pending")


@pytest.mark.parametrize("what", ["start", "pause", "resume", "cancel", "retry", "signals/go", "fork"])
@pytest.mark.parametrize("workflow_id", ["nobody", "a b", "*"])
async def test_nothing_can_be_asked_of_what_is_not_there(
    http: httpx.AsyncClient, bus: Bus, workflow_id: str, what: str
) -> None:
    found = problem(await ask(http, workflow_id, what, content=b"{"))
    assert (found["status"], found["detail"]) == (404, f"there is no workflow {workflow_id!r}")
    assert (await bus.js.stream_info(WAKES)).state.messages == 0

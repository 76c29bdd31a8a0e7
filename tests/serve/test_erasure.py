"""What is deleted is gone from everywhere it was kept; what goes on is not deleted, and the sums stay."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from nats.js.errors import NotFoundError
from sqlalchemy import text

from bus import history, streams
from bus.blobs import TRAVEL_LIMIT
from bus.client import Bus
from bus.desk import Endpoint
from bus.eventlog import EVENT_LIMIT
from bus.journal import Entry, Journal
from bus.nats_users import NatsUsers
from bus.streams import CALLS, COMMANDS, LASTING, PAYLOADS, STATES, TASKS, WORKFLOW_PROJECTOR, WORKFLOWS
from bus.subjects import CallJournal, FleetForget
from bus.tasklog import TaskLog
from devskyy.supervisor.nats_users import Forgetting
from schemas.completion import Completion
from schemas.event import Command
from schemas.fleet import Forget
from schemas.key import digest
from schemas.message import now
from schemas.projection import project
from schemas.receipt import Call, Receipt
from schemas.settings import DEFAULT_TENANT, Settings
from schemas.task import TaskRequest
from serve.app import make_app
from storage import Database
from storage.qualities import Measured
from tests.broker import Broker
from tests.serve.conftest import claim, complete, problem
from tests.serve.flows import DOOR as FLOWS
from tests.serve.flows import HELD, Doing
from tests.serve.gateway import projector, taken
from tests.serve.keys import OPERATORS, at, make
from tests.workflow.engines import Engines

DOOR = "/api/v1/tasks"
SECRET = "the colour is vermilion"
CALL = Call(step="1", agent="writing", service="groq", model="m", cost_usd=0.25, prompt_tokens=3, completion_tokens=4)
STREAMS = (TASKS, CALLS, COMMANDS, WORKFLOWS)
STORES = (PAYLOADS, LASTING, STATES)
TABLES = ("tasks", "calls", "qualities", "workflows", "api_keys")
"""The audit log aside, which keeps the ids of what was made and deleted, and nothing more."""


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    overlay = home / "devskyy.yaml"
    overlay.write_text(json.dumps({"functions": {name: f"tests.serve.flows:{name}" for name in Doing().functions}}))
    fields: dict[str, Any] = {"nats_url": broker.url_of("http"), "database_url": None, "config": overlay}
    return Settings(home=home, operator_sha256=digest(OPERATORS), **fields)


@pytest.fixture
async def app(bus: Bus, settings: Settings) -> AsyncIterator[FastAPI]:
    """As on a platform: it is the broker's user for HTTP, and all stores are there, which it may not make."""
    await streams.ensure(bus.client, all_stores=True)
    made = make_app(settings)
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def doing(engines: Engines) -> AsyncIterator[Doing]:
    doing = Doing()
    await engines.start(doing.functions)
    yield doing
    doing.release.set()


async def ended(app: FastAPI, tasks: TaskLog, tenant: str = DEFAULT_TENANT, answer: str = SECRET) -> str:
    """A task that has ended, wherever tasks are kept, and large enough to be kept beside the streams too."""
    bus = tasks._bus  # of whoever may do everything; the application is what it is on a platform
    accepted, _ = await tasks.accept(TaskRequest(prompt=SECRET), tenant)
    task_id = accepted.task_id
    if tenant == DEFAULT_TENANT:
        owned = await claim(tasks, task_id)
        await complete(owned, answer + "x" * EVENT_LIMIT)
        kept = project(owned.events)
    else:
        kept = accepted.model_copy(update={"status": "completed", "answer": answer, "finished_at": now()})
    await tasks.command(tenant, task_id, Command())
    entry = Entry(
        state="ended",
        gateway="g",
        began_at=now(),
        calls=(CALL,),
        completion=Completion(text=answer + "y" * TRAVEL_LIMIT, calls=(CALL,)),
    )
    await Journal(bus).write(CallJournal(tenant, task_id, "1", "a" * 32), entry, 0)
    kept = kept.model_copy(update={"receipt": Receipt.of((CALL,), 1.0, "claude-opus", None)})
    measured = Measured(tenant, task_id, "1", "writing", "prose", "simple", 0.9, now())
    await app.state.kept.upsert(tenant, kept, 3, [measured])
    return task_id


async def all_of_it(bus: Bus, settings: Settings) -> str:
    """Everything that streams, stores and tables hold, as text."""
    found = []
    for stream in STREAMS:
        async for msg in history.messages(bus, stream, ">"):
            found += [str((msg.headers or {}).get("Nats-Subject")), msg.data.decode("latin-1")]
    for bucket in STORES:
        for info in await _listed(bus, bucket):
            found.append((await bus.blobs.get(f"{bucket}/{info}")).decode("latin-1"))
    database = Database(settings.sql_url)
    async with database.begin() as connection:
        for table in TABLES:
            found += [str(tuple(row)) for row in await connection.execute(text(f"SELECT * FROM {table}"))]
    await database.close()
    return "\n".join(found)


async def _listed(bus: Bus, bucket: str) -> list[str]:
    try:
        return [str(each.name) for each in await (await bus.js.object_store(bucket)).list(ignore_deletes=True)]
    except NotFoundError:
        return []


async def costs(http: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get("/api/v1/costs", params={"by": "task"})).json()
    return found


async def test_a_task_is_erased_everywhere_and_what_it_cost_stays_without_a_name(
    app: FastAPI, http: httpx.AsyncClient, bus: Bus, tasks: TaskLog, settings: Settings
) -> None:
    # Given a task that is kept wherever tasks are kept
    task_id = await ended(app, tasks)
    before = await costs(http)
    there = await all_of_it(bus, settings)
    assert all(each in there for each in (SECRET, task_id))
    # When it is deleted
    reply = await http.delete(f"{DOOR}/{task_id}", params={"purge": "true"})
    # Then it is told what was removed from where
    assert reply.json() == {
        "tasks": 1,
        "workflows": 0,
        "costs_kept": True,
        "removed": {"TASKS": 3, "CALLS": 1, "COMMANDS": 1, "objects": 2, "tasks": 1, "calls": 1, "qualities": 1},
    }
    # And nothing of it is anywhere, nor listed
    left = await all_of_it(bus, settings)
    assert not any(each in left for each in (SECRET, task_id))
    assert (await http.get(DOOR)).json()["tasks"] == []
    assert (await http.get(f"{DOOR}/{task_id}")).status_code == 404
    # And the sums are what they were
    after = await costs(http)
    assert {row["key"] for row in after["rows"]} == {"erased"}
    assert {**after, "rows": []} == {**before, "rows": []}
    assert after["spent_usd"] == 0.25


async def test_with_its_costs_nothing_at_all_is_left(app: FastAPI, http: httpx.AsyncClient, tasks: TaskLog) -> None:
    task_id = await ended(app, tasks)
    reply = await http.delete(f"{DOOR}/{task_id}", params={"purge": "true", "with_costs": "true"})
    assert reply.json()["costs_kept"] is False
    assert (await costs(http))["calls"] == 0


async def test_another_task_loses_nothing(app: FastAPI, http: httpx.AsyncClient, tasks: TaskLog) -> None:
    gone, stays = await ended(app, tasks), await ended(app, tasks, answer="ultramarine")
    assert (await http.delete(f"{DOOR}/{gone}", params={"purge": "true"})).status_code == 200
    assert (await tasks.task(DEFAULT_TENANT, stays)).answer.startswith("ultramarine")  # type: ignore[union-attr]
    assert len(await Journal(tasks._bus).calls_of(DEFAULT_TENANT, stays)) == 1
    assert await tasks.pending_command(DEFAULT_TENANT, stays) is not None


async def test_a_task_that_goes_on_is_not_deleted(http: httpx.AsyncClient, tasks: TaskLog) -> None:
    accepted, _ = await tasks.accept(TaskRequest(prompt="Wait."), DEFAULT_TENANT)
    found = problem(await http.delete(f"{DOOR}/{accepted.task_id}", params={"purge": "true"}))
    assert (found["status"], found["type"]) == (409, "urn:devskyy:problem:conflict")
    assert (await tasks.task(DEFAULT_TENANT, accepted.task_id)).status == "accepted"


async def test_a_task_that_the_database_does_not_know_to_have_ended_is_waited_for(
    http: httpx.AsyncClient, tasks: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that has ended a moment ago, and nobody who enters it
    monkeypatch.setattr("serve.erasure.PROJECTED_S", 0.1)
    accepted, _ = await tasks.accept(TaskRequest(prompt="Hello."), DEFAULT_TENANT)
    await complete(await claim(tasks, accepted.task_id))
    # When it is deleted, Then whoever asks is to try again, as it would be entered after it was erased
    found = problem(await http.delete(f"{DOOR}/{accepted.task_id}", params={"purge": "true"}))
    assert found["status"] == 409 and "try again" in found["detail"]
    assert (await tasks.task(DEFAULT_TENANT, accepted.task_id)).ended


async def test_what_an_erasure_that_broke_off_left_is_erased_by_the_next(
    app: FastAPI, http: httpx.AsyncClient, bus: Bus, tasks: TaskLog, settings: Settings
) -> None:
    # Given a task of which some objects are gone already
    task_id = await ended(app, tasks)
    gone, *_ = await _listed(bus, PAYLOADS)
    await bus.blobs.erase(gone)
    # When it is deleted, Then that is no hindrance
    reply = await http.delete(f"{DOOR}/{task_id}", params={"purge": "true"})
    assert (reply.status_code, reply.json()["removed"]["objects"]) == (200, 1)
    assert SECRET not in await all_of_it(bus, settings)


async def test_tasks_of_other_tenants_are_not_there_to_be_deleted(app: FastAPI, tasks: TaskLog) -> None:
    task_id, theirs = await ended(app, tasks), await make(app, tenant="acme")
    async with at(app, theirs.secret) as client:
        assert (await client.delete(f"{DOOR}/{task_id}", params={"purge": "true"})).status_code == 404
    assert (await tasks.task(DEFAULT_TENANT, task_id)).ended


# -- workflows -----------------------------------------------------------------------------------------------------


async def test_a_workflow_is_erased_with_its_children_and_its_large_outputs(
    app: FastAPI,
    http: httpx.AsyncClient,
    bus: Bus,
    doing: Doing,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given two workflows with the same large output, one of them by way of a child, and a fork of that
    big = {"name": "b", "tasks": {"big": {"function": "big", "inputs": {"letter": "vermilion"}}}}
    nested = {"name": "n", "tasks": {"child": {"workflow": big}}, "output": "${tasks.child.output}"}
    async with projector(bus, settings, monkeypatch):
        ids = {}
        for name, definition in {"nested": nested, "alone": big}.items():
            reply = await http.post(FLOWS, json={"definition": definition}, headers={"Prefer": "wait=20"})
            assert reply.status_code == 200, reply.text
            ids[name] = reply.json()["workflow_id"]
        last = reply.json()["seq"]
        asked = {"after": last - 1}
        forked = await http.post(f"{FLOWS}/{ids['alone']}/fork", json=asked, headers={"Prefer": "wait=20"})
        assert forked.is_success, forked.text
        fork = forked.json()["workflow_id"]
        await taken(bus, WORKFLOW_PROJECTOR)
        listed = (await http.get(FLOWS, params={"children": "true"})).json()["workflows"]
        [child] = {each["workflow_id"] for each in listed} - {*ids.values(), fork}
        # When the child is deleted alone, Then it is refused
        assert problem(await http.delete(f"{FLOWS}/{child}"))["status"] == 409
        # When the first two are deleted
        replies = [await http.delete(f"{FLOWS}/{each}") for each in ids.values()]
        assert [(each.status_code, each.json().get("workflows")) for each in replies] == [(200, 2), (200, 1)]
        # Then they are nowhere
        left = await all_of_it(bus, settings)
        assert not any(each in left for each in (ids["nested"], child))
        assert (await http.get(f"{FLOWS}/{ids['alone']}")).status_code == 404
        # And the fork has its output still
        output = (await http.get(f"{FLOWS}/{fork}/outputs/big")).json()
        assert output.startswith("vermilion")
        # Until it is deleted too
        assert (await http.delete(f"{FLOWS}/{fork}")).status_code == 200
        assert "vermilion" not in await all_of_it(bus, settings)


async def test_the_agent_tasks_of_a_workflow_go_with_it(
    app: FastAPI,
    http: httpx.AsyncClient,
    bus: Bus,
    tasks: TaskLog,
    doing: Doing,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with projector(bus, settings, monkeypatch):
        # Given a workflow whose one task an agent has done
        asks = {"name": "asks", "tasks": {"a": {"prompt": SECRET}}}
        door = f"{FLOWS}/{(await http.post(FLOWS, json={'definition': asks})).json()['workflow_id']}"
        async with asyncio.timeout(20):
            while True:
                task_id = (await http.get(door)).json()["tasks"]["a"]["task_id"]
                if task_id and await listed(http):
                    break
                await asyncio.sleep(0.05)
            await complete(await claim(tasks, task_id))
            while True:
                if (await http.get(door)).json()["status"] == "completed":
                    break
                await asyncio.sleep(0.05)
        # When the workflow is deleted
        reply = await http.delete(door)
        # Then the task is gone too
        assert (reply.status_code, reply.json()["tasks"], reply.json()["workflows"]) == (200, 1, 1)
        assert (await http.get(f"{DOOR}/{task_id}")).status_code == 404
        assert SECRET not in await all_of_it(bus, settings)


async def listed(http: httpx.AsyncClient) -> list[Any]:
    found: list[Any] = (await http.get(DOOR)).json()["tasks"]
    return found


async def test_a_workflow_that_goes_on_is_not_deleted(http: httpx.AsyncClient, doing: Doing) -> None:
    workflow_id = (await http.post(FLOWS, json={"definition": HELD})).json()["workflow_id"]
    assert problem(await http.delete(f"{FLOWS}/{workflow_id}"))["status"] == 409
    assert (await http.get(f"{FLOWS}/{workflow_id}")).status_code == 200


# -- tenants -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def host(broker: Broker) -> AsyncIterator[NatsUsers]:
    """Whoever forgets tenants beside a platform's doors, and whom NATS lets in there."""
    bus = await broker.connect("fleet")
    forget = Endpoint("forget", str(FleetForget()), Forget, Forgetting(broker.home, embedded=False).forget)
    await bus.serve("fleet", [forget], "", {})
    yield NatsUsers(broker.home)
    await bus.close(grace_s=0)


async def test_everything_of_a_tenant_is_erased_and_nothing_of_another(
    app: FastAPI, bus: Bus, tasks: TaskLog, settings: Settings, host: NatsUsers
) -> None:
    # Given tasks and keys of two tenants
    ours = await ended(app, tasks, answer="ultramarine")
    theirs, key = await ended(app, tasks, "acme"), await make(app, tenant="acme", name="Ann")
    await make(app)
    # And clients of NATS of both
    for name, tenant in (("app", "acme"), ("ours", DEFAULT_TENANT)):
        host.create(name, tenant, "write")
    # And something large that the one has stored, as recordings are, and the other too
    objects = [await bus.blobs.put(b"ochre", owner=tenant) for tenant in ("acme", DEFAULT_TENANT)]
    async with at(app, OPERATORS) as operator:
        # When the operator erases one of them
        reply = await operator.delete("/api/v1/tenants/acme")
        await app.state.trail.close()
        # Then all of it is gone
        removed = reply.json()["removed"]
        assert (reply.status_code, removed["tasks"], removed["calls"], removed["api_keys"]) == (200, 1, 1, 1)
        assert (removed["nats_users"], [user.name for user in host.all()]) == (1, ["ours"])
        left = await all_of_it(bus, settings)
        assert not any(each in left for each in (theirs, key.key.id, "Ann"))
        # And what is ours is there
        assert not await bus.blobs.holds(objects[0])
        assert await bus.blobs.get(objects[1]) == b"ochre"
        assert (await operator.get(f"{DOOR}/{ours}")).status_code == 200
    # And its key lets nobody in, nor is the platform open
    for secret in (key.secret, None):
        async with at(app, secret) as client:
            assert (await client.get(DOOR)).status_code == 401


async def test_a_tenant_is_not_erased_while_nobody_can_shut_its_clients_out(
    app: FastAPI, bus: Bus, tasks: TaskLog
) -> None:
    """On a platform whose host is being started anew."""
    theirs = await ended(app, tasks, "acme")
    async with at(app, OPERATORS) as operator:
        found = problem(await operator.delete("/api/v1/tenants/acme"))
    assert found["status"] == 503
    assert await tasks.read("acme", theirs)


async def test_a_tenant_that_has_something_going_on_is_not_erased(app: FastAPI, tasks: TaskLog) -> None:
    accepted, _ = await tasks.accept(TaskRequest(prompt="Wait."), "acme")
    await app.state.kept.upsert("acme", accepted, 1)
    async with at(app, OPERATORS) as operator:
        found = problem(await operator.delete("/api/v1/tenants/acme"))
    assert found["status"] == 409
    assert "1 tasks and 0 workflows" in found["detail"]


@pytest.mark.parametrize(("tenant", "status"), [("acme", 403), ("default", 404)])
async def test_only_the_operator_erases_tenants(app: FastAPI, tenant: str, status: int) -> None:
    key = await make(app, "admin", tenant="acme")
    async with at(app, key.secret) as client:
        assert problem(await client.delete(f"/api/v1/tenants/{tenant}"))["status"] == status

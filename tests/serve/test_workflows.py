"""The doors of workflows: create, repeat, wait, look, list, fork."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import reduce
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from actors.workflow.creation import MAX_INPUT_BYTES, workflow_id_of
from bus import streams
from bus.client import Bus
from bus.streams import WAKES, WORKFLOW_PROJECTOR, WORKFLOWS
from bus.tasklog import task_id_of
from schemas.settings import DEFAULT_TENANT, Settings
from schemas.workflow import WorkflowDefinition
from tests.broker import Broker
from tests.serve.conftest import problem
from tests.serve.flows import ADDS, DOOR, HELD, WAITS, Doing, created, ended
from tests.serve.gateway import projector, taken
from tests.serve.keys import at, make
from tests.serve.test_events import events_of
from tests.workflow.engines import Engines


@pytest.fixture
def doing() -> Doing:
    return Doing()


@pytest.fixture
async def engine(engines: Engines, doing: Doing) -> AsyncIterator[Engines]:
    """An engine that knows what `Doing` does."""
    await engines.start(doing.functions)
    yield engines
    doing.release.set()


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    """An overlay names the functions, so that the doors know them too."""
    home = tmp_path / "http-home"
    home.mkdir()
    overlay = home / "devskyy.yaml"
    functions = {name: f"tests.serve.flows:{name}" for name in Doing().functions}
    overlay.write_text(json.dumps({"functions": functions}))
    return Settings(home=home, nats_url=broker.url, database_url=None, config=overlay)


async def held(bus: Bus, stream: str) -> int:
    return int((await bus.js.stream_info(stream)).state.messages)


# -- created -------------------------------------------------------------------------------------------------------


async def test_a_workflow_is_on_disk_and_asked_to_be_started_before_the_answer(
    http: httpx.AsyncClient, bus: Bus
) -> None:
    # When one is sent, and no engine is there
    reply = await http.post(DOOR, json={"definition": ADDS, "metadata": {"for": "tests"}})
    # Then it is accepted, with where to look
    workflow_id = reply.json()["workflow_id"]
    path = f"{DOOR}/{workflow_id}"
    links = {"self": path, "events": f"{path}/events"}
    assert reply.status_code == 202
    assert reply.json() == {"workflow_id": workflow_id, "name": "adds", "status": "pending", "links": links}
    assert reply.headers["location"] == path
    # And it is there, with its defaults, and will be started
    shown = (await http.get(path)).json()
    assert (shown["status"], shown["inputs"], shown["metadata"]) == ("pending", {"n": 1}, {"for": "tests"})
    assert (await held(bus, WORKFLOWS), await held(bus, WAKES)) == (1, 1)


async def test_one_that_is_not_to_be_started_waits(http: httpx.AsyncClient, bus: Bus) -> None:
    reply = await http.post(DOOR, json={"definition": ADDS, "start": False}, headers={"Prefer": "wait=5"})
    assert (reply.status_code, reply.json()["status"]) == (202, "pending")
    assert (await held(bus, WORKFLOWS), await held(bus, WAKES)) == (1, 0)


async def test_many_at_once_with_one_key_make_one_workflow_which_is_started_once(
    http: httpx.AsyncClient, bus: Bus
) -> None:
    headers = {"Idempotency-Key": "order 66"}
    replies = await asyncio.gather(*(http.post(DOOR, json={"definition": ADDS}, headers=headers) for _ in range(12)))
    assert {reply.status_code for reply in replies} == {202}
    assert {reply.json()["workflow_id"] for reply in replies} == {workflow_id_of(DEFAULT_TENANT, "order 66")}
    assert (await held(bus, WORKFLOWS), await held(bus, WAKES)) == (1, 1)


def test_a_key_stands_for_another_id_with_each_tenant_and_than_a_tasks() -> None:
    ids = {workflow_id_of("a", "k"), workflow_id_of("b", "k"), task_id_of("a", "k"), workflow_id_of("a", "l")}
    assert len(ids) == 4


async def test_a_key_with_another_body_is_refused(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await http.post(DOOR, json={"definition": ADDS}, headers=headers)
    other = await http.post(DOOR, json={"definition": ADDS, "inputs": {"n": 2}}, headers=headers)
    found = problem(other)
    assert (found["status"], found["type"]) == (422, "urn:devskyy:problem:idempotency-key-reused")
    assert f"key 'k' was used for workflow {first.json()['workflow_id']}" in found["detail"]


async def test_a_repeat_of_what_has_begun_says_how_it_stands_and_does_nothing_again(
    http: httpx.AsyncClient, engine: Engines, doing: Doing
) -> None:
    headers = {"Idempotency-Key": "k", "Prefer": "wait=20"}
    first = await http.post(DOOR, json={"definition": ADDS}, headers=headers)
    again = await http.post(DOOR, json={"definition": ADDS}, headers=headers)
    assert (first.status_code, first.headers["preference-applied"]) == (200, "wait=20")
    assert (first.json()["status"], first.json()["output"]) == ("completed", 3)
    assert again.json() == first.json()
    assert doing.calls == ["add 1", "add 2"]


async def test_one_that_could_not_be_started_is_started_by_a_repeat(
    http: httpx.AsyncClient, bus: Bus, engine: Engines
) -> None:
    # Given a queue of wakes that takes nothing
    [config] = [config for config in streams.stream_configs() if config.name == WAKES]
    room, config.max_bytes = config.max_bytes, 1
    await bus.js.update_stream(config)
    # When a workflow is sent
    headers = {"Idempotency-Key": "k", "Prefer": "wait=20"}
    found = problem(await http.post(DOOR, json={"definition": ADDS}, headers=headers))
    # Then its sender is told that it is there and does not run
    workflow_id = workflow_id_of(DEFAULT_TENANT, "k")
    assert (found["status"], found["type"]) == (503, "urn:devskyy:problem:storage-full")
    assert f"workflow {workflow_id} is created and not started; send the same again" in found["detail"]
    assert (await http.get(f"{DOOR}/{workflow_id}")).json()["status"] == "pending"
    # And when there is room, a repeat has it carried
    config.max_bytes = room
    await bus.js.update_stream(config)
    reply = await http.post(DOOR, json={"definition": ADDS}, headers=headers)
    assert (reply.status_code, reply.json()["workflow_id"], reply.json()["output"]) == (200, workflow_id, 3)


async def test_whoever_waits_too_short_gets_the_workflow_as_it_is(http: httpx.AsyncClient, engine: Engines) -> None:
    reply = await http.post(DOOR, json={"definition": HELD}, headers={"Prefer": "wait=0.3"})
    assert (reply.status_code, reply.json()["status"]) == (202, "running")
    assert reply.headers["preference-applied"] == "wait=0.3"


# -- refused -------------------------------------------------------------------------------------------------------


DEEP: Any = reduce(lambda inner, _: [inner], range(40), [])


def tasks(**named: Any) -> dict[str, Any]:
    return {"definition": {"name": "x", "tasks": named}}


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({}, "", "give exactly one of template and definition"),
        ([1, 2], "", "must be a mapping, and is an array"),
        ({"template": "fashion_brand_lunch"}, "template", "did you mean 'fashion_brand_launch'?"),
        (
            {"template": "fashion_brand_launch", "inputs": {"brand_nam": "A"}},
            "inputs.brand_nam",
            "did you mean 'brand_name'?",
        ),
        ({"template": "fashion_brand_launch", "input": {}}, "input", "did you mean 'inputs'?"),
        (tasks(a={"prompt": "p", "agent": "gemini-flsh"}), "definition.tasks.a.agent", "did you mean 'gemini-flash'?"),
        (tasks(a={"prompt": "p", "agent": "seo"}), "definition.tasks.a.agent", "there is no agent 'seo'"),
        (tasks(a={"prompt": "p", "service": "nobody"}), "definition.tasks.a.service", "there is no service 'nobody'"),
        (tasks(a={"function": "ad"}), "definition.tasks.a.function", "did you mean 'add'?"),
        (tasks(a={"prompt": "p", "promt": "p"}), "definition.tasks.a.promt", "did you mean 'prompt'?"),
        (tasks(a={"signal": "s", "depends_on": ["b"]}, b={"prompt": "${tasks.a.output}"}), "definition.tasks.a", "a"),
        (tasks(), "definition.tasks", "at least 1"),
        ({"definition": ADDS, "inputs": {"n": "two"}}, "inputs.n", "must be a whole number, and is text"),
        ({"definition": ADDS, "max_parallel_tasks": 0}, "max_parallel_tasks", "greater than or equal to 1"),
        ({"definition": ADDS, "metadata": {"deep": DEEP}}, "metadata", "nested"),
    ],
)  # fmt: skip
async def test_what_could_not_run_is_refused_with_the_place_and_nothing_is_written(
    http: httpx.AsyncClient, bus: Bus, body: Any, field: str, said: str
) -> None:
    for door in (DOOR, f"{DOOR}/validate"):
        found = problem(await http.post(door, json=body))
        assert (found["status"], found["type"]) == (422, "urn:devskyy:problem:invalid-workflow")
        rules = [error["message"] for error in found["errors"] if error["field"].startswith(field)]
        assert any(said in rule for rule in rules), found["errors"]
    assert await held(bus, WORKFLOWS) == 0


@pytest.mark.parametrize("body", [b'{"definition": ', b"", b"\xff\xfe", b"name: adds"])
async def test_what_is_no_json_is_said_to_be_none(http: httpx.AsyncClient, body: bytes) -> None:
    found = problem(await http.post(DOOR, content=body))
    if body:
        assert (found["status"], found["title"]) == (400, "The body is no JSON")
    else:
        assert (found["status"], found["detail"]) == (422, "must be a mapping, and is null")


@pytest.mark.parametrize("depth", [900, 100_000])
async def test_what_is_nested_without_end_is_refused(http: httpx.AsyncClient, depth: int) -> None:
    deep = b'{"template": "x", "inputs": ' + b'{"a": ' * depth + b"1" + b"}" * depth + b"}"
    assert problem(await http.post(DOOR, content=deep))["status"] == 422
    assert problem(await http.post(f"{DOOR}/validate", content=b"[" * depth + b"]" * depth))["status"] == 422


async def test_inputs_that_are_too_large_are_refused_with_both_sizes(http: httpx.AsyncClient) -> None:
    body = {"template": "fashion_brand_launch", "inputs": {"brand_name": "x" * MAX_INPUT_BYTES}}
    found = problem(await http.post(DOOR, json=body))
    assert found["status"] == 413
    assert "16,000,000" in found["detail"]


async def test_a_key_that_is_none_is_refused(http: httpx.AsyncClient, bus: Bus) -> None:
    for key in (" ", "x" * 256):
        found = problem(await http.post(DOOR, json={"definition": ADDS}, headers={"Idempotency-Key": key}))
        assert found["status"] == 422
    assert await held(bus, WORKFLOWS) == 0


# -- checked, and templates ----------------------------------------------------------------------------------------


async def test_a_workflow_that_could_run_is_told_in_the_order_of_its_tasks(http: httpx.AsyncClient, bus: Bus) -> None:
    reply = await http.post(f"{DOOR}/validate", json={"definition": ADDS})
    assert reply.status_code == 200
    assert reply.json() == {
        "valid": True,
        "name": "adds",
        "tasks": {"first": [], "second": ["first"]},
        "order": ["first", "second"],
        "inputs": {"n": 1},
    }
    assert await held(bus, WORKFLOWS) == 0


async def test_a_template_may_be_looked_at_and_sent_as_a_definition(http: httpx.AsyncClient) -> None:
    listed = (await http.get(f"{DOOR}/templates")).json()["templates"]
    assert "fashion_brand_launch" in [each["name"] for each in listed]
    for each in listed:
        shown = (await http.get(f"{DOOR}/templates/{each['name']}")).json()
        assert list(WorkflowDefinition.model_validate(shown).tasks) == each["tasks"]
        needed = {"brand_name": "A", "product_name": "B", "campaign_name": "C"}
        inputs = {name: needed.get(name, "x") for name, schema in each["inputs"].items() if "default" not in schema}
        reply = await http.post(f"{DOOR}/validate", json={"definition": shown, "inputs": inputs})
        assert reply.status_code == 200, reply.text
    assert problem(await http.get(f"{DOOR}/templates/none"))["status"] == 404


# -- looked at -----------------------------------------------------------------------------------------------------


async def test_events_are_streamed_and_paged_as_they_are(http: httpx.AsyncClient, engine: Engines) -> None:
    # Given a workflow that has ended
    workflow_id = await created(http, ADDS)
    streamed = events_of((await http.get(f"{DOOR}/{workflow_id}/events")).text)
    # Then its events are there from the first to the last, each once
    assert [number for number, _, _ in streamed] == list(range(1, len(streamed) + 1))
    assert (streamed[0][1], streamed[-1][1]) == ("created", "completed")
    # And again in pages, and from any on
    pages: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = (await http.get(f"{DOOR}/{workflow_id}/history", params={"after": after, "limit": 2})).json()
        assert len(page["events"]) <= 2
        pages += page["events"]
        after = page["next"]
    assert pages == [data for _, _, data in streamed]
    rest = await http.get(f"{DOOR}/{workflow_id}/events", headers={"Last-Event-ID": "1"}, params={"follow": False})
    assert events_of(rest.text) == streamed[1:]


async def test_events_are_followed_until_the_end(http: httpx.AsyncClient, engine: Engines, doing: Doing) -> None:
    workflow_id = await created(http, HELD)
    following = asyncio.create_task(http.get(f"{DOOR}/{workflow_id}/events"))
    await engine.until(workflow_id, "started")
    doing.release.set()
    assert events_of((await following).text)[-1][1] == "completed"


async def test_a_large_output_is_told_by_its_size_and_given_by_its_own_door(
    http: httpx.AsyncClient, engine: Engines
) -> None:
    # Given a task with a large output, a mapped one with three of them, and one with a small output
    letters = {"map": {"over": "['a', 'b', 'c']"}, "function": "big", "inputs": {"letter": "${item}"}}
    flow = {"name": "large", "tasks": {"one": {"function": "big"}, "three": letters, "small": {"function": "one"}}}
    workflow_id = await created(http, flow)
    shown = await ended(http, workflow_id)
    # Then the workflow says how large they are
    assert shown["status"] == "completed"
    assert (shown["tasks"]["one"]["output"], shown["tasks"]["one"]["output_bytes"]) == (None, 100_005)
    assert (shown["output"], shown["output_bytes"] > 400_000) == (None, True)
    # And each is given whole
    path = f"{DOOR}/{workflow_id}"
    one, three = "x" * 100_000, [letter * 100_000 for letter in "abc"]
    assert (await http.get(f"{path}/outputs/one")).json() == one
    assert (await http.get(f"{path}/outputs/three")).json() == three
    assert (await http.get(f"{path}/outputs/three", params={"item": 2})).json() == three[2]
    assert (await http.get(f"{path}/outputs/small")).json() == 1
    assert (await http.get(f"{path}/output")).json() == {"one": one, "three": three, "small": 1}
    # And what is not there is not
    refused = {
        "/outputs/four": 404,
        "/outputs/three?item=3": 404,
        "/outputs/one?item=0": 422,
        "/outputs/three?item=-1": 422,
    }
    for what, status in refused.items():
        assert problem(await http.get(f"{path}{what}"))["status"] == status, what


async def test_what_has_no_output_yet_says_how_it_stands(http: httpx.AsyncClient, engine: Engines) -> None:
    workflow_id = await created(http, WAITS)
    await engine.waits(workflow_id)
    path = f"{DOOR}/{workflow_id}"
    assert (await http.get(f"{path}/outputs/first")).json() == 1
    found = problem(await http.get(f"{path}/outputs/review"))
    assert (found["status"], found["detail"]) == (409, "review is waiting")
    assert problem(await http.get(f"{path}/output"))["detail"] == "it has not completed"


@pytest.mark.parametrize("what", ["", "/events", "/history", "/output", "/outputs/a"])
@pytest.mark.parametrize("workflow_id", ["nobody", "a b", "a.b", "*"])
async def test_what_is_not_there_is_not_found(http: httpx.AsyncClient, workflow_id: str, what: str) -> None:
    found = problem(await http.get(f"{DOOR}/{workflow_id}{what}"))
    assert (found["status"], found["detail"]) == (404, f"there is no workflow {workflow_id!r}")


async def test_the_workflow_of_another_tenant_is_not_there(http: httpx.AsyncClient, app: FastAPI) -> None:
    # Given a workflow of ours, and the mightiest key of others
    theirs = await make(app, "admin", tenant="acme")
    ours = await make(app)
    async with at(app, ours.secret) as us:
        workflow_id = await created(us, ADDS)
        assert (await us.get(f"{DOOR}/{workflow_id}")).json()["key"] == ours.key.id
    # Then they find it nowhere, and may have one of the same id
    async with at(app, theirs.secret) as they:
        assert problem(await they.get(f"{DOOR}/{workflow_id}"))["status"] == 404
        assert problem(await they.post(f"{DOOR}/{workflow_id}/cancel"))["status"] == 404
        assert problem(await they.post(f"{DOOR}/{workflow_id}/fork", json={"after": 1}))["status"] == 404


# -- listed, and kept ----------------------------------------------------------------------------------------------


async def test_workflows_are_listed_and_found_when_the_stream_has_forgotten_them(
    http: httpx.AsyncClient,
    bus: Bus,
    engine: Engines,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given one that has ended and one that waits, both in SQL
    flow = {"name": "large", "tasks": {"one": {"function": "big"}, "small": {"function": "one"}}}
    gone = await created(http, flow)
    before = await ended(http, gone)
    waits = await created(http, WAITS)
    await engine.waits(waits)
    async with projector(bus, settings, monkeypatch):
        await taken(bus, WORKFLOW_PROJECTOR)
    # When the stream forgets the first
    await engine.log.forget(DEFAULT_TENANT, gone)
    # Then both are listed, newest first
    listed = (await http.get(DOOR)).json()["workflows"]
    assert [(each["workflow_id"], each["name"], each["status"]) for each in listed] == [
        (waits, "waits", "waiting"),
        (gone, "large", "completed"),
    ]
    assert [e["workflow_id"] for e in (await http.get(DOOR, params={"name": "large"})).json()["workflows"]] == [gone]
    by_status = (await http.get(DOOR, params={"status": "waiting", "limit": 1})).json()
    assert ([e["workflow_id"] for e in by_status["workflows"]], by_status["next"]) == ([waits], None)
    # And the first is there still, but for what was too large
    path = f"{DOOR}/{gone}"
    assert (await http.get(path)).json() == before
    assert (await http.get(f"{path}/outputs/small")).json() == 1
    assert problem(await http.get(f"{path}/outputs/one"))["status"] == 404
    assert problem(await http.get(f"{path}/output"))["status"] == 404
    # And nothing can be asked of it
    found = problem(await http.post(f"{path}/retry"))
    assert found["status"] == 404


# -- forked --------------------------------------------------------------------------------------------------------


async def test_a_fork_begins_as_the_other_stood_and_does_the_rest_with_other_inputs(
    http: httpx.AsyncClient, engine: Engines, doing: Doing
) -> None:
    # Given a workflow of two tasks that has completed, and the event at which the first was done
    flow = {**ADDS, "tasks": {**ADDS["tasks"], "second": {"function": "add", "inputs": {"n": "${inputs.n}"}}}}
    flow["tasks"]["second"]["depends_on"] = ["first"]
    workflow_id = await created(http, flow)
    await ended(http, workflow_id)
    history = (await http.get(f"{DOOR}/{workflow_id}/history")).json()["events"]
    after = next(e["seq"] for e in history if {"first"} & {c["task"] for c in e["changes"] if c["to"] == "completed"})
    doing.calls.clear()
    # When it is forked there
    headers = {"Prefer": "wait=20", "Idempotency-Key": "k"}
    reply = await http.post(f"{DOOR}/{workflow_id}/fork", json={"after": after, "inputs": {"n": 41}}, headers=headers)
    # Then the second is done with the other input, and the first is as it was
    fork = reply.json()
    assert (reply.status_code, fork["status"], fork["output"]) == (200, "completed", 42)
    assert fork["workflow_id"] == workflow_id_of(DEFAULT_TENANT, "k")
    assert fork["forked_from"] == {"workflow_id": workflow_id, "after": after}
    assert (fork["tasks"]["first"]["output"], fork["tasks"]["first"]["started_at"]) == (2, None)
    assert doing.calls == ["add 41"]
    # And a repeat is that fork, while another place under the key is refused
    again = await http.post(f"{DOOR}/{workflow_id}/fork", json={"after": after, "inputs": {"n": 41}}, headers=headers)
    assert again.json() == fork
    other = await http.post(f"{DOOR}/{workflow_id}/fork", json={"after": 1, "inputs": {"n": 41}}, headers=headers)
    assert problem(other)["type"] == "urn:devskyy:problem:idempotency-key-reused"


async def test_a_fork_has_large_outputs_of_its_own(http: httpx.AsyncClient, engine: Engines, doing: Doing) -> None:
    # Given a large output, and a task that fails after it
    doing.broken = True
    no_retry = {"attempts": 1}
    flow = {
        "name": "large",
        "tasks": {"big": {"function": "big"}, "bad": {"function": "breaks", "depends_on": ["big"], "retry": no_retry}},
    }
    workflow_id = await created(http, flow)
    failed = await ended(http, workflow_id)
    assert failed["status"] == "failed"
    # When it is forked at its end, and the payloads of the first are gone
    doing.broken = False
    reply = await http.post(f"{DOOR}/{workflow_id}/fork", json={"after": failed["seq"], "start": False})
    fork = reply.json()["workflow_id"]
    assert reply.json()["status"] == "pending"
    await engine.bus.js.purge_stream("OBJ_payloads")
    # Then the fork has its own
    assert (await http.post(f"{DOOR}/{fork}/start")).status_code == 202
    assert (await ended(http, fork))["status"] == "completed"
    assert (await http.get(f"{DOOR}/{fork}/outputs/big")).json() == "x" * 100_000
    # And from what is not kept any more no further one can begin
    found = problem(await http.post(f"{DOOR}/{workflow_id}/fork", json={"after": failed["seq"]}))
    assert (found["status"], "the output of big is not kept any more" in found["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "after"), ({"after": 0}, "after"), ({"after": 99}, "after"), ({"after": 1, "inputs": {"m": 1}}, "inputs.m")],
)
async def test_a_fork_that_cannot_be_is_refused(
    http: httpx.AsyncClient, bus: Bus, body: dict[str, Any], field: str
) -> None:
    workflow_id = await created(http, ADDS, start=False)
    found = problem(await http.post(f"{DOOR}/{workflow_id}/fork", json=body))
    assert (found["status"], [error["field"] for error in found["errors"]]) == (422, [field])
    assert await held(bus, WORKFLOWS) == 1


# -- described -----------------------------------------------------------------------------------------------------


async def test_bodies_and_events_are_described(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    taken = document["paths"][DOOR]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert taken == {"$ref": "#/components/schemas/WorkflowRequest"}
    assert "required" not in schemas["WorkflowRequest"]
    assert schemas["WorkflowDefinition"]["required"] == ["name", "tasks"]
    streamed = document["paths"][f"{DOOR}/{{workflow_id}}/events"]["get"]["responses"]["200"]["content"]
    names = streamed["text/event-stream"]["itemSchema"]["properties"]["event"]["examples"]
    assert {"created", "advanced", "completed", "retried"} <= set(names)

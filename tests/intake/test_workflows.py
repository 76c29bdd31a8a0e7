"""Workflows submitted over NATS: created once, started, and refused in words."""

import asyncio
from typing import Any

import msgpack
import pytest

from actors.workflow.creation import workflow_id_of
from bus.client import Bus
from bus.codec import unpack
from bus.streams import DEAD, TASKS, WORKFLOWS
from bus.subjects import Submit
from tests.intake.conftest import Intake
from tests.intake.test_actor import LONG_S, all_taken
from tests.workflow.engines import Engines

SUBMIT = str(Submit("default"))
WAITS = {"definition": {"name": "waits", "tasks": {"go": {"signal": "go"}}}}


async def submit(bus: Bus, body: Any, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return unpack((await bus.client.request(SUBMIT, msgpack.packb(body), timeout=LONG_S, headers=named or None)).data)


async def written(bus: Bus, stream: str) -> int:
    return int((await bus.js.stream_info(stream)).state.messages)


async def test_a_workflow_that_is_submitted_is_created_and_runs(bus: Bus, intake: Intake, engines: Engines) -> None:
    # Given an engine
    await engines.start()
    # When a workflow is submitted without an id
    answer = await submit(bus, WAITS)
    # Then its sender is told where it is, and it runs
    workflow_id = answer["workflow_id"]
    path = f"/api/v1/workflows/{workflow_id}"
    links = {"self": path, "events": f"{path}/events"}
    assert answer == {"workflow_id": workflow_id, "name": "waits", "status": "pending", "links": links}
    await engines.waits(workflow_id)
    assert await written(bus, TASKS) == 0


@pytest.mark.parametrize("named", ["Nats-Msg-Id", "workflow_id"])
async def test_one_that_names_itself_is_created_once(bus: Bus, intake: Intake, named: str) -> None:
    # When a submission that names itself is sent several times
    if named == "workflow_id":
        answers = await asyncio.gather(*(submit(bus, {**WAITS, "workflow_id": "mine"}) for _ in range(4)))
        expected = "mine"
    else:
        answers = await asyncio.gather(*(submit(bus, WAITS, Nats_Msg_Id="mine") for _ in range(4)))
        expected = workflow_id_of("default", "mine")
    await all_taken(bus)
    # Then there is one, which all are told of
    assert {answer["workflow_id"] for answer in answers} == {expected}
    assert await written(bus, WORKFLOWS) == 1
    # And another body under its name is refused
    other = {**WAITS, "start": False}
    refused = await (
        submit(bus, {**other, "workflow_id": "mine"})
        if named == "workflow_id"
        else submit(bus, other, Nats_Msg_Id="mine")
    )
    assert refused["type"] == "urn:devskyy:problem:idempotency-key-reused"


async def test_equal_submissions_without_an_id_are_a_workflow_each(bus: Bus, intake: Intake) -> None:
    answers = await asyncio.gather(*(submit(bus, WAITS) for _ in range(3)))
    assert len({answer["workflow_id"] for answer in answers}) == 3
    assert await written(bus, WORKFLOWS) == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"template": "fashion_brand_lunch"}, "template"),
        ({"template": "fashion_brand_launch"}, "inputs.brand_name"),
        ({"definition": {"name": "x", "tasks": {"a": {"promt": "p"}}}}, "definition.tasks.a.promt"),
        ({**WAITS, "workflow_id": "a.b"}, "workflow_id"),
        ({**WAITS, "workflow_id": "templates"}, "workflow_id"),
        ({**WAITS, "workflow_id": 7}, "workflow_id"),
        ({**WAITS, "task_id": "t"}, "task_id"),
    ],
)
async def test_what_could_not_run_is_refused_with_the_place_and_kept_with_the_reason(
    bus: Bus, intake: Intake, body: Any, field: str
) -> None:
    answer = await submit(bus, body)
    assert (answer["status"], field in [error["field"] for error in answer["errors"]]) == (422, True)
    await all_taken(bus)
    assert (await written(bus, WORKFLOWS), await written(bus, DEAD)) == (0, 1)


async def test_what_is_nested_without_end_does_not_end_the_intake(bus: Bus, intake: Intake) -> None:
    # Given a definition nested as deep as msgpack goes
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    answer = await submit(bus, {"definition": {"name": "x", "tasks": {"a": {"function": "f", "inputs": deep}}}})
    assert answer["status"] == 422
    # Then the next is taken
    assert (await submit(bus, WAITS))["status"] == "pending"
    assert not intake.died

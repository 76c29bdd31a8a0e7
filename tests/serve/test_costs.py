"""The costs door."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from actors.projector import TaskProjection
from bus.tasklog import TaskLog
from schemas.event import Completed, TaskEvent
from schemas.projection import project
from schemas.receipt import Call, Receipt
from schemas.settings import DEFAULT_TENANT
from schemas.task import TaskRequest
from tests.serve.conftest import claim, problem

DOOR = "/api/v1/costs"
CALLS = (
    Call(step="1", agent="writing", service="groq", model="m", prompt_tokens=10, completion_tokens=5, cost_usd=0.25),
    Call(step="2", agent="code", service="opus", model="n", cost_unknown_reason="no price"),
)


async def spend(app: FastAPI, tasks: TaskLog, *calls: Call, premium: float | None = None) -> str:
    """Run a task to its end over the broker, and let the projector's trade hear of it; returns its day."""

    async def read(tenant: str, task_id: str) -> list[TaskEvent]:
        return [entry.event for entry in await tasks.read(tenant, task_id)]

    accepted, _ = await tasks.accept(TaskRequest(prompt="Say hello."), DEFAULT_TENANT)
    owned = await claim(tasks, accepted.task_id)
    fields = owned.next_fields
    done = {
        "status": "completed",
        "answer": "Hello.",
        "finished_at": fields["at"],
        "receipt": Receipt.of(calls, 1.0, "claude-opus", premium),
    }
    await owned.append(Completed(**fields, epoch=1, task=project(owned.events).model_copy(update=done)))
    projection = TaskProjection(app.state.kept, read)
    for event in await read(DEFAULT_TENANT, accepted.task_id):
        await projection.apply(event)
    return str(fields["at"].date())


async def costs(http: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    reply = await http.get(DOOR, params=query)
    assert reply.status_code == 200
    return dict(reply.json())


async def test_what_tasks_spent_is_told_with_what_is_unknown(
    http: httpx.AsyncClient, app: FastAPI, tasks: TaskLog
) -> None:
    # Given a task whose costs are all known, and one with a call of unknown cost
    day = await spend(app, tasks, CALLS[0], premium=2.0)
    await spend(app, tasks, *CALLS)
    # When the costs are read
    found = await costs(http)
    # Then they are by day, the known summed, the unknown beside them
    assert (found["by"], found["calls"], found["spent_usd"], found["unknown_calls"]) == ("day", 3, 0.5, 1)
    assert (found["premium_cost_usd"], found["tasks_without_premium"], found["saved_usd"]) == (2.0, 1, 1.75)
    assert found["rows"][0]["key"] == day
    # And an agent's row has no premium side
    writing, code = (await costs(http, by="agent"))["rows"]
    assert (writing["key"], writing["spent_usd"], writing["premium_cost_usd"]) == ("writing", 0.5, None)
    assert (code["key"], code["spent_usd"], code["unknown_calls"]) == ("code", 0.0, 1)


async def test_days_bound_what_is_summed(http: httpx.AsyncClient, app: FastAPI, tasks: TaskLog) -> None:
    # Given a task of today
    day = await spend(app, tasks, CALLS[0])
    # When today, and a day long gone, are asked for
    today, past = await costs(http, since=day, until=day), await costs(http, until="2001-01-01")
    # Then it is in the first alone
    assert (today["calls"], today["since"], today["until"]) == (1, day, day)
    assert (past["calls"], past["spent_usd"], past["saved_usd"], past["rows"]) == (0, 0.0, None, [])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("by=hour", "by"),
        ("by=", "by"),
        ("since=yesterday", "since"),
        ("since=", "since"),
        ("since=1714780800", "since"),
        ("since=2026-02-30", "since"),
        ("since=2026-05-04T00:00:00", "since"),
        ("until=0000-00-00", "until"),
        ("until=\u0662\u0660\u0662\u0666-05-04", "until"),
        ("since=2026-05-04&until=2026-05-03", "until"),
    ],
)
async def test_costs_that_cannot_be_are_refused(http: httpx.AsyncClient, query: str, field: str) -> None:
    # Given a value that breaks a rule, When costs are asked for with it, Then the field is named
    found = problem(await http.get(f"{DOOR}?{query}"))
    assert found["status"] == 422
    assert found["errors"][0]["field"].endswith(field)

"""What ended long ago is removed: events of workflows, of which SQL keeps how they ended; and rows, where asked for."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from actors.projector import sweep as module
from actors.projector.sweep import Forget, Sweep
from schemas.errors import NotFound
from schemas.message import now
from schemas.receipt import Call, Receipt
from schemas.settings import Settings
from schemas.task import Task
from storage import CallLedger, Database, Erasure, TaskRepository, WorkflowRepository
from storage.qualities import Measured
from storage.tables import QUALITIES
from storage.workflows import News
from tests.workflow.engines import TENANT, Engines


@pytest.fixture
def workflows(database: Database) -> WorkflowRepository:
    return WorkflowRepository(database)


def sweep_of(database: Database, forget: Forget, **settings: Any) -> Sweep:
    return Sweep(WorkflowRepository(database), Erasure(database), forget, Settings(**settings))


async def kept(engines: Engines, workflows: WorkflowRepository, days: float) -> str:
    """A workflow that ended so many days ago, as SQL has it."""
    workflow_id = await engines.begin({"tasks": {"t": {"wait_s": 0}}})
    await engines.until(workflow_id)
    created = await engines.log.created(TENANT, workflow_id)
    view = await engines.view(workflow_id)
    ended = view.model_copy(update={"finished_at": now() - timedelta(days=days)})
    await workflows.take(News(created=[created], ended=[(TENANT, ended)]))
    return workflow_id


async def test_only_those_that_ended_a_month_ago_lose_their_events(
    engines: Engines, database: Database, workflows: WorkflowRepository
) -> None:
    # Given a workflow that ended a month ago, and one that ended yesterday
    await engines.start()
    old, new = await kept(engines, workflows, 31), await kept(engines, workflows, 1)
    sweep = sweep_of(database, engines.log.forget)
    # When they are swept, twice
    assert [await sweep.events(), await sweep.events()] == [1, 0]
    # Then the old one is in SQL alone, and the other untouched
    with pytest.raises(NotFound):
        await engines.log.read(TENANT, old)
    assert await engines.log.read(TENANT, new)
    assert (await workflows.get(TENANT, old)) is not None


async def test_more_than_a_batch_are_swept_at_once(
    engines: Engines, database: Database, workflows: WorkflowRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    await engines.start()
    for _ in range(5):
        await kept(engines, workflows, 31)
    gone: list[str] = []
    over = asyncio.Event()

    async def forget(tenant: str, workflow_id: str) -> None:
        await engines.log.forget(tenant, workflow_id)
        gone.append(workflow_id)
        if len(gone) == 5:
            over.set()

    sweeping = asyncio.create_task(sweep_of(database, forget).run())
    await asyncio.wait_for(over.wait(), 20)
    # Awaited, since the fixture closes the database, under which it may still be writing.
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping


async def test_a_shorter_time_takes_events_and_rows_of_workflows_sooner(
    engines: Engines, database: Database, workflows: WorkflowRepository
) -> None:
    # Given workflows that ended 14, 16 and 18 days ago, where streams and tables keep 15 and 16
    await engines.start()
    first, second, third = [await kept(engines, workflows, days) for days in (14, 16, 18)]
    sweep = sweep_of(database, engines.log.forget, keep_days=15, keep_rows_days=16)
    # When they are swept
    assert await sweep.events() == 2
    assert await sweep.rows() == {"workflows": 1}
    # Then one has its events, one its row, and of the oldest there is nothing
    assert await engines.log.read(TENANT, first)
    with pytest.raises(NotFound):
        await engines.log.read(TENANT, second)
    assert [await workflows.get(TENANT, each) is not None for each in (first, second, third)] == [True, True, False]


async def ended(database: Database, task_id: str, days: float, secret: str = "vermilion") -> None:
    """A task that ended so many days ago, as SQL has it."""
    at = now() - timedelta(days=days)
    call = Call(step="1", agent="writing", service="groq", model="m", cost_usd=0.25, prompt_tokens=3, reason=secret)
    whole = Task(
        task_id=task_id,
        status="completed",
        prompt=secret,
        answer=secret,
        created_at=at,
        finished_at=at,
        receipt=Receipt.of((call,), wall_ms=1),
    )
    measured = Measured(TENANT, task_id, "1", "writing", None, None, 0.5, at)
    await TaskRepository(database).upsert(TENANT, whole, 3, [measured])


async def nobody(tenant: str, workflow_id: str) -> None:
    """There are no workflows."""


async def test_old_tasks_lose_all_but_what_they_cost(database: Database) -> None:
    # Given tasks of all ages
    for task_id, days in (("old", 40.0), ("older", 400.0), ("new", 1.0), ("nearly", 40.5)):
        await ended(database, task_id, days)
    ledger, tasks = CallLedger(database), TaskRepository(database)
    before = await ledger.costs(TENANT, "day")
    # When rows are kept for forty days, and swept
    sweep = sweep_of(database, nobody, keep_rows_days=40)
    assert await sweep.rows() == {"tasks": 1, "calls": 1, "qualities": 1}
    assert await sweep.rows() == {}
    # Then the oldest is gone, in the day that it lasts longer than it is said as the streams may
    assert [task.task_id for task in (await tasks.list(TENANT, 10, None)).tasks] == ["new", "old", "nearly"]
    assert await tasks.get(TENANT, "older") is None
    # And the sums are what they were, day by day
    assert await ledger.costs(TENANT, "day") == before
    assert {row.key for row in (await ledger.costs(TENANT, "task")).rows} == {"new", "old", "nearly", "erased"}


async def test_rows_stay_unless_it_was_said_for_how_long(database: Database) -> None:
    await ended(database, "older", 4000)
    assert await sweep_of(database, nobody).rows() == {}
    assert await TaskRepository(database).get(TENANT, "older") is not None


async def test_many_rows_go_in_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given more old tasks than are erased at once
    monkeypatch.setattr(module, "BATCH", 2)
    for number in range(5):
        await ended(database, f"t{number}", 100)
    sweep = sweep_of(database, nobody, keep_rows_days=40)
    sweeping = asyncio.create_task(sweep.run())
    # When the sweep runs; then none is left
    async with asyncio.timeout(20):
        while await _measured(database):  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping


async def _measured(database: Database) -> int:
    async with database.begin() as connection:
        return int((await connection.execute(select(func.count()).select_from(QUALITIES))).scalar_one())

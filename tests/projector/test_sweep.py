"""Events of workflows that ended long ago are removed; how they ended stays."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from actors.projector import sweep as module
from actors.projector.sweep import Sweep
from schemas.errors import NotFound
from schemas.message import now
from storage import Database, WorkflowRepository
from storage.workflows import News
from tests.workflow.engines import TENANT, Engines


@pytest.fixture
def workflows(database: Database) -> WorkflowRepository:
    return WorkflowRepository(database)


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
    engines: Engines, workflows: WorkflowRepository
) -> None:
    # Given a workflow that ended a month ago, and one that ended yesterday
    await engines.start()
    old, new = await kept(engines, workflows, 31), await kept(engines, workflows, 1)
    sweep = Sweep(workflows, engines.log.forget)
    # When they are swept, twice
    assert [await sweep.once(), await sweep.once()] == [1, 0]
    # Then the old one is in SQL alone, and the other untouched
    with pytest.raises(NotFound):
        await engines.log.read(TENANT, old)
    assert await engines.log.read(TENANT, new)
    assert (await workflows.get(TENANT, old)) is not None


async def test_more_than_a_batch_are_swept_at_once(
    engines: Engines, workflows: WorkflowRepository, monkeypatch: pytest.MonkeyPatch
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

    sweeping = asyncio.create_task(Sweep(workflows, forget).run())
    await asyncio.wait_for(over.wait(), 20)
    # Awaited, since the fixture closes the database, under which it may still be writing.
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping

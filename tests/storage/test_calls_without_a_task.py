"""Calls that belong to no task: from the journal into the ledger, each once, whatever is known of it last."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.journal import Entry
from bus.subjects import CallJournal
from schemas.completion import NO_TASK
from schemas.costs import CostKey
from schemas.receipt import Call
from storage import CallLedger, Database, TaskRepository
from storage.tables import CALLS
from tests.storage.test_calls import by_key, ended

NIGHT = datetime(2026, 5, 4, 23, 59, 59, tzinfo=UTC)
KEY = CallJournal("acme", NO_TASK, "s1", "0" * 32)
HELD = Call(step="s1", agent="embeddings", service="small", model="m", outcome="failed", cost_usd=0.5)
"""As it began, at its reservation."""
DONE = HELD.model_copy(update={"outcome": "answered", "prompt_tokens": 7, "completion_tokens": 0, "cost_usd": 0.25})


def begun(*calls: Call, at: datetime = NIGHT) -> Entry:
    held = HELD.model_copy(update={"cost_estimated": True})
    return Entry(state="begun", gateway="a", began_at=at, open=(held,), calls=calls, key="ci")


def over(*calls: Call, at: datetime = NIGHT) -> Entry:
    return Entry(state="ended", gateway="a", began_at=at, calls=calls, key="ci")


@pytest.fixture
def ledger(database: Database) -> CallLedger:
    return CallLedger(database)


async def rows(database: Database, **where: Any) -> list[dict[str, Any]]:
    query = CALLS.select().filter_by(**where).order_by(CALLS.c.task_id, CALLS.c.number)
    async with database.begin() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings().all()]


async def told(database: Database) -> list[tuple[int, str, float | None]]:
    return [(row["number"], row["outcome"], row["cost_usd"]) for row in await rows(database)]


async def test_a_call_is_entered_with_who_asked_whom_when_and_for_how_much(
    ledger: CallLedger, database: Database
) -> None:
    await ledger.stand([(KEY, over(DONE))])
    (row,) = await rows(database)
    assert (row["tenant"], row["agent"], row["key"], row["service"]) == ("acme", "embeddings", "ci", "small")
    assert (row["at"], row["day"]) == (NIGHT, date(2026, 5, 4))
    assert (row["prompt_tokens"], row["completion_tokens"], row["cost_usd"]) == (7, 0, 0.25)


@pytest.mark.parametrize(
    ("by", "key"), [("day", "2026-05-04"), ("agent", "embeddings"), ("service", "small"), ("task", NO_TASK)]
)
async def test_calls_without_a_task_are_summed_beside_those_of_tasks(
    ledger: CallLedger, database: Database, by: CostKey, key: str
) -> None:
    # Given two calls of no task, one of another tenant's, and a task
    other = CallJournal("acme", NO_TASK, "s2", "1" * 32)
    await ledger.stand([(KEY, over(DONE)), (other, over(DONE)), (CallJournal("else", NO_TASK, "s", "2"), over(DONE))])
    await TaskRepository(database).upsert("acme", ended("t1", DONE, premium=2.0, at=NIGHT - timedelta(days=1)), 3)
    # When they are summed
    found = await ledger.costs("acme", by)
    # Then all are in the sums, those of no task under one key, and what was saved is of the task alone
    assert (found.calls, found.spent_usd, found.saved_usd, found.tasks_without_premium) == (3, 0.75, 1.75, 0)
    assert sum(row.calls for row in found.rows) == 3
    assert by_key(found)[key].calls == (2 if by in ("day", "task") else 3)


async def test_a_call_under_way_stands_in_doubt_until_it_has_ended(ledger: CallLedger, database: Database) -> None:
    # Given a call that has begun
    await ledger.stand([(KEY, begun())])
    assert await told(database) == [(0, "in_doubt", 0.5)]
    # When it ends
    await ledger.stand([(KEY, over(DONE, at=NIGHT + timedelta(seconds=2)))])
    # Then that is what it cost
    assert await told(database) == [(0, "answered", 0.25)]


async def test_a_call_that_cost_nothing_in_the_end_is_gone(ledger: CallLedger, database: Database) -> None:
    await ledger.stand([(KEY, begun())])
    await ledger.stand([(KEY, over())])
    assert await told(database) == []


async def test_a_call_whose_gateway_died_stays_in_doubt_beside_the_one_that_was_made_for_it(
    ledger: CallLedger, database: Database
) -> None:
    doubtful = HELD.model_copy(update={"outcome": "in_doubt", "in_doubt": True})
    for entry in (begun(), begun(doubtful), over(doubtful, DONE)):
        await ledger.stand([(KEY, entry)])
    assert await told(database) == [(0, "in_doubt", 0.5), (1, "answered", 0.25)]


async def test_a_cost_that_nobody_knows_is_counted_as_unknown(ledger: CallLedger) -> None:
    unknown = DONE.model_copy(update={"cost_usd": None, "cost_unknown_reason": "no price"})
    await ledger.stand([(KEY, over(unknown))])
    found = await ledger.costs("acme", "day")
    assert (found.calls, found.spent_usd, found.unknown_calls) == (1, 0.0, 1)


@given(places=st.lists(st.integers(0, 3), max_size=6))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_however_often_the_versions_come_the_last_one_stands(
    ledger: CallLedger, database: Database, places: list[int]
) -> None:
    # Given the versions of an entry, some of them lost, some twice, in the order in which they were written
    doubtful = HELD.model_copy(update={"outcome": "in_doubt", "in_doubt": True})
    versions = (begun(), begun(doubtful), over(doubtful, DONE), over(doubtful, DONE, DONE))
    key = CallJournal("acme", NO_TASK, "-".join(["s", *map(str, places)]), "0" * 32)
    # When they are entered
    for place in (*sorted(places), 3):
        await ledger.stand([(key, versions[place])])
    # Then what the last one tells stands there
    found = await rows(database, step="s1")
    by_id: dict[str, list[str]] = {}
    for row in found:
        by_id.setdefault(row["task_id"], []).append(row["outcome"])
    assert set(map(tuple, by_id.values())) == {("in_doubt", "answered", "answered")}


async def test_an_old_version_that_comes_late_changes_nothing_that_has_ended(
    ledger: CallLedger, database: Database
) -> None:
    await ledger.stand([(KEY, over(DONE, DONE))])
    for old in (begun(), over(DONE)):
        await ledger.stand([(KEY, old)])
    assert await told(database) == [(0, "answered", 0.25), (1, "answered", 0.25)]

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, column, table

import storage.calls
import storage.database
from schemas.costs import CostKey, CostRow, Costs
from schemas.errors import InvalidRequest
from schemas.receipt import Call, Receipt
from schemas.task import Task
from storage import CallLedger, Database, TaskRepository
from storage.database import MIGRATIONS
from storage.tables import CALLS, TASKS
from storage.tasks import _row

NOON = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
MONDAY = NOON.date()
DAY = timedelta(days=1)
NEW = ("premium_cost_usd", "finished_day", "replayed")
"""Columns of `tasks` that came with the ledger, and after it."""


@pytest.fixture
def tasks(database: Database) -> TaskRepository:
    return TaskRepository(database)


@pytest.fixture
def ledger(database: Database) -> CallLedger:
    return CallLedger(database)


def call(**fields: Any) -> Call:
    usual = {"step": "1", "agent": "writing", "service": "groq", "model": "m", "prompt_tokens": 10}
    return Call.model_validate({**usual, "completion_tokens": 5, "cost_usd": 0.25, **fields})


def ended(task_id: str, *calls: Call, premium: float | None = None, at: datetime = NOON, **fields: Any) -> Task:
    receipt = Receipt.of(calls, 1.0, "claude-opus", premium)
    whole = {"task_id": task_id, "status": "completed", "prompt": "hello", "created_at": at - timedelta(seconds=2)}
    return Task.model_validate({**whole, "finished_at": at, "receipt": receipt, **fields})


async def entries(database: Database) -> list[dict[str, Any]]:
    query = CALLS.select().order_by(CALLS.c.tenant, CALLS.c.task_id, CALLS.c.number)
    async with database.begin() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings().all()]


def by_key(costs: Costs) -> dict[str, CostRow]:
    return {row.key: row for row in costs.rows}


# Entering


async def test_every_call_of_a_receipt_is_entered_as_it_was(ledger: CallLedger, database: Database) -> None:
    # Given a task that ended late in the evening, west of Greenwich, after a failed call and one in doubt
    late = datetime(2026, 5, 4, 20, 30, tzinfo=timezone(-timedelta(hours=5)))
    failed = call(outcome="failed", cost_usd=None, cost_unknown_reason="cut\0 off", completion_tokens=None)
    doubtful = call(
        step="2",
        in_doubt=True,
        outcome="in_doubt",
        cost_estimated=True,
        region="eu",
        latency_ms=12.5,
        reason="the gateway died",
        cached=True,
        replayed=True,
        hedged=True,
        overrun=True,
    )
    # When its calls are entered
    await ledger.record("acme", ended("t1", failed, doubtful, at=late))
    # Then each has its place in the receipt, the task's end, its day in UTC, and unknown is null
    first, second = await entries(database)
    assert (first["tenant"], first["task_id"], first["number"], second["number"]) == ("acme", "t1", 0, 1)
    assert (first["at"], first["day"]) == (late, date(2026, 5, 5))
    assert (first["cost_usd"], first["completion_tokens"], first["outcome"]) == (None, None, "failed")
    assert first["cost_unknown_reason"] == "cut\ufffd off"
    assert (first["cached"], first["replayed"], first["hedged"], first["overrun"]) == (False,) * 4
    told = {name: second[name] for name in second if name not in ("tenant", "task_id", "number", "at", "day", "key")}
    assert told == doubtful.model_dump(include=set(told))
    assert (first["key"], second["key"]) == (None, None)


async def test_a_call_is_entered_under_the_key_that_asked(ledger: CallLedger, database: Database) -> None:
    # Given a task that an API key asked for, When it is entered
    await ledger.record("acme", ended("t1", call(), key="ci-1"))
    # Then its calls say so
    assert [entry["key"] for entry in await entries(database)] == ["ci-1"]


async def test_entering_again_and_at_once_changes_nothing(
    ledger: CallLedger, tasks: TaskRepository, database: Database
) -> None:
    # Given a task that ended
    task = ended("t1", call(), call(step="2"))
    # When it is kept and its calls are entered, many times at once
    await asyncio.gather(
        *(tasks.upsert("acme", task, 3) for _ in range(5)), *(ledger.record("acme", task) for _ in range(5))
    )
    # Then each call is there once
    assert [entry["step"] for entry in await entries(database)] == ["1", "2"]


async def test_more_calls_than_a_statement_can_hold_are_entered(ledger: CallLedger, tasks: TaskRepository) -> None:
    # Given a task of three thousand calls, When it is kept
    await tasks.upsert("acme", ended("t1", *[call(cost_usd=0.5)] * 3000), 3)
    # Then all are in the ledger
    found = await ledger.costs("acme", "task")
    assert (found.calls, found.spent_usd) == (3000, 1500.0)


async def test_a_row_and_its_calls_are_kept_together_or_not_at_all(
    tasks: TaskRepository, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a ledger that breaks
    async def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(CallLedger, "record_all", breaks)
    # When a task that ended is kept
    with pytest.raises(RuntimeError):
        await tasks.upsert("acme", ended("t1", call()), 3)
    # Then its row is not there either
    assert await tasks.get("acme", "t1") is None


async def test_a_task_that_has_not_ended_enters_nothing(tasks: TaskRepository, ledger: CallLedger) -> None:
    # Given a task that runs, When it is kept
    await tasks.upsert("acme", Task(task_id="t1", status="running", prompt="p", created_at=NOON), 2)
    # Then it counts nowhere
    assert await ledger.costs("acme", "task") == Costs(by="task")


# Summing


async def test_costs_are_summed_by_the_key_that_asked(ledger: CallLedger) -> None:
    # Given tasks that two keys asked for, and one that was asked for without any
    for number, key in enumerate(("ci-1", "shop-2", "ci-1", None)):
        await ledger.record("acme", ended(f"t{number}", call(cost_usd=number + 1.0), key=key))
    # When they are summed by key
    found = await ledger.costs("acme", "key")
    # Then each key has its row, dearest first, and nothing is left out
    assert [(row.key, row.calls, row.spent_usd) for row in found.rows] == [("", 1, 4), ("ci-1", 2, 4), ("shop-2", 1, 2)]
    assert (found.spent_usd, {row.premium_cost_usd for row in found.rows}) == (10, {None})


@pytest.mark.parametrize("by", ["day", "agent", "service", "task", "key"])
async def test_an_empty_ledger_spent_nothing_and_knows_no_premium(ledger: CallLedger, by: CostKey) -> None:
    # Given nobody's tasks, When their costs are asked for
    found = await ledger.costs("acme", by)
    # Then money spent is zero, and what is unknown is null
    assert found == Costs(by=by)
    assert (found.spent_usd, found.estimated_usd, found.unknown_calls) == (0.0, 0.0, 0)
    assert (found.premium_cost_usd, found.saved_usd, found.rows) == (None, None, ())


async def test_unknown_is_never_counted_as_zero(tasks: TaskRepository, ledger: CallLedger) -> None:
    # Given calls of a known, an estimated and an unknown cost, one of which reported no usage
    known, estimated = call(), call(cost_usd=0.5, cost_estimated=True)
    unknown = call(cost_usd=None, cost_unknown_reason="no price", completion_tokens=None)
    await tasks.upsert("acme", ended("t1", known, estimated, premium=2.0), 3)
    await tasks.upsert("acme", ended("t2", known, unknown, premium=4.0), 3)
    await tasks.upsert("acme", ended("t3", known, status="failed"), 3)
    # When they are summed
    found = await ledger.costs("acme", "task")
    # Then the sums are of the known, and what they leave out stands beside them
    assert (found.calls, found.spent_usd, found.estimated_usd, found.unknown_calls) == (5, 1.25, 0.5, 1)
    assert (found.prompt_tokens, found.completion_tokens, found.calls_without_tokens) == (50, 20, 1)
    assert (found.premium_cost_usd, found.tasks_without_premium) == (6.0, 1)
    # And saved is told only where both sides are known
    assert found.saved_usd == 1.25
    rows = by_key(found)
    assert (rows["t1"].premium_cost_usd, rows["t1"].saved_usd, rows["t1"].tasks_without_premium) == (2.0, 1.25, 0)
    assert (rows["t2"].premium_cost_usd, rows["t2"].saved_usd, rows["t2"].unknown_calls) == (4.0, None, 1)
    assert (rows["t3"].premium_cost_usd, rows["t3"].saved_usd, rows["t3"].tasks_without_premium) == (None, None, 1)


async def test_premium_that_would_have_been_cheaper_is_a_loss(tasks: TaskRepository, ledger: CallLedger) -> None:
    # Given a task that cost more than the premium service would have
    await tasks.upsert("acme", ended("t1", call(cost_usd=3.0), premium=1.0), 3)
    # When it is summed, Then that is told
    assert (await ledger.costs("acme", "day")).saved_usd == -2.0


async def test_what_the_cache_answered_cost_nothing_and_took_nothing(tasks: TaskRepository, ledger: CallLedger) -> None:
    # Given a task whose second question the cache answered
    await tasks.upsert("acme", ended("t1", call(), call(step="2", cached=True, cost_usd=0.0), premium=2.0), 3)
    # When it is summed
    found = await ledger.costs("acme", "service")
    # Then only the first was spent, the cache is counted, and what it saved is saved
    assert (found.calls, found.cached_calls, found.replayed_calls) == (2, 1, 0)
    assert (found.spent_usd, found.prompt_tokens, found.completion_tokens) == (0.25, 10, 5)
    assert (found.premium_cost_usd, found.saved_usd) == (2.0, 1.75)
    assert by_key(found)["groq"].cached_calls == 1


@pytest.mark.parametrize("by", ["day", "agent", "service", "task"])
async def test_a_replayed_task_is_counted_and_neither_spent_nor_saved(
    tasks: TaskRepository, ledger: CallLedger, database: Database, by: CostKey
) -> None:
    # Given a task that was run, and its replay, of which one call had been cached and one is of unknown cost
    calls = (call(), call(cached=True, cost_usd=0.0), call(cost_usd=None, completion_tokens=None, cost_estimated=True))
    await tasks.upsert("acme", ended("t1", call(), premium=2.0), 3)
    before = await ledger.costs("acme", by)
    replayed = [each.model_copy(update={"replayed": True}) for each in calls]
    await tasks.upsert("acme", ended("t2", *replayed, premium=2.0), 3)
    # When both are summed
    found = await ledger.costs("acme", by)
    # Then the replay's calls are counted as such, and change nothing else
    assert (found.calls, found.cached_calls, found.replayed_calls) == (4, 0, 3)
    same = found.model_copy(update={"calls": 1, "replayed_calls": 0, "rows": before.rows})
    assert same == before
    # And they are entered as the receipt has them, which the list of tasks shows too
    assert [entry["cost_usd"] for entry in await entries(database)][1:] == [0.25, 0.0, None]
    listed = await tasks.list("acme", 10, None)
    assert {task.task_id: task.cost_usd for task in listed.tasks} == {"t1": 0.25, "t2": None}


async def test_a_day_on_which_only_replays_ended_has_a_row_without_a_cost(
    tasks: TaskRepository, ledger: CallLedger
) -> None:
    # Given a replay alone
    await tasks.upsert("acme", ended("t1", call(replayed=True), premium=2.0), 3)
    # When days are asked for
    (row,) = (await ledger.costs("acme", "day")).rows
    # Then its day is there, with nothing spent, and no premium that could be missing
    assert (row.calls, row.replayed_calls, row.spent_usd, row.unknown_calls) == (1, 1, 0.0, 0)
    assert (row.premium_cost_usd, row.saved_usd, row.tasks_without_premium) == (None, None, 0)


async def test_costs_by_agent_and_by_service_are_of_their_calls_alone(
    tasks: TaskRepository, ledger: CallLedger
) -> None:
    # Given two tasks in which two agents asked two services
    await tasks.upsert("acme", ended("t1", call(), call(agent="code", service="opus", cost_usd=2.0), premium=5.0), 3)
    await tasks.upsert("acme", ended("t2", call(service="opus", cost_usd=1.0)), 3)
    # When they are summed by either
    agents, services = await ledger.costs("acme", "agent"), await ledger.costs("acme", "service")
    # Then the dearest is first, and the rows have no premium side
    assert [(row.key, row.calls, row.spent_usd) for row in agents.rows] == [("code", 1, 2.0), ("writing", 2, 1.25)]
    assert [(row.key, row.calls, row.spent_usd) for row in services.rows] == [("opus", 2, 3.0), ("groq", 1, 0.25)]
    sides = {(row.premium_cost_usd, row.saved_usd, row.tasks_without_premium) for row in agents.rows + services.rows}
    assert sides == {(None, None, None)}
    # And the sums have
    assert (agents.premium_cost_usd, agents.saved_usd, agents.tasks_without_premium) == (5.0, 2.75, 1)
    assert services.model_copy(update={"by": "agent", "rows": agents.rows}) == agents


async def test_days_are_utc_in_order_and_both_ends_are_included(tasks: TaskRepository, ledger: CallLedger) -> None:
    # Given tasks that ended on four days, to the last microsecond of one and the first of the next; one made no call
    tick = timedelta(microseconds=1)
    midnight = NOON.replace(hour=0) + DAY
    await tasks.upsert("acme", ended("t3", call(), at=midnight), 3)
    await tasks.upsert("acme", ended("t2", call(), at=midnight - tick), 3)
    await tasks.upsert("acme", ended("t1", call(), at=NOON - DAY), 3)
    await tasks.upsert("acme", ended("t4", at=NOON + 2 * DAY, status="cancelled"), 3)
    # When days are asked for
    everything = await ledger.costs("acme", "day")
    monday = await ledger.costs("acme", "day", MONDAY, MONDAY)
    since, until = await ledger.costs("acme", "task", MONDAY + DAY), await ledger.costs("acme", "task", None, MONDAY)
    # Then each end belongs to its day, and a day without calls is there with its task
    assert [row.key for row in everything.rows] == ["2026-05-03", "2026-05-04", "2026-05-05", "2026-05-06"]
    assert (everything.rows[-1].calls, everything.rows[-1].tasks_without_premium) == (0, 1)
    assert (monday.since, monday.until, monday.calls) == (MONDAY, MONDAY, 1)
    assert [row.key for row in monday.rows] == ["2026-05-04"]
    assert set(by_key(since)) == {"t3", "t4"}
    assert set(by_key(until)) == {"t1", "t2"}
    # And the ends of the calendar are no special case
    assert (await ledger.costs("acme", "day", date.min, date.max)).calls == 3


async def test_an_end_before_the_beginning_is_refused(ledger: CallLedger) -> None:
    # Given two days in the wrong order, When they are asked for, Then the field is named
    with pytest.raises(InvalidRequest) as caught:
        await ledger.costs("acme", "day", MONDAY, MONDAY - DAY)
    assert caught.value.field == "until"


async def test_tenants_see_their_own(tasks: TaskRepository, ledger: CallLedger) -> None:
    # Given two tenants with a task of the same id
    await tasks.upsert("acme", ended("t1", call(), premium=1.0), 3)
    await tasks.upsert("other", ended("t1", call(cost_usd=9.0), premium=10.0), 3)
    # When one asks, Then the other's is not in it
    found = await ledger.costs("acme", "task")
    assert (found.spent_usd, found.premium_cost_usd, len(found.rows)) == (0.25, 1.0, 1)


async def test_rows_have_a_limit_and_sums_have_none(
    tasks: TaskRepository, ledger: CallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given five tasks on five days, and two rows to an answer
    monkeypatch.setattr(storage.calls, "MAX_ROWS", 2)
    for number in range(5):
        await tasks.upsert("acme", ended(f"t{number}", call(cost_usd=10.0 - number), at=NOON + number * DAY), 3)
    # When they are summed
    days, dearest = await ledger.costs("acme", "day"), await ledger.costs("acme", "task")
    # Then the newest days and the dearest tasks are there, and how many are not
    assert [row.key for row in days.rows] == ["2026-05-07", "2026-05-08"]
    assert [row.key for row in dearest.rows] == ["t0", "t1"]
    assert (days.rows_left_out, dearest.rows_left_out) == (3, 3)
    assert days.spent_usd == dearest.spent_usd == 40.0


async def test_rows_add_up_to_the_sums_while_tasks_end(tasks: TaskRepository, ledger: CallLedger) -> None:
    # Given tasks that end without a pause
    async def end() -> None:
        for number in range(40):
            await tasks.upsert("acme", ended(f"t{number}", call(), premium=1.0), 3)

    ending = asyncio.create_task(end())
    try:
        # When they are summed meanwhile, Then every answer is of one moment
        while not ending.done():
            found = await ledger.costs("acme", "task")
            assert sum(row.calls for row in found.rows) == found.calls
            assert sum(row.premium_cost_usd or 0 for row in found.rows) == (found.premium_cost_usd or 0)
    finally:
        await ending


# Before there was a ledger, and before it told calls apart


def to(revision: str) -> Callable[[Connection], None]:
    """The migrations up to that one."""

    def upgrade(connection: Connection) -> None:
        config = Config(MIGRATIONS)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    return upgrade


async def test_calls_of_before_they_were_told_apart_are_none_of_those(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a ledger of the version before
    database = Database(database_url)
    with monkeypatch.context() as before:
        before.setattr(storage.database, "_to_head", to("0002"))
        await database.migrate()
    row = {"tenant": "acme", "task_id": "t1", "number": 0, "at": NOON, "day": MONDAY, "step": "1", "agent": "writing"}
    row |= {"service": "groq", "model": "m", "outcome": "answered", "in_doubt": False, "cost_usd": 0.25}
    async with database.begin() as connection:
        old = table("calls", *(column(name, CALLS.c[name].type) for name in [*row, "cost_estimated"]))
        await connection.execute(old.insert(), [{**row, "cost_estimated": False}])
    # When it is brought up to date
    await database.migrate()
    # Then its calls cost what they cost, and are neither cached nor replayed
    found = await CallLedger(database).costs("acme", "service")
    assert (found.calls, found.spent_usd, found.cached_calls, found.replayed_calls) == (1, 0.25, 0, 0)
    (entry,) = await entries(database)
    told = {name: entry[name] for name in ("reason", "cached", "replayed", "hedged", "overrun", "key")}
    assert told == {"reason": None, "cached": False, "replayed": False, "hedged": False, "overrun": False, "key": None}
    await database.close()


async def test_tasks_that_ended_before_there_was_a_ledger_are_entered(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database of the version before, with more ended tasks than fit on a page of its migration, and one running
    database = Database(database_url)
    with monkeypatch.context() as before:
        before.setattr(storage.database, "_to_head", to("0001"))
        await database.migrate()
    doubtful = call(cost_usd=None, cost_unknown_reason="\0", in_doubt=True, outcome="in_doubt")
    whole = [ended(f"t{n:04}", call(cost_usd=1.0), doubtful, premium=3.0, at=NOON + n % 3 * DAY) for n in range(501)]
    whole.append(Task(task_id="open", status="running", prompt="p", created_at=NOON))
    async with database.begin() as connection:
        old = table("tasks", *(column(c.name, c.type) for c in TASKS.columns if c.name not in NEW))
        rows = [{name: value for name, value in _row("acme", task, 3).items() if name not in NEW} for task in whole]
        await connection.execute(old.insert(), rows)
    # When it is brought up to date
    await database.migrate()
    # Then its tasks cost what they would have cost had there been one
    before_the_ledger = await CallLedger(database).costs("acme", "day"), await entries(database)
    async with database.begin() as connection:
        await connection.execute(CALLS.delete())
        await connection.execute(TASKS.delete())
    for task in whole:
        await TaskRepository(database).upsert("acme", task, 3)
    assert before_the_ledger == (await CallLedger(database).costs("acme", "day"), await entries(database))
    assert before_the_ledger[0].premium_cost_usd == 3.0 * 501
    await database.close()

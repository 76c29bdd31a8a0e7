import itertools
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.projector import TaskProjection
from schemas.errors import NotFound
from schemas.event import TASK_EVENT, TaskEvent
from schemas.projection import project
from schemas.receipt import Call, Receipt
from schemas.task import SHAPE_OF
from storage import Database, TaskRepository
from storage.tables import CALLS, TASKS

NOON = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
TIERS = list(SHAPE_OF)
MAX_REPEATS = 5
"""Deliveries beyond the first of each event."""
CALLS_MADE = tuple(
    Call(step=str(n), agent="writing", service="groq", model="m", cost_usd=0.25, prompt_tokens=n, completion_tokens=4)
    for n in range(3)
)


class Log:
    """The stream's stand-in: histories, and how often they were read."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], list[TaskEvent]] = {}
        self.reads = 0

    def write(self, history: list[TaskEvent]) -> None:
        self.events[history[0].tenant, history[0].task_id] = history

    async def read(self, tenant: str, task_id: str) -> list[TaskEvent]:
        self.reads += 1
        if (tenant, task_id) not in self.events:
            raise NotFound("task", task_id)
        return self.events[tenant, task_id]


def history(claims: int = 1, end: str | None = "completed", calls: int = 2) -> list[TaskEvent]:
    """A task's events: accepted, claimed by so many owners in turn, and ended after so many calls."""
    task_id = secrets.token_hex(8)
    seconds = itertools.count()
    events: list[TaskEvent] = []

    def add(event: str, **fields: Any) -> None:
        head = {"event_id": secrets.token_hex(8), "task_id": task_id, "tenant": "acme", "seq": len(events) + 1}
        moment = NOON + timedelta(seconds=next(seconds))
        events.append(TASK_EVENT.validate_python({"event": event, **head, "at": moment, **fields}))

    add("accepted", body_sha256="0" * 64, deadline_at=NOON + timedelta(hours=1), request={"prompt": "p" * 300})
    for claim in range(claims):
        tier = TIERS[claim % len(TIERS)]
        add("claimed", epoch=claim + 1, owner="c", tier=tier, shape=SHAPE_OF[tier], agents=("writing",))
    if end is not None:
        receipt = Receipt.of(CALLS_MADE[:calls], 1, "claude-opus", 2.0)
        so_far = project(events).model_dump()
        task = so_far | {"status": end, "finished_at": NOON + timedelta(hours=1), "receipt": receipt}
        add(end, epoch=claims, task=task)
    return events


histories = st.builds(
    history,
    claims=st.integers(0, 3),
    end=st.sampled_from([None, "completed", "failed", "cancelled"]),
    calls=st.integers(0, len(CALLS_MADE)),
)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def tasks(database: Database) -> TaskRepository:
    return TaskRepository(database)


@pytest.fixture
def projection(tasks: TaskRepository, log: Log) -> TaskProjection:
    return TaskProjection(tasks, log.read)


async def row_of(database: Database, event: TaskEvent) -> dict[str, Any]:
    async with database.begin() as connection:
        found = await connection.execute(TASKS.select().where(TASKS.c.task_id == event.task_id))
    return dict(found.mappings().one())


async def calls_of(database: Database, event: TaskEvent) -> list[tuple[int, str, float]]:
    """The ledger's entries of a task: place, step, cost."""
    query = CALLS.select().where(CALLS.c.task_id == event.task_id).order_by(CALLS.c.number)
    async with database.begin() as connection:
        return [(row.number, row.step, row.cost_usd) for row in (await connection.execute(query)).all()]


def expected_calls(events: list[TaskEvent]) -> list[tuple[int, str, float | None]]:
    """The entries that these events make, from their projection alone."""
    receipt = project(events).receipt
    return [(number, call.step, call.cost_usd) for number, call in enumerate(receipt.calls if receipt else ())]


def expected(events: list[TaskEvent]) -> dict[str, Any]:
    """The row that these events make, from their projection alone."""
    task, last = project(events), events[-1]
    paid = task.receipt
    return {
        "tenant": last.tenant,
        "task_id": last.task_id,
        "status": task.status,
        "tier": task.tier,
        "shape": task.shape,
        "prompt_head": task.prompt[:200],
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "cost_usd": paid.cost_usd if paid else None,
        "tokens": (paid.prompt_tokens or 0) + (paid.completion_tokens or 0) if paid else None,
        "seq": last.seq,
        "task": task.model_dump(mode="json") if task.ended else None,
        "premium_cost_usd": 2.0 if task.ended else None,
        "finished_day": NOON.date() if task.ended else None,
        "replayed": False,
    }


async def test_a_task_in_order_needs_no_reading_of_its_history(
    projection: TaskProjection, database: Database, log: Log
) -> None:
    # Given one agent's task that five owners claimed in turn
    events = history(claims=5, calls=1)
    # When its events come in order, Then after each the row is what the events so far tell
    for count, event in enumerate(events, start=1):
        await projection.apply(event)
        assert await row_of(database, event) == expected(events[:count])
    # And the stream was left alone
    assert log.reads == 0


async def test_a_claim_without_a_row_is_told_by_the_history(
    projection: TaskProjection, database: Database, log: Log
) -> None:
    # Given a running task whose first event never came
    events = history(claims=2, end=None)
    log.write(events)
    # When a claim comes
    await projection.apply(events[-1])
    # Then the row is there, with the moment of the first claim
    assert await row_of(database, events[0]) == expected(events)


async def test_a_claim_without_row_or_history_comes_again(projection: TaskProjection) -> None:
    # Given a stream that cannot tell the task, When a claim of it comes, Then it fails, so that it is brought again
    with pytest.raises(NotFound):
        await projection.apply(history()[1])


async def test_a_late_event_reads_no_history(projection: TaskProjection, log: Log) -> None:
    # Given one agent's task that ended
    events = history(claims=5, calls=1)
    await projection.apply(events[-1])
    # When all its events come again
    for event in events:
        await projection.apply(event)
    # Then the stream was left alone
    assert log.reads == 0


async def test_an_ended_task_is_kept_whole(projection: TaskProjection, tasks: TaskRepository) -> None:
    # Given the last event alone
    events = history(end="failed")
    # When it comes, Then the whole task is kept
    await projection.apply(events[-1])
    assert await tasks.get("acme", events[0].task_id) == project(events)


async def test_the_calls_of_a_task_that_ended_are_in_the_ledger_once(
    projection: TaskProjection, database: Database
) -> None:
    # Given the last event of a task that failed after it had spent
    events = history(end="failed", calls=3)
    # When it comes, and comes again
    await projection.apply(events[-1])
    await projection.apply(events[-1])
    # Then each call is there, in the receipt's order
    assert await calls_of(database, events[0]) == [(0, "0", 0.25), (1, "1", 0.25), (2, "2", 0.25)]


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_the_order_and_however_often_the_same_events_make_the_same_row(
    data: st.DataObject, projection: TaskProjection, database: Database, log: Log
) -> None:
    # Given a task's events, each delivered at least once, in any order
    events = data.draw(histories)
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=MAX_REPEATS))
    deliveries = data.draw(st.permutations(events + repeats))
    # When they are applied, the stream holding what was delivered so far, or more
    for count, event in enumerate(deliveries, start=1):
        newest = max(e.seq for e in deliveries[:count])
        log.write(events[: data.draw(st.integers(newest, len(events)))])
        await projection.apply(event)
    # Then the row is what the whole history tells, and each call of its receipt is in the ledger once
    assert await row_of(database, events[0]) == expected(events)
    assert await calls_of(database, events[0]) == expected_calls(events)


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_row_never_goes_backwards(
    data: st.DataObject, projection: TaskProjection, database: Database, log: Log
) -> None:
    # Given a task's events in any order, some of them lost
    events = data.draw(histories)
    log.write(events)
    deliveries = data.draw(st.lists(st.sampled_from(events), min_size=1, max_size=8))
    # When they are applied
    seen: list[tuple[int, bool]] = []
    for event in deliveries:
        await projection.apply(event)
        row = await row_of(database, event)
        seen.append((row["seq"], row["task"] is not None))
        # Then a task that has ended has its calls in the ledger, and no other has
        assert await calls_of(database, event) == (expected_calls(events) if row["task"] else [])
    # And neither the row's place in the history nor its end is ever taken back
    assert seen == sorted(seen)


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_batches_of_events_make_the_same_rows(
    data: st.DataObject, projection: TaskProjection, database: Database, log: Log
) -> None:
    # Given the events of several tasks, in any order and some of them twice, cut into batches anywhere
    tasks = data.draw(st.lists(histories, min_size=1, max_size=3))
    everything = [event for events in tasks for event in events]
    repeats = data.draw(st.lists(st.sampled_from(everything), max_size=MAX_REPEATS))
    deliveries = data.draw(st.permutations(everything + repeats))
    for events in tasks:
        log.write(events)
    # When each batch is applied as one
    while deliveries:
        size = data.draw(st.integers(1, len(deliveries)))
        await projection.apply_all(deliveries[:size])
        deliveries = deliveries[size:]
    # Then every row is what its whole history tells, and the ledger has each call once
    for events in tasks:
        assert await row_of(database, events[0]) == expected(events)
        assert await calls_of(database, events[0]) == expected_calls(events)

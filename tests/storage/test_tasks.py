import asyncio
import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from schemas.errors import InvalidRequest
from schemas.problem import Problem
from schemas.receipt import Call, Receipt
from schemas.task import Task
from storage import Database, TaskRepository
from storage.tasks import Claim

NOON = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def tasks(database: Database) -> TaskRepository:
    return TaskRepository(database)


def call(**fields: Any) -> Call:
    return Call.model_validate({"step": "1", "agent": "writing", "service": "local", "model": "m", **fields})


def task(task_id: str = "t1", **fields: Any) -> Task:
    whole = {"task_id": task_id, "status": "accepted", "prompt": "hello", "created_at": NOON}
    return Task.model_validate(whole | fields)


def ended(task_id: str = "t1", **fields: Any) -> Task:
    receipt = Receipt.of((call(cost_usd=0.25, prompt_tokens=30, completion_tokens=12),), wall_ms=8.5)
    whole = {"status": "completed", "tier": "simple", "shape": "direct", "answer": "HELLO", "receipt": receipt}
    moments = {"started_at": NOON + timedelta(seconds=1), "finished_at": NOON + timedelta(seconds=2)}
    return task(task_id, **(whole | moments | fields))


async def rows(database: Database) -> list[dict[str, Any]]:
    from storage.tables import TASKS

    async with database.begin() as connection:
        found = (await connection.execute(TASKS.select().order_by(TASKS.c.task_id))).mappings().all()
    return [dict(row) for row in found]


async def test_an_ended_task_is_read_back_whole(tasks: TaskRepository) -> None:
    # Given a task that ended, with all that text and numbers can hold
    whole = ended(
        prompt="a\0b \N{PILE OF POO} é",
        created_at=datetime(2026, 5, 4, 17, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        metadata={"nested": {"list": [1, 2.5, None, "\0"]}, "big": 2**63},
        error=Problem(type="urn:devskyy:problem:internal", title="t", status=500, detail="d"),
    )
    # When it is kept
    await tasks.upsert("acme", whole, 3)
    # Then the same comes back, its moments in UTC
    kept = await tasks.get("acme", "t1")
    assert kept == whole
    assert kept is not None
    assert kept.created_at.tzinfo is UTC


async def test_a_task_that_has_not_ended_is_not_whole(tasks: TaskRepository) -> None:
    # Given a task that runs, When it or one that nobody knows is asked for
    await tasks.upsert("acme", task(status="running"), 2)
    # Then there is no whole task yet
    assert await tasks.get("acme", "t1") is None
    assert await tasks.get("acme", "t2") is None


async def test_a_row_holds_what_lists_and_ledgers_need(tasks: TaskRepository, database: Database) -> None:
    # Given a task with a long prompt that holds NUL, and one whose cost nobody knows
    unknown = Receipt.of((call(cost_unknown_reason="no price", prompt_tokens=3),), wall_ms=1)
    await tasks.upsert("acme", ended("t1", prompt="\0" + "x" * 500), 3)
    await tasks.upsert("acme", ended("t2", status="failed", receipt=unknown), 3)
    # When the rows are read
    known, open_ = await rows(database)
    # Then prompts are cut, sums are there, moments are aware, and unknown is null
    assert known["prompt_head"] == "\ufffd" + "x" * 199
    assert (known["cost_usd"], known["tokens"], known["seq"]) == (0.25, 42, 3)
    assert (known["started_at"], known["started_at"].tzinfo) == (NOON + timedelta(seconds=1), UTC)
    assert (open_["cost_usd"], open_["tokens"]) == (None, None)


async def test_an_event_that_the_row_knows_already_changes_nothing(tasks: TaskRepository, database: Database) -> None:
    # Given a row that knows two events
    await tasks.upsert("acme", task(status="running", tier="simple"), 2)
    before = await rows(database)
    # When the second comes again, or the first late
    await tasks.upsert("acme", task(status="failed"), 2)
    await tasks.upsert("acme", task(), 1)
    # Then nothing has changed
    assert await rows(database) == before


async def test_an_ended_task_never_runs_again(tasks: TaskRepository, database: Database) -> None:
    # Given a task that ended
    await tasks.upsert("acme", ended(), 3)
    before = await rows(database)
    # When something that claims to be newer comes
    await tasks.upsert("acme", task(status="running"), 4)
    claimed = await tasks.claim("acme", "t1", 4, tier="mega", shape="hierarchical", at=NOON)
    # Then nothing has changed
    assert not claimed
    assert await rows(database) == before


async def test_a_claim_moves_on_only_the_row_that_is_right_before_it(tasks: TaskRepository, database: Database) -> None:
    # Given an accepted task
    await tasks.upsert("acme", task(), 1)
    # When claims come for the next event, for that again, for one too far ahead, and for a task that is not there
    claims = [("t1", 2, NOON), ("t1", 2, NOON + timedelta(hours=1)), ("t1", 4, NOON), ("t2", 2, NOON)]
    outcome = [
        await tasks.claim("acme", task_id, seq, tier="simple", shape="direct", at=at) for task_id, seq, at in claims
    ]
    # Then the first moves it, the second was known, and the others ask for the history
    assert outcome == [True, True, False, False]
    [row] = await rows(database)
    assert (row["status"], row["seq"], row["tier"], row["shape"]) == ("running", 2, "simple", "direct")
    # And a further owner keeps the moment when work began
    await tasks.claim("acme", "t1", 3, tier="moderate", shape="parallel", at=NOON + timedelta(hours=2))
    [row] = await rows(database)
    assert (row["tier"], row["started_at"], row["seq"]) == ("moderate", NOON, 3)


async def test_claims_of_many_tasks_come_together_and_those_that_came_too_early_are_told(
    tasks: TaskRepository, database: Database
) -> None:
    # Given two accepted tasks
    for task_id in ("t1", "t2"):
        await tasks.upsert("acme", task(task_id=task_id), 1)
    # When claims come together: of both, a further one of the first, of one that is not there, of another tenant's
    claims = [
        Claim(tenant, task_id, seq, "simple", "direct", NOON)
        for tenant, task_id, seq in (
            ("acme", "t1", 2),
            ("acme", "t2", 2),
            ("acme", "t1", 3),
            ("acme", "t3", 2),
            ("b", "t1", 2),
        )
    ]
    behind = await tasks.claim_all(claims)
    # Then the rows that there are have moved on, and the others ask for the history
    assert behind == claims[3:]
    assert {(row["task_id"], row["status"], row["seq"]) for row in await rows(database)} == {
        ("t1", "running", 3),
        ("t2", "running", 2),
    }


async def test_many_at_once_leave_the_newest(tasks: TaskRepository, database: Database) -> None:
    # Given forty events of one task, When all are kept at once, in no order
    order = sorted(range(1, 41), key=lambda seq: seq * 17 % 41)
    await asyncio.gather(*(tasks.upsert("acme", task(metadata={}, prompt=str(seq)), seq) for seq in order))
    # Then the last one stands
    [row] = await rows(database)
    assert (row["seq"], row["prompt_head"]) == (40, "40")


async def test_a_list_is_newest_first_and_every_task_is_on_one_page(tasks: TaskRepository) -> None:
    # Given nine tasks, of which three were accepted in the same instant, and somebody else's
    moments = [0, 1, 1, 1, 2, 3, 4, 5, 6]
    for number, second in enumerate(moments):
        await tasks.upsert("acme", ended(f"t{number}", created_at=NOON + timedelta(seconds=second)), 3)
    await tasks.upsert("other", ended("t3"), 3)
    # When they are read by twos, while one more arrives
    seen, cursor = [], None
    while True:
        page = await tasks.list("acme", 2, cursor)
        assert len(page.tasks) <= 2
        seen += [line.task_id for line in page.tasks]
        await tasks.upsert("acme", ended("late", created_at=NOON + timedelta(hours=1)), 3)
        if (cursor := page.next) is None:
            break
    # Then each was there once, newest first
    assert seen == ["t8", "t7", "t6", "t5", "t4", "t3", "t2", "t1", "t0"]


async def test_a_full_last_page_has_no_next(tasks: TaskRepository) -> None:
    # Given two tasks, When pages of two are read
    for name in ("a", "b"):
        await tasks.upsert("acme", task(name), 1)
    # Then the first is the last; and a tenant without tasks has an empty one
    assert (await tasks.list("acme", 2, None)).next is None
    assert (await tasks.list("nobody", 2, None)).tasks == ()


async def test_a_line_says_what_is_known(tasks: TaskRepository) -> None:
    # Given an ended task, When it is listed
    await tasks.upsert("acme", ended(prompt="x" * 300), 3)
    [line] = (await tasks.list("acme", 10, None)).tasks
    # Then its line tells its state, cost and moments, aware and in UTC
    assert (line.status, line.tier, line.prompt, line.cost_usd) == ("completed", "simple", "x" * 200, 0.25)
    assert (line.created_at, line.finished_at) == (NOON, NOON + timedelta(seconds=2))
    assert line.created_at.utcoffset() == timedelta(0)


async def test_a_line_says_whether_a_recording_answered(tasks: TaskRepository) -> None:
    # Given a task, and the same answered from a recording
    again = call(cost_usd=0.25, replayed=True)
    await tasks.upsert("acme", ended("t1"), 3)
    await tasks.upsert("acme", ended("t2", receipt=Receipt.of((again,), wall_ms=8.5)), 3)
    # When they are listed, Then only one of the two costs was spent
    lines = (await tasks.list("acme", 10, None)).tasks
    assert {line.task_id: line.replayed for line in lines} == {"t1": False, "t2": True}


async def test_a_list_can_be_of_one_status(tasks: TaskRepository) -> None:
    # Given tasks of several states
    for number, status in enumerate(["accepted", "running", "failed", "accepted"]):
        await tasks.upsert("acme", task(f"t{number}", status=status), 1)
    # When one state is asked for, page by page
    first = await tasks.list("acme", 1, None, "accepted")
    second = await tasks.list("acme", 1, first.next, "accepted")
    # Then the others are left out
    assert [line.task_id for line in first.tasks + second.tasks] == ["t3", "t0"]
    assert second.next is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "not base64!",
        "é",
        "AAAA",
        "gICA",
        *(
            base64.urlsafe_b64encode(text.encode()).decode()
            for text in (
                "2026-05-04T12:00:00+00:00",
                "2026-05-04T12:00:00 t1",
                "yesterday t1",
                "2026-05-04T12:00:00+00:00 ",
                "2026-05-04T12:00:00+00:00 a\0b",
                "2026-05-04T12:00:00+00:00 a b",
                "0001-01-01T00:00:00+23:59 t1",
                "9999-12-31T23:59:59-23:59 t1",
            )
        ),
    ],
)
async def test_a_cursor_that_no_list_gave_out_is_refused(tasks: TaskRepository, cursor: str) -> None:
    # Given a cursor that somebody made up, When a page is asked for with it, Then the field is named
    with pytest.raises(InvalidRequest) as caught:
        await tasks.list("acme", 10, cursor)
    assert caught.value.field == "cursor"


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_of_no_sensible_size_is_refused(tasks: TaskRepository, limit: int) -> None:
    # Given a limit out of range, When a page is asked for, Then the field is named
    with pytest.raises(InvalidRequest) as caught:
        await tasks.list("acme", limit, None)
    assert caught.value.field == "limit"

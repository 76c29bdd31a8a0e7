"""The history of quality on both engines."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import Database, Measured, QualityHistory

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
def history(database: Database) -> QualityHistory:
    return QualityHistory(database)


def one(step: str, overall: float, **fields: Any) -> Measured:
    usual = {
        "tenant": "acme",
        "task_id": "t",
        "agent": "writing",
        "profile": "marketing",
        "tier": "moderate",
        "at": NOON,
    }
    return Measured(**(usual | {"step": step, "overall": overall} | fields))


async def enter(database: Database, history: QualityHistory, *measured: Measured) -> None:
    async with database.begin() as connection:
        await history.record_all(measured, connection)


async def test_figures_are_of_each_agent_and_kind_of_work(database: Database, history: QualityHistory) -> None:
    # Given answers of two agents to two kinds of work, one of them unknown
    later = NOON + timedelta(hours=1)
    await enter(
        database,
        history,
        one("1", 0.5),
        one("2", 1.0, at=later),
        one("3", 0.25, profile=None),
        one("4", 0.125, agent="code"),
    )
    # When the history is read
    rows = await history.history("acme")
    # Then each has its number, mean and last moment, in UTC
    assert [(row.agent, row.kind, row.n, row.mean) for row in rows] == [
        ("writing", "marketing", 2, 0.75),
        ("code", "marketing", 1, 0.125),
        ("writing", None, 1, 0.25),
    ]
    assert rows[0].last_at == later
    assert rows[0].last_at.tzinfo is UTC


async def test_what_was_entered_stays_as_it_was(database: Database, history: QualityHistory) -> None:
    await enter(database, history, one("1", 0.5))
    await enter(database, history, one("1", 0.9), one("2", 0.7))
    (row,) = await history.history("acme")
    assert (row.n, row.mean) == (2, pytest.approx(0.6))


async def test_a_tenant_sees_its_own_and_a_day_begins_where_it_is_asked_to(
    database: Database, history: QualityHistory
) -> None:
    await enter(database, history, one("1", 0.5), one("2", 0.7, at=NOON - timedelta(days=1)), one("1", 0.9, tenant="b"))
    assert [row.n for row in await history.history("acme")] == [2]
    assert [row.n for row in await history.history("acme", NOON)] == [1]
    assert [row.n for row in await history.history("b")] == [1]
    assert await history.history("nobody") == ()


async def test_seats_count_with_their_agent(database: Database, history: QualityHistory) -> None:
    await enter(database, history, one("1", 0.5), one("2", 0.8, agent="writing-2"), one("3", 0.8, agent="writing-3"))
    (row,) = await history.history("acme", role_of=lambda seat: seat.partition("-")[0])
    assert (row.agent, row.n, row.mean) == ("writing", 3, pytest.approx(0.7))


@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_however_rows_are_put_together_no_answer_is_lost(
    data: st.DataObject, database: Database, history: QualityHistory
) -> None:
    # Given any answers
    tenant = secrets.token_hex(8)
    drawn = st.tuples(st.sampled_from(["a", "a-2", "b"]), st.sampled_from([None, "x", "y"]), st.floats(0, 1))
    told = data.draw(st.lists(drawn, max_size=12))
    await enter(
        database,
        history,
        *(one(str(n), q, tenant=tenant, agent=a, profile=p) for n, (a, p, q) in enumerate(told)),
    )
    # When they are put together by agent, by kind of work, or by both
    for by in (None, "agent", "kind"):
        rows = await history.history(tenant, None, by, lambda seat: seat.partition("-")[0])
        # Then each is counted once, and the mean of all is theirs
        assert sum(row.n for row in rows) == len(told)
        assert sum(row.n * row.mean for row in rows) == pytest.approx(sum(q for _, _, q in told))
        assert len({(row.agent, row.kind) for row in rows}) == len(rows)

"""The audit log in SQL, on SQLite and PostgreSQL."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import storage.database
from schemas.audit import AuditEntry
from schemas.errors import InvalidRequest
from storage import AuditLog, Database

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def entry(number: int, **fields: Any) -> AuditEntry:
    """One that was written so many minutes after noon."""
    said = {"id": f"e{number:03}", "at": NOON + timedelta(minutes=number), "method": "POST", "status": 202}
    return AuditEntry.model_validate({**said, "tenant": "default", **fields})


@pytest.fixture
def log(database: Database) -> AuditLog:
    return AuditLog(database)


async def test_an_entry_comes_back_as_it_was_written(log: AuditLog) -> None:
    # Given one that says all it can, and one that knows next to nothing
    whole = entry(
        1,
        key="ci-1234",
        route="/api/v1/tasks/{task_id}",
        target="t1",
        address="10.0.0.7",
        reason="the key ci-1234 lacks the scope 'write'",
        status=403,
        count=10**10,
    )
    bare = entry(2, tenant=None, status=401)
    # When they are read, Then they are the same, newest first
    await log.add([whole, bare])
    assert (await log.list(None, 10)).entries == (bare, whole)
    assert [each.outcome for each in (whole, bare, entry(3), entry(4, status=422))] == [
        *("refused", "refused", "done", "failed")
    ]


async def test_written_twice_it_is_there_once(log: AuditLog) -> None:
    await log.add([entry(1)])
    await log.add([entry(1), entry(2)])
    await log.add([])
    assert [each.id for each in (await log.list(None, 10)).entries] == ["e002", "e001"]


async def test_a_tenant_sees_its_own(log: AuditLog) -> None:
    await log.add([entry(1), entry(2, tenant="acme"), entry(3, tenant=None, status=401)])
    assert [each.id for each in (await log.list("acme", 10)).entries] == ["e002"]
    assert [each.id for each in (await log.list(None, 10)).entries] == ["e003", "e002", "e001"]


async def test_what_is_asked_for_is_told_page_by_page(log: AuditLog) -> None:
    # Given thirty entries, of three outcomes
    await log.add([entry(number, status=(202, 401, 422)[number % 3]) for number in range(30)])
    # When those of one outcome and the last ten minutes are read in pages of two
    found: list[str] = []
    cursor = None
    while True:
        page = await log.list(None, 2, cursor, NOON + timedelta(minutes=20), "refused")
        found += [each.id for each in page.entries]
        if (cursor := page.next) is None:
            break
    # Then each is there once
    assert found == ["e028", "e025", "e022"]
    assert len((await log.list(None, 100, outcome="done")).entries) == 10
    assert len((await log.list(None, 100, outcome="failed")).entries) == 10


async def test_a_cursor_of_nobody_is_refused(log: AuditLog) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        await log.list(None, 10, "nonsense")
    with pytest.raises(InvalidRequest, match="limit"):
        await log.list(None, 0)


async def test_what_has_grown_too_old_is_forgotten(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given more old entries than one statement deletes
    monkeypatch.setattr(storage.database, "AT_ONCE", 4)
    await log.add([entry(number) for number in range(12)])
    # When those before a moment are forgotten
    assert await log.forget(NOON + timedelta(minutes=9)) == 9
    # Then the others stay
    assert [each.id for each in (await log.list(None, 100)).entries] == ["e011", "e010", "e009"]
    assert await log.forget(NOON) == 0

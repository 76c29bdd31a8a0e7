"""The audit log as it is written: beside the requests, however many, whatever the database does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.audit import AuditEntry
from schemas.errors import Unavailable
from schemas.message import now
from serve import trail
from serve.metrics import AUDIT_LOST
from serve.trail import MOST_KINDS, MOST_WAITING, Trail


class Log:
    """Stands in for the database; it fails as long as it is told to."""

    def __init__(self) -> None:
        self.entries: dict[str, AuditEntry] = {}
        self.trouble: Exception | None = None
        self.tries = 0
        self.forgotten: list[datetime] = []
        self.heard = asyncio.Event()

    async def add(self, entries: Sequence[AuditEntry]) -> None:
        self.tries += 1
        self.heard.set()
        if self.trouble is not None:
            raise self.trouble
        self.entries |= {entry.id: entry for entry in entries}

    async def forget(self, before: datetime) -> int:
        self.forgotten.append(before)
        self.heard.set()
        return 0


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def entry(number: int, **fields: Any) -> AuditEntry:
    return AuditEntry.model_validate({"id": f"e{number}", "at": now(), "method": "POST", "status": 202, **fields})


def refusal(number: int, address: str | None = "10.0.0.7", status: int = 401) -> Callable[[], AuditEntry]:
    return lambda: entry(number, address=address, status=status)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def trail_(log: Log, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Trail]:
    for name in ("GATHER_S", "AGAIN_S", "SELDOM_S"):
        monkeypatch.setattr(trail, name, 0.001)
    made = Trail(log, timedelta(days=90), clock)  # type: ignore[arg-type]
    made.start()
    yield made
    await made.close()


async def written(log: Log, number: int) -> None:
    async with asyncio.timeout(10):
        while len(log.entries) < number:
            log.heard.clear()
            await log.heard.wait()
            await asyncio.sleep(0)


async def tried(log: Log, times: int) -> None:
    async with asyncio.timeout(10):
        while log.tries < times:
            log.heard.clear()
            await log.heard.wait()


async def test_what_happens_is_written_a_moment_later(log: Log, trail_: Trail) -> None:
    for number in range(1200):
        trail_.note(entry(number))
    assert log.entries == {}
    await written(log, 1200)
    assert log.tries == 3


async def test_while_the_database_does_not_answer_it_waits(log: Log, trail_: Trail) -> None:
    # Given a database that does not answer
    log.trouble = Unavailable("away")
    trail_.note(entry(1))
    await tried(log, 3)
    # When it does again
    log.trouble = None
    trail_.note(entry(2))
    # Then nothing is lost
    await written(log, 2)


async def test_what_finds_no_room_is_counted_and_stops_nobody(log: Log, trail_: Trail) -> None:
    # Given a database that has not answered for long
    log.trouble = Unavailable("away")
    before = AUDIT_LOST._value.get()
    # When more happens than can wait
    for number in range(MOST_WAITING + 7):
        trail_.note(entry(number))
    # Then the rest is counted
    assert AUDIT_LOST._value.get() - before == 7
    log.trouble = None
    await written(log, MOST_WAITING)


async def test_what_can_never_be_written_is_left(log: Log, trail_: Trail) -> None:
    # Given an entry that breaks the statement
    log.trouble = ValueError("no such column")
    trail_.note(entry(1))
    await tried(log, 1)
    # When another comes
    log.trouble = None
    trail_.note(entry(2))
    # Then it is written
    await written(log, 1)
    assert list(log.entries) == ["e2"]


async def test_refusals_that_are_alike_are_written_once_and_then_counted(log: Log, clock: Clock, trail_: Trail) -> None:
    # Given somebody who is refused a thousand times in a minute, and others who are refused too
    for number in range(1000):
        trail_.refused("10.0.0.7", None, 401, refusal(number))
    trail_.refused("10.0.0.8", None, 401, refusal(5001, "10.0.0.8"))
    trail_.refused("10.0.0.7", None, 429, refusal(5002, status=429))
    trail_.refused("10.0.0.7", "ci", 401, refusal(5003))
    # Then the first of each kind is there at once
    await written(log, 4)
    assert set(log.entries) == {"e0", "e5001", "e5002", "e5003"}
    # When the minute is over
    clock.at += 61
    trail_.refused("10.0.0.7", None, 401, refusal(6000))
    # Then the others are there as their number, and a new minute has begun
    await written(log, 6)
    assert (log.entries["e0-more"].count, log.entries["e0-more"].address) == (999, "10.0.0.7")
    assert log.entries["e6000"].count == 1


async def test_an_attacker_with_many_addresses_fills_no_disk(log: Log, trail_: Trail) -> None:
    # Given refusals from a hundred thousand addresses
    for number in range(100_000):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        trail_.refused(address, None, 401, refusal(number, address))
    # When all is written
    await trail_.close()
    # Then they are a few rows, and all are counted
    assert len(log.entries) <= 2 * MOST_KINDS + 2
    assert sum(each.count for each in log.entries.values()) == 100_000
    rest = [each for each in log.entries.values() if each.address is None]
    assert sum(each.count for each in rest) == 100_000 - MOST_KINDS


async def test_at_the_end_all_is_written(log: Log, trail_: Trail) -> None:
    trail_.note(entry(1))
    trail_.refused("10.0.0.7", None, 401, refusal(2))
    trail_.refused("10.0.0.7", None, 401, refusal(3))
    await trail_.close()
    assert set(log.entries) == {"e1", "e2", "e2-more"}


async def test_at_the_end_a_database_that_does_not_answer_is_not_waited_for(
    log: Log, trail_: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "END_S", 0.05)
    log.trouble = Unavailable("away")
    trail_.note(entry(1))
    async with asyncio.timeout(5):
        await trail_.close()
    assert log.entries == {}


async def test_what_is_too_old_is_forgotten(log: Log, trail_: Trail) -> None:
    async with asyncio.timeout(5):
        while not log.forgotten:
            log.heard.clear()
            await log.heard.wait()
    assert abs(now() - timedelta(days=90) - log.forgotten[0]) < timedelta(minutes=1)

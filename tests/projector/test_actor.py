"""The projector on a real server: calls that belong to no task come into the ledger."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.client import Bus
from bus.journal import Entry, Journal, key_of
from bus.streams import DEAD
from schemas.completion import Embed
from schemas.message import now
from schemas.receipt import Call
from schemas.settings import Settings
from storage import CallLedger, Database
from tests.serve.gateway import ledger_is_up_to_date, projector

CALL = Call(step="s", agent="embeddings", service="small", model="m", prompt_tokens=7, cost_usd=0.25)


@pytest.fixture
async def ledger(bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CallLedger]:
    """What a projector that runs keeps."""
    home = tmp_path / "projector-home"
    home.mkdir()
    settings = Settings(home=home, database_url=None, config=None)
    async with projector(bus, settings, monkeypatch):
        database = Database(settings.sql_url)
        yield CallLedger(database)
        await database.close()


async def test_calls_of_no_task_are_entered_once_and_those_of_tasks_come_with_its_end(
    bus: Bus, ledger: CallLedger
) -> None:
    # Given a call of no task that begins and ends, and one of a task
    journal, ask = Journal(bus), Embed(texts=("red",))
    begun = Entry(state="begun", gateway="a", began_at=now(), open=(CALL,))
    ended = Entry(state="ended", gateway="a", began_at=now(), calls=(CALL,))
    place = await journal.write(key_of(ask), begun, 0)
    await journal.write(key_of(ask), ended, place)
    await journal.write(key_of(Embed(texts=("red",), task_id="t1")), ended, 0)
    # When the projector has taken what there is
    await ledger_is_up_to_date(bus)
    # Then the one is in the ledger
    found = await ledger.costs("default", "service")
    assert [(row.key, row.calls, row.spent_usd) for row in found.rows] == [("small", 1, 0.25)]


async def test_what_is_no_entry_is_kept_with_the_reason_and_stops_nobody(bus: Bus, ledger: CallLedger) -> None:
    await bus.js.publish(str(key_of(Embed(texts=("red",)))), b"nonsense")
    ended = Entry(state="ended", gateway="a", began_at=now(), calls=(CALL,))
    await Journal(bus).write(key_of(Embed(texts=("blue",))), ended, 0)
    await ledger_is_up_to_date(bus)
    assert (await ledger.costs("default", "day")).calls == 1
    assert (await bus.js.stream_info(DEAD)).state.messages == 1

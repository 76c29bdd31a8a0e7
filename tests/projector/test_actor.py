"""The projector on a real server: calls that belong to no task come into the ledger."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors.projector.actor import ProjectorActor
from bus.client import Bus
from bus.journal import Entry, Journal, key_of
from bus.streams import DEAD, LEDGER
from schemas.completion import Embed
from schemas.costs import Costs
from schemas.message import now
from schemas.receipt import Call
from schemas.settings import Settings

LONG_S = 30.0
CALL = Call(step="s", agent="embeddings", service="small", model="m", prompt_tokens=7, cost_usd=0.25)


class Projector(ProjectorActor):
    """The actor on a connection that is there already."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus, self.settings = bus, settings
        self.background: set[asyncio.Task[Any]] = set()

    async def costs(self) -> Costs:
        return await self._ledger.costs("default", "service")


@pytest.fixture
async def projector(bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Projector]:
    monkeypatch.setattr(os, "nice", lambda _: 0)  # the test itself keeps its place
    home = tmp_path / "projector-home"
    home.mkdir()
    projector = Projector(bus, Settings(home=home, database_url=None, config=None))
    await projector.begin()
    yield projector
    await projector.end(grace_s=1)
    for task in list(projector.background):
        task.cancel()


async def all_taken(bus: Bus) -> None:
    async with asyncio.timeout(LONG_S):
        while True:
            info = await bus.js.consumer_info(LEDGER.stream, LEDGER.name)
            if info.delivered.consumer_seq and not info.num_pending and not info.num_ack_pending:
                return


async def test_calls_of_no_task_are_entered_once_and_those_of_tasks_come_with_its_end(
    bus: Bus, projector: Projector
) -> None:
    # Given a call of no task that begins and ends, and one of a task
    journal, ask = Journal(bus), Embed(texts=("red",))
    begun = Entry(state="begun", gateway="a", began_at=now(), open=(CALL,))
    ended = Entry(state="ended", gateway="a", began_at=now(), calls=(CALL,))
    place = await journal.write(key_of(ask), begun, 0)
    await journal.write(key_of(ask), ended, place)
    await journal.write(key_of(Embed(texts=("red",), task_id="t1")), ended, 0)
    # When the projector has taken what there is
    await all_taken(bus)
    # Then the one is in the ledger
    found = await projector.costs()
    assert [(row.key, row.calls, row.spent_usd) for row in found.rows] == [("small", 1, 0.25)]


async def test_what_is_no_entry_is_kept_with_the_reason_and_stops_nobody(bus: Bus, projector: Projector) -> None:
    await bus.js.publish(str(key_of(Embed(texts=("red",)))), b"nonsense")
    ended = Entry(state="ended", gateway="a", began_at=now(), calls=(CALL,))
    await Journal(bus).write(key_of(Embed(texts=("blue",))), ended, 0)
    await all_taken(bus)
    assert (await projector.costs()).calls == 1
    assert (await bus.js.stream_info(DEAD)).state.messages == 1

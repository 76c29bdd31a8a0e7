"""What a call holds is settled or given back however it ends: cancelled, taken over, overtaken, never recorded."""

import asyncio
from pathlib import Path

import pytest

from actors.gateway.scopes import nano
from bus.journal import Entry, Spent
from bus.subjects import CallJournal
from schemas.budget import IN_DOUBT, Budget, Budgets
from schemas.completion import Completion
from schemas.errors import BusUnavailable
from tests.gateway.acts import Stage, answers, ended, entry_of, fails, hangs, most, the_one, used
from tests.gateway.doubles import LONG_S, Bench, Script, ask, catalogue_of, refused, served

DAY = Budgets(day=Budget(usd=1))


def kept(folder: Path, budgets: Budgets = DAY, name: str = "gateway-a", like: Bench | None = None) -> Bench:
    """A gateway with budgets; with `like`, beside another one."""
    journal, shelf = (like.journal, like.shelf) if like else (None, None)
    return Bench(catalogue_of(folder), journal, name, shelf, budgets)


# -- cancelled -----------------------------------------------------------------------------------------------------


async def _cancelled(asked: "asyncio.Task[Completion]", bench: Bench) -> None:
    asked.cancel()
    await asyncio.wait({asked}, timeout=LONG_S)
    assert asked.done()
    await bench.recorded()


async def test_a_call_cancelled_before_it_left_gives_everything_back(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Script(served()))
    # Given a journal that has stored the intention and not yet said so
    bench.journal.acknowledge.clear()
    asked = asyncio.create_task(bench.gateway.complete(ask()))
    await bench.journal.stored.wait()
    asked.cancel()
    await asyncio.sleep(0)
    bench.journal.acknowledge.set()
    await _cancelled(asked, bench)
    # Then nothing is held, and no provider was called
    assert (used(bench.shelf), bench.shelf.records) == (0, {})
    assert bench.scripts["cheap"].attempts == []
    assert list(entry_of(bench, ask()).held.values()) == [Spent(cost_usd=0.0, tokens=0)]


async def test_a_call_cancelled_in_flight_is_charged_and_nothing_stays_open(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Stage(hangs()))
    asked = asyncio.create_task(bench.gateway.complete(ask()))
    await bench.scripts["cheap"].started.wait()
    await _cancelled(asked, bench)
    entry = entry_of(bench, ask())
    (call,) = entry.calls
    assert (call.outcome, call.cost_usd, entry.open) == ("cancelled", most(bench, ask()), ())
    assert used(bench.shelf) == nano(most(bench, ask()))
    assert bench.shelf.records == {}


async def test_whoever_asks_while_an_aborted_call_is_being_ended_gets_an_answer(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Stage(hangs(), answers()))
    asked = asyncio.create_task(bench.gateway.complete(ask()))
    await bench.scripts["cheap"].started.wait()
    # Given a call that nobody waits for, whose end is being recorded
    bench.journal.stored.clear()
    bench.journal.acknowledge.clear()
    asked.cancel()
    await bench.journal.stored.wait()
    # When somebody asks the same
    again = asyncio.create_task(bench.gateway.complete(ask()))
    await asyncio.sleep(0)
    bench.journal.acknowledge.set()
    # Then it is asked anew
    completion = await asyncio.wait_for(again, LONG_S)
    assert [call.outcome for call in completion.calls] == ["cancelled", "answered"]
    await _cancelled(asked, bench)


async def test_a_cancellation_while_a_failure_is_recorded_loses_neither_record_nor_money(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Stage(fails(refused("HTTP 503", again=True, retry_after_s=60.0))))
    failed = asyncio.Event()

    async def hold(key: CallJournal, entry: Entry) -> None:
        if entry.state == "begun" and not entry.open:
            bench.journal.acknowledge.clear()
            failed.set()

    bench.journal.before_write = hold
    asked = asyncio.create_task(bench.gateway.complete(ask()))
    await failed.wait()
    await asyncio.sleep(0)
    # When it is cancelled before the record of its failure is acknowledged
    asked.cancel()
    await asyncio.sleep(0)
    bench.journal.acknowledge.set()
    await _cancelled(asked, bench)
    # Then its end is on record, and what was held is given back
    entry = entry_of(bench, ask())
    assert (entry.state, entry.calls) == ("ended", ())
    assert (used(bench.shelf), bench.shelf.records) == (0, {})


# -- taken over, and not recorded ----------------------------------------------------------------------------------


async def test_whoever_takes_over_keeps_what_the_dead_gateways_attempts_hold(tmp_path: Path) -> None:
    # Given a gateway that died in the middle of a call
    dead = kept(tmp_path).plays(cheap=Script())
    asked = asyncio.create_task(dead.gateway.complete(ask()))
    await dead.scripts["cheap"].started.wait()
    reservation = the_one(dead.shelf)
    # When another one is asked the same
    heir = kept(tmp_path, name="gateway-b", like=dead).plays(cheap=Script(served()))
    completion = await ended(heir, ask())
    # Then both attempts are charged, and anybody can tell what either came to
    assert [call.outcome for call in completion.calls] == ["in_doubt", "answered"]
    assert entry_of(heir, ask()).held[reservation.id] is None
    assert await heir.gateway.outcome_of(reservation) == IN_DOUBT
    await heir.purse.sweep(_nobody_lives, heir.gateway.outcome_of)
    assert used(heir.shelf) == nano(most(heir, ask())) + nano(200e-6)
    assert heir.shelf.records == {}
    asked.cancel()
    await asyncio.wait({asked}, timeout=LONG_S)


async def _nobody_lives(_: str) -> bool:
    return False


async def test_an_answer_that_was_overtaken_leaves_nothing_open(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Script(served()))

    async def overtake(key: CallJournal, entry: Entry) -> None:
        if entry.state == "ended":
            bench.journal.before_write = None
            began = bench.journal.entry(key)
            bench.journal.put(key, began.model_copy(update={"gateway": "gateway-b"}), bench.journal.seq(key))

    # Given a gateway that is taken for dead while it calls
    bench.journal.before_write = overtake
    await ended(bench, ask())
    # Then what it held is settled as the other one's journal says: in doubt
    assert bench.shelf.records == {}
    assert used(bench.shelf) == nano(most(bench, ask()))


async def test_an_answer_that_the_journal_never_took_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.gateway.account.PATIENCE_S", 0.0)
    bench = kept(tmp_path).plays(cheap=Script(served()))

    async def lost(key: CallJournal, entry: Entry) -> None:
        if entry.state == "ended":
            raise BusUnavailable("away")

    bench.journal.before_write = lost
    assert (await ended(bench, ask())).text == "An answer."
    assert bench.shelf.records == {}
    assert used(bench.shelf) == nano(most(bench, ask()))


async def test_a_call_that_could_not_be_recorded_is_not_made_and_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.gateway.account.PATIENCE_S", 0.0)
    bench = kept(tmp_path).plays(cheap=Script(served()))

    async def lost(key: CallJournal, entry: Entry) -> None:
        raise BusUnavailable("away")

    bench.journal.before_write = lost
    with pytest.raises(BusUnavailable):
        await bench.gateway.complete(ask())
    await bench.recorded()
    assert bench.scripts["cheap"].attempts == []
    assert (used(bench.shelf), bench.shelf.records) == (0, {})


async def test_a_provider_that_breaks_a_promise_leaves_nothing_open(tmp_path: Path) -> None:
    async def breaks(attempt: object, heard: object) -> object:
        raise KeyError("choices")

    bench = kept(tmp_path).plays(cheap=Stage(breaks))  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        await bench.gateway.complete(ask())
    await bench.recorded()
    assert bench.shelf.records == {}
    assert used(bench.shelf) == nano(most(bench, ask()))

"""The purse when things go wrong: what is lost, cancelled, dead or all at once is settled once, and nothing leaks."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.gateway.scopes import NANO
from bus.streams import PURSE_REPEAT_S
from schemas.budget import IN_DOUBT, NEVER_BEGAN, Budget, BudgetRefused, Budgets, Outcome, Reservation
from schemas.completion import Complete
from schemas.errors import BusUnavailable
from tests.broker import until
from tests.gateway.doubles import ask
from tests.gateway.purses import DAY, FOUR, bench_of, everybody_is_dead, peaks, reserve, said_by, stands

# -- what goes wrong -----------------------------------------------------------------------------------------------


def failing(*operations: str) -> Callable[[str], str]:
    """Fails as told, `operation:before` or `operation:after`, in this order and then no more."""
    left = list(operations)

    def fails(operation: str) -> str:
        if left and left[0].startswith(operation + ":"):
            return left.pop(0).partition(":")[2]
        return ""

    return fails


@pytest.mark.parametrize("lost", ["open:before", "open:after", "add:before", "add:after"])
async def test_without_the_bus_nothing_is_granted_and_nothing_leaks(lost: str) -> None:
    # Given a bus that fails while a call is reserved, and once more while that is given back
    bench = bench_of(FOUR)
    store = bench.store()
    store.fails = failing(lost, "add:before" if lost.startswith("add") else "close:before")
    purse = bench.purse(store=store)
    # When it is asked for
    with pytest.raises(BusUnavailable):
        await reserve(purse, key="ci")
    await purse.drain()
    assert bench.shelf.records or lost == "open:before"
    # Then the next sweep gives back what was taken
    await purse.sweep(everybody_is_dead, said_by({}))
    await purse.drain()
    assert (stands(bench.shelf), bench.shelf.records) == ({}, {})


@pytest.mark.parametrize("lost", ["add:before", "add:after", "close:before", "close:after"])
async def test_a_settlement_that_the_bus_did_not_take_is_made_later(lost: str) -> None:
    bench = bench_of(FOUR)
    store = bench.store()
    purse = bench.purse(store=store)
    reservation = await reserve(purse, 0.5, key="ci")
    store.fails = failing(lost)
    await purse.settle(reservation, 0.2, 10)
    await purse.drain()
    await purse.sweep(everybody_is_dead, said_by({}))
    await purse.drain()
    assert set(stands(bench.shelf).values()) == {NANO // 5}
    assert bench.shelf.records == {}


async def test_a_settlement_after_a_long_outage_counts_once() -> None:
    """The broker took it, nobody heard of that, and by the next try the broker has forgotten its name."""
    bench = bench_of(Budgets(day=Budget(usd=1)))
    store = bench.store()
    purse = bench.purse(store=store)
    reservation = await reserve(purse, 0.5)
    store.fails = failing("add:after")
    await purse.settle(reservation, 0.2, 10)
    bench.clock.at += timedelta(seconds=PURSE_REPEAT_S)
    bench.shelf.forget()
    await purse.sweep(everybody_is_dead, said_by({}))
    await purse.drain()
    assert (stands(bench.shelf), bench.shelf.records) == ({f"{DAY}.usd": NANO // 5}, {})


@pytest.mark.parametrize("after", range(24))
async def test_a_cancelled_reservation_leaves_nothing(after: int) -> None:
    # Given a call that is being reserved
    bench = bench_of(FOUR)
    purse = bench.purse()
    work = asyncio.create_task(reserve(purse, key="ci", max_cost_usd=1))
    # When it is cancelled at any instant
    for _ in range(after):
        await asyncio.sleep(0)
    assert work.cancel() or not work.cancelled()
    if not work.done() or work.cancelled():
        with pytest.raises(asyncio.CancelledError):
            await work
        await purse.drain()
        # Then nothing is held
        assert (stands(bench.shelf), bench.shelf.records) == ({}, {})


async def test_a_cancelled_settlement_goes_on() -> None:
    bench = bench_of(Budgets(day=Budget(usd=1)))
    purse = bench.purse()
    work = asyncio.create_task(purse.settle(await reserve(purse, 0.5), 0.2, 10))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await purse.drain()
    assert (stands(bench.shelf), bench.shelf.records) == ({f"{DAY}.usd": NANO // 5}, {})


# -- what the dead leave behind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (NEVER_BEGAN, 0),
        (IN_DOUBT, 5 * NANO // 10),
        (Outcome(began=True, cost_usd=0.2, tokens=5), 2 * NANO // 10),
        (Outcome(began=True, cost_usd=0.7, tokens=5), 7 * NANO // 10),
    ],
)
async def test_a_dead_gateways_reservation_is_settled_by_what_the_journal_says(
    outcome: Outcome, counted: int, old: bool
) -> None:
    # Given a gateway that died with a reservation, a moment or a night ago
    bench = bench_of(FOUR)
    reservation = await reserve(bench.purse("dead"), 0.5)
    if old:
        bench.clock.at += timedelta(hours=9)
        bench.shelf.forget()
    # When others sweep, at once and again
    heirs = [bench.purse("b"), bench.purse("c")]
    for _ in range(2):
        await asyncio.gather(*(heir.sweep(everybody_is_dead, said_by({reservation.id: outcome})) for heir in heirs))
    # Then it counts once, as it should
    assert set(stands(bench.shelf).values()) == ({counted} if counted else set())
    assert bench.shelf.records == {}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("died_after", range(1, 6))
async def test_a_gateway_that_died_in_the_midst_of_reserving_leaves_nothing(died_after: int, old: bool) -> None:
    bench = bench_of(FOUR)
    store = bench.store()

    def dies(_: str) -> str:
        store.dead = store.traffic >= died_after
        return ""

    store.fails = dies
    dead = bench.purse("dead", store)
    work = asyncio.create_task(reserve(dead, key="ci", max_cost_usd=1))
    await until(lambda: store.dead)
    if old:
        bench.clock.at += timedelta(hours=9)
        bench.shelf.forget()
    await bench.purse("b").sweep(everybody_is_dead, said_by({}))
    assert (stands(bench.shelf), bench.shelf.records) == ({}, {})
    await store.bury(dead)
    with pytest.raises(BusUnavailable):
        await work


async def test_the_reservations_of_the_living_are_left_alone() -> None:
    bench = bench_of(Budgets(day=Budget(usd=1)))
    asked: list[str] = []

    async def lives(instance: str) -> bool:
        asked.append(instance)
        return True

    await reserve(bench.purse("a"))
    await reserve(bench.purse("a"))
    assert await bench.purse("b").sweep(lives, said_by({})) == ()
    assert await bench.purse("a").sweep(everybody_is_dead, said_by({})) == ()
    assert (asked, len(bench.shelf.records)) == (["a"], 2)


async def test_a_reservation_whose_outcome_is_not_to_be_had_yet_waits() -> None:
    bench = bench_of(Budgets(day=Budget(usd=1)))
    await reserve(bench.purse("dead"))

    async def unknown(_: Reservation) -> Outcome:
        raise BusUnavailable("the journal does not answer")

    assert await bench.purse("b").sweep(everybody_is_dead, unknown) == ()
    assert len(bench.shelf.records) == 1


async def test_a_gateway_that_was_taken_for_dead_is_granted_nothing() -> None:
    # Given a gateway that stands still in the midst of reserving
    bench = bench_of(FOUR)
    store = bench.store()
    purse = bench.purse("slow", store)
    go_on = asyncio.Event()
    add = store.add

    async def slow(*args: Any) -> Any:
        await go_on.wait()
        return await add(*args)

    store.add = slow  # type: ignore[assignment, method-assign]
    work = asyncio.create_task(reserve(purse))
    await until(lambda: bool(bench.shelf.records))
    # When another one has settled for it
    await bench.purse("b").sweep(everybody_is_dead, said_by({}))
    go_on.set()
    # Then it is not granted what is no longer held
    with pytest.raises(BusUnavailable, match="taken for dead"):
        await work
    await purse.drain()
    assert (stands(bench.shelf), bench.shelf.records) == ({}, {})


@pytest.mark.parametrize("believed", [NEVER_BEGAN, IN_DOUBT])
async def test_what_a_gateway_taken_for_dead_has_spent_counts_all_the_same(believed: Outcome) -> None:
    bench = bench_of(Budgets(day=Budget(usd=1)))
    purse = bench.purse("slow")
    reservation = await reserve(purse, 0.5)
    await bench.purse("b").sweep(everybody_is_dead, said_by({reservation.id: believed}))
    await purse.settle(reservation, 0.2, 10)
    await purse.drain()
    assert (stands(bench.shelf), bench.shelf.records) == ({f"{DAY}.usd": NANO // 5}, {})


# -- everything at once --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """A call, and what becomes of it."""

    tokens: int
    actual: int | None
    key: str | None
    tree: int
    gateway: int
    cancelled_after: int | None


wishes = st.lists(
    st.builds(
        Wish,
        tokens=st.integers(1, 40),
        actual=st.none() | st.integers(0, 40),
        key=st.sampled_from([None, "ci"]),
        tree=st.integers(0, 1),
        gateway=st.integers(0, 1),
        cancelled_after=st.none() | st.none() | st.integers(0, 60),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(wishes=wishes, seed=st.integers(0, 2**16), trouble=st.sampled_from([0, 0, 0.05, 0.3]), dies=st.booleans())
async def test_no_limit_is_ever_exceeded_and_everything_is_counted_once(
    wishes: list[Wish], seed: int, trouble: float, dies: bool
) -> None:
    # Given two gateways on a bus that loses things, one of which may die half way
    limits = {"day": 100, "service": 90, "key": 60, "tree": 80}
    bench = bench_of(
        Budgets(
            day=Budget(tokens=limits["day"]),
            services={"cheap": Budget(tokens=limits["service"])},
            keys={"ci": Budget(tokens=limits["key"])},
        )
    )
    chance = random.Random(seed)
    stores = [bench.store(chance.randrange(2**16)) for _ in range(2)]
    for store in stores:
        store.fails = lambda _: chance.choice(["before", "after"]) if chance.random() < trouble else ""
    purses = [bench.purse(f"gateway-{n}", store) for n, store in enumerate(stores)]
    journal: dict[str, Outcome] = {}
    granted: dict[str, Reservation] = {}

    async def call(wish: Wish) -> None:
        purse, store = purses[wish.gateway], stores[wish.gateway]
        asked: Complete = ask(task_id=f"t{wish.tree}", key=wish.key, max_total_tokens=limits["tree"])
        try:
            reservation = await purse.reserve(asked, "cheap", None, wish.tokens, "key", 1)
        except (BudgetRefused, BusUnavailable):
            return
        granted[reservation.id] = reservation
        journal[reservation.id] = IN_DOUBT
        spent = None
        try:
            for _ in range(chance.randrange(20)):
                await asyncio.sleep(0)
            spent = None if wish.actual is None else min(wish.actual, wish.tokens)
        finally:
            if not store.dead:
                journal[reservation.id] = Outcome(began=True, tokens=spent)
                await purse.settle(reservation, None, spent)

    calls = [asyncio.create_task(call(wish)) for wish in wishes]
    # When calls come all at once, and some are cancelled
    for step in range(61):
        for wish, work in zip(wishes, calls, strict=True):
            if wish.cancelled_after == step:
                work.cancel()
        if dies and step == 30:
            stores[1].dead = True
        await asyncio.sleep(0)
    living = [w for wish, w in zip(wishes, calls, strict=True) if not (dies and wish.gateway == 1)]
    await asyncio.gather(*living, return_exceptions=True)
    # Then what is granted never exceeded a limit, at any moment
    for counter, most in peaks(bench.shelf.changes, set(granted)).items():
        assert most <= limits[counter.split(".")[3]]
    # And once the bus is well again and others have swept, each is counted as it was spent, once
    for store in stores:
        store.fails = lambda _: ""
    for purse in purses[: 1 if dies else 2]:
        await purse.drain()

    async def lives(instance: str) -> bool:
        return not dies and instance == "gateway-1"

    for _ in range(2):
        await purses[0].sweep(lives, said_by(journal))
        if not dies:
            await purses[1].sweep(lives, said_by(journal))
        await asyncio.gather(*(p.drain() for p in purses[: 1 if dies else 2]))
    assert bench.shelf.records == {}
    expected: dict[str, int] = {}
    for id_, reservation in granted.items():
        tokens = journal[id_].tokens
        for hold in reservation.holds:
            spent = hold.amount if tokens is None else tokens
            expected[hold.counter] = expected.get(hold.counter, 0) + spent
    assert {c: v for c, v in bench.shelf.counters.items() if v} == {c: v for c, v in expected.items() if v}
    await stores[1].bury(purses[1])
    await asyncio.gather(*calls, return_exceptions=True)

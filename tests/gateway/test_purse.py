"""The purse's trade, on a store in memory: what costs nothing, what is held, what is refused, and with which words."""

from datetime import UTC, datetime
from typing import Any

import pytest

from actors.gateway.scopes import NANO, nano, said
from schemas.budget import Budget, Budgets
from tests.gateway.doubles import ask
from tests.gateway.purses import DAY, FOUR, bench_of, refusal, reserve, stands

# -- what costs nothing --------------------------------------------------------------------------------------------


async def test_without_any_limit_there_is_no_traffic() -> None:
    bench = bench_of(Budgets())
    store = bench.store()
    purse = bench.purse(store=store)
    reservation = await reserve(purse, cost_usd=None)
    await purse.settle(reservation, None, 50)
    await purse.release(await reserve(purse))
    assert await purse.left() == ()
    assert (store.traffic, reservation.holds) == (0, ())


async def test_other_services_and_other_keys_budgets_cost_nothing() -> None:
    store = (bench := bench_of(Budgets(services={"dear": Budget(usd=1)}, keys={"ci": Budget(usd=1)}))).store()
    await reserve(bench.purse(store=store), service="cheap", key="laptop")
    assert store.traffic == 0


async def test_what_is_free_draws_on_no_budget_in_dollars() -> None:
    store = (bench := bench_of(Budgets(day=Budget(usd=0)))).store()
    await reserve(bench.purse(store=store), cost_usd=0.0)
    assert store.traffic == 0


# -- what is held --------------------------------------------------------------------------------------------------


async def test_a_reservation_is_held_in_every_scope_in_one_order() -> None:
    bench = bench_of(FOUR)
    reservation = await reserve(bench.purse(), 0.25, key="ci", max_cost_usd=1, max_total_tokens=500)
    assert [(h.counter.removeprefix("devskyy.v1.purse."), h.amount) for h in reservation.holds] == [
        ("day.2026-03-04.all.usd", NANO // 4),
        ("service.2026-03-04.cheap.usd", NANO // 4),
        ("key.2026-03-04.ci.usd", NANO // 4),
        ("tree.default.t1.usd", NANO // 4),
        ("tree.default.t1.tokens", 100),
    ]
    assert [change.counter for change in bench.shelf.changes] == [hold.counter for hold in reservation.holds]
    assert stands(bench.shelf) == {h.counter.removeprefix("devskyy.v1.purse."): h.amount for h in reservation.holds}


async def test_settling_puts_what_was_spent_in_its_place() -> None:
    bench = bench_of(FOUR)
    purse = bench.purse()
    reservation = await reserve(purse, 0.25, max_total_tokens=500)
    await purse.settle(reservation, 0.1, 40)
    await purse.drain()
    assert stands(bench.shelf) == {
        f"{DAY}.usd": NANO // 10,
        "service.2026-03-04.cheap.usd": NANO // 10,
        "tree.default.t1.tokens": 40,
    }
    assert bench.shelf.records == {}


async def test_what_nobody_knows_stays_as_reserved() -> None:
    bench = bench_of(Budgets(day=Budget(usd=1, tokens=500)))
    purse = bench.purse()
    await purse.settle(await reserve(purse, 0.25), None, None)
    await purse.drain()
    assert stands(bench.shelf) == {f"{DAY}.usd": NANO // 4, f"{DAY}.tokens": 100}
    assert bench.shelf.records == {}


async def test_a_released_reservation_leaves_nothing() -> None:
    bench = bench_of(FOUR)
    purse = bench.purse()
    await purse.release(await reserve(purse, key="ci", max_cost_usd=1))
    await purse.drain()
    assert (stands(bench.shelf), bench.shelf.records) == ({}, {})


async def test_settling_twice_counts_once() -> None:
    bench = bench_of(Budgets(day=Budget(usd=1)))
    purse = bench.purse()
    reservation = await reserve(purse)
    await purse.settle(reservation, 0.05, 10)
    await purse.settle(reservation, 0.05, 10)
    await purse.drain()
    assert stands(bench.shelf) == {f"{DAY}.usd": NANO // 20}


# -- what is refused -----------------------------------------------------------------------------------------------


async def test_what_does_not_fit_is_refused_with_what_was_left() -> None:
    bench = bench_of(Budgets(day=Budget(usd=0.1)))
    purse = bench.purse()
    await reserve(purse, 0.097)
    error = await refusal(purse, 0.012)
    assert str(error) == "may cost $0.012, $0.003 is left of the day's budget"
    assert (error.scope, error.code, error.http_status) == ("day", "budget_refused", 402)


@pytest.mark.parametrize(
    ("budgets", "asked", "scope", "whose"),
    [
        (Budgets(services={"cheap": Budget(usd=0.1)}), {}, "service", "the day's budget of service cheap"),
        (Budgets(keys={"ci": Budget(usd=0.1)}), {"key": "ci"}, "key", "the day's budget of key ci"),
        (Budgets(), {"max_cost_usd": 0.1}, "tree", "the task's budget"),
    ],
)
async def test_a_refusal_names_whose_budget_it_was(
    budgets: Budgets, asked: dict[str, Any], scope: str, whose: str
) -> None:
    error = await refusal(bench_of(budgets).purse(), 0.2, **asked)
    assert (error.scope, str(error)) == (scope, f"may cost $0.2, $0.1 is left of {whose}")


async def test_tokens_are_limited_as_money_is() -> None:
    purse = bench_of(Budgets()).purse()
    await reserve(purse, tokens=1700, max_total_tokens=2000)
    error = await refusal(purse, tokens=1200, max_total_tokens=2000)
    assert str(error) == "may take 1,200 tokens, 300 tokens are left of the task's budget"


@pytest.mark.parametrize(
    ("budgets", "asked", "scope"),
    [
        (Budgets(day=Budget(usd=1)), {}, "day"),
        (Budgets(services={"cheap": Budget(usd=1)}), {}, "service"),
        (Budgets(), {"max_cost_usd": 1.0}, "tree"),
    ],
)
async def test_an_unknown_price_is_refused_under_a_limit_in_dollars(
    budgets: Budgets, asked: dict[str, Any], scope: str
) -> None:
    store = (bench := bench_of(budgets)).store()
    error = await refusal(bench.purse(store=store), None, **asked)
    assert "price is unknown" in str(error)
    assert (error.scope, store.traffic) == (scope, 0)


async def test_an_unknown_price_is_no_matter_where_only_tokens_are_limited() -> None:
    purse = bench_of(Budgets(day=Budget(tokens=1000))).purse()
    assert len((await reserve(purse, None)).holds) == 1


async def test_a_later_scopes_refusal_takes_the_earlier_ones_back() -> None:
    # Given a day with room, and a task with none
    bench = bench_of(FOUR)
    purse = bench.purse()
    # When a call does not fit into the task's budget
    error = await refusal(purse, 0.2, key="ci", max_cost_usd=0.1)
    await purse.drain()
    # Then nothing is held anywhere
    assert error.scope == "tree"
    assert (stands(bench.shelf), bench.shelf.records) == ({}, {})


async def test_an_earlier_scopes_refusal_leaves_the_later_ones_alone() -> None:
    bench = bench_of(Budgets(day=Budget(usd=0.15), keys={"ci": Budget(usd=1)}))
    purse = bench.purse()
    await reserve(purse, 0.1)
    assert (await refusal(purse, 0.1, key="ci")).scope == "day"
    assert not any(".key." in change.counter for change in bench.shelf.changes)


async def test_an_empty_purse_costs_no_writes() -> None:
    # Given a budget that was seen to be spent
    bench = bench_of(Budgets(day=Budget(usd=0.1)))
    purse = bench.purse()
    await reserve(purse, 0.1)
    await refusal(purse, 0.1)
    before = len(bench.shelf.changes)
    # When more is asked for
    for _ in range(5):
        await refusal(purse, 0.1)
    # Then it is looked at, and nothing is written
    assert len(bench.shelf.changes) == before


async def test_an_empty_purse_that_fills_again_pays_again() -> None:
    purse = bench_of(Budgets(day=Budget(usd=0.1))).purse()
    first = await reserve(purse, 0.1)
    await refusal(purse, 0.1)
    await purse.settle(first, 0.0, 0)
    assert (await reserve(purse, 0.1)).holds


async def test_somebody_elses_refusal_does_not_refuse_what_fits() -> None:
    """What is about to be taken back makes the counter look too high; who waits a moment sees that it is not."""
    # Given somebody whose reservation fills the day's budget and is about to be taken back
    bench = bench_of(Budgets(day=Budget(usd=1)))
    counter = f"devskyy.v1.purse.{DAY}.usd"
    await bench.store().add(counter, NANO, "other.0.take")
    store, looks = bench.store(), 0

    def on_the_second_look(operation: str) -> str:
        nonlocal looks
        looks += operation == "values"
        if operation == "values" and looks == 2:
            bench.shelf.counters[counter] -= NANO
        return ""

    store.fails = on_the_second_look
    # When another call is reserved, then it is granted once that has happened
    assert (await reserve(bench.purse(store=store), 0.5)).holds
    assert looks == 2


# -- trees, days, sums ---------------------------------------------------------------------------------------------


async def test_children_draw_on_the_purse_of_their_root() -> None:
    purse = bench_of(Budgets()).purse()
    for child in ("child-1", "child-2", "child-3"):
        await reserve(purse, 0.1, task_id=child, root="root", max_cost_usd=0.3)
    assert (await refusal(purse, 0.1, task_id="root", max_cost_usd=0.3)).scope == "tree"
    assert (await reserve(purse, 0.1, task_id="another", max_cost_usd=0.3)).holds


async def test_trees_of_other_tenants_have_purses_of_their_own() -> None:
    purse = bench_of(Budgets()).purse()
    await reserve(purse, 0.1, max_cost_usd=0.1)
    assert (await reserve(purse, 0.1, max_cost_usd=0.1, tenant="another")).holds


async def test_a_new_day_has_a_new_budget_and_settles_the_old_one_where_it_was_held() -> None:
    # Given a day that is spent, one call of it still under way
    bench = bench_of(Budgets(day=Budget(usd=0.1)))
    purse = bench.purse()
    late = await reserve(purse, 0.1)
    await refusal(purse, 0.1)
    # When it is midnight in UTC
    bench.clock.at = datetime(2026, 3, 5, tzinfo=UTC)
    # Then there is a budget again, and the late call counts to the day that it began in
    await reserve(purse, 0.1)
    await purse.settle(late, 0.07, 10)
    assert stands(bench.shelf) == {f"{DAY}.usd": 7 * NANO // 100, "day.2026-03-05.all.usd": NANO // 10}


async def test_an_overrun_is_recorded_as_it_is() -> None:
    bench = bench_of(Budgets(day=Budget(usd=0.1)))
    purse = bench.purse()
    await purse.settle(await reserve(purse, 0.1), 0.35, 100)
    assert stands(bench.shelf) == {f"{DAY}.usd": 35 * NANO // 100}
    assert "$0 is left" in str(await refusal(purse, 0.01))


async def test_what_is_left_is_told_for_every_limit() -> None:
    bench = bench_of(Budgets(day=Budget(usd=1, tokens=1000), services={"cheap": Budget(usd=0.5)}))
    purse = bench.purse()
    await reserve(purse, 0.25)
    found = {(x.scope, x.name, x.unit): x.left for x in await purse.left(ask(max_cost_usd=0.1))}
    assert found == {
        ("day", "2026-03-04", "usd"): 3 * NANO // 4,
        ("day", "2026-03-04", "tokens"): 900,
        ("service", "cheap", "usd"): NANO // 4,
        ("tree", "t1", "usd"): NANO // 10,
    }


def test_money_is_counted_exactly() -> None:
    assert nano(0.1) * 100 == 10 * NANO
    assert nano(0.1 + 0.2) == 3 * NANO // 10
    assert nano(1e-10) == 1
    assert nano(0.0000000011) == 2
    assert nano(0) == 0


async def test_a_budget_for_ten_pays_for_ten() -> None:
    purse = bench_of(Budgets(day=Budget(usd=1))).purse()
    for _ in range(10):
        await reserve(purse, 0.1)
    await refusal(purse, 1e-9)


def test_amounts_are_said_as_people_say_them() -> None:
    told = [said("usd", nano(usd)) for usd in (0.012, 20, 0, 1e-9)] + [said("tokens", n) for n in (1, 1200)]
    assert told == ["$0.012", "$20", "$0", "$0.000000001", "1 token", "1,200 tokens"]

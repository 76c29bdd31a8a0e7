"""The budget that is stored with an API key: it travels with the question, and holds beside the overlay's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.budget import Budget, Budgets, Left
from tests.gateway.purses import bench_of, refusal, reserve, stands

NONE = Budgets()

budgets = (
    st.none()
    | st.builds(Budget, usd=st.floats(0, 1e9), tokens=st.none() | st.integers(0, 10**12))
    | st.builds(Budget, tokens=st.integers(0, 10**12))
)


async def test_a_stored_budget_limits_as_the_overlays_does() -> None:
    # Given a key with a budget of its own, and an overlay without any
    bench = bench_of(NONE)
    purse, own = bench.purse(), Budget(usd=0.1)
    await reserve(purse, 0.097, key="ci-1", key_budget=own)
    # When a call asks for more than is left of it
    error = await refusal(purse, 0.012, key="ci-1", key_budget=own)
    # Then it is refused with what was left, and only the call before is counted
    assert str(error) == "may cost $0.012, $0.003 is left of the day's budget of key ci-1"
    assert stands(bench.shelf) == {"key.2026-03-04.ci-1.usd": 97_000_000}


@pytest.mark.parametrize(
    ("overlay", "stored", "left"),
    [
        (Budget(usd=0.5), Budget(usd=0.1), "$0.1 is left"),
        (Budget(usd=0.1), Budget(usd=0.5), "$0.1 is left"),
        (Budget(tokens=10), Budget(usd=9), "10 tokens are left"),
        (Budget(usd=0.1), None, "$0.1 is left"),
    ],
    ids=["the stored is stricter", "the overlay's is stricter", "each of its own unit", "only the overlay's"],
)
async def test_of_two_budgets_the_stricter_holds(overlay: Budget, stored: Budget | None, left: str) -> None:
    # Given a budget of a key in the overlay, and one that is stored with it
    purse = bench_of(Budgets(keys={"ci-1": overlay})).purse()
    # When a call fits under the laxer one alone, Then it is refused
    assert left in str(await refusal(purse, 0.3, key="ci-1", key_budget=stored))


async def test_a_budget_without_its_keys_id_limits_nothing() -> None:
    store = (bench := bench_of(NONE)).store()
    await reserve(bench.purse(store=store), 5.0, key_budget=Budget(usd=1))
    assert store.traffic == 0


async def test_what_is_left_of_stored_budgets_is_told_beside_the_others() -> None:
    # Given a budget of the overlay, two that are stored, and a call of one of the keys
    purse = bench_of(Budgets(keys={"ci-1": Budget(usd=0.5)})).purse()
    stored = {"ci-1": Budget(usd=1, tokens=500), "shop-2": Budget(tokens=7)}
    await reserve(purse, 0.2, key="ci-1", key_budget=stored["ci-1"])
    # When what is left is asked for
    found = {(each.name, each.unit): each for each in await purse.left(keys=stored)}
    # Then every limit is there once, the stricter of two

    def left(name: str, unit: Any, limit: int, used: int) -> Left:
        return Left(scope="key", name=name, unit=unit, limit=limit, used=used)

    assert found == {
        ("ci-1", "usd"): left("ci-1", "usd", 500_000_000, 200_000_000),
        ("ci-1", "tokens"): left("ci-1", "tokens", 500, 100),
        ("shop-2", "tokens"): left("shop-2", "tokens", 7, 0),
    }


@given(st.lists(budgets, max_size=4))
def test_the_stricter_of_any_keeps_to_all_of_them(several: list[Budget | None]) -> None:
    found = Budget.stricter(*several)
    stated = [each for each in several if each is not None]
    for unit in ("usd", "tokens"):
        limits = [limit for each in stated if (limit := getattr(each, unit)) is not None]
        assert (None if found is None else getattr(found, unit)) == min(limits, default=None)

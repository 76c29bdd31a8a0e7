"""Vectors under the same limits and budgets as every other call: one service, one try, an honest account."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.catalogue import tokens
from actors.gateway.embedding import Embedding
from actors.gateway.limits import AtLimit
from actors.gateway.providers import EmbedAttempt, Embedded
from actors.gateway.scopes import nano
from schemas.budget import IN_DOUBT, Budget, BudgetRefused, Budgets
from schemas.completion import Embed
from schemas.errors import NoService, UpstreamError
from tests.gateway.acts import catalogue_with, used
from tests.gateway.doubles import LONG_S, Bench, Script, broken, refused

DAY = Budgets(day=Budget(usd=1))
TEXTS = ("red", "blue")
MOST = tokens.most_tokens(len("".join(TEXTS)), len(TEXTS))
"""Tokens; at a dollar for a million of them, also millionths of a dollar."""
VECTORS = ((0.6, 0.8), (1.0, 0.0))


class Vectors(Script):
    """Gives the same two vectors, an error, or nothing until it is cancelled."""

    def __init__(self, prompt_tokens: int | None = 3, error: UpstreamError | None = None, hangs: bool = False) -> None:
        super().__init__()
        self.prompt_tokens, self.error, self.hangs = prompt_tokens, error, hangs
        self.asked: list[EmbedAttempt] = []

    async def embed(self, attempt: EmbedAttempt) -> Embedded:
        self.asked.append(attempt)
        self.started.set()
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return Embedded(VECTORS, "", self.prompt_tokens)


def bench_of(folder: Path, script: Script, budgets: Budgets = DAY, **changed: Any) -> Bench:
    services = {name: {"kind": "embeddings", **changed} for name in ("cheap", "free", "unpriced")}
    return Bench(catalogue_with(folder, **services), budgets=budgets).plays(cheap=script, free=script, unpriced=script)


def embed(service: str = "cheap", **changed: Any) -> Embed:
    return Embed(service=service, texts=TEXTS, **changed)


# -- answered ------------------------------------------------------------------------------------------------------


async def test_vectors_come_with_what_they_cost(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors())
    answer = await Embedding(bench.surroundings).embed(embed())
    assert (answer.vectors, answer.dimensions, answer.model) == (VECTORS, 2, "cheap-1")
    call = answer.call
    assert call is not None
    assert (call.service, call.region, call.outcome, call.overrun) == ("cheap", "eu", "answered", False)
    assert (call.prompt_tokens, call.completion_tokens) == (3, 0)
    assert (call.cost_usd, call.cost_unknown_reason) == (pytest.approx(3e-6), None)
    assert used(bench.shelf) == nano(3e-6)
    await bench.recorded()
    assert bench.shelf.records == {}


async def test_while_vectors_are_made_the_most_that_they_can_cost_is_held(tmp_path: Path) -> None:
    script = Vectors(hangs=True)
    bench = bench_of(tmp_path, script)
    asked = asyncio.create_task(Embedding(bench.surroundings).embed(embed()))
    await script.started.wait()
    assert used(bench.shelf) == nano(MOST / 1e6)
    # And should this gateway die, another one leaves it there: the journal knows no vectors
    (reservation,) = bench.shelf.records.values()
    assert await bench.gateway.outcome_of(reservation) == IN_DOUBT
    # When they are not wanted any more
    asked.cancel()
    await asyncio.wait({asked}, timeout=LONG_S)
    await bench.recorded()
    # Then they stay charged at that, for nobody can know
    assert used(bench.shelf) == nano(MOST / 1e6)
    assert bench.shelf.records == {}


async def test_without_usage_the_cost_is_unknown_and_says_why(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(prompt_tokens=None))
    call = (await Embedding(bench.surroundings).embed(embed())).call
    assert call is not None
    assert (call.cost_usd, call.prompt_tokens) == (None, None)
    assert call.cost_unknown_reason == "the provider reported no usage"
    assert used(bench.shelf) == nano(MOST / 1e6)


async def test_what_is_free_costs_nothing_even_without_usage(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(prompt_tokens=None))
    call = (await Embedding(bench.surroundings).embed(embed("free"))).call
    assert call is not None
    assert (call.cost_usd, call.cost_unknown_reason) == (0.0, None)


async def test_without_a_price_the_cost_is_unknown_and_says_why(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(), Budgets())
    call = (await Embedding(bench.surroundings).embed(embed("unpriced"))).call
    assert call is not None
    assert (call.cost_usd, call.prompt_tokens) == (None, 3)
    assert "no price is stated" in (call.cost_unknown_reason or "")


async def test_vectors_that_took_more_than_they_could_are_flagged_and_counted(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(prompt_tokens=MOST + 1))
    call = (await Embedding(bench.surroundings).embed(embed())).call
    assert call is not None
    assert call.overrun
    assert used(bench.shelf) == nano((MOST + 1) / 1e6)


# -- refused and failed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "reason"),
    [("nobody", "unknown service"), ("dear", "serves chat, not embeddings"), ("locked", "no key: set LOCKED_KEY")],
)
async def test_a_service_that_makes_no_vectors_says_why(tmp_path: Path, service: str, reason: str) -> None:
    with pytest.raises(NoService, match=f"{service}: {reason}"):
        await Embedding(bench_of(tmp_path, Vectors()).surroundings).embed(embed(service))


async def test_vectors_that_no_budget_covers_are_refused_with_what_is_left_and_take_no_room(tmp_path: Path) -> None:
    script = Vectors()
    bench = bench_of(tmp_path, script, Budgets(day=Budget(usd=1e-6)), limits={"rpm": 1})
    for _ in range(2):
        with pytest.raises(BudgetRefused, match=r"\$0\.000001 is left of the day's budget"):
            await Embedding(bench.surroundings).embed(embed())
    assert (script.asked, used(bench.shelf)) == ([], 0)
    figures = {each.service: each for each in bench.surroundings.steadiness.figures().services}
    assert figures["cheap"].requests_left == 1


async def test_the_trees_and_the_keys_budgets_pay_for_vectors_too(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(), Budgets(keys={"ci": Budget(usd=0)}))
    with pytest.raises(BudgetRefused, match="the day's budget of key ci"):
        await Embedding(bench.surroundings).embed(embed(key="ci"))
    with pytest.raises(BudgetRefused, match="the task's budget"):
        await Embedding(bench.surroundings).embed(embed(max_total_tokens=MOST - 1))


async def test_without_room_in_time_vectors_are_refused_with_when_to_come_again(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(), limits={"rpm": 1})
    await Embedding(bench.surroundings).embed(embed())
    with pytest.raises(AtLimit) as caught:
        await asyncio.wait_for(Embedding(bench.surroundings).embed(embed(timeout_s=0.1)), 5)
    assert (caught.value.retry_after_s or 0) > 50


async def test_the_time_that_was_waited_is_gone_from_the_attempts(tmp_path: Path) -> None:
    script = Vectors()
    bench = bench_of(tmp_path, script)
    await Embedding(bench.surroundings).embed(embed(timeout_s=2))
    assert 1 < script.asked[0].timeout_s < 2


@pytest.mark.parametrize(
    ("error", "costs"), [(refused("HTTP 400"), 0.0), (broken("it broke"), MOST / 1e6)], ids=["free", "unknown"]
)
async def test_failed_vectors_cost_nothing_where_that_is_sure_and_else_what_was_held(
    tmp_path: Path, error: UpstreamError, costs: float
) -> None:
    bench = bench_of(tmp_path, Vectors(error=error))
    with pytest.raises(UpstreamError):
        await Embedding(bench.surroundings).embed(embed())
    await bench.recorded()
    assert used(bench.shelf) == nano(costs)
    assert bench.shelf.records == {}


async def test_a_service_that_keeps_failing_at_vectors_is_left_alone(tmp_path: Path) -> None:
    script = Vectors(error=UpstreamError("sim", "HTTP 503", spent=False, status=503))
    bench = bench_of(tmp_path, script)
    for _ in range(5):
        with pytest.raises(UpstreamError):
            await Embedding(bench.surroundings).embed(embed())
    with pytest.raises(Exception, match="left alone: HTTP 503"):
        await Embedding(bench.surroundings).embed(embed())
    assert len(script.asked) == 5

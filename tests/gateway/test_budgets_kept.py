"""The gateway and the purse: what is held before a call, settled after it, refused, given back, and taken over."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.gateway.charges import most_tokens
from actors.gateway.scopes import nano
from bus.journal import Entry, Spent
from bus.subjects import CallJournal
from schemas.budget import IN_DOUBT, NEVER_BEGAN, Budget, Budgets, Outcome
from tests.gateway.acts import Stage, catalogue_with, ended, entry_of, fails, most, the_one, used
from tests.gateway.doubles import Bench, Script, ask, broken, catalogue_of, refused, served
from tests.gateway.purses import Shelf

DAY = Budgets(day=Budget(usd=1))


def kept(folder: Path, budgets: Budgets = DAY, name: str = "gateway-a", like: Bench | None = None) -> Bench:
    """A gateway with budgets; with `like`, beside another one."""
    journal, shelf = (like.journal, like.shelf) if like else (None, None)
    return Bench(catalogue_of(folder), journal, name, shelf, budgets)


# -- before and after ----------------------------------------------------------------------------------------------


async def test_while_a_call_is_made_the_most_that_it_can_cost_is_held(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Script())
    asked = asyncio.create_task(bench.gateway.complete(ask()))
    await bench.scripts["cheap"].started.wait()
    # Then the counter stands at it, and the reservation and the journal name each other
    assert used(bench.shelf) == nano(most(bench, ask()))
    reservation = the_one(bench.shelf)
    assert entry_of(bench, ask()).held == {reservation.id: None}
    assert reservation.attempt == 1
    assert await bench.gateway.outcome_of(reservation) == IN_DOUBT
    bench.scripts["cheap"].go_on.set()
    await asked


async def test_after_a_call_what_it_cost_is_in_its_place(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Script(served(prompt_tokens=100, completion_tokens=50)))
    completion = await ended(bench, ask())
    assert used(bench.shelf) == nano(completion.calls[0].cost_usd or 0) == nano(200e-6)
    assert bench.shelf.records == {}
    (spent,) = entry_of(bench, ask()).held.values()
    assert spent == Spent(cost_usd=200e-6, tokens=150)


async def test_the_purse_is_told_only_what_the_journal_knows(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Script(served()))

    async def hold(key: CallJournal, entry: Entry) -> None:
        if entry.state == "ended":
            # Then nothing is settled before the journal has taken the answer
            assert used(bench.shelf) == nano(most(bench, ask()))

    bench.journal.before_write = hold
    await ended(bench, ask())
    assert used(bench.shelf) == nano(200e-6)


async def test_the_next_question_finds_what_the_last_one_gave_back(tmp_path: Path) -> None:
    # Given a budget that holds one call at a time, and a journal that takes its time
    question = ask()
    amount = most(kept(tmp_path), question)
    bench = kept(tmp_path, Budgets(day=Budget(usd=amount * 1.5))).plays(cheap=Script(served("Short.", 1, 1)))

    async def slowly(key: CallJournal, entry: Entry) -> None:
        await asyncio.sleep(0.2 if entry.state == "ended" else 0)

    bench.journal.before_write = slowly
    # When two questions are asked one after the other, Then both are answered
    for task in ("t1", "t2"):
        assert (await bench.gateway.complete(ask(task_id=task))).problem is None


async def test_what_an_ended_attempt_came_to_can_be_told_by_any_gateway(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Script())
    asked = asyncio.create_task(bench.gateway.complete(ask()))
    await bench.scripts["cheap"].started.wait()
    reservation = the_one(bench.shelf)
    bench.scripts["cheap"].go_on.set()
    await asked
    await bench.recorded()
    heir = kept(tmp_path, name="gateway-b", like=bench)
    assert await heir.gateway.outcome_of(reservation) == Outcome(began=True, cost_usd=200e-6, tokens=150)


async def test_an_attempt_that_the_journal_does_not_know_never_began(tmp_path: Path) -> None:
    # Given a gateway that died between the reservation and the record
    bench = kept(tmp_path).plays(cheap=Script(served()))
    reservation = await bench.purse.reserve(ask(), "cheap", 0.1, 10, str(CallJournal("default", "t1", "s", "0")), 1)
    # Then another one gives it back
    assert await bench.gateway.outcome_of(reservation) == NEVER_BEGAN


async def test_without_a_limit_the_purse_is_left_alone(tmp_path: Path) -> None:
    bench = kept(tmp_path, Budgets()).plays(cheap=Script(served()))
    await ended(bench, ask())
    assert bench.shelf == Shelf()
    assert entry_of(bench, ask()).held == {}


# -- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budgets", "asked", "named"),
    [
        (Budgets(day=Budget(usd=0.0015)), {}, "the day's budget"),
        (Budgets(services={"dear": Budget(usd=0.0015)}), {}, "the day's budget of service dear"),
        (Budgets(keys={"ci": Budget(usd=0.0015)}), {"key": "ci"}, "the day's budget of key ci"),
        (Budgets(), {"max_cost_usd": 0.0015}, "the task's budget"),
    ],
    ids=["day", "service", "key", "tree"],
)
async def test_what_a_budget_does_not_cover_is_served_by_the_next_and_says_what_was_left(
    tmp_path: Path, budgets: Budgets, asked: dict[str, Any], named: str
) -> None:
    # Given a budget that pays for the second service of an order, and not for the first
    bench = kept(tmp_path, budgets).plays(dear=Script(served()), cheap=Script(served()))
    question = ask("dear", "cheap", **asked)
    # When it is asked
    (call,) = (await ended(bench, question)).calls
    # Then the second serves, and says what was left for the first
    assert call.service == "cheap"
    may = most(bench, question, "dear")
    assert call.fallback_from == (f"dear: may cost ${may:.6g}, $0.0015 is left of {named}",)
    assert bench.scripts["dear"].attempts == []


async def test_what_no_budget_covers_is_a_problem_that_names_what_was_left(tmp_path: Path) -> None:
    bench = kept(tmp_path, Budgets(day=Budget(usd=0.0001))).plays(dear=Script(served()), cheap=Script(served()))
    problem = (await ended(bench, ask("dear", "cheap"))).problem
    assert problem is not None
    assert (problem.code, problem.status, problem.retryable) == ("budget_exceeded", 402, False)
    assert "dear: may cost" in problem.detail
    assert "$0.0001 is left of the day's budget" in problem.detail
    assert used(bench.shelf) == 0


async def test_tokens_are_limited_like_money(tmp_path: Path) -> None:
    question = ask("cheap", "free", max_total_tokens=1000)
    bench = kept(tmp_path, Budgets()).plays(cheap=Script(served()))
    held = most_tokens(question)
    await ended(bench, question)
    assert used(bench.shelf) == 150
    problem = (await ended(bench, ask(max_total_tokens=150 + held - 1, step="next"))).problem
    assert problem is not None
    assert f"may take {held:,} tokens, {held - 1:,} tokens are left of the task's budget" in problem.detail


async def test_a_whole_tree_of_tasks_has_one_purse(tmp_path: Path) -> None:
    bench = kept(tmp_path, Budgets()).plays(cheap=Script(served()))
    limit = most(bench, ask()) + 100e-6
    first = await ended(bench, ask(task_id="t1", root="t0", max_cost_usd=limit))
    other = await ended(bench, ask(task_id="t2", root="t0", max_cost_usd=limit))
    assert first.problem is None
    assert other.problem is not None
    assert other.problem.code == "budget_exceeded"


async def test_a_refused_call_takes_none_of_the_services_room(tmp_path: Path) -> None:
    catalogue = catalogue_with(tmp_path, cheap={"limits": {"rpm": 1, "tpm": 5000, "concurrency": 1}})
    bench = Bench(catalogue, budgets=Budgets(day=Budget(usd=0))).plays(cheap=Script(served()))
    await ended(bench, ask())
    (figures,) = bench.surroundings.steadiness.figures().services
    assert (figures.in_flight, figures.requests_left, figures.tokens_left, figures.places_left) == (0, 1, 5000, 1)


# -- unknown prices ------------------------------------------------------------------------------------------------


async def test_an_unknown_price_cannot_be_limited_and_is_refused_with_the_reason(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(unpriced=Script(served()))
    problem = (await ended(bench, ask("unpriced"))).problem
    assert problem is not None
    assert problem.code == "budget_exceeded"
    assert "its price is unknown, so the day's budget cannot be kept (no price is stated" in problem.detail


async def test_an_unknown_price_under_a_limit_of_tokens_alone_serves_at_an_unknown_cost(tmp_path: Path) -> None:
    bench = kept(tmp_path, Budgets(day=Budget(tokens=1000))).plays(unpriced=Script(served()))
    completion = await ended(bench, ask("unpriced"))
    assert completion.problem is None
    assert (completion.calls[0].cost_usd, completion.calls[0].cost_unknown_reason is None) == (None, False)
    assert used(bench.shelf) == 150


async def test_an_answer_without_usage_stays_at_its_reservation(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Script(served(prompt_tokens=None, completion_tokens=None)))
    (call,) = (await ended(bench, ask())).calls
    assert call.cost_usd is None
    assert used(bench.shelf) == nano(most(bench, ask()))
    assert bench.shelf.records == {}


# -- overruns ------------------------------------------------------------------------------------------------------


async def test_a_provider_that_takes_more_than_it_was_allowed_is_recorded_as_it_is(tmp_path: Path) -> None:
    # Given a provider that writes twenty times what it was allowed
    bench = kept(tmp_path).plays(cheap=Script(served(prompt_tokens=100, completion_tokens=2000)))
    # When it answers under a budget
    completion = await ended(bench, ask())
    # Then there is a problem in place of the text, and what was spent is told and counted
    assert completion.problem is not None
    assert completion.problem.code == "budget_exceeded"
    assert "2,100 tokens" in completion.problem.detail
    (call,) = completion.calls
    assert (call.overrun, call.outcome, call.cost_usd) == (True, "answered", pytest.approx(4100e-6))
    assert used(bench.shelf) == nano(4100e-6)
    assert bench.shelf.records == {}


async def test_without_a_budget_an_overrun_is_only_flagged(tmp_path: Path) -> None:
    bench = kept(tmp_path, Budgets()).plays(cheap=Script(served(prompt_tokens=100, completion_tokens=2000)))
    completion = await ended(bench, ask())
    assert (completion.text, completion.problem, completion.calls[0].overrun) == ("An answer.", None, True)


async def test_an_overrun_of_what_is_not_limited_takes_no_answer_away(tmp_path: Path) -> None:
    # Given a limit of tokens, and an answer that costs more than foreseen in no more tokens than foreseen
    bench = kept(tmp_path, Budgets(day=Budget(tokens=10_000))).plays(
        cheap=Script(served(prompt_tokens=1, completion_tokens=150))
    )
    completion = await ended(bench, ask())
    assert (completion.text, completion.calls[0].overrun) == ("An answer.", True)


async def test_an_overrun_is_not_tried_again(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Script(served(completion_tokens=2000)), dear=Script(served()))
    first = await ended(bench, ask("cheap", "dear"))
    assert await ended(bench, ask("cheap", "dear")) == first
    assert bench.scripts["dear"].attempts == []


# -- failed --------------------------------------------------------------------------------------------------------


async def test_what_failed_and_cost_nothing_is_given_back_before_the_next_try(tmp_path: Path) -> None:
    # Given a budget that is enough for one attempt at a time
    limit = most(kept(tmp_path), ask())
    bench = kept(tmp_path, Budgets(day=Budget(usd=limit)))
    script = Script(refused("HTTP 503", again=True, retry_after_s=0.0), served())
    # When the first fails without a charge
    completion = await ended(bench.plays(cheap=script), ask())
    # Then there is room for the second
    assert completion.text == "An answer."
    (call,) = completion.calls
    assert (call.outcome, call.retries, call.fallback_from) == ("answered", ("HTTP 503",), ())
    assert used(bench.shelf) == nano(200e-6)
    assert sorted(entry_of(bench, ask()).held.values(), key=repr)[0] == Spent(cost_usd=0.0, tokens=0)


async def test_what_failed_at_an_unknown_cost_stays_at_its_reservation(tmp_path: Path) -> None:
    bench = kept(tmp_path).plays(cheap=Script(broken("the connection broke")), free=Script(served()))
    failed, answered = (await ended(bench, ask("cheap", "free"))).calls
    assert (failed.outcome, failed.reason, failed.cost_usd) == ("failed", "the connection broke", most(bench, ask()))
    assert answered.fallback_from == ("cheap: the connection broke",)
    assert used(bench.shelf) == nano(most(bench, ask()))
    assert bench.shelf.records == {}


async def test_every_free_failure_of_a_service_is_named_when_it_is_passed_over(tmp_path: Path) -> None:
    failing = Script(*(refused(f"HTTP {n}", again=True, retry_after_s=0.0) for n in (500, 502, 503)))
    bench = kept(tmp_path).plays(cheap=failing, free=Script(served()))
    (call,) = (await ended(bench, ask("cheap", "free"))).calls
    assert call.fallback_from == ("cheap: HTTP 500; HTTP 502; HTTP 503",)
    assert used(bench.shelf) == 0


async def test_a_retry_that_no_budget_covers_says_why_the_try_before_failed(tmp_path: Path) -> None:
    # Given a free failure, and a budget that others have used up meanwhile
    bench = kept(tmp_path, Budgets(day=Budget(usd=0.0005)))

    async def emptied(key: CallJournal, entry: Entry) -> None:
        bench.shelf.counters.update(dict.fromkeys(bench.shelf.counters, nano(0.0005)))

    bench.plays(cheap=Stage(fails(refused("HTTP 503", again=True, retry_after_s=0.0))))
    bench.journal.before_write = emptied
    problem = (await ended(bench, ask())).problem
    assert problem is not None
    assert "cheap: HTTP 503; another try may cost" in problem.detail

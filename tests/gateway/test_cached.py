"""Answers that were given before: only where somebody asked for it, marked, free, and no older than allowed."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actors.gateway.providers import Attempt, Heard, Served
from bus.journal import key_of, question_of
from schemas.budget import Budget, Budgets
from schemas.completion import ChatMessage, ToolCall
from schemas.message import now
from tests.gateway.acts import Stage, answers, catalogue_with, entry_of
from tests.gateway.doubles import Bench, Script, ask, refused, served
from tests.gateway.purses import Shelf

HOUR_S = 3600.0


async def answered_before(bench: Bench, **asked: Any) -> None:
    await bench.plays(cheap=Script(served("First."))).gateway.complete(ask(task_id="t0", **asked))
    await bench.recorded()
    bench.plays(cheap=Script(served("Second.")))


def age(bench: Bench, seconds: float) -> None:
    """Makes all that is kept so much older."""
    for key, kept in bench.cache.kept.items():
        bench.cache.kept[key] = kept.model_copy(update={"stored_at": now() - timedelta(seconds=seconds)})


async def test_nothing_is_cached_unless_somebody_asks_for_it(bench: Bench) -> None:
    await answered_before(bench)
    assert bench.cache.kept == {}
    assert (await bench.gateway.complete(ask(cache_s=HOUR_S))).text == "Second."


async def test_a_request_that_asks_for_it_gets_the_answer_of_an_earlier_one(bench: Bench) -> None:
    # Given an answer that was kept
    await answered_before(bench, cache_s=HOUR_S)
    # When another task asks the same
    completion = await bench.gateway.complete(ask(cache_s=HOUR_S))
    # Then it gets it, marked and free, and nobody is called
    assert (completion.text, completion.finish_reason, completion.problem) == ("First.", "stop", None)
    (call,) = completion.calls
    assert (call.cached, call.outcome, call.cost_usd, call.cost_unknown_reason) == (True, "answered", 0.0, None)
    assert (call.service, call.model, call.region) == ("cheap", "cheap-1", "eu")
    assert (call.prompt_tokens, call.completion_tokens) == (100, 50)
    assert call.latency_ms is not None
    assert bench.scripts["cheap"].attempts == []


async def test_one_who_does_not_ask_for_it_gets_an_answer_of_its_own(bench: Bench) -> None:
    await answered_before(bench, cache_s=HOUR_S)
    (call,) = (await bench.gateway.complete(ask())).calls
    assert (call.cached, len(bench.scripts["cheap"].attempts)) == (False, 1)


async def test_the_same_model_at_another_server_is_asked_anew(bench: Bench) -> None:
    # Given an answer of a model
    await answered_before(bench, cache_s=HOUR_S)
    # When its service is another server's, or its provider's own
    for task_id, api_base in (("t1", "http://127.0.0.1:9/v2"), ("t2", None)):
        moved = bench.catalogue.services["cheap"].model_copy(update={"api_base": api_base})
        bench.catalogue.services["cheap"] = moved
        # Then that one answers
        assert (await bench.gateway.complete(ask(task_id=task_id, cache_s=HOUR_S))).text == "Second."
        await bench.recorded()
    # And each answer is kept for itself
    assert len(bench.cache.kept) == 3


async def test_a_service_may_ask_for_it_for_everybody(tmp_path: Path) -> None:
    bench = Bench(catalogue_with(tmp_path, cheap={"cache_s": HOUR_S}))
    await answered_before(bench)
    assert (await bench.gateway.complete(ask())).calls[0].cached
    age(bench, HOUR_S + 1)
    assert not (await bench.gateway.complete(ask(task_id="t2"))).calls[0].cached


async def test_an_answer_that_is_too_old_for_the_request_is_asked_anew_and_kept_anew(bench: Bench) -> None:
    await answered_before(bench, cache_s=HOUR_S)
    age(bench, 100)
    assert (await bench.gateway.complete(ask(cache_s=99))).text == "Second."
    await bench.recorded()
    assert (await bench.gateway.complete(ask(cache_s=99, task_id="t2"))).text == "Second."
    assert len(bench.scripts["cheap"].attempts) == 1


async def test_an_answer_from_the_cache_costs_no_budget_anything(tmp_path: Path) -> None:
    shelf = Shelf()
    bench = Bench(catalogue_with(tmp_path), shelf=shelf, budgets=Budgets(day=Budget(usd=1)))
    await answered_before(bench, cache_s=HOUR_S)
    before = list(shelf.changes)
    # Given not a cent more
    completion = await bench.gateway.complete(ask(cache_s=HOUR_S, max_cost_usd=0))
    await bench.recorded()
    assert completion.text == "First."
    assert (shelf.changes, shelf.records) == (before, {})


async def test_an_answer_from_the_cache_is_journalled(bench: Bench) -> None:
    await answered_before(bench, cache_s=HOUR_S)
    completion = await bench.gateway.complete(ask(cache_s=HOUR_S))
    await bench.recorded()
    entry = entry_of(bench, ask())
    assert (entry.state, entry.completion, entry.question) == ("ended", completion, question_of(ask()))
    # And is given again once the cache has forgotten it
    bench.cache.kept.clear()
    assert await bench.gateway.complete(ask()) == completion
    assert bench.journal.seq(key_of(ask())) == bench.journal.written.index(entry) + 1


async def test_an_answer_that_was_paid_for_goes_before_one_in_the_cache(bench: Bench, tmp_path: Path) -> None:
    # Given an answer that one gateway paid for, recorded and cached, and whose reply was lost
    bench.plays(cheap=Script(served("First.")))
    paid = await bench.gateway.complete(ask(cache_s=HOUR_S))
    await bench.recorded()
    other = Bench(bench.catalogue, bench.journal, "gateway-b")
    other.cache.kept.update(bench.cache.kept)
    # When another gateway is asked again, Then it says what was paid, not that the cache cost nothing
    assert await other.gateway.complete(ask(cache_s=HOUR_S)) == paid


@pytest.mark.parametrize(
    "changed",
    [{"tenant": "other"}, {"temperature": 1.0}, {"messages": (ChatMessage(role="user", content="Another."),)}],
    ids=["tenant", "temperature", "messages"],
)
async def test_another_tenant_and_another_question_get_no_answer_from_it(bench: Bench, changed: dict[str, Any]) -> None:
    await answered_before(bench, cache_s=HOUR_S)
    assert (await bench.gateway.complete(ask(cache_s=HOUR_S, **changed))).text == "Second."


async def test_whoever_was_passed_over_before_a_hit_is_named(bench: Bench) -> None:
    await answered_before(bench, cache_s=HOUR_S)
    bench.plays(dear=Script(refused("HTTP 400")))
    completion = await bench.gateway.complete(ask("dear", "cheap", cache_s=HOUR_S))
    assert (completion.text, completion.calls[0].fallback_from) == ("First.", ("dear: HTTP 400",))


async def test_a_stream_that_the_cache_answers_is_told_whole(bench: Bench) -> None:
    await answered_before(bench, cache_s=HOUR_S)
    await bench.gateway.complete(ask(cache_s=HOUR_S, stream=True))
    assert bench.told == [(1, 0, "First.")]


async def test_wishes_for_tools_are_kept_too(bench: Bench) -> None:
    wish = ToolCall(id="1", name="look", arguments="{}")

    async def wishes(attempt: Attempt, heard: Heard) -> Served:
        return Served("", "m", "tool_calls", 1, 2, (wish,))

    await bench.plays(cheap=Stage(wishes)).gateway.complete(ask(task_id="t0", cache_s=HOUR_S))
    await bench.recorded()
    completion = await bench.gateway.complete(ask(cache_s=HOUR_S))
    assert (completion.tool_calls, completion.finish_reason, completion.calls[0].cached) == (
        (wish,),
        "tool_calls",
        True,
    )


async def test_what_is_no_answer_is_not_kept(bench: Bench) -> None:
    bench.plays(cheap=Script(refused("HTTP 400")))
    await bench.gateway.complete(ask(cache_s=HOUR_S))
    # Neither is one that overran its budget
    bench.plays(cheap=Stage(answers(completion=2000)))
    await bench.gateway.complete(ask(cache_s=HOUR_S, max_cost_usd=1.0, task_id="t2"))
    await bench.recorded()
    assert bench.cache.kept == {}

"""Vectors under the same limits, budgets and journal as every other call: one service, one try, an honest account."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actors.catalogue import tokens
from actors.gateway.providers import EmbedAttempt, Embedded
from actors.gateway.scopes import nano
from bus.journal import Entry, key_of
from schemas.budget import IN_DOUBT, Budget, Budgets
from schemas.completion import Embed, Embeddings
from schemas.errors import UpstreamError
from schemas.message import now
from schemas.problem import Problem
from schemas.receipt import Call
from tests.gateway.acts import catalogue_with, used
from tests.gateway.doubles import LONG_S, Bench, MemoryJournal, Script, broken, refused
from tests.gateway.purses import Shelf

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
        await asyncio.sleep(0)
        return Embedded(VECTORS, "", self.prompt_tokens)


def bench_of(
    folder: Path,
    script: Script,
    budgets: Budgets = DAY,
    journal: MemoryJournal | None = None,
    name: str = "gateway-a",
    shelf: Shelf | None = None,
    **changed: Any,
) -> Bench:
    services = {name: {"kind": "embeddings", **changed} for name in ("cheap", "free", "unpriced")}
    bench = Bench(catalogue_with(folder, **services), journal, name, shelf, budgets)
    return bench.plays(cheap=script, free=script, unpriced=script)


def embed(service: str = "cheap", timeout_s: float = 30.0, step: str = "vectors", **changed: Any) -> Embed:
    deadline = now() + timedelta(seconds=timeout_s)
    return Embed(service=service, texts=TEXTS, step=step, deadline_at=deadline, **changed)


async def told(bench: Bench, ask: Embed) -> Embeddings:
    """The reply, once all that follows from it is done too."""
    reply = await asyncio.wait_for(bench.embedding.embed(ask), LONG_S)
    await bench.recorded()
    return reply


async def call_of(bench: Bench, ask: Embed) -> Call:
    """The one call of an answer."""
    reply = await told(bench, ask)
    assert reply.problem is None
    (call,) = reply.calls
    return call


async def problem_of(bench: Bench, ask: Embed) -> Problem:
    reply = await told(bench, ask)
    assert reply.problem is not None
    assert reply.vectors == ()
    return reply.problem


def entry_of(bench: Bench, ask: Embed) -> Entry:
    return bench.journal.entry(key_of(ask))


# -- answered ------------------------------------------------------------------------------------------------------


async def test_vectors_come_with_what_they_cost(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors())
    answer = await told(bench, embed())
    assert (answer.vectors, answer.dimensions, answer.model) == (VECTORS, 2, "cheap-1")
    (call,) = answer.calls
    assert (call.step, call.service, call.region, call.outcome) == ("vectors", "cheap", "eu", "answered")
    assert (call.prompt_tokens, call.completion_tokens, call.overrun) == (3, 0, False)
    assert (call.cost_usd, call.cost_unknown_reason) == (pytest.approx(3e-6), None)
    assert used(bench.shelf) == nano(3e-6)
    assert bench.shelf.records == {}


async def test_while_vectors_are_made_the_most_that_they_can_cost_is_held(tmp_path: Path) -> None:
    script = Vectors(hangs=True)
    bench = bench_of(tmp_path, script)
    asked = asyncio.create_task(bench.embedding.embed(embed()))
    await script.started.wait()
    assert used(bench.shelf) == nano(MOST / 1e6)
    # And should this gateway die, another one leaves it there: the journal knows that it was begun
    (reservation,) = bench.shelf.records.values()
    assert await bench.gateway.outcome_of(reservation) == IN_DOUBT
    # When they are not wanted any more
    asked.cancel()
    reply = await asked
    await bench.recorded()
    # Then they stay charged at that, for nobody can know
    assert [(call.outcome, call.cost_usd, call.cost_estimated) for call in reply.calls] == [
        ("cancelled", pytest.approx(MOST / 1e6), True)
    ]
    assert used(bench.shelf) == nano(MOST / 1e6)
    assert bench.shelf.records == {}


async def test_without_usage_the_cost_is_unknown_and_says_why(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(prompt_tokens=None))
    call = await call_of(bench, embed())
    assert (call.cost_usd, call.prompt_tokens) == (None, None)
    assert call.cost_unknown_reason == "the provider reported no usage"
    assert used(bench.shelf) == nano(MOST / 1e6)


async def test_what_is_free_costs_nothing_even_without_usage(tmp_path: Path) -> None:
    call = await call_of(bench_of(tmp_path, Vectors(prompt_tokens=None)), embed("free"))
    assert (call.cost_usd, call.cost_unknown_reason) == (0.0, None)


async def test_without_a_price_the_cost_is_unknown_and_says_why(tmp_path: Path) -> None:
    call = await call_of(bench_of(tmp_path, Vectors(), Budgets()), embed("unpriced"))
    assert (call.cost_usd, call.prompt_tokens) == (None, 3)
    assert "no price is stated" in (call.cost_unknown_reason or "")


async def test_vectors_that_took_more_than_they_could_are_flagged(tmp_path: Path) -> None:
    assert (await call_of(bench_of(tmp_path, Vectors(prompt_tokens=MOST + 1), Budgets()), embed())).overrun


async def test_vectors_that_took_more_than_a_budget_held_fail_and_are_counted(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(prompt_tokens=MOST + 1))
    reply = await told(bench, embed())
    assert reply.problem is not None
    assert (reply.problem.code, reply.problem.status) == ("budget_exceeded", 402)
    assert f"{MOST + 1} tokens, allowed were $0.000039 and {MOST} tokens" in reply.problem.detail
    assert [(call.overrun, call.cost_usd) for call in reply.calls] == [(True, pytest.approx((MOST + 1) / 1e6))]
    assert used(bench.shelf) == nano((MOST + 1) / 1e6)


# -- refused and failed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "reason"),
    [("nobody", "unknown service"), ("dear", "serves chat, not embeddings"), ("locked", "no key: set LOCKED_KEY")],
)
async def test_a_service_that_makes_no_vectors_says_why(tmp_path: Path, service: str, reason: str) -> None:
    problem = await problem_of(bench_of(tmp_path, Vectors()), embed(service))
    assert problem.code == "no_service"
    assert f"{service}: {reason}" in problem.detail


async def test_an_empty_text_is_refused_by_its_place(tmp_path: Path) -> None:
    script = Vectors()
    ask = embed().model_copy(update={"texts": ("red", "")})
    problem = await problem_of(bench_of(tmp_path, script), ask)
    assert (problem.status, problem.errors[0].field, script.asked) == (422, "texts.1", [])


async def test_vectors_that_no_budget_covers_are_refused_with_what_is_left_and_take_no_room(tmp_path: Path) -> None:
    script = Vectors()
    bench = bench_of(tmp_path, script, Budgets(day=Budget(usd=1e-6)), limits={"rpm": 1})
    for _ in range(2):
        problem = await problem_of(bench, embed())
        assert problem.code == "budget_refused"
        assert "$0.000001 is left of the day's budget" in problem.detail
    assert (script.asked, used(bench.shelf), bench.journal.written) == ([], 0, [])
    figures = {each.service: each for each in bench.surroundings.steadiness.figures().services}
    assert figures["cheap"].requests_left == 1


async def test_the_trees_and_the_keys_budgets_pay_for_vectors_too(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(), Budgets(keys={"ci": Budget(usd=0)}))
    assert "the day's budget of key ci" in (await problem_of(bench, embed(key="ci"))).detail
    assert "the task's budget" in (await problem_of(bench, embed(max_total_tokens=MOST - 1))).detail


async def test_without_room_in_time_vectors_are_refused_with_when_to_come_again(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Vectors(), limits={"rpm": 1})
    await told(bench, embed())
    problem = await asyncio.wait_for(problem_of(bench, embed(timeout_s=0.1, step="another")), 5)
    assert problem.code == "at_limit"
    assert (problem.retry_after_s or 0) > 50


async def test_the_time_that_was_waited_is_gone_from_the_attempts(tmp_path: Path) -> None:
    script = Vectors()
    await told(bench_of(tmp_path, script), embed(timeout_s=2))
    assert 1 < script.asked[0].timeout_s < 2


async def test_a_failure_that_cost_nothing_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    script = Vectors(error=refused("HTTP 400"))
    bench = bench_of(tmp_path, script)
    reply = await told(bench, embed())
    assert reply.problem is not None
    assert (reply.problem.code, reply.problem.detail, reply.calls) == ("upstream_error", "sim: HTTP 400", ())
    assert (used(bench.shelf), bench.shelf.records) == (0, {})
    # When it is asked again, and the provider has come to its senses
    script.error = None
    assert (await told(bench, embed())).vectors == VECTORS


async def test_a_failure_that_may_have_cost_something_is_charged_and_stays(tmp_path: Path) -> None:
    script = Vectors(error=broken("it broke"))
    bench = bench_of(tmp_path, script)
    for _ in range(2):  # told again, not tried again: it would cost again
        reply = await told(bench, embed())
        assert reply.problem is not None
        assert reply.problem.detail == "sim: it broke"
        assert [(call.outcome, call.reason, call.cost_usd) for call in reply.calls] == [
            ("failed", "it broke", pytest.approx(MOST / 1e6))
        ]
    assert len(script.asked) == 1
    assert used(bench.shelf) == nano(MOST / 1e6)
    assert bench.shelf.records == {}


async def test_a_service_that_keeps_failing_at_vectors_is_left_alone(tmp_path: Path) -> None:
    script = Vectors(error=UpstreamError("sim", "HTTP 503", spent=False, status=503))
    bench = bench_of(tmp_path, script)
    for _ in range(5):
        assert (await problem_of(bench, embed())).code == "upstream_error"
    assert "left alone: HTTP 503" in (await problem_of(bench, embed())).detail
    assert len(script.asked) == 5


# -- recorded ------------------------------------------------------------------------------------------------------


async def test_a_repeated_question_gets_the_recorded_vectors(tmp_path: Path) -> None:
    # Given vectors that were paid for
    script = Vectors()
    bench = bench_of(tmp_path, script)
    first = await told(bench, embed(task_id="t1"))
    # When the same is asked again for the same step, here or of another gateway
    other = bench_of(tmp_path, script, journal=bench.journal, name="gateway-b")
    other.vectors.kept = bench.vectors.kept
    again = [await told(each, embed(task_id="t1")) for each in (bench, other)]
    # Then the same comes back, and nothing was asked or paid a second time
    assert again == [first, first]
    assert len(script.asked) == 1
    # And the entry only names them
    kept = entry_of(bench, embed(task_id="t1")).embeddings
    assert kept is not None
    assert (kept.packed, kept.blob in bench.vectors.kept) == (b"", True)


async def test_two_who_ask_the_same_at_once_share_one_call(tmp_path: Path) -> None:
    script = Vectors()
    bench = bench_of(tmp_path, script)
    one, other = await asyncio.gather(told(bench, embed()), told(bench, embed()))
    assert one == other
    assert len(script.asked) == 1


@pytest.mark.parametrize("changed", [{"step": "another"}, {"task_id": "t2"}, {"tenant": "acme"}])
async def test_another_steps_or_tasks_question_is_asked_by_itself(tmp_path: Path, changed: dict[str, Any]) -> None:
    script = Vectors()
    bench = bench_of(tmp_path, script)
    await told(bench, embed())
    await told(bench, embed(**changed))
    assert len(script.asked) == 2


async def test_a_call_that_a_crash_cut_off_is_in_doubt_and_made_again(tmp_path: Path) -> None:
    # Given a gateway that dies while its provider works
    shelf, hung = Shelf(), Vectors(hangs=True)
    dying = bench_of(tmp_path, hung, shelf=shelf)
    lost = asyncio.create_task(dying.embedding.embed(embed(key="ci")))
    await hung.started.wait()
    # When another one is asked the same
    heir = bench_of(tmp_path, Vectors(), journal=dying.journal, name="gateway-b", shelf=shelf)
    reply = await told(heir, embed(key="ci"))
    # Then it is answered, and both calls stand in the account
    assert reply.vectors == VECTORS
    assert [(call.outcome, call.in_doubt) for call in reply.calls] == [("in_doubt", True), ("answered", False)]
    assert reply.calls[0].cost_usd == pytest.approx(MOST / 1e6)
    entry = entry_of(heir, embed())
    assert (entry.calls, entry.open, entry.key) == (reply.calls, (), "ci")
    lost.cancel()
    await asyncio.wait([lost])
    await dying.recorded()


@pytest.mark.parametrize("lost", ["no room", "too old"])
async def test_vectors_that_are_not_kept_any_more_are_made_and_counted_again(tmp_path: Path, lost: str) -> None:
    # Given vectors for which there was no room, or which are gone by now
    script = Vectors()
    bench = bench_of(tmp_path, script)
    bench.vectors.full = lost == "no room"
    assert (await told(bench, embed())).vectors == VECTORS
    bench.vectors.kept.clear()
    # When they are asked for again
    reply = await told(bench, embed())
    # Then they are there, and the account has both calls
    assert reply.vectors == VECTORS
    assert [call.outcome for call in reply.calls] == ["answered", "answered"]
    assert used(bench.shelf) == nano(2 * 3e-6)


async def test_free_vectors_are_counted_once_and_not_kept(tmp_path: Path) -> None:
    # Given vectors of a service that costs nothing
    script = Vectors()
    bench = bench_of(tmp_path, script)
    first = await told(bench, embed("free"))
    # When they are asked for again
    again = await told(bench, embed("free"))
    # Then they are made again, and the entry still has the one call
    assert (again.vectors, len(script.asked)) == (VECTORS, 2)
    assert (entry_of(bench, embed("free")).calls, bench.vectors.kept) == (first.calls, {})
    # And it was written once, after the call
    assert [entry.state for entry in bench.journal.written] == ["ended"]


async def test_free_vectors_under_a_limit_in_tokens_are_recorded_before_they_are_made(tmp_path: Path) -> None:
    script = Vectors(hangs=True)
    bench = bench_of(tmp_path, script, Budgets(day=Budget(tokens=1000)))
    asked = asyncio.create_task(bench.embedding.embed(embed("free")))
    await script.started.wait()
    assert [entry.state for entry in bench.journal.written] == ["begun"]
    asked.cancel()
    await asked
    await bench.recorded()
    assert used(bench.shelf) == MOST

"""Answers that come piece by piece: told in order, and charged for what arrived where they are cut or cancelled."""

import asyncio
import math
from pathlib import Path

import pytest

from actors.catalogue import tokens
from actors.gateway.providers import Attempt, Heard, Served
from actors.gateway.scopes import nano
from schemas.budget import Budget, Budgets
from schemas.completion import Complete, ToolCall, ToolCallPiece
from schemas.receipt import Call
from tests.gateway.acts import Act, Stage, answers, ended, entry_of, fails, hangs, most, used
from tests.gateway.doubles import LONG_S, Bench, ask, broken, catalogue_of, refused

PIECES = ("Once ", "upon a ", "time")
WRITTEN = math.ceil(len("".join(PIECES)) / tokens.BYTES_PER_TOKEN)


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return Bench(catalogue_of(tmp_path), budgets=Budgets(day=Budget(usd=1)))


async def cancelled(bench: Bench, *acts: Act, question: Complete | None = None) -> Call:
    """The call, of a question that is cancelled while it is answered."""
    question = question or ask(stream=True)
    asked = asyncio.create_task(bench.plays(cheap=Stage(*acts)).gateway.complete(question))
    await bench.scripts["cheap"].started.wait()
    asked.cancel()
    await asyncio.wait({asked}, timeout=LONG_S)
    await bench.recorded()
    (call,) = entry_of(bench, question).calls
    return call


# -- told ----------------------------------------------------------------------------------------------------------


async def test_a_stream_is_told_in_order_with_the_characters_before_each_piece(bench: Bench) -> None:
    bench.plays(cheap=Stage(fails(broken("it broke"), *PIECES)))
    await ended(bench, ask(stream=True))
    assert bench.told == [(1, 0, "Once "), (1, 5, "upon a "), (1, 12, "time")]


async def test_another_attempt_begins_the_text_anew_under_the_next_number(bench: Bench) -> None:
    # Given a stream that breaks, a refusal, and another service that answers
    bench.plays(
        cheap=Stage(fails(broken("it broke"), "Once ")), dear=Stage(fails(refused())), free=Stage(answers("There."))
    )
    completion = await ended(bench, ask("cheap", "dear", "free", stream=True))
    assert completion.text == "There."
    assert bench.told == [(1, 0, "Once "), (3, 0, "There.")]


async def test_a_piece_of_a_tool_call_is_told_after_the_text_before_it(bench: Bench) -> None:
    piece = ToolCallPiece(place=0, id="a", name="look", offset=0, arguments="{}")

    async def wishes(attempt: Attempt, heard: Heard) -> Served:
        heard.say("Let me see.")
        heard.call(piece)
        return Served("Let me see.", "cheap-1", "tool_calls", 20, 9, (ToolCall(id="a", name="look", arguments="{}"),))

    await ended(bench.plays(cheap=Stage(wishes)), ask(stream=True))
    assert (bench.told, bench.told_of_calls) == ([(1, 0, "Let me see.")], [(1, 11, piece)])


async def test_what_is_not_streamed_is_not_told(bench: Bench) -> None:
    await ended(bench.plays(cheap=Stage(answers())), ask())
    assert bench.told == []


async def test_a_whole_stream_costs_what_the_provider_counted(bench: Bench) -> None:
    (call,) = (await ended(bench.plays(cheap=Stage(answers())), ask(stream=True))).calls
    assert (call.cost_usd, call.cost_estimated) == (pytest.approx(200e-6), False)


# -- cut -----------------------------------------------------------------------------------------------------------


async def test_a_stream_that_breaks_is_charged_for_what_had_arrived(bench: Bench) -> None:
    # Given a provider that breaks off without a word about tokens
    bench.plays(cheap=Stage(fails(broken("the stream broke"), *PIECES)), free=Stage(answers()))
    question = ask("cheap", "free", stream=True)
    # When the next one answers
    cut, _ = (await ended(bench, question)).calls
    # Then the first is charged by the length of what it wrote, as an estimate
    assert (cut.outcome, cut.reason, cut.completion_tokens) == ("failed", "the stream broke", WRITTEN)
    assert cut.cost_estimated
    assert cut.cost_usd == pytest.approx(((cut.prompt_tokens or 0) + 2 * WRITTEN) / 1e6)
    assert 0 < (cut.cost_usd or 0) < most(bench, question)
    assert used(bench.shelf) == nano(cut.cost_usd or 0)
    assert bench.shelf.records == {}


async def test_a_stream_that_is_cancelled_is_charged_for_what_had_arrived(bench: Bench) -> None:
    call = await cancelled(bench, hangs(*PIECES))
    assert (call.outcome, call.completion_tokens, call.cost_estimated) == ("cancelled", WRITTEN, True)
    assert used(bench.shelf) == nano(call.cost_usd or 0)
    assert bench.shelf.records == {}


async def test_tokens_that_the_provider_told_before_it_was_cut_are_believed(bench: Bench) -> None:
    call = await cancelled(bench, hangs(*PIECES, prompt=37, completion=60))
    assert (call.prompt_tokens, call.completion_tokens) == (37, 60)
    assert call.cost_usd == pytest.approx((37 + 2 * 60) / 1e6)
    assert call.cost_estimated


async def test_text_beyond_the_tokens_told_so_far_is_charged_too(bench: Bench) -> None:
    """Some providers tell one token at the beginning, and the rest at the end."""
    call = await cancelled(bench, hangs(*PIECES, prompt=37, completion=1))
    assert (call.prompt_tokens, call.completion_tokens) == (37, WRITTEN)


async def test_an_estimate_is_never_more_than_the_call_was_allowed(bench: Bench) -> None:
    # Given a model whose tokens are longer than most
    call = await cancelled(bench, hangs("x" * 100), question=ask(stream=True, max_tokens=10))
    assert (call.completion_tokens, call.overrun) == (10, False)


async def test_a_cut_stream_that_told_of_more_than_it_was_allowed_overran(bench: Bench) -> None:
    call = await cancelled(bench, hangs(*PIECES, prompt=37, completion=3000))
    assert (call.completion_tokens, call.overrun) == (3000, True)
    assert used(bench.shelf) == nano(6037e-6)


async def test_a_stream_of_which_nothing_arrived_stays_at_its_reservation(bench: Bench) -> None:
    call = await cancelled(bench, hangs())
    assert (call.prompt_tokens, call.completion_tokens) == (None, None)
    assert (call.cost_usd, call.cost_estimated) == (most(bench, ask(stream=True)), True)
    assert used(bench.shelf) == nano(most(bench, ask(stream=True)))
    assert bench.shelf.records == {}


async def test_a_cut_stream_at_an_unknown_price_is_unknown(tmp_path: Path) -> None:
    bench = Bench(catalogue_of(tmp_path)).plays(unpriced=Stage(fails(broken("it broke"), *PIECES)))
    (call,) = (await ended(bench, ask("unpriced", stream=True))).calls
    assert (call.cost_usd, call.cost_unknown_reason is None) == (None, False)


async def test_a_cut_stream_that_is_free_is_free_and_no_estimate(tmp_path: Path) -> None:
    bench = Bench(catalogue_of(tmp_path)).plays(free=Stage(fails(broken("it broke"), *PIECES)))
    (call,) = (await ended(bench, ask("free", stream=True))).calls
    assert (call.cost_usd, call.cost_estimated, call.cost_unknown_reason) == (0.0, False, None)


# -- tools ---------------------------------------------------------------------------------------------------------


async def test_wishes_for_tools_come_through(bench: Bench) -> None:
    wish = ToolCall(id="call-1", name="look_up", arguments='{"name": "a bag"}')
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {}}}

    async def wishes(attempt: Attempt, heard: Heard) -> Served:
        return Served("", "cheap-1", "tool_calls", 20, 9, (wish,))

    stage = Stage(wishes)
    completion = await ended(bench.plays(cheap=stage), ask(tools=(tool,), tool_choice="auto"))
    assert (completion.text, completion.tool_calls, completion.finish_reason) == ("", (wish,), "tool_calls")
    (attempt,) = stage.attempts
    assert (attempt.tools, attempt.tool_choice) == ((tool,), "auto")
    # And whoever asks again gets them again
    assert (await ended(bench, ask(tools=(tool,), tool_choice="auto"))).tool_calls == (wish,)

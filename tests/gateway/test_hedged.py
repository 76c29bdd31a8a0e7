"""A second attempt beside a slow first one, as the gateway makes it: who counts, what both cost, when there is none."""

import asyncio
from pathlib import Path

import pytest

from actors.gateway.scopes import nano
from schemas.budget import Budget, Budgets
from schemas.completion import Complete, Completion
from schemas.errors import UpstreamError
from tests.gateway.acts import Stage, answers, entry_of, fails, hangs, most, play, used, warmed
from tests.gateway.doubles import Bench, ask, broken, refused
from tests.gateway.virtual import clock

HEDGED = {"hedge": True}
WARM = nano(200e-6) * 20
"""What the calls cost that make the usual time of a second known."""
PLENTY = Budgets(day=Budget(usd=1))


async def hedged(bench: Bench, stage: Stage, question: Complete | None = None) -> tuple[Completion, float]:
    """What is answered to a question, and how many seconds it took, once a second is known to be usual."""
    await warmed(bench)
    began = clock()
    completion = await bench.plays(cheap=stage).gateway.complete(question or ask())
    took_s = clock() - began
    await bench.recorded()
    return completion, took_s


def test_a_call_that_takes_longer_than_usual_is_made_again_and_the_faster_answer_counts(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        stage = Stage(hangs(), answers("The second.", after_s=0.5))
        completion, took_s = await hedged(bench, stage)
        # Then the answer comes soon after the usual time, the loser was ended, and both are charged
        assert completion.text == "The second."
        assert 1.4 < took_s < 1.8
        assert (stage.cancelled.is_set(), stage.inside) == (True, 0)
        outrun, won = completion.calls
        assert (outrun.outcome, outrun.hedged, outrun.cost_usd) == ("outrun", False, most(bench, ask()))
        assert (won.outcome, won.hedged, won.cost_usd) == ("answered", True, pytest.approx(200e-6))
        assert used(bench.shelf) == WARM + nano(most(bench, ask())) + nano(200e-6)
        assert bench.shelf.records == {}

    play(tmp_path, story, PLENTY, cheap=HEDGED)


def test_the_first_may_still_win(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        completion, _ = await hedged(bench, Stage(answers("The first.", after_s=1.5), hangs()))
        assert completion.text == "The first."
        outrun, won = completion.calls
        assert (outrun.outcome, outrun.hedged, outrun.latency_ms is not None) == ("outrun", True, True)
        assert (won.outcome, won.hedged) == ("answered", False)
        assert bench.shelf.records == {}

    play(tmp_path, story, PLENTY, cheap=HEDGED)


def test_both_attempts_are_on_record_while_they_run(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await warmed(bench)
        asked = asyncio.create_task(bench.plays(cheap=Stage(hangs())).gateway.complete(ask()))
        await asyncio.sleep(2)
        entry = entry_of(bench, ask())
        assert [call.hedged for call in entry.open] == [False, True]
        assert list(entry.held.values()) == [None, None]
        assert len(bench.shelf.records) == 2
        # When nobody wants the answer any more
        asked.cancel()
        await asyncio.wait({asked})
        await bench.recorded()
        # Then both are ended and charged
        assert bench.scripts["cheap"].inside == 0  # type: ignore[attr-defined]
        entry = entry_of(bench, ask())
        assert ([call.outcome for call in entry.calls], entry.open) == (["cancelled"] * 2, ())
        assert used(bench.shelf) == WARM + 2 * nano(most(bench, ask()))
        assert bench.shelf.records == {}

    play(tmp_path, story, PLENTY, cheap=HEDGED)


@pytest.mark.parametrize("hedge", [True, False])
def test_there_is_no_second_attempt_unless_it_is_asked_for_and_a_usual_time_is_known(
    tmp_path: Path, hedge: bool
) -> None:
    async def story(bench: Bench) -> None:
        if not hedge:
            await warmed(bench)
        stage = Stage(answers(after_s=60))
        await bench.plays(cheap=stage).gateway.complete(ask())
        assert len(stage.attempts) == 1

    play(tmp_path, story, cheap={"hedge": hedge})


def test_without_room_there_is_no_second_attempt(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        stage = Stage(answers(after_s=60))
        completion, took_s = await hedged(bench, stage)
        (call,) = completion.calls
        assert (call.hedged, took_s, len(stage.attempts)) == (False, pytest.approx(60), 1)

    play(tmp_path, story, cheap={**HEDGED, "limits": {"concurrency": 1}})


def test_without_money_there_is_no_second_attempt(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        # Given what is enough for one attempt and not for two
        question = ask(max_cost_usd=most(bench, ask()) * 1.5)
        stage = Stage(answers(after_s=60))
        completion, took_s = await hedged(bench, stage, question)
        assert (completion.text, took_s, len(stage.attempts)) == ("An answer.", pytest.approx(60), 1)
        assert used(bench.shelf) == nano(200e-6)
        assert bench.shelf.records == {}

    play(tmp_path, story, cheap=HEDGED)


def test_when_one_of_two_fails_the_other_is_waited_for_and_says_so(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        free = UpstreamError("sim", "HTTP 503", again=True, spent=False, status=503)
        completion, _ = await hedged(bench, Stage(fails(free, after_s=2), answers("The second.", after_s=5)))
        (call,) = completion.calls
        assert (completion.text, call.hedged, call.retries) == ("The second.", True, ("HTTP 503",))
        assert used(bench.shelf) == WARM + nano(200e-6)

    play(tmp_path, story, PLENTY, cheap=HEDGED)


def test_when_the_second_fails_and_may_have_cost_it_is_charged_beside_the_answer(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        completion, _ = await hedged(bench, Stage(answers(after_s=5), fails(broken("it broke"), after_s=1)))
        failed, won = completion.calls
        assert (failed.outcome, failed.reason, failed.hedged) == ("failed", "it broke", True)
        assert (won.outcome, won.hedged) == ("answered", False)
        assert used(bench.shelf) == WARM + nano(most(bench, ask())) + nano(200e-6)

    play(tmp_path, story, PLENTY, cheap=HEDGED)


def test_when_both_fail_they_are_tried_again(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        stage = Stage(
            fails(refused("HTTP 503", again=True, retry_after_s=0.0), after_s=2),
            fails(broken("it broke", again=True), after_s=2),
            answers("The third."),
        )
        completion, _ = await hedged(bench, stage)
        failed, won = completion.calls
        assert completion.text == "The third."
        assert (failed.outcome, failed.hedged) == ("failed", True)
        assert won.retries == ("HTTP 503",)
        assert used(bench.shelf) == WARM + nano(most(bench, ask())) + nano(200e-6)
        assert bench.shelf.records == {}

    play(tmp_path, story, PLENTY, cheap=HEDGED)


def test_when_both_fail_for_good_the_next_service_names_both(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(dear=Stage(answers("The next.")))
        stage = Stage(fails(broken("it broke"), after_s=2), fails(refused("HTTP 400"), after_s=2))
        completion, _ = await hedged(bench, stage, ask("cheap", "dear"))
        failed, won = completion.calls
        assert (failed.service, failed.reason) == ("cheap", "it broke")
        assert (won.service, won.fallback_from) == ("dear", ("cheap: HTTP 400; it broke",))

    play(tmp_path, story, cheap=HEDGED)


def test_a_first_that_failed_for_free_is_not_charged_when_the_second_is_cancelled(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await warmed(bench)
        stage = Stage(fails(refused("HTTP 503"), after_s=2), hangs())
        asked = asyncio.create_task(bench.plays(cheap=stage).gateway.complete(ask()))
        await asyncio.sleep(5)
        asked.cancel()
        await asyncio.wait({asked})
        await bench.recorded()
        (call,) = entry_of(bench, ask()).calls
        assert (call.outcome, call.hedged) == ("cancelled", True)
        assert used(bench.shelf) == WARM + nano(most(bench, ask()))

    play(tmp_path, story, PLENTY, cheap=HEDGED)


def test_an_answer_that_comes_while_the_second_is_being_recorded_leaves_nothing_open(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await warmed(bench)
        stage = Stage(answers("The first.", after_s=1.2))
        asked = asyncio.create_task(bench.plays(cheap=stage).gateway.complete(ask()))
        await asyncio.sleep(0.5)
        # Given a journal that takes its time with the second's record
        bench.journal.acknowledge.clear()
        asyncio.get_running_loop().call_later(5, bench.journal.acknowledge.set)
        # When the first answers meanwhile
        completion = await asked
        await bench.recorded()
        # Then the second was never made, and holds nothing
        assert (len(stage.attempts), [call.outcome for call in completion.calls]) == (1, ["answered"])
        assert entry_of(bench, ask()).open == ()
        assert used(bench.shelf) == WARM + nano(200e-6)
        assert bench.shelf.records == {}

    play(tmp_path, story, PLENTY, cheap=HEDGED)


def test_a_hedged_answer_that_overran_is_a_problem_and_all_is_charged(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        completion, _ = await hedged(bench, Stage(hangs(), answers(completion=2000)))
        assert completion.problem is not None
        assert completion.problem.code == "budget_exceeded"
        assert [call.outcome for call in completion.calls] == ["outrun", "answered"]
        assert used(bench.shelf) == WARM + nano(most(bench, ask())) + nano(4100e-6)
        assert bench.shelf.records == {}

    play(tmp_path, story, PLENTY, cheap=HEDGED)


def test_each_of_two_streams_is_told_under_a_number_of_its_own(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        stage = Stage(hangs("The fir"), answers("The second."))
        completion, _ = await hedged(bench, stage, ask(stream=True))
        assert bench.told == [(1, 0, "The fir"), (2, 0, "The second.")]
        outrun, _ = completion.calls
        # And the one that was outrun is charged for what had arrived of it
        assert (outrun.completion_tokens, outrun.cost_estimated) == (2, True)
        assert (outrun.cost_usd or 1) < most(bench, ask())

    play(tmp_path, story, cheap=HEDGED)

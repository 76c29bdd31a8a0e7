"""A gateway whose services are full, slow or down: who is passed over, who waits and how long, who is left alone."""

import asyncio
from pathlib import Path
from typing import Any

from schemas.budget import Budget, Budgets
from schemas.completion import Complete, Completion
from schemas.errors import UpstreamError
from schemas.receipt import Call
from tests.gateway.acts import Act, Stage, answers, fails, hangs, play
from tests.gateway.doubles import Bench, ask
from tests.gateway.virtual import clock


def status(code: int, again: bool = False, retry_after_s: float | None = None) -> Act:
    """A refusal that cost nothing."""
    return fails(UpstreamError("sim", f"HTTP {code}", again, retry_after_s, spent=False, status=code))


async def last_call(bench: Bench, question: Complete) -> Call:
    completion = await bench.gateway.complete(question)
    assert completion.problem is None
    return completion.calls[-1]


def order(n: int, **changed: Any) -> Complete:
    return ask("cheap", "dear", task_id=f"t{n}", **changed)


# -- limits --------------------------------------------------------------------------------------------------------


def test_a_service_at_its_limit_of_requests_is_passed_over_at_once(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(cheap=Stage(answers()), dear=Stage(answers()))
        # Given a service that takes one request a minute, and has had it
        assert (await last_call(bench, order(1))).service == "cheap"
        # When somebody else asks
        call = await last_call(bench, order(2))
        # Then the next serves without any waiting, and says why
        assert (call.service, clock()) == ("dear", 0)
        (reason,) = call.fallback_from
        assert reason.startswith("cheap: at its limit of 1 requests a minute; again in 6")
        # And a minute later it is asked again
        await asyncio.sleep(62)
        assert (await last_call(bench, order(3))).service == "cheap"

    play(tmp_path, story, cheap={"limits": {"rpm": 1}})


def test_a_full_service_that_is_not_the_last_is_waited_for_a_little(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(cheap=Stage(answers(after_s=100)), dear=Stage(answers()))
        busy = asyncio.create_task(bench.gateway.complete(order(1)))
        await bench.scripts["cheap"].started.wait()
        call = await last_call(bench, order(2))
        assert (call.service, clock()) == ("dear", 2)
        assert call.fallback_from[0].startswith("cheap: at its limit of 1 calls at once")
        assert (await busy).calls[0].service == "cheap"

    play(tmp_path, story, cheap={"limits": {"concurrency": 1}})


def test_the_last_service_is_waited_for_as_long_as_there_is_time(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(cheap=Stage(answers(after_s=100)))
        both = [asyncio.create_task(last_call(bench, ask(task_id=f"t{n}"))) for n in range(2)]
        await asyncio.gather(*both)
        assert bench.scripts["cheap"].began_at == [0, 100]  # type: ignore[attr-defined]

    play(tmp_path, story, cheap={"limits": {"concurrency": 1}})


def test_a_recorded_answer_is_given_however_full_the_service_is(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        # Given a service with one place, an answer of it that is recorded, and somebody in the place
        bench.plays(cheap=Stage(answers(), answers(after_s=100)))
        paid = await bench.gateway.complete(ask(task_id="t0"))
        await bench.recorded()
        bench.scripts["cheap"].started.clear()
        busy = asyncio.create_task(bench.gateway.complete(ask(task_id="t1")))
        await bench.scripts["cheap"].started.wait()
        began_s = clock()
        # When the first question is asked again, Then nobody waits for the place
        assert await bench.gateway.complete(ask(task_id="t0")) == paid
        assert clock() == began_s
        await busy

    play(tmp_path, story, cheap={"limits": {"concurrency": 1}})


def test_nobody_waits_past_the_deadline(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(cheap=Stage(hangs()))
        busy = asyncio.create_task(bench.gateway.complete(ask(task_id="t1")))
        await bench.scripts["cheap"].started.wait()
        # Given a service without room, and ten seconds
        completion = await bench.gateway.complete(ask(task_id="t2", timeout_s=10))
        # Then that is the end of it
        assert completion.problem is not None
        assert clock() <= 10
        busy.cancel()
        await asyncio.wait({busy})

    play(tmp_path, story, cheap={"limits": {"concurrency": 1}})


def test_when_everybody_is_busy_the_problem_says_when_to_come_again(tmp_path: Path) -> None:
    async def story(bench: Bench) -> Completion:
        bench.plays(cheap=Stage(answers()), dear=Stage(answers()))
        await bench.gateway.complete(ask("cheap", task_id="t1"))
        await bench.gateway.complete(ask("dear", task_id="t2"))
        return await bench.gateway.complete(order(3, timeout_s=20))

    problem = play(tmp_path, story, cheap={"limits": {"rpm": 1}}, dear={"limits": {"rpm": 1}}).problem
    assert problem is not None
    assert (problem.code, problem.status, problem.retryable) == ("too_busy", 429, True)
    assert problem.retry_after_s is not None
    assert 59 < problem.retry_after_s <= 62
    assert "cheap: at its limit of 1 requests" in problem.detail
    assert "dear: at its limit of 1 requests" in problem.detail


def test_a_question_larger_than_a_whole_limit_is_not_told_to_come_again(tmp_path: Path) -> None:
    async def story(bench: Bench) -> Completion:
        return await bench.plays(cheap=Stage(answers())).gateway.complete(ask())

    problem = play(tmp_path, story, cheap={"limits": {"tpm": 10}}).problem
    assert problem is not None
    assert (problem.code, problem.retry_after_s) == ("no_service", None)
    assert "tokens never fit" in problem.detail


def test_what_no_budget_covers_uses_up_no_limit(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(cheap=Stage(answers()))
        for n in range(5):
            problem = (await bench.gateway.complete(ask(task_id=f"t{n}", max_cost_usd=0))).problem
            assert problem is not None
            assert problem.code == "budget_exceeded"
        assert (await last_call(bench, ask(task_id="t9"))).service == "cheap"

    play(tmp_path, story, cheap={"limits": {"rpm": 1, "concurrency": 1}})


def test_those_who_waited_for_room_and_left_take_none(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(cheap=Stage(answers(after_s=10)))
        first = asyncio.create_task(bench.gateway.complete(ask(task_id="t1")))
        await bench.scripts["cheap"].started.wait()
        waiting = asyncio.create_task(bench.gateway.complete(ask(task_id="t2")))
        await asyncio.sleep(1)
        # When one who waits is cancelled
        waiting.cancel()
        await asyncio.wait({waiting})
        # Then it was never called nor charged, and the next takes its turn
        assert len(bench.journal.written) == 2  # the first has begun, the second has ended
        assert bench.journal.written[-1].calls == ()
        await first
        await last_call(bench, ask(task_id="t3"))
        assert bench.scripts["cheap"].began_at == [0, 10]  # type: ignore[attr-defined]

    play(tmp_path, story, cheap={"limits": {"concurrency": 1}})


# -- breakers ------------------------------------------------------------------------------------------------------


async def broken_down(bench: Bench) -> None:
    """Five failures one after another."""
    bench.plays(cheap=Stage(status(503)), dear=Stage(answers()))
    for n in range(5):
        assert (await last_call(bench, order(n))).fallback_from == ("cheap: HTTP 503",)


def test_a_service_that_keeps_failing_is_left_alone_and_receipts_say_so(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await broken_down(bench)
        # When the next asks
        call = await last_call(bench, order(9))
        # Then the service is not called
        assert len(bench.scripts["cheap"].attempts) == 5
        (reason,) = call.fallback_from
        assert reason.startswith("cheap: left alone: HTTP 503; again in")
        assert [(name, change.after) for name, change in bench.changes] == [("cheap", "open")]

    play(tmp_path, story)


def test_a_service_that_was_left_alone_is_tried_once_and_used_when_it_answers(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await broken_down(bench)
        bench.plays(cheap=Stage(answers(after_s=5)))
        await asyncio.sleep(3)
        # Given one who tries it again
        probe = asyncio.create_task(last_call(bench, order(10)))
        await bench.scripts["cheap"].started.wait()
        # Then others leave it alone meanwhile
        meanwhile = await last_call(bench, order(11))
        assert meanwhile.fallback_from == ("cheap: being tried again: HTTP 503",)
        # And it serves everybody once it has answered
        assert (await probe).service == "cheap"
        assert (await last_call(bench, order(12))).service == "cheap"
        assert [change.after for _, change in bench.changes] == ["open", "half_open", "closed"]

    play(tmp_path, story)


def test_a_service_that_fails_again_is_left_alone_for_longer(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await broken_down(bench)
        await asyncio.sleep(3)
        assert (await last_call(bench, order(10))).fallback_from == ("cheap: HTTP 503",)
        await asyncio.sleep(3)
        assert (await last_call(bench, order(11))).fallback_from[0].startswith("cheap: left alone")
        assert len(bench.scripts["cheap"].attempts) == 6

    play(tmp_path, story)


def test_a_probe_that_no_budget_covers_leaves_the_turn_to_the_next(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await broken_down(bench)
        bench.plays(cheap=Stage(answers()))
        await asyncio.sleep(3)
        poor = await bench.gateway.complete(order(10, max_cost_usd=0))
        assert poor.problem is not None
        assert (await last_call(bench, order(11))).service == "cheap"

    play(tmp_path, story)


def test_a_breaker_that_opens_stops_the_retries_of_those_under_way(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(cheap=Stage(status(503, again=True, retry_after_s=0.5)), dear=Stage(answers()))
        calls = await asyncio.gather(*(last_call(bench, order(n)) for n in range(4)))
        assert {call.service for call in calls} == {"dear"}
        assert all("cheap: HTTP 503" in call.fallback_from[0] for call in calls)
        assert len(bench.scripts["cheap"].attempts) < 4 * 3

    play(tmp_path, story)


def test_a_service_that_will_not_have_our_key_is_left_alone_at_once(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(cheap=Stage(status(401)), dear=Stage(answers()))
        assert (await last_call(bench, order(1))).fallback_from == ("cheap: HTTP 401",)
        assert (await last_call(bench, order(2))).fallback_from[0].startswith("cheap: left alone: HTTP 401")

    play(tmp_path, story)


# -- pauses --------------------------------------------------------------------------------------------------------


def test_a_service_that_asks_for_a_pause_gets_it_from_everybody(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.plays(cheap=Stage(status(429, again=True, retry_after_s=30), answers()), dear=Stage(answers()))
        assert (await last_call(bench, order(1))).fallback_from == ("cheap: HTTP 429",)
        assert (await last_call(bench, order(2))).fallback_from == ("cheap: it asked for a pause; again in 30 s",)
        await asyncio.sleep(30)
        assert (await last_call(bench, order(3))).service == "cheap"
        assert bench.scripts["cheap"].began_at == [0, 30]  # type: ignore[attr-defined]

    play(tmp_path, story)


def test_a_short_pause_is_waited_for_and_named_among_the_retries(tmp_path: Path) -> None:
    async def story(bench: Bench) -> Call:
        bench.plays(cheap=Stage(status(429, again=True, retry_after_s=1.5), answers()), dear=Stage(answers()))
        call = await last_call(bench, order(1))
        assert clock() == 1.5
        return call

    call = play(tmp_path, story)
    assert (call.service, call.retries, call.fallback_from) == ("cheap", ("HTTP 429",), ())


def test_when_the_only_service_asks_for_a_long_pause_the_problem_says_how_long(tmp_path: Path) -> None:
    async def story(bench: Bench) -> Completion:
        bench.plays(cheap=Stage(status(429, again=True, retry_after_s=30)))
        return await bench.gateway.complete(ask())

    problem = play(tmp_path, story).problem
    assert problem is not None
    assert (problem.code, problem.status, problem.retry_after_s) == ("too_busy", 429, 30)


# -- both ----------------------------------------------------------------------------------------------------------


def test_one_without_room_and_one_without_money_are_both_named(tmp_path: Path) -> None:
    async def story(bench: Bench) -> Completion:
        bench.plays(cheap=Stage(status(429, again=True, retry_after_s=30)), dear=Stage(answers()))
        return await bench.gateway.complete(order(1))

    problem = play(tmp_path, story, budgets=Budgets(services={"dear": Budget(usd=0)})).problem
    assert problem is not None
    assert (problem.code, problem.retryable) == ("no_service", True)
    assert "cheap: HTTP 429; dear: may cost" in problem.detail

"""Who serves: the order of services, who is passed over and why, retries, the deadline."""

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from actors.gateway.service import EMBEDDED, RetryPolicy
from bus.journal import key_of
from schemas.completion import ChatMessage, ImagePart
from schemas.service import LOCAL, LOCAL_EMBEDDINGS
from tests.gateway.doubles import Bench, Script, ask, broken, refused, served

# -- the order -----------------------------------------------------------------------------------------------------


async def test_the_first_service_of_the_order_serves(bench: Bench) -> None:
    bench.plays(cheap=Script(served(model="cheap-1-2026")), dear=Script(served()))
    answer = await bench.gateway.complete(ask("cheap", "dear"))
    (call,) = answer.calls
    assert (call.service, call.model, call.region) == ("cheap", "cheap-1-2026", "eu")
    assert (call.step, call.agent, call.fallback_from) == ("direct", "writing", ())
    assert call.latency_ms is not None
    assert bench.scripts["dear"].attempts == []


async def test_a_service_that_does_not_name_its_model_is_called_by_the_catalogues_name(bench: Bench) -> None:
    bench.plays(cheap=Script(served(model="")))
    assert (await bench.gateway.complete(ask())).calls[0].model == "cheap-1"


async def test_each_service_that_fell_out_is_named_with_its_reason_in_order(bench: Bench) -> None:
    # Given an order whose first services each fall out for a reason of its own
    bench.plays(dear=Script(refused("HTTP 401")), cheap=Script(broken("the connection broke")), free=Script(served()))
    order = ("nobody", "locked", LOCAL_EMBEDDINGS, "dear", "cheap", "free")
    # When it is asked
    answer = await bench.gateway.complete(ask(*order))
    # Then the one that served says who did not
    assert answer.calls[-1].service == "free"
    assert answer.calls[-1].fallback_from == (
        "nobody: unknown service",
        "locked: no key: set LOCKED_KEY",
        f"{LOCAL_EMBEDDINGS}: serves embeddings, not chat",
        "dear: HTTP 401",
        "cheap: the connection broke",
    )


async def test_when_nobody_can_serve_the_problem_says_why_and_what_was_spent(bench: Bench) -> None:
    bench.plays(dear=Script(refused("HTTP 401")), cheap=Script(broken("an empty answer")))
    answer = await bench.gateway.complete(ask("dear", "cheap"))
    assert answer.text is None
    assert answer.problem is not None
    assert answer.problem.code == "no_service"
    assert "dear: HTTP 401; cheap: an empty answer" in answer.problem.detail
    assert [call.service for call in answer.calls] == ["cheap"]


async def test_a_service_whose_key_is_set_is_called_with_it(bench: Bench) -> None:
    bench.plays(locked=Script(served()), cheap=Script(served()))
    # A variable often ends with the line that it was read from.
    bench.environ["LOCKED_KEY"] = "secret-of-ours\n"
    answer = await bench.gateway.complete(ask("locked", "cheap"))
    assert answer.calls[0].service == "locked"
    assert bench.scripts["locked"].attempts[0].api_key == "secret-of-ours"


async def test_no_key_leaves_for_a_service_that_needs_none(bench: Bench) -> None:
    bench.environ |= {"OPENAI_API_KEY": "secret-of-ours", "none": "secret-of-ours"}
    await bench.plays(cheap=Script(served())).gateway.complete(ask())
    assert bench.scripts["cheap"].attempts[0].api_key is None


async def test_a_service_that_takes_no_images_is_passed_over_for_a_question_with_one(bench: Bench) -> None:
    image = ImagePart(media_type="image/png", base64="AAAA")
    question = ask(LOCAL, messages=(ChatMessage(role="user", content="What is this?", images=(image,)),))
    answer = await bench.gateway.complete(question)
    assert answer.problem is not None
    assert f"{LOCAL}: takes no images" in answer.problem.detail


async def test_a_service_of_ones_own_gets_images_where_its_entry_says_that_it_takes_them(bench: Bench) -> None:
    # Given two services that no table lists, one of which is said to take images
    image = ImagePart(media_type="image/png", base64="AAAA")
    question = ask("dear", "cheap", messages=(ChatMessage(role="user", content="Look.", images=(image,)),))
    cheap = bench.catalogue.services["cheap"]
    bench.catalogue.services["cheap"] = cheap.model_copy(update={"images": True})
    # When a question has one
    answer = await bench.plays(cheap=Script(served()), dear=Script(served())).gateway.complete(question)
    # Then that one gets it, and the other says what to state
    (call,) = answer.calls
    assert call.service == "cheap"
    assert call.fallback_from == ("dear: not known to take images; state services.dear.images",)
    assert bench.scripts["cheap"].attempts[0].messages[0].images == (image,)


async def test_a_retried_attempt_is_another_request_to_the_provider(bench: Bench) -> None:
    script = Script(refused("HTTP 503", again=True, retry_after_s=0.0), served())
    await bench.plays(cheap=script).gateway.complete(ask())
    assert len({attempt.request_id for attempt in script.attempts}) == 2


# -- retries -------------------------------------------------------------------------------------------------------


async def test_what_may_pass_is_tried_three_times_before_the_next_service(bench: Bench) -> None:
    failing = Script(refused("HTTP 500", again=True, retry_after_s=0.01))
    bench.plays(cheap=failing, dear=Script(served()))
    answer = await bench.gateway.complete(ask("cheap", "dear"))
    assert len(failing.attempts) == 3
    assert answer.calls[0].fallback_from == ("cheap: HTTP 500",)


async def test_what_will_not_pass_is_tried_once(bench: Bench) -> None:
    failing = Script(refused("HTTP 400"))
    await bench.plays(cheap=failing, dear=Script(served())).gateway.complete(ask("cheap", "dear"))
    assert len(failing.attempts) == 1


async def test_a_short_retry_after_is_obeyed(bench: Bench) -> None:
    # Given a provider that asks for 0.4 s and serves then
    script = Script(refused("HTTP 429", again=True, retry_after_s=0.4), served())
    began = time.monotonic()
    # When it is asked
    answer = await bench.plays(cheap=script, dear=Script(served())).gateway.complete(ask("cheap", "dear"))
    # Then it serves, not sooner than it asked for
    assert (answer.calls[0].service, len(script.attempts)) == ("cheap", 2)
    assert time.monotonic() - began >= 0.4


async def test_a_retry_after_beyond_the_policys_bound_moves_on(bench: Bench) -> None:
    script = Script(refused("HTTP 429", again=True, retry_after_s=11.0), served())
    began = time.monotonic()
    answer = await bench.plays(cheap=script, dear=Script(served())).gateway.complete(ask("cheap", "dear"))
    assert (answer.calls[0].service, len(script.attempts)) == ("dear", 1)
    assert answer.calls[0].fallback_from == ("cheap: HTTP 429",)
    assert time.monotonic() - began < 10


async def test_a_retry_after_beyond_the_deadline_moves_on(bench: Bench) -> None:
    script = Script(refused("HTTP 429", again=True, retry_after_s=9.0), served())
    question = ask("cheap", "dear", timeout_s=8.0)
    answer = await bench.plays(cheap=script, dear=Script(served())).gateway.complete(question)
    assert (answer.calls[0].service, len(script.attempts)) == ("dear", 1)


@given(st.integers(1, 60), st.none() | st.floats(0, allow_nan=False))
def test_a_delay_is_bounded_and_ends_with_the_attempts(attempt: int, retry_after_s: float | None) -> None:
    policy = RetryPolicy(attempts=30, base_s=0.25, cap_s=2.0, obey_up_to_s=10.0)
    delay_s = policy.delay_s(attempt, retry_after_s)
    if attempt >= 30 or (retry_after_s or 0) > 10:
        assert delay_s is None
    elif retry_after_s is not None:
        assert delay_s == retry_after_s
    else:
        assert delay_s is not None
        assert 0 <= delay_s <= 2


def test_the_embedded_model_has_time_to_start_anew() -> None:
    assert EMBEDDED.attempts * EMBEDDED.cap_s >= 30


# -- the deadline --------------------------------------------------------------------------------------------------


async def test_after_the_deadline_nobody_is_called(bench: Bench) -> None:
    bench.plays(cheap=Script(served()))
    answer = await bench.gateway.complete(ask(timeout_s=-1))
    assert answer.problem is not None
    assert answer.problem.code == "deadline_exceeded"
    assert (answer.calls, bench.scripts["cheap"].attempts) == ((), [])


async def test_a_deadline_that_passes_during_the_last_attempt_is_the_reason(bench: Bench) -> None:
    # Given a provider that takes all the time there is
    slow = Script(broken("no answer in time"))
    play = slow.complete

    async def until_the_end(attempt: object, heard: object) -> object:
        await asyncio.sleep(0.3)
        return await play(attempt, heard)  # type: ignore[arg-type]

    slow.complete = until_the_end  # type: ignore[method-assign, assignment]
    # When it fails with nobody left to ask
    answer = await bench.plays(cheap=slow).gateway.complete(ask(timeout_s=0.2))
    # Then the deadline is what ended it, not the lack of services
    assert answer.problem is not None
    assert answer.problem.code == "deadline_exceeded"
    assert [call.service for call in answer.calls] == ["cheap"]


async def test_an_attempt_may_take_no_longer_than_its_service_and_the_deadline_allow(bench: Bench) -> None:
    bench.plays(cheap=Script(served()))
    await bench.gateway.complete(ask(timeout_s=30))
    await bench.gateway.complete(ask(timeout_s=3000, step="another"))
    short, long = bench.scripts["cheap"].attempts
    assert 25 < short.timeout_s <= 30
    assert long.timeout_s == bench.catalogue.services["cheap"].timeout


async def test_the_answer_of_a_call_that_failed_is_on_record_too(bench: Bench) -> None:
    script = Script(refused("HTTP 400"))
    bench.plays(cheap=script)
    first = await bench.gateway.complete(ask())
    assert await bench.gateway.complete(ask()) == first
    assert len(script.attempts) == 1
    assert bench.journal.entry(key_of(ask())).state == "ended"


async def test_what_the_provider_said_comes_back_as_it_is(bench: Bench) -> None:
    answer = await bench.plays(cheap=Script(served(" An answer.\n"))).gateway.complete(ask())
    assert (answer.text, answer.finish_reason, answer.problem) == (" An answer.\n", "stop", None)

"""The exact cache on a real server: what it finds, what it forgets, and that it never stands in the way."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bus.cache import Cache, Cached, call_of
from bus.client import Bus
from bus.journal import question_of
from bus.streams import CACHE, ensure
from schemas.completion import Completion, ToolCall
from schemas.message import now
from schemas.problem import Problem
from schemas.receipt import Call
from tests.broker import Broker
from tests.gateway.doubles import ask

HOUR = 3600.0
CALL = Call(
    step="direct", agent="writing", service="cheap", model="cheap-1-0613", region="eu", prompt_tokens=10,
    completion_tokens=5, cost_usd=0.25, latency_ms=900,
)  # fmt: skip
ANSWER = Completion(
    text="An answer.",
    tool_calls=(ToolCall(id="1", name="look", arguments="{}"),),
    finish_reason="stop",
    calls=(CALL.model_copy(update={"outcome": "failed"}), CALL),
)
QUESTION = question_of(ask())


def answer(**fields: Any) -> Cached:
    cached = Cached.of(ANSWER)
    assert cached is not None
    return cached.model_copy(update=fields)


@pytest.fixture
def cache(bus: Bus) -> Cache:
    return Cache(bus)


async def test_what_was_answered_is_found_again(cache: Cache) -> None:
    # Given an answer that was kept
    kept = answer()
    await cache.put("default", "cheap", "openai/cheap-1", QUESTION, kept, HOUR)
    # When the same service is asked the same
    found = await cache.get("default", "cheap", "openai/cheap-1", QUESTION, HOUR)
    # Then it is the answer, whole
    assert found == kept


async def test_another_question_service_model_or_tenant_is_a_miss(cache: Cache) -> None:
    # Given an answer that was kept
    await cache.put("default", "cheap", "openai/cheap-1", QUESTION, answer(), HOUR)
    # When anything else is asked, Then there is nothing
    other = question_of(ask(temperature=0.0))
    for tenant, service, model, question in [
        ("another", "cheap", "openai/cheap-1", QUESTION),
        ("default", "dear", "openai/cheap-1", QUESTION),
        ("default", "cheap", "openai/cheap-2", QUESTION),
        ("default", "cheap", "openai/cheap-1", other),
    ]:
        assert await cache.get(tenant, service, model, question, HOUR) is None


async def test_an_answer_is_as_old_as_the_reader_allows(cache: Cache) -> None:
    # Given an answer of a minute ago
    old = answer(stored_at=now() - timedelta(seconds=60))
    await cache.put("default", "cheap", "openai/cheap-1", QUESTION, old, HOUR)
    # When one of half a minute and one of two are wanted, Then only the latter is there
    assert await cache.get("default", "cheap", "openai/cheap-1", QUESTION, 30) is None
    assert await cache.get("default", "cheap", "openai/cheap-1", QUESTION, 120) == old


async def test_the_server_forgets_an_answer_whose_time_is_over(bus: Bus, cache: Cache) -> None:
    # Given an answer that is kept for a second, and one that is kept for longer
    await cache.put("default", "cheap", "openai/cheap-1", QUESTION, answer(), 0.5)
    await cache.put("default", "dear", "openai/dear-1", QUESTION, answer(), HOUR)
    # When that second is over
    async with asyncio.timeout(10):
        while (await bus.js.stream_info(CACHE)).state.messages == 2:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.05)
    # Then the first is gone, however old it may be
    assert await cache.get("default", "cheap", "openai/cheap-1", QUESTION, HOUR) is None
    assert await cache.get("default", "dear", "openai/dear-1", QUESTION, HOUR) is not None


async def test_a_later_answer_takes_the_place_of_an_earlier_one(bus: Bus, cache: Cache) -> None:
    for text in ("First.", "Second."):
        await cache.put("default", "cheap", "openai/cheap-1", QUESTION, answer(text=text), HOUR)
    found = await cache.get("default", "cheap", "openai/cheap-1", QUESTION, HOUR)
    assert found is not None
    assert found.text == "Second."
    assert (await bus.js.stream_info(CACHE)).state.messages == 1


async def test_a_large_answer_is_kept_too(cache: Cache) -> None:
    kept = answer(text="é" * 1_000_000)
    await cache.put("default", "cheap", "openai/cheap-1", QUESTION, kept, HOUR)
    assert await cache.get("default", "cheap", "openai/cheap-1", QUESTION, HOUR) == kept


async def test_a_full_cache_forgets_its_oldest_answers(bus: Bus, cache: Cache) -> None:
    # Given a cache with room for few answers
    await ensure(bus.client, budget=1_000_000)
    # When more are kept
    for number in range(40):
        await cache.put("default", f"s{number}", "openai/cheap-1", QUESTION, answer(text="x" * 2000), HOUR)
    # Then the last is there and the first is not
    assert await cache.get("default", "s39", "openai/cheap-1", QUESTION, HOUR) is not None
    assert await cache.get("default", "s0", "openai/cheap-1", QUESTION, HOUR) is None


async def test_a_bus_that_is_away_is_a_miss_and_no_error(broker: Broker, bus: Bus) -> None:
    # Given a cache whose broker has died
    cache = Cache(bus, patience_s=0.2)
    await asyncio.to_thread(broker.kill)
    # When it is asked and given an answer, Then it says nothing and stops nobody
    await cache.put("default", "cheap", "openai/cheap-1", QUESTION, answer(), HOUR)
    assert await cache.get("default", "cheap", "openai/cheap-1", QUESTION, HOUR) is None


async def test_a_cache_that_was_never_made_is_a_miss_and_no_error(bus: Bus, cache: Cache) -> None:
    await bus.js.delete_stream(CACHE)
    await cache.put("default", "cheap", "openai/cheap-1", QUESTION, answer(), HOUR)
    assert await cache.get("default", "cheap", "openai/cheap-1", QUESTION, HOUR) is None


async def test_what_is_no_answer_in_the_cache_is_a_miss(bus: Bus, cache: Cache) -> None:
    # Given nonsense where an answer should lie
    await cache.put("default", "cheap", "openai/cheap-1", QUESTION, answer(), HOUR)
    message = await bus.js.get_msg(CACHE, 1)
    await bus.js.publish(message.subject or "", b"nonsense")
    # When it is asked for, Then it is not there
    assert await cache.get("default", "cheap", "openai/cheap-1", QUESTION, HOUR) is None


def test_only_an_answer_is_worth_keeping() -> None:
    problem = Problem(type="urn:devskyy:problem:no-service", title="t", status=503, detail="d")
    assert Cached.of(Completion(problem=problem, calls=(CALL,))) is None
    assert Cached.of(Completion()) is None


def test_a_receipt_says_that_the_cache_answered_and_that_it_cost_nothing() -> None:
    # Given an answer that was found
    found = answer()
    # When it is entered in the receipt of another task
    entered = call_of(found, ask(step="review"), "cheap", ("dear: HTTP 500",), 1.5)
    # Then who answered, the sizes and what was passed over are told, and nothing was spent
    assert entered == CALL.model_copy(
        update={
            "step": "review", "fallback_from": ("dear: HTTP 500",), "cached": True, "cost_usd": 0.0, "latency_ms": 1.5,
        }
    )  # fmt: skip
    assert found.completion((entered,)) == ANSWER.model_copy(update={"calls": (entered,)})

"""What every fault of a provider means, in each of the three wire formats, whole and streamed."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest
import pytest_asyncio

from actors.gateway.providers import Heard
from schemas.errors import UpstreamError
from tests.broker import free_port
from tests.gateway.doubles import LONG_S
from tests.gateway.wires import KEY, LOOK, WIRES, Wire, wire_of
from tests.simulators.base import Behaviour, Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER = "Hello there, friend."
PATIENCE_S = 0.4
"""For providers that go silent."""

REFUSED: dict[Fault, tuple[bool, bool | None]] = {
    "401": (False, False),
    "429": (True, False),
    "500": (True, False),
    "overloaded": (True, False),
}
"""Whether another try may help, and whether it may have cost."""
WHOLE: dict[Fault, tuple[bool, bool | None]] = {
    **REFUSED,
    "hang": (False, None),
    "stall": (False, None),
    "cut": (True, None),
    "malformed": (True, None),
    "html": (True, None),
    "error_in_200": (True, None),
    "empty": (True, None),
}
STREAMED: dict[Fault, tuple[bool, bool | None]] = {**WHOLE, "unfinished": (True, None), "error_midway": (True, None)}
HEARD: dict[Fault, str] = {"stall": "Hello", "cut": "Hello", "error_midway": "Hello", "unfinished": ANSWER}
"""What had arrived by then; of every other fault nothing."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WIRES)
async def running(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    async with wire_of(request.param) as wire:
        await wire.provider.complete(wire.attempt(), Heard())  # litellm is imported when it is first needed
        yield wire


@pytest.fixture
def wire(running: Wire) -> Wire:
    running.sim.behaviour = Behaviour()
    return running


async def failure(wire: Wire, heard: Heard | None = None, **changed: Any) -> UpstreamError:
    """The error that a call ends in; whatever it is, the key is not in it, and nothing has tried again by itself."""
    before = len(wire.sim.calls)
    with pytest.raises(UpstreamError) as raised:
        await wire.provider.complete(wire.attempt(**changed), heard or Heard())
    assert len(wire.sim.calls) <= before + 1
    error: BaseException | None = raised.value
    while error is not None:
        assert KEY not in str(error) + repr(error) + repr(error.args)
        error = error.__cause__
    return raised.value


async def test_every_fault_is_covered() -> None:
    harmless = {"usage_missing", "usage_lies", "whole"}
    assert set(STREAMED) | harmless == set(get_args(Fault))


@pytest.mark.parametrize("fault", WHOLE)
async def test_a_fault_says_what_is_known_of_it(wire: Wire, fault: Fault) -> None:
    # Given a provider with that fault
    wire.sim.behaviour = Behaviour(fault=fault, answer=ANSWER)
    # When it is called
    started = time.monotonic()
    error = await failure(wire, timeout_s=PATIENCE_S if fault in ("hang", "stall") else LONG_S)
    # Then the error says whether to try again and whether it may have cost, and has not taken longer than it may
    assert (error.service, error.again, error.spent) == ("simulated", *WHOLE[fault])
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("fault", STREAMED)
async def test_a_fault_of_a_stream_says_what_is_known_of_it(wire: Wire, fault: Fault) -> None:
    # Given a provider with that fault
    wire.sim.behaviour = Behaviour(fault=fault, answer=ANSWER)
    heard = Heard()
    # When it is called for a stream
    started = time.monotonic()
    error = await failure(wire, heard, stream=True, timeout_s=PATIENCE_S if fault in ("hang", "stall") else LONG_S)
    # Then the error says the same as of a whole answer
    assert (error.service, error.again, error.spent) == ("simulated", *STREAMED[fault])
    assert time.monotonic() - started < 10
    # And what had arrived was heard
    text = HEARD.get(fault, "")
    assert heard.text == text
    # And what it cost is known only where something was said, or reported: a status alone is no answer that began
    assert heard.began == (bool(text) or heard.completion_tokens is not None)
    assert not text or f"after {len(text)} characters" in error.reason


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_is_too_busy_says_when_to_come_again(wire: Wire, stream: bool) -> None:
    wire.sim.behaviour = Behaviour(fault="429", retry_after_s=7.0)
    assert (await failure(wire, stream=stream)).retry_after_s == 7.0


@pytest.mark.parametrize(("fault", "words"), [("401", "HTTP 401 "), ("429", "HTTP 429 "), ("500", "HTTP 500 ")])
async def test_a_refusal_is_told_in_the_providers_words(wire: Wire, fault: Fault, words: str) -> None:
    wire.sim.behaviour = Behaviour(fault=fault)
    error = await failure(wire)
    assert error.reason == words + wire.sim.refusal(int(fault))["error"]["message"]


async def test_an_overload_keeps_its_own_status(wire: Wire) -> None:
    wire.sim.behaviour = Behaviour(fault="overloaded")
    assert (await failure(wire)).reason.startswith(f"HTTP {wire.sim.overloaded} ")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_is_not_there_was_not_paid(wire: Wire, stream: bool) -> None:
    elsewhere = Wire(wire.name, wire.sim, wire.provider, wire.model, f"http://127.0.0.1:{free_port()}/v1beta")
    error = await failure(elsewhere, stream=stream)
    assert error.reason.startswith("cannot be reached")
    assert (error.again, error.spent) == (True, False)


async def test_usage_that_is_missing_from_a_stream_is_unknown_and_not_zero(wire: Wire) -> None:
    wire.sim.behaviour = Behaviour(fault="usage_missing", answer=ANSWER)
    answer = await wire.provider.complete(wire.attempt(stream=True), Heard())
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == (ANSWER, None, None)


async def test_usage_that_is_missing_from_an_answer_is_unknown_and_not_zero(wire: Wire) -> None:
    # Given a provider that does not bill
    wire.sim.behaviour = Behaviour(fault="usage_missing", answer=ANSWER)
    # When it is asked; litellm takes no answer of these two without usage
    if wire.name in ("anthropic", "gemini"):
        assert (await failure(wire)).spent is None
        return
    answer = await wire.provider.complete(wire.attempt(), Heard())
    # Then nothing is made up
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == (ANSWER, None, None)


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_is_taken_as_the_provider_says_it(wire: Wire, stream: bool) -> None:
    wire.sim.behaviour = Behaviour(fault="usage_lies", answer=ANSWER, prompt_tokens=12, completion_tokens=3)
    answer = await wire.provider.complete(wire.attempt(stream=stream), Heard())
    assert (answer.prompt_tokens, answer.completion_tokens) == (12_000, 3_000)


async def test_a_wish_that_was_cut_is_no_answer_but_counts(wire: Wire) -> None:
    # Given a model that calls a tool, and a connection that breaks while it says with what
    heard = Heard()
    wire.sim.behaviour = Behaviour(fault="unfinished")
    # When it is called
    error = await failure(wire, heard, stream=True, tools=(LOOK,))
    # Then there is no answer, and what arrived of the wish is known
    assert (error.again, error.spent, heard.text) == (True, None, "")
    assert heard.unsaid > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_a_call_closes_its_connection(wire: Wire, stream: bool) -> None:
    # Given a call under way
    wire.sim.behaviour = Behaviour(fault="hang")
    before = wire.sim.cut_by_client
    called = asyncio.create_task(wire.provider.complete(wire.attempt(stream=stream), Heard()))
    await asyncio.to_thread(wire.sim.wait_until, lambda: wire.sim.open == 1, LONG_S)
    # When it is cancelled
    called.cancel()
    with pytest.raises(asyncio.CancelledError):
        await called
    # Then the provider sees its client leave
    await asyncio.to_thread(wire.sim.wait_until, lambda: wire.sim.cut_by_client == before + 1, LONG_S)


async def test_cancelling_a_stream_closes_its_connection_and_leaves_what_was_heard(wire: Wire) -> None:
    # Given a stream that has begun
    wire.sim.behaviour = Behaviour(fault="stall", answer=ANSWER)
    before, begun = wire.sim.cut_by_client, asyncio.Event()
    heard = Heard(lambda _: begun.set())
    called = asyncio.create_task(wire.provider.complete(wire.attempt(stream=True), heard))
    await asyncio.wait_for(begun.wait(), LONG_S)
    # When it is cancelled
    called.cancel()
    with pytest.raises(asyncio.CancelledError):
        await called
    # Then the provider sees its client leave, and what arrived can be charged
    await asyncio.to_thread(wire.sim.wait_until, lambda: wire.sim.cut_by_client == before + 1, LONG_S)
    assert heard.text == "Hello"


async def test_a_stream_that_took_too_long_closes_its_connection(wire: Wire) -> None:
    wire.sim.behaviour = Behaviour(fault="stall", answer=ANSWER)
    before = wire.sim.cut_by_client
    await failure(wire, stream=True, timeout_s=PATIENCE_S)
    await asyncio.to_thread(wire.sim.wait_until, lambda: wire.sim.cut_by_client == before + 1, LONG_S)


async def test_a_slow_stream_may_take_no_longer_than_the_whole_call_may(wire: Wire) -> None:
    # Given a provider that always says something, slowly
    wire.sim.behaviour = Behaviour(answer="word " * 1000, tokens_per_s=50)
    heard = Heard()
    # When it may take less than it does
    error = await failure(wire, heard, stream=True, timeout_s=PATIENCE_S)
    # Then the call ends in time, however steadily it went
    assert error.reason.startswith(f"no end within {PATIENCE_S:g} s after")
    assert (error.again, error.spent) == (False, None)
    assert heard.text.startswith("word")


@pytest.mark.parametrize("fault", ["cut", "empty", "malformed", "429"])
async def test_vectors_that_do_not_come_are_a_failure(wire: Wire, fault: Fault) -> None:
    wire.sim.behaviour = Behaviour(fault=fault)
    with pytest.raises(UpstreamError) as raised:
        await wire.provider.embed(wire.embed_attempt("red"))
    # Anthropic has no embeddings, so nothing is even sent.
    known = (False, False) if wire.name == "anthropic" else (True, False if fault == "429" else None)
    assert (raised.value.again, raised.value.spent) == known


async def test_after_a_fault_the_next_call_is_served(wire: Wire) -> None:
    wire.sim.behaviour = Behaviour(fault="cut", faults_left=1)
    await failure(wire, stream=True)
    assert (await wire.provider.complete(wire.attempt(stream=True), Heard())).text

"""litellm as a provider, against the simulator behind a model string that takes an address."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from actors.gateway.providers import Attempt, LitellmProvider, Served
from schemas.completion import ChatMessage
from schemas.errors import UpstreamError
from schemas.service import ServiceSpec
from tests.gateway.doubles import LONG_S
from tests.simulators.openai import Behaviour, Fault, OpenAISimulator

# litellm keeps its HTTP clients for the life of an event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "the-key-that-nobody-may-see"


def attempt(sim: OpenAISimulator, timeout_s: float = LONG_S, **changed: Any) -> Attempt:
    fields: dict[str, Any] = {
        "service": "simulated",
        "spec": ServiceSpec(model="hosted_vllm/sim-small", api_base=sim.url),
        "api_key": KEY,
        "messages": (ChatMessage(role="user", content="Say hello."),),
        "temperature": 0.5,
        "max_tokens": 100,
        "json_schema": None,
        "timeout_s": timeout_s,
        "request_id": "request-1",
        **changed,
    }
    return Attempt(**fields)


@pytest.fixture(scope="module")
def simulator() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
def sim(simulator: OpenAISimulator) -> OpenAISimulator:
    simulator.behaviour = Behaviour()
    return simulator


@pytest.fixture(scope="module")
def provider() -> LitellmProvider:
    return LitellmProvider()


async def failure(answer: Awaitable[Served]) -> UpstreamError:
    """The error that a call ends in; whatever it is, the key is not in it."""
    with pytest.raises(UpstreamError) as raised:
        await answer
    assert KEY not in str(raised.value) + repr(raised.value.args)
    return raised.value


async def test_an_answer_is_read_with_its_usage(sim: OpenAISimulator, provider: LitellmProvider) -> None:
    sim.behaviour = Behaviour(answer="Hello.", prompt_tokens=12, completion_tokens=3)
    assert await provider.complete(attempt(sim)) == Served("Hello.", "sim-small", "stop", 12, 3)


async def test_a_call_says_what_is_asked(sim: OpenAISimulator, provider: LitellmProvider) -> None:
    before = len(sim.calls)
    await provider.complete(attempt(sim))
    (call,) = sim.calls[before:]
    assert (call.path, call.authorization) == ("/v1/chat/completions", True)
    assert call.body["messages"] == [{"role": "user", "content": "Say hello."}]
    assert (call.body["model"], call.body["max_tokens"], call.body["temperature"]) == ("sim-small", 100, 0.5)


@pytest.mark.parametrize(
    ("fault", "reason", "again", "spent"),
    [
        ("429", "HTTP 429", True, False),
        ("500", "HTTP 500", True, False),
        ("hang", "no answer in time", False, None),
        ("cut", "", True, None),
        ("malformed", "", True, None),
        ("html", "", True, None),
        ("error_in_200", "", True, None),
        ("empty", "an empty answer", True, None),
        ("usage_missing", "", True, None),
    ],
)
async def test_a_fault_says_whether_another_try_may_help_and_whether_it_may_have_cost(
    sim: OpenAISimulator, provider: LitellmProvider, fault: Fault, reason: str, again: bool, spent: bool | None
) -> None:
    before = len(sim.calls)
    sim.behaviour = Behaviour(fault=fault, retry_after_s=7.0)
    try:
        r = await provider.complete(attempt(sim, timeout_s=0.5 if fault == "hang" else LONG_S))
        print("RESULT", fault, r)
    except BaseException as e:
        print("RESULT", fault, type(e), e, getattr(e, "args", None))
    print("CALLS", len(sim.calls) - before)

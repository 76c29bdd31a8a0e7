"""litellm as a provider, against the simulator behind a model string that takes an address."""

import asyncio
import sys
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from actors.gateway.providers import Attempt, Heard, LitellmProvider, Served
from schemas.completion import ChatMessage
from schemas.errors import UpstreamError
from schemas.service import ServiceSpec
from tests.broker import free_port
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
    assert await provider.complete(attempt(sim), Heard()) == Served("Hello.", "sim-small", "stop", 12, 3)


async def test_a_call_says_what_is_asked(sim: OpenAISimulator, provider: LitellmProvider) -> None:
    before = len(sim.calls)
    await provider.complete(attempt(sim), Heard())
    (call,) = sim.calls[before:]
    assert (call.path, call.authorization) == ("/v1/chat/completions", True)
    assert call.body["messages"] == [{"role": "user", "content": "Say hello."}]
    assert (call.body["model"], call.body["max_tokens"], call.body["temperature"]) == ("sim-small", 100, 0.5)


async def test_an_answer_in_the_shape_of_a_schema_is_asked_for(sim: OpenAISimulator, provider: LitellmProvider) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    answer = await provider.complete(attempt(sim, json_schema=schema), Heard())
    assert answer.text == '{"a": 0}'


async def test_without_usage_tokens_are_unknown_and_not_zero(sim: OpenAISimulator, provider: LitellmProvider) -> None:
    sim.behaviour = Behaviour(fault="usage_missing")
    answer = await provider.complete(attempt(sim), Heard())
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)


@pytest.mark.parametrize(
    ("fault", "reason", "again", "spent"),
    [
        ("429", "HTTP 429", True, False),
        ("500", "HTTP 500", True, False),
        ("hang", "no answer within 0.5 s", False, None),
        ("cut", "no usable answer", True, None),
        ("malformed", "no usable answer", True, None),
        ("html", "no usable answer", True, None),
        ("error_in_200", "no usable answer", True, None),
        ("empty", "an empty answer", True, None),
    ],
)
async def test_a_fault_says_whether_another_try_may_help_and_whether_it_may_have_cost(
    sim: OpenAISimulator, provider: LitellmProvider, fault: Fault, reason: str, again: bool, spent: bool | None
) -> None:
    # Given a provider with that fault
    sim.behaviour = Behaviour(fault=fault)
    before = len(sim.calls)
    # When it is called
    error = await failure(provider.complete(attempt(sim, timeout_s=0.5 if fault == "hang" else LONG_S), Heard()))
    # Then the error says what is known, and litellm has not tried again by itself
    assert error.service == "simulated"
    assert error.reason.startswith(reason)
    assert (error.again, error.spent) == (again, spent)
    assert len(sim.calls) == before + 1


async def test_a_provider_that_is_too_busy_says_when_to_come_again(
    sim: OpenAISimulator, provider: LitellmProvider
) -> None:
    sim.behaviour = Behaviour(fault="429", retry_after_s=7.0)
    assert (await failure(provider.complete(attempt(sim), Heard()))).retry_after_s == 7.0


async def test_a_provider_that_is_not_there_was_not_paid(sim: OpenAISimulator, provider: LitellmProvider) -> None:
    spec = ServiceSpec(model="hosted_vllm/sim-small", api_base=f"http://127.0.0.1:{free_port()}/v1")
    error = await failure(provider.complete(attempt(sim, spec=spec), Heard()))
    assert error.reason.startswith("cannot be reached")
    assert (error.again, error.spent) == (True, False)


async def test_what_litellm_itself_refuses_was_not_paid(sim: OpenAISimulator, provider: LitellmProvider) -> None:
    error = await failure(provider.complete(attempt(sim, spec=ServiceSpec(model="nobody/knows")), Heard()))
    assert (error.again, error.spent) == (False, False)


async def test_cancelling_a_call_closes_its_connection(sim: OpenAISimulator, provider: LitellmProvider) -> None:
    # Given a call under way
    sim.behaviour = Behaviour(fault="hang")
    before = sim.cut_by_client
    called = asyncio.create_task(provider.complete(attempt(sim), Heard()))
    await asyncio.to_thread(sim.wait_until, lambda: sim.open == 1, LONG_S)
    # When it is cancelled
    called.cancel()
    with pytest.raises(asyncio.CancelledError):
        await called
    # Then the provider sees its client leave
    await asyncio.to_thread(sim.wait_until, lambda: sim.cut_by_client == before + 1, LONG_S)


@pytest.mark.parametrize(
    ("fault", "heard"),
    [
        ("malformed", ""),
        ("unfinished", "one two"),
        ("cut", "one"),
        ("error_midway", "one"),
        ("whole", ""),
        ("html", ""),
    ],
)
async def test_a_stream_that_litellm_would_take_for_finished_is_a_failure(
    sim: OpenAISimulator, provider: LitellmProvider, fault: Fault, heard: str
) -> None:
    # Given a server in OpenAI's format whose stream goes wrong; litellm skips what it cannot read and says "stop"
    sim.behaviour = Behaviour(fault=fault, answer="one two")
    so_far = Heard()
    # When it is read
    with pytest.raises(UpstreamError) as raised:
        await provider.complete(attempt(sim, stream=True), so_far)
    # Then it is no answer
    assert (raised.value.again, raised.value.spent) == (True, None)
    assert so_far.text == heard


async def test_a_stream_is_an_answer_with_what_the_provider_reported(
    sim: OpenAISimulator, provider: LitellmProvider
) -> None:
    sim.behaviour = Behaviour(answer="one two", prompt_tokens=12, completion_tokens=3)
    answer = await provider.complete(attempt(sim, stream=True), Heard())
    assert answer == Served("one two", "sim-small", "stop", 12, 3)


async def test_no_address_is_asked_but_the_providers() -> None:
    # Given a fresh interpreter in which every name lookup and every connection elsewhere is noted
    code = """
import asyncio, socket
from tests.gateway.wires import wire_of
from actors.gateway.providers import Heard

asked = []
def lookup(host, *rest, _known=socket.getaddrinfo, **named):
    if host not in ("127.0.0.1", "localhost", None):
        asked.append(host)
    return _known(host, *rest, **named)
socket.getaddrinfo = lookup

async def main():
    for name in ("anthropic", "gemini"):
        async with wire_of(name) as wire:
            for stream in (False, True):
                await wire.provider.complete(wire.attempt(stream=stream, json_schema={"type": "object"}), Heard())
asyncio.run(main())
print(asked)
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    # When litellm calls two providers
    out, err = await process.communicate()
    # Then it has fetched no table from anywhere
    assert (process.returncode, out.strip()) == (0, b"[]"), err


async def test_the_gateways_module_leaves_litellm_unimported() -> None:
    # Given a fresh interpreter
    code = "import sys, actors.gateway.actor; print('litellm' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    # When it imports the gateway's actor
    out, _ = await process.communicate()
    # Then it has not paid litellm's 2.3 s and 170 MB
    assert (process.returncode, out.strip()) == (0, b"False")

"""litellm as a provider, against the simulator behind a model string that takes an address."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from actors.gateway.providers import Attempt, Heard, LitellmProvider, Served
from schemas.completion import ChatMessage
from schemas.errors import UpstreamError
from schemas.service import ServiceSpec
from tests.broker import free_port
from tests.gateway.doubles import LONG_S
from tests.gateway.servers import Answering, Started
from tests.gateway.wires import LOOK
from tests.simulators.openai import Behaviour, Fault, OpenAISimulator

# litellm keeps its HTTP clients for the life of an event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "the-key-that-nobody-may-see"


def attempt(sim: OpenAISimulator, timeout_s: float = LONG_S, **changed: Any) -> Attempt:
    return asked(sim.url, timeout_s, **changed)


def asked(api_base: str, timeout_s: float = LONG_S, **changed: Any) -> Attempt:
    fields: dict[str, Any] = {
        "service": "simulated",
        "spec": ServiceSpec(model="hosted_vllm/sim-small", api_base=api_base),
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


@pytest_asyncio.fixture(loop_scope="module")
async def started() -> AsyncIterator[Started]:
    """Starts a server on the loop that all of this module runs on."""
    running: list[TestServer] = []

    async def start(answer: Answering) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        running.append(TestServer(app))
        await running[-1].start_server()
        return str(running[-1].make_url("/v1"))

    yield start
    for each in running:
        await each.close()


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
        ("error_in_200", "a 200 with an error inside: The upstream model is overloaded", True, None),
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


async def test_a_200_with_an_error_of_the_askers_inside_may_have_cost(
    started: Started, provider: LitellmProvider
) -> None:
    # Given a server that says with a 200 that it was asked wrongly; litellm makes a 400 of that
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": f"Bad luck, {KEY}", "code": 400}})

    # When it is called
    error = await failure(provider.complete(asked(await started(answer)), Heard()))
    # Then it is no refusal of litellm's, and the words are the provider's
    assert (error.reason, error.spent) == ("a 200 with an error inside: Bad luck, <key>", None)


@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "a key of its own"])
@pytest.mark.parametrize(
    "model",
    [
        "anthropic/claude-sonnet-5-5",
        "azure/gpt",
        "gemini/gemini-3.8-flash",
        "hosted_vllm/small",
        "huggingface/small",
        "ollama_chat/small",
        "perplexity/sonar",
        "bedrock/anthropic.claude-3-haiku-20240307-v1:0",
    ],
)
async def test_no_key_from_the_environment_reaches_a_stated_server(
    started: Started, provider: LitellmProvider, monkeypatch: pytest.MonkeyPatch, model: str, key: str | None
) -> None:
    # Given an environment full of real keys
    providers = "ANTHROPIC AZURE CO COHERE GEMINI GOOGLE HOSTED_VLLM HUGGINGFACE OLLAMA OPENAI PERPLEXITY PERPLEXITYAI"
    for name in providers.split():
        monkeypatch.setenv(f"{name}_API_KEY", "a-real-key")
    for name in ("ANTHROPIC_AUTH_TOKEN", "HF_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a-real-key")
    # And a server that looks at what it gets
    got: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        got.append(f"{request.rel_url} {dict(request.headers)} {await request.text()}")
        return web.json_response({"error": {"message": "No."}}, status=401)

    # When a service with that address is called
    spec = ServiceSpec(model=model, api_base=await started(answer), api_key_env="none")
    await failure(provider.complete(asked("http://unused", spec=spec, api_key=key), Heard()))
    # Then at most its own key came along
    assert got
    assert "a-real-key" not in "".join(got)
    assert (KEY in "".join(got)) == (key is not None)


async def test_what_would_be_left_out_and_matters_is_not_asked(sim: OpenAISimulator, provider: LitellmProvider) -> None:
    # Given providers of which litellm knows that they take no tools, or no schema
    before = len(sim.calls)
    no_tools = ServiceSpec(model="ollama/small", api_base=sim.url)
    no_schema = ServiceSpec(model="cohere/command-r", api_base=sim.url)
    # When they are asked for such
    one = await failure(provider.complete(attempt(sim, spec=no_tools, tools=(LOOK,)), Heard()))
    other = await failure(provider.complete(attempt(sim, spec=no_schema, json_schema={"type": "object"}), Heard()))
    # Then nobody is called, and the next service may serve
    assert (one.reason, other.reason) == ("takes no tools", "takes no JSON schema")
    assert {(error.again, error.spent, error.status) for error in (one, other)} == {(False, False, None)}
    assert len(sim.calls) == before


async def test_a_temperature_that_litellm_leaves_out_is_told(started: Started, provider: LitellmProvider) -> None:
    # Given a model of Anthropic's that takes no temperature, and one of another's that does
    sent: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        sent.append(await request.json())
        if "generateContent" in request.path:
            said = {"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP"}
            return web.json_response({"candidates": [said], "usageMetadata": {"promptTokenCount": 3}})
        message = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi"}], "model": "m"}
        return web.json_response({**message, "stop_reason": "end_turn", "usage": {"input_tokens": 3}})

    base = await started(answer)
    # When they are asked with one
    dropped = [
        (await provider.complete(asked(base, spec=ServiceSpec(model=model, api_base=base)), Heard())).dropped
        for model in ("anthropic/claude-sonnet-5-5", "gemini/gemini-3.8-flash")
    ]
    # Then the answer says where it was not passed on
    assert dropped == [("temperature",), ()]
    assert ["temperature" in str(body) for body in sent] == [False, True]


GEMINI = ServiceSpec(model="gemini/gemini-3.8-flash")
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 12}}
LONG_THOUGHT = {
    "candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}],
    "usageMetadata": {"promptTokenCount": 20, "thoughtsTokenCount": 1000, "totalTokenCount": 1020},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("body", "reason"), [(BLOCKED, "its filter"), (LONG_THOUGHT, "an empty answer: its 100 tokens")]
)
async def test_a_model_that_works_and_does_not_answer_is_not_asked_again(
    started: Started, provider: LitellmProvider, body: dict[str, Any], reason: str, stream: bool
) -> None:
    # Given a model of Gemini's whose filter stops it, or whose thoughts take all that it may write
    async def answer(_: web.Request) -> web.Response:
        if stream:
            return web.Response(text=f"data: {json.dumps(body)}\r\n\r\n", content_type="text/event-stream")
        return web.json_response(body)

    spec = GEMINI.model_copy(update={"api_base": await started(answer)})
    heard = Heard()
    # When it is asked
    error = await failure(provider.complete(asked("http://unused", spec=spec, stream=stream), heard))
    # Then the service is not at fault, and what it reported is what it costs
    assert error.reason.startswith(reason)
    assert (error.again, error.spent, error.status) == (False, True, None)
    assert body is BLOCKED or (heard.prompt_tokens, heard.completion_tokens, heard.final) == (20, 1000, True)


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

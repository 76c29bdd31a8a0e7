"""OpenAI's wire format against a provider that misbehaves: what is sent, what is read, what a failure means."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Iterator
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from actors.gateway.providers import Attempt, Heard, OpenAIProvider, Served
from actors.gateway.providers.wire import retry_after_s
from schemas.completion import ChatMessage, ImagePart
from schemas.errors import UpstreamError
from schemas.message import now
from schemas.service import ServiceSpec
from tests.broker import free_port
from tests.gateway.doubles import LONG_S
from tests.gateway.servers import Started
from tests.simulators.openai import Behaviour, Fault, OpenAISimulator

KEY = "the-key-that-nobody-may-see"
HELLO = (ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Say hello."))


def attempt(api_base: str, api_key: str | None = KEY, timeout_s: float = LONG_S, **changed: Any) -> Attempt:
    fields: dict[str, Any] = {
        "service": "simulated",
        "spec": ServiceSpec(model="openai/sim-small", api_base=api_base),
        "api_key": api_key,
        "messages": HELLO,
        "temperature": 0.5,
        "max_tokens": 100,
        "json_schema": None,
        "timeout_s": timeout_s,
        "request_id": "request-1",
        **changed,
    }
    return Attempt(**fields)


@pytest.fixture
def sim() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
async def provider() -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider()
    yield provider
    await provider.close()


async def failure(answer: Awaitable[Served]) -> UpstreamError:
    """The error that a call ends in; whatever it is, the key is not in it."""
    with pytest.raises(UpstreamError) as raised:
        await answer
    error: BaseException | None = raised.value
    while error is not None:
        assert KEY not in str(error) + repr(error) + repr(error.args)
        error = error.__cause__
    return raised.value


# -- proper answers ------------------------------------------------------------------------------------------------


async def test_an_answer_is_read_with_its_usage(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    sim.behaviour = Behaviour(answer="Hello.", prompt_tokens=12, completion_tokens=3)
    assert await provider.complete(attempt(sim.url), Heard()) == Served("Hello.", "sim-small", "stop", 12, 3)


async def test_a_call_says_what_is_asked(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    await provider.complete(attempt(sim.url, json_schema=schema), Heard())
    (call,) = sim.calls
    assert (call.path, call.authorization, call.idempotency_key) == ("/v1/chat/completions", True, "request-1")
    assert call.body == {
        "model": "sim-small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}],
        "max_tokens": 100,
        "temperature": 0.5,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }


async def test_what_was_not_asked_for_is_not_sent(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    await provider.complete(attempt(sim.url + "/", api_key=None, temperature=None), Heard())
    (call,) = sim.calls
    assert not call.authorization
    assert set(call.body) == {"model", "messages", "max_tokens"}


async def test_an_image_travels_beside_its_text(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    image = ImagePart(media_type="image/png", base64="AAAA")
    await provider.complete(
        attempt(sim.url, messages=(ChatMessage(role="user", content="Look.", images=(image,)),)), Heard()
    )
    assert sim.calls[0].body["messages"][0]["content"] == [
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


async def test_without_usage_tokens_are_unknown(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    sim.behaviour = Behaviour(fault="usage_missing", answer="Hello.")
    assert await provider.complete(attempt(sim.url), Heard()) == Served("Hello.", "sim-small", "stop", None, None)


async def test_usage_is_taken_as_the_provider_says_it(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    sim.behaviour = Behaviour(fault="usage_lies", prompt_tokens=12, completion_tokens=3)
    answer = await provider.complete(attempt(sim.url), Heard())
    assert (answer.prompt_tokens, answer.completion_tokens) == (12_000, 3_000)


async def test_many_calls_at_once_each_get_their_own_answer(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    asked = [attempt(sim.url, messages=(ChatMessage(role="user", content=f"number {i}"),)) for i in range(100)]
    answers = await asyncio.gather(*(provider.complete(each, Heard()) for each in asked))
    assert [answer.text.rpartition(" ")[2] for answer in answers] == [str(i) for i in range(100)]


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason", "again", "spent"),
    [
        ("429", "HTTP 429", True, False),
        ("500", "HTTP 500", True, False),
        ("hang", "no answer within 0.3 s", False, None),
        ("cut", "the connection broke", True, None),
        ("malformed", "a 200 that is no JSON (application/json)", True, None),
        ("html", "a 200 that is no JSON (text/html)", True, None),
        ("error_in_200", "a 200 with an error inside: The upstream model is overloaded", True, None),
        ("empty", "an empty answer", True, None),
    ],
)
async def test_a_fault_says_whether_another_try_may_help_and_whether_it_may_have_cost(
    sim: OpenAISimulator, provider: OpenAIProvider, fault: Fault, reason: str, again: bool, spent: bool | None
) -> None:
    # Given a provider with that fault
    sim.behaviour = Behaviour(fault=fault)
    # When it is called
    error = await failure(provider.complete(attempt(sim.url, timeout_s=0.3 if fault == "hang" else LONG_S), Heard()))
    # Then the error says what is known
    assert error.service == "simulated"
    assert error.reason.startswith(reason)
    assert (error.again, error.spent) == (again, spent)


async def test_a_provider_that_is_too_busy_says_when_to_come_again(
    sim: OpenAISimulator, provider: OpenAIProvider
) -> None:
    sim.behaviour = Behaviour(fault="429", retry_after_s=7.0)
    assert (await failure(provider.complete(attempt(sim.url), Heard()))).retry_after_s == 7.0


async def test_a_provider_that_is_not_there_was_not_paid(provider: OpenAIProvider) -> None:
    error = await failure(provider.complete(attempt(f"http://127.0.0.1:{free_port()}/v1"), Heard()))
    assert error.reason.startswith("cannot be reached")
    assert (error.again, error.spent) == (True, False)


async def test_a_provider_that_dies_during_a_call_may_have_been_paid(
    sim: OpenAISimulator, provider: OpenAIProvider
) -> None:
    sim.behaviour = Behaviour(fault="hang")
    called = asyncio.create_task(provider.complete(attempt(sim.url), Heard()))
    await asyncio.to_thread(sim.wait_until, lambda: sim.open == 1, LONG_S)
    await asyncio.to_thread(sim.stop)
    error = await failure(called)
    assert (error.again, error.spent) == (True, None)


async def test_after_a_fault_the_next_call_is_served(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    sim.behaviour = Behaviour(fault="cut", faults_left=1)
    await failure(provider.complete(attempt(sim.url), Heard()))
    assert (await provider.complete(attempt(sim.url), Heard())).text


@pytest.mark.parametrize(
    ("status", "again"),
    [(400, False), (401, False), (403, False), (404, False), (408, True), (409, True), (503, True), (529, True)],
)
async def test_a_status_says_whether_another_try_may_help(
    server: Started, provider: OpenAIProvider, status: int, again: bool
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "No."}}, status=status)

    error = await failure(provider.complete(attempt(await server(answer)), Heard()))
    assert (error.reason, error.again, error.spent) == (f"HTTP {status} No.", again, False)


async def test_a_redirect_is_not_followed_with_the_key(server: Started, provider: OpenAIProvider) -> None:
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    error = await failure(provider.complete(attempt(await server(answer)), Heard()))
    assert (paths, error.reason) == (["/v1/chat/completions"], "HTTP 307")


@pytest.mark.parametrize("status", [200, 401])
async def test_a_key_that_the_provider_repeats_in_its_error_is_not_passed_on(
    server: Started, provider: OpenAIProvider, status: int
) -> None:
    async def answer(request: web.Request) -> web.Response:
        message = f"Incorrect key: {request.headers['Authorization']}"
        return web.json_response({"error": {"message": message}}, status=status)

    error = await failure(provider.complete(attempt(await server(answer)), Heard()))
    assert "Incorrect key" in error.reason


async def test_a_key_that_no_header_can_hold_is_a_failure_of_its_service(
    sim: OpenAISimulator, provider: OpenAIProvider
) -> None:
    error = await failure(provider.complete(attempt(sim.url, api_key=f"{KEY}\r\nX-Other: 1"), Heard()))
    assert (error.again, error.spent) == (False, False)
    assert sim.calls == []


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "1",
        '"\\ud800"',
        '{"choices": []}',
        '{"choices": {}}',
        '{"choices": [1]}',
        '{"choices": [{"message": null}]}',
        '{"choices": [{"message": {"content": 5}}]}',
        '{"choices": [{"message": {"content": " "}}]}',
    ],
)
async def test_a_200_that_is_no_chat_completion_may_have_cost(
    server: Started, provider: OpenAIProvider, body: str
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    error = await failure(provider.complete(attempt(await server(answer)), Heard()))
    assert (error.again, error.spent) == (True, None)


async def test_half_a_surrogate_pair_is_replaced_so_that_the_answer_can_travel(
    server: Started, provider: OpenAIProvider
) -> None:
    async def answer(_: web.Request) -> web.Response:
        choice = {"message": {"content": "Hello \ud83d"}, "finish_reason": 5}
        return web.json_response({"choices": [choice], "model": "m\ud83d"})

    assert await provider.complete(attempt(await server(answer)), Heard()) == Served("Hello ?", "m?", None, None, None)


@pytest.mark.parametrize(
    "usage", [None, 5, [], {"prompt_tokens": "many"}, {"prompt_tokens": -1}, {"prompt_tokens": 1.5}]
)
async def test_usage_that_cannot_be_read_is_unknown(server: Started, provider: OpenAIProvider, usage: object) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "Hello."}}], "usage": usage})

    assert await provider.complete(attempt(await server(answer)), Heard()) == Served("Hello.", "", None, None, None)


# -- cancelled -----------------------------------------------------------------------------------------------------


async def test_cancelling_a_call_closes_its_connection(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    # Given a call under way
    sim.behaviour = Behaviour(fault="hang")
    called = asyncio.create_task(provider.complete(attempt(sim.url), Heard()))
    await asyncio.to_thread(sim.wait_until, lambda: sim.open == 1, LONG_S)
    # When it is cancelled
    called.cancel()
    with pytest.raises(asyncio.CancelledError):
        await called
    # Then the provider sees its client leave
    await asyncio.to_thread(sim.wait_until, lambda: sim.cut_by_client == 1, LONG_S)


async def test_a_call_that_took_too_long_closes_its_connection(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    sim.behaviour = Behaviour(fault="hang")
    await failure(provider.complete(attempt(sim.url, timeout_s=0.2), Heard()))
    await asyncio.to_thread(sim.wait_until, lambda: sim.cut_by_client == 1, LONG_S)


# -- Retry-After ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "seconds"), [("0", 0.0), ("7", 7.0), ("1.5", 1.5), ("-3", 0.0), (" 2 ", 2.0)])
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds


def test_retry_after_as_a_date() -> None:
    later = now() + datetime.timedelta(seconds=60)
    assert retry_after_s(format_datetime(later, usegmt=True)) == pytest.approx(60, abs=2)


def test_retry_after_as_a_date_in_the_past_is_now() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize("value", [None, "", "soon", "nan", "Wed, 21 Oct 2015 07:28:00"])
def test_retry_after_that_says_nothing_usable(value: str | None) -> None:
    assert retry_after_s(value) is None


LIKE_DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Sun", "x"]),
    st.integers(-1, 40),
    st.sampled_from(["Jan", "Dec", "Foo"]),
    st.integers(-1, 10**25) | st.integers(1900, 2100),
    st.integers(0, 30),
    st.integers(0, 70),
    st.integers(0, 10**20) | st.integers(0, 70),
    st.sampled_from(["GMT", "-0000", "+2359", "-2400", "EST", "", "+99999999999999999999"]),
)


@given(st.text() | LIKE_DATES | st.floats().map(str) | st.integers().map(str))
def test_whatever_a_provider_sends_as_retry_after_is_understood_or_ignored(value: str) -> None:
    seconds = retry_after_s(value)
    assert seconds is None or seconds >= 0

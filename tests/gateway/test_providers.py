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

from actors.catalogue import base_of, endpoint_of, load
from actors.catalogue.endpoints import ENDPOINTS, OPENAI
from actors.gateway.charges import answered, cut_off
from actors.gateway.providers import Attempt, Heard, OpenAIProvider, Served
from actors.gateway.providers.openai import _question
from actors.gateway.providers.wire import retry_after_s
from actors.gateway.steadiness import outcome_of
from schemas.completion import ChatMessage, ImagePart, ToolCall
from schemas.errors import UpstreamError
from schemas.message import now
from schemas.receipt import Call
from schemas.service import Price, ServiceSpec
from tests.broker import free_port
from tests.gateway.doubles import LONG_S
from tests.gateway.questions import ask
from tests.gateway.servers import Answering, Started
from tests.gateway.wires import LOOK
from tests.simulators.openai import Behaviour, Fault, OpenAISimulator

KEY = "the-key-that-nobody-may-see"
ASK = ask()
RESERVED = Call(step="s", agent="a", service="simulated", model="m", cost_usd=0.5, cost_estimated=True)
"""A call as it begins: at what is set aside for it."""
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
    "usage",
    [
        None,
        5,
        [],
        {"prompt_tokens": 0, "completion_tokens": 0},
        *({"prompt_tokens": n, "completion_tokens": n} for n in ("12", "many", -1, 1.5, 12.0, True, 10**9 + 1, 1e300)),
    ],
)
async def test_usage_that_cannot_be_read_is_unknown(server: Started, provider: OpenAIProvider, usage: object) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "Hello."}}], "usage": usage})

    assert await provider.complete(attempt(await server(answer)), Heard()) == Served("Hello.", "", None, None, None)


async def test_a_billion_tokens_may_be_true(server: Started, provider: OpenAIProvider) -> None:
    async def answer(_: web.Request) -> web.Response:
        usage = {"prompt_tokens": 10**9, "completion_tokens": 10**9}
        return web.json_response({"choices": [{"message": {"content": "Hello."}}], "usage": usage})

    served = await provider.complete(attempt(await server(answer)), Heard())
    assert (served.prompt_tokens, served.completion_tokens) == (10**9, 10**9)


async def test_thoughts_that_are_counted_beside_the_answer_are_a_part_of_it(
    server: Started, provider: OpenAIProvider
) -> None:
    # Given a server that counts thoughts beside the answer, and one that counts them in it, as their totals show
    def usage(total: int) -> dict[str, Any]:
        details = {"reasoning_tokens": 300}
        counts = {"prompt_tokens": 20, "completion_tokens": 310, "total_tokens": total}
        return {**counts, "completion_tokens_details": details}

    async def answer(request: web.Request) -> web.Response:
        said = {"choices": [{"message": {"content": "Hello."}}]}
        return web.json_response({**said, "usage": usage(int((await request.json())["max_tokens"]))})

    url = await server(answer)
    # When they answer
    taken = [
        (await provider.complete(attempt(url, max_tokens=total), Heard())).completion_tokens for total in (630, 330)
    ]
    # Then both come to the same sum
    assert taken == [610, 310]


# -- answers that cannot be used, and are paid for ----------------------------------------------------------------

USAGE = {"prompt_tokens": 20, "completion_tokens": 1000}


def answering(message: Any, finish_reason: str | None, usage: Any = USAGE) -> Answering:
    async def answer(_: web.Request) -> web.Response:
        choice = {"message": message, "finish_reason": finish_reason}
        return web.json_response({"choices": [choice], "model": "m", "usage": usage})

    return answer


@pytest.mark.parametrize(
    ("message", "finish_reason", "reason"),
    [
        ({"content": ""}, "length", "an empty answer: its 100 tokens were used up before it began"),
        (
            {"content": None, "refusal": "I cannot help with that."},
            "stop",
            "the model refuses: I cannot help with that.",
        ),
        ({"content": None, "refusal": f"Not with {KEY}."}, "stop", "the model refuses: Not with <key>."),
        ({"content": "A bomb is"}, "content_filter", "its filter withholds the answer"),
    ],
)
async def test_a_model_that_works_and_does_not_answer_is_paid_and_not_asked_again(
    server: Started, provider: OpenAIProvider, message: Any, finish_reason: str, reason: str
) -> None:
    # Given a model that thinks until it may say no more, refuses, or is stopped by a filter
    url = await server(answering(message, finish_reason))
    heard = Heard()
    # When it is asked
    error = await failure(provider.complete(attempt(url), heard))
    # Then another try would end the same, and it is no failure of the service
    assert (error.reason, error.again, error.spent, error.status) == (reason, False, True, None)
    assert outcome_of(error) == "refused"
    # And what it reported is known
    assert (heard.prompt_tokens, heard.completion_tokens, heard.began, heard.final) == (20, 1000, True, True)


async def test_a_refusal_is_told_in_few_words(server: Started, provider: OpenAIProvider) -> None:
    url = await server(answering({"content": None, "refusal": "no " * 1000}, "stop"))
    assert len((await failure(provider.complete(attempt(url), Heard()))).reason) < 250


async def test_usage_beside_nonsense_is_what_the_nonsense_costs(server: Started, provider: OpenAIProvider) -> None:
    # Given a server that answers nothing, for 1,000 tokens
    url, heard = await server(answering({"content": " "}, "stop")), Heard()
    # When it is asked
    error = await failure(provider.complete(attempt(url), heard))
    # Then it failed, and the call is charged at just that
    assert (error.reason, error.again, error.spent) == ("an empty answer", True, None)
    price = Price(input_per_mtok=1, output_per_mtok=2)
    call = cut_off(RESERVED, ASK, heard, price, "failed", 1.0)
    assert (call.prompt_tokens, call.completion_tokens, call.cost_estimated) == (20, 1000, False)
    assert call.cost_usd == pytest.approx(0.00202)


@pytest.mark.parametrize("fault", ["cut", "stall", "malformed", "html", "error_in_200"])
async def test_a_200_that_says_nothing_of_usage_stays_at_its_reservation(
    sim: OpenAISimulator, provider: OpenAIProvider, fault: Fault
) -> None:
    # Given a server that begins a 200 and says nothing that can be used
    sim.behaviour, heard = Behaviour(fault=fault), Heard()
    # When it is asked
    await failure(provider.complete(attempt(sim.url, timeout_s=0.3 if fault == "stall" else LONG_S), heard))
    # Then nobody knows what it took, and the call costs what was set aside for it
    assert not heard.began
    call = cut_off(RESERVED, ASK, heard, Price(input_per_mtok=1, output_per_mtok=2), "failed", 1.0)
    assert (call.cost_usd, call.cost_estimated, call.completion_tokens) == (0.5, True, None)


# -- providers that speak the format ------------------------------------------------------------------------------


def test_whoever_speaks_openais_format_is_asked_without_litellm() -> None:
    direct = {name for name, spec in load().services.items() if spec.kind == "chat" and endpoint_of(spec) is not None}
    assert direct == {"cerebras", "groq", "scaleway", "gpt", "gpt-mini", "grok", "cloudflare", "mistral", "deepseek"}
    assert endpoint_of(ServiceSpec(model="hosted_vllm/x")) is None  # nobody says where
    assert endpoint_of(ServiceSpec(model="hosted_vllm/x", api_base="http://127.0.0.1:9/v1")) is not None


@pytest.mark.parametrize("provider", sorted({"openai", *ENDPOINTS} - {"hosted_vllm", "llamafile", "lm_studio"}))
def test_each_has_an_address_that_can_be_called(provider: str) -> None:
    base = base_of(ServiceSpec(model=f"{provider}/x"), {"CLOUDFLARE_ACCOUNT_ID": " account-1\n"})
    assert base.startswith("https://") and not base.endswith("/") and "{" not in base
    assert ("/accounts/account-1/ai/v1" in base) == (provider == "cloudflare")


async def test_an_address_that_lacks_its_account_is_not_called() -> None:
    provider = OpenAIProvider(environ={})
    spec = ServiceSpec(model="cloudflare/@cf/x")
    error = await failure(provider.complete(attempt("http://unused", spec=spec), Heard()))
    assert (error.reason, error.again, error.spent) == (
        "its address is not known: CLOUDFLARE_ACCOUNT_ID is not set",
        False,
        False,
    )
    await provider.close()


async def test_what_mistral_takes_otherwise_is_said_its_way(sim: OpenAISimulator, provider: OpenAIProvider) -> None:
    # Given a conversation with a wish that another provider's model had
    wish = ToolCall(id="call_4711_and_more", name="look", arguments="{}")
    turns = (
        ChatMessage(role="user", content="Look."),
        ChatMessage(role="assistant", content="", tool_calls=(wish,)),
        ChatMessage(role="tool", content="Open.", tool_call_id=wish.id),
    )
    spec = ServiceSpec(model="mistral/mistral-large-4", api_base=sim.url)
    # When it goes on with a model of Mistral's, streamed, and some tool must be called
    asked = attempt(sim.url, spec=spec, messages=turns, tools=(LOOK,), tool_choice="required", stream=True)
    with pytest.raises(UpstreamError):
        await provider.complete(asked, Heard())  # the simulator is OpenAI's, and knows no "any"
    # Then it gets no field that it would refuse, and ids of nine letters and digits
    body = sim.calls[-1].body
    assert (body["stream"], "stream_options" in body, body["tool_choice"]) == (True, False, "any")
    (id_,) = {body["messages"][1]["tool_calls"][0]["id"], body["messages"][2]["tool_call_id"]}
    assert len(id_) == 9 and id_.isalnum()


async def test_what_a_model_says_in_parts_is_put_together_without_its_thoughts(
    server: Started, provider: OpenAIProvider
) -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo."}]
    url = await server(answering({"content": parts}, "stop"))
    assert (await provider.complete(attempt(url), Heard())).text == "Hello."


async def test_groq_is_not_asked_to_stream_an_answer_of_a_given_shape(
    sim: OpenAISimulator, provider: OpenAIProvider
) -> None:
    # Given somebody who listens
    told: list[str] = []
    spec = ServiceSpec(model="groq/openai/gpt-oss-20b", api_base=sim.url)
    # When a streamed answer is to have a shape
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    await provider.complete(attempt(sim.url, spec=spec, json_schema=schema, stream=True), Heard(told.append))
    # Then it comes in one piece
    assert ("stream" in sim.calls[-1].body, told) == (False, ['{"a": 0}'])


@pytest.mark.parametrize(
    "body",
    [
        {"error": "No luck."},
        {"errors": [{"code": 1000, "message": "No luck."}], "success": False},
        {"object": "error", "message": "No luck."},
    ],
    ids=["xai", "cloudflare", "mistral"],
)
async def test_a_refusal_is_read_in_each_providers_way(server: Started, provider: OpenAIProvider, body: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body, status=400)

    assert (await failure(provider.complete(attempt(await server(answer)), Heard()))).reason == "HTTP 400 No luck."


def test_what_openais_own_models_take_no_more_is_left_out_and_said() -> None:
    spec = ServiceSpec(model="openai/gpt-6-luna")
    body, dropped = _question(attempt("http://unused", spec=spec), OPENAI)
    assert dropped == ("temperature",)
    assert (body["max_completion_tokens"], "max_tokens" in body, "temperature" in body) == (100, False, False)
    assert _question(attempt("http://unused", spec=spec, temperature=None), OPENAI)[1] == ()


def test_the_receipt_says_what_was_not_passed_on() -> None:
    served = Served("Hello.", "m", "stop", 12, 3, dropped=("temperature",))
    assert answered(RESERVED, ASK, served, None, 1.0).dropped == ("temperature",)


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

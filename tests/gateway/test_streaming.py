"""OpenAI's stream as servers really send it: in odd pieces, with odd ends, or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from actors.gateway.providers import Attempt, Heard, OpenAIProvider, Served
from actors.gateway.providers.sse import Events
from schemas.completion import ChatMessage, ToolCall, ToolCallPiece
from schemas.errors import UpstreamError
from schemas.service import ServiceSpec
from tests.gateway.doubles import LONG_S
from tests.gateway.servers import Answering, Started
from tests.simulators.openai import Behaviour, OpenAISimulator

DONE = b"data: [DONE]\n\n"


def attempt(api_base: str, timeout_s: float = LONG_S) -> Attempt:
    return Attempt(
        service="simulated",
        spec=ServiceSpec(model="openai/sim-small", api_base=api_base),
        api_key="the-key-that-nobody-may-see",
        messages=(ChatMessage(role="user", content="Say hello."),),
        temperature=None,
        max_tokens=100,
        json_schema=None,
        timeout_s=timeout_s,
        request_id="request-1",
        stream=True,
    )


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"model": "m", "choices": [choice], **fields}).encode() + b"\n\n"


def says(text: str) -> bytes:
    return chunk({"content": text})


def wishes(*calls: dict[str, Any]) -> bytes:
    return chunk({"tool_calls": list(calls)})


def streaming(parts: Iterable[bytes], kind: str = "text/event-stream", *, breaks: bool = False) -> Answering:
    """An answer in these pieces; `breaks`: then the connection is cut."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        if breaks:
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


@pytest.fixture
async def provider() -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider()
    yield provider
    await provider.close()


async def failure(provider: OpenAIProvider, asked: Attempt, heard: Heard | None = None) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        await provider.complete(asked, heard or Heard())
    return raised.value


# -- what is asked -------------------------------------------------------------------------------------------------


async def test_a_stream_is_asked_for_with_its_usage(provider: OpenAIProvider) -> None:
    with OpenAISimulator() as sim:
        await provider.complete(attempt(sim.url), Heard())
    assert (sim.calls[0].body["stream"], sim.calls[0].body["stream_options"]) == (True, {"include_usage": True})


async def test_a_connection_is_used_again_after_a_stream(provider: OpenAIProvider, server: Started) -> None:
    # Given a server that knows its connections
    ports: set[Any] = set()
    whole = streaming([says("Hello."), chunk(finish_reason="stop"), DONE])

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        return await whole(request)

    url = await server(answer)
    # When it streams twice, one after another
    for _ in range(2):
        await provider.complete(attempt(url), Heard())
    # Then one connection has done for both
    assert len(ports) == 1


# -- ends ----------------------------------------------------------------------------------------------------------

USAGE = b'data: {"model": "m", "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}}\n\n'


@pytest.mark.parametrize(
    ("ending", "served"),
    [
        ([chunk(finish_reason="stop"), USAGE, DONE], Served("Hello.", "m", "stop", 12, 3)),
        ([chunk(finish_reason="length"), DONE], Served("Hello.", "m", "length", None, None)),
        ([chunk(finish_reason="stop"), USAGE], Served("Hello.", "m", "stop", 12, 3)),
        ([DONE], Served("Hello.", "m", None, None, None)),
        ([DONE.rstrip()], Served("Hello.", "m", None, None, None)),
        ([chunk(finish_reason="stop"), DONE, USAGE], Served("Hello.", "m", "stop", None, None)),
    ],
    ids=["all of it", "no usage", "no DONE", "DONE alone", "DONE without a blank line", "usage after DONE"],
)
async def test_a_stream_that_says_that_it_is_finished_is_an_answer(
    provider: OpenAIProvider, server: Started, ending: list[bytes], served: Served
) -> None:
    url = await server(streaming([says("Hello."), *ending]))
    assert await provider.complete(attempt(url), Heard()) == served


@pytest.mark.parametrize("breaks", [False, True], ids=["in good order", "cut"])
async def test_a_stream_that_ends_before_it_says_so_is_broken(
    provider: OpenAIProvider, server: Started, breaks: bool
) -> None:
    # Given a stream that ends in the middle
    url = await server(streaming([says("Hello"), USAGE], breaks=breaks))
    heard = Heard()
    # When it is read
    error = await failure(provider, attempt(url), heard)
    # Then it is no answer, and what it cost is left to what was heard
    assert error.reason.startswith("the stream broke after 5 characters")
    assert (error.again, error.spent) == (True, None)
    assert (heard.text, heard.model, heard.prompt_tokens, heard.completion_tokens) == ("Hello", "m", 12, 3)


async def test_a_connection_that_breaks_after_the_last_word_leaves_an_answer(
    provider: OpenAIProvider, server: Started
) -> None:
    url = await server(streaming([says("Hello."), chunk(finish_reason="stop")], breaks=True))
    assert await provider.complete(attempt(url), Heard()) == Served("Hello.", "m", "stop", None, None)


async def test_a_server_that_goes_silent_after_the_last_word_leaves_an_answer(
    provider: OpenAIProvider, server: Started
) -> None:
    # Given a server that holds the connection open when everything is said
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(says("Hello.") + chunk(finish_reason="stop"))
        await over.wait()
        return response

    # When its time is over
    served = await provider.complete(attempt(await server(answer), timeout_s=0.3), Heard())
    over.set()
    # Then there is an answer
    assert served.text == "Hello."


async def test_a_server_that_stays_connected_after_done_does_not_hold_the_answer_up(
    provider: OpenAIProvider, server: Started
) -> None:
    # Given a server that keeps the connection open after its last event
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(says("Hello.") + chunk(finish_reason="stop") + DONE)
        await over.wait()
        return response

    # When it is asked, with all the time in the world
    served = await asyncio.wait_for(provider.complete(attempt(await server(answer)), Heard()), LONG_S / 2)
    over.set()
    # Then the answer is there long before
    assert served.text == "Hello."


async def test_a_flood_that_never_ends_ends_in_time(provider: OpenAIProvider, server: Started) -> None:
    # Given a server that sends as fast as it can, for ever
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b": still there\n\n" * 1000)

    # When a call of it may take a moment
    error = await failure(provider, attempt(await server(answer), timeout_s=0.3))
    # Then it takes no longer
    assert error.reason.startswith("no end within 0.3 s")


@pytest.mark.parametrize("body", ["[]", "1", "null", '{"choices": [1]}', '{"choices": 5}', '{"choices"', ""])
async def test_nonsense_in_a_stream_is_a_failure_that_may_have_cost(
    provider: OpenAIProvider, server: Started, body: str
) -> None:
    data = f"data: {body}\n\n".encode()
    error = await failure(provider, attempt(await server(streaming([says("Hello"), data, DONE]))))
    if body:
        assert error.reason == "nonsense in the stream after 5 characters"
    assert (error.again, error.spent) == (True, None)


@pytest.mark.parametrize(
    "delta", [{"content": 5}, {"content": ["x"]}, {"tool_calls": [5]}, {"tool_calls": 5}, {"tool_calls": [{"id": "a"}]}]
)
async def test_a_piece_that_cannot_be_read_is_a_failure_that_may_have_cost(
    provider: OpenAIProvider, server: Started, delta: dict[str, Any]
) -> None:
    error = await failure(provider, attempt(await server(streaming([chunk(delta), DONE]))))
    assert (error.again, error.spent) == (True, None)


async def test_the_key_is_not_in_an_error_that_a_stream_repeats_it_in(
    provider: OpenAIProvider, server: Started
) -> None:
    data = b'data: {"error": {"message": "bad key the-key-that-nobody-may-see"}}\n\n'
    error = await failure(provider, attempt(await server(streaming([data]))))
    assert error.reason == "an error in the stream after 0 characters: bad key <key>"


async def test_a_server_that_knows_no_streams_may_answer_whole(provider: OpenAIProvider, server: Started) -> None:
    # Given a server that ignores the wish for a stream
    async def answer(_: web.Request) -> web.Response:
        usage = {"prompt_tokens": 12, "completion_tokens": 3}
        return web.json_response({"choices": [{"message": {"content": "Hello."}}], "model": "m", "usage": usage})

    told: list[str] = []
    # When it is asked for one
    served = await provider.complete(attempt(await server(answer)), Heard(told.append))
    # Then its answer is taken, and told in one piece
    assert (served, told) == (Served("Hello.", "m", None, 12, 3), ["Hello."])


async def test_a_refusal_that_is_streamed_is_no_failure_of_the_service(
    provider: OpenAIProvider, server: Started
) -> None:
    # Given a model that refuses piece by piece
    ending = [chunk(finish_reason="stop"), USAGE, DONE]
    url = await server(streaming([chunk({"refusal": "I can"}), chunk({"refusal": "not."}), *ending]))
    heard = Heard()
    # When it is asked
    error = await failure(provider, attempt(url), heard)
    # Then its words are the reason, and its usage is known
    assert (error.reason, error.again, error.spent) == ("the model refuses: I cannot.", False, True)
    assert (heard.prompt_tokens, heard.completion_tokens, heard.final) == (12, 3, True)


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "an empty answer: its 100"), ("content_filter", "its filter")]
)
async def test_a_stream_that_ends_without_an_answer_may_be_no_failure(
    provider: OpenAIProvider, server: Started, finish: str, reason: str
) -> None:
    url = await server(streaming([chunk({"role": "assistant"}), chunk(finish_reason=finish), USAGE, DONE]))
    error = await failure(provider, attempt(url))
    assert error.reason.startswith(reason)
    assert (error.again, error.spent) == (False, True)


async def test_a_stream_that_breaks_before_its_first_piece_has_not_begun(
    provider: OpenAIProvider, server: Started
) -> None:
    # Given a model that may have thought for long when the connection broke
    heard = Heard()
    url = await server(streaming([chunk({"role": "assistant", "content": ""})], breaks=True))
    # When it is read
    error = await failure(provider, attempt(url), heard)
    # Then nobody knows what it took
    assert (error.again, error.spent, heard.began) == (True, None, False)


@pytest.mark.parametrize("usage", [{"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": 10**10}])
async def test_usage_that_cannot_be_true_is_not_reported(
    provider: OpenAIProvider, server: Started, usage: dict[str, int]
) -> None:
    url = await server(streaming([says("Hello."), chunk(finish_reason="stop", usage=usage), DONE]))
    assert await provider.complete(attempt(url), Heard()) == Served("Hello.", "m", "stop", None, None)


# -- pieces --------------------------------------------------------------------------------------------------------


async def test_events_may_be_cut_anywhere_on_their_way(provider: OpenAIProvider, server: Started) -> None:
    whole = says("Grüße, ") + says("日本 ") + says("🙂") + chunk(finish_reason="stop") + DONE
    url = await server(streaming([whole[i : i + 1] for i in range(len(whole))]))
    assert (await provider.complete(attempt(url), Heard())).text == "Grüße, 日本 🙂"


async def test_a_character_that_comes_in_two_halves_is_put_together(provider: OpenAIProvider, server: Started) -> None:
    # Given a server that cuts between the halves of one character, and leaves one half alone
    told: list[str] = []
    url = await server(
        streaming([says("a\ud83d"), says("\ude42b"), says("c\ud83d"), chunk(finish_reason="stop"), DONE])
    )
    # When it streams
    served = await provider.complete(attempt(url), Heard(told.append))
    # Then the character is whole, and the lonely half can travel
    assert (served.text, "".join(told)) == ("a🙂bc?", "a🙂bc?")


async def test_a_character_of_a_tool_calls_arguments_that_comes_in_two_halves_is_put_together(
    provider: OpenAIProvider, server: Started
) -> None:
    # Given a server that cuts between the halves of one character, and leaves one half alone
    told: list[ToolCallPiece] = []
    said = ['{"a": "\ud83d', "\ude42b\ud83d", "", '"}']
    first = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": said[0]}}
    more = [wishes({"index": 0, "function": {"arguments": each}}) for each in said[1:]]
    url = await server(streaming([wishes(first), *more, chunk(finish_reason="tool_calls"), DONE]))
    # When it streams
    served = await provider.complete(attempt(url), Heard(tell_call=told.append))
    # Then the character is whole, the lonely half can travel, and the pieces are what the whole is
    (call,) = served.tool_calls
    assert call.arguments == "".join(piece.arguments for piece in told) == '{"a": "🙂b?"}'
    assert [piece.offset for piece in told] == [0, 7, 9]


async def test_only_the_first_choice_is_heard(provider: OpenAIProvider, server: Started) -> None:
    other = b'data: {"choices": [{"index": 1, "delta": {"content": "Other."}}]}\n\n'
    url = await server(streaming([says("Hello."), other, chunk(finish_reason="stop"), DONE]))
    assert (await provider.complete(attempt(url), Heard())).text == "Hello."


async def test_thoughts_are_not_said_but_counted(provider: OpenAIProvider, server: Started) -> None:
    heard = Heard()
    url = await server(
        streaming([chunk({"reasoning_content": "Well..."}), says("Hi"), chunk(finish_reason="stop"), DONE])
    )
    assert (await provider.complete(attempt(url), heard)).text == "Hi"
    assert heard.unsaid == 7


async def test_usage_is_taken_from_whatever_chunk_carries_it(provider: OpenAIProvider, server: Started) -> None:
    first = chunk({"content": "Hi"}, usage={"prompt_tokens": 12, "completion_tokens": 1})
    last = chunk(finish_reason="stop", usage={"prompt_tokens": 12, "completion_tokens": 2})
    served = await provider.complete(attempt(await server(streaming([first, last, DONE]))), Heard())
    assert (served.prompt_tokens, served.completion_tokens) == (12, 2)


CALLS = (ToolCall(id="a", name="look", arguments='{"at": 1}'), ToolCall(id="b", name="walk", arguments="{}"))


@pytest.mark.parametrize(
    "pieces",
    [
        [
            wishes({"index": 0, "id": "a", "function": {"name": "look", "arguments": ""}}),
            wishes({"index": 0, "function": {"arguments": '{"at"'}}),
            wishes({"index": 1, "id": "b", "function": {"name": "walk", "arguments": "{}"}}),
            wishes({"index": 0, "function": {"arguments": ": 1}"}}),
        ],
        [
            wishes({"index": 0, "id": "a", "function": {"name": "look", "arguments": '{"at": 1}'}}),
            wishes({"index": 0, "id": "b", "function": {"name": "walk", "arguments": "{}"}}),
        ],
        [
            wishes(
                {"id": "a", "function": {"name": "look", "arguments": '{"at": 1}'}},
                {"id": "b", "function": {"name": "walk"}},
            ),
        ],
        [
            wishes({"id": "a", "function": {"name": "look"}}),
            wishes({"function": {"arguments": '{"at": 1}'}}),
            wishes({"id": "b", "function": {"name": "walk"}}),
        ],
    ],
    ids=["interleaved", "one index for all", "in one piece, without indices", "without indices"],
)
async def test_tool_calls_are_put_together(provider: OpenAIProvider, server: Started, pieces: list[bytes]) -> None:
    url = await server(streaming([*pieces, chunk(finish_reason="tool_calls"), DONE]))
    told: list[ToolCallPiece] = []
    served = await provider.complete(attempt(url), Heard(tell_call=told.append))
    assert (served.text, served.tool_calls, served.finish_reason) == ("", CALLS, "tool_calls")
    # And each piece was told as it came, with what it is of and its place there
    for place, call in enumerate(CALLS):
        written = ""
        for piece in (piece for piece in told if piece.place == place):
            assert (piece.id, piece.name, piece.offset) == (call.id, call.name, len(written))
            written += piece.arguments
        assert written == call.arguments or (written, call.arguments) == ("", "{}")


async def test_a_tool_call_without_an_id_gets_one(provider: OpenAIProvider, server: Started) -> None:
    pieces = [wishes({"index": 0, "function": {"name": "look", "arguments": "{}"}}), DONE]
    told: list[ToolCallPiece] = []
    url = await server(streaming(pieces))
    (call,) = (await provider.complete(attempt(url), Heard(tell_call=told.append))).tool_calls
    assert call.id.startswith("call_")
    assert told == []  # under which id, is known at the end alone


LINES = st.lists(st.sampled_from([b"data: a", b"data:b", b"", b": no", b"event: x", b"data", b"data:  c"]), max_size=12)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(LINES, ENDS, st.data())
def test_events_are_the_same_however_their_bytes_are_cut(lines: list[bytes], end: bytes, data: st.DataObject) -> None:
    # Given a stream of events
    whole = b"".join(line + end for line in lines)
    reader = Events()
    at_once = [*reader.feed(whole), *reader.end()]
    # When it comes in any other pieces
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    reader, in_pieces = Events(), []
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        in_pieces += reader.feed(whole[start:stop])
    # Then the events are the same
    assert [*in_pieces, *reader.end()] == at_once


async def test_a_stream_ended_by_its_reader_closes_its_connection(provider: OpenAIProvider) -> None:
    # Given a stream with an error in it, after which the server would go on
    with OpenAISimulator(Behaviour(fault="malformed", answer="a " * 100_000)) as sim:
        # When the reader gives up
        await failure(provider, attempt(sim.url))
        # Then no call stays open
        await asyncio.to_thread(sim.wait_until, lambda: sim.open == 0, LONG_S)

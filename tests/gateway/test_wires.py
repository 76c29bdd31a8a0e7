"""What is asked and what is read, in each of the three wire formats, whole and streamed."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from actors.gateway.providers import Heard, Served
from schemas.completion import ChatMessage, ImagePart, Sampling, ToolCall, ToolCallPiece
from schemas.errors import UpstreamError
from tests.gateway.wires import HELLO, LOOK, WIRES, Wire, wire_of
from tests.simulators.base import Behaviour

# litellm keeps its HTTP clients for the life of an event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
MODELS = {"openai": "sim-small", "anthropic": "claude-sonnet-5-5", "gemini": "gemini-3.8-flash"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WIRES)
async def running(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    async with wire_of(request.param) as wire:
        yield wire


@pytest.fixture
def wire(running: Wire) -> Wire:
    running.sim.behaviour = Behaviour()
    return running


def sent(wire: Wire) -> Any:
    return wire.sim.calls[-1].body


@both_ways
async def test_an_answer_is_read_with_its_usage(wire: Wire, stream: bool) -> None:
    # Given a provider that says what it bills
    wire.sim.behaviour = Behaviour(answer="Hello there.\nFriend.", prompt_tokens=12, completion_tokens=7)
    # When it is asked
    heard = Heard()
    answer = await wire.provider.complete(wire.attempt(stream=stream), heard)
    # Then all of it is in the answer, and was heard
    dropped = ("temperature",) if wire.name == "anthropic" else ()  # that model takes none
    assert answer == Served("Hello there.\nFriend.", MODELS[wire.name], "stop", 12, 7, dropped=dropped)
    assert (heard.text, heard.model) == (answer.text, answer.model)
    assert (heard.prompt_tokens, heard.completion_tokens, heard.began) == (12, 7, True)


async def test_a_streamed_answer_is_told_piece_by_piece(wire: Wire) -> None:
    # Given somebody who listens
    wire.sim.behaviour = Behaviour(answer="one two three")
    told: list[str] = []
    # When an answer is streamed
    await wire.provider.complete(wire.attempt(stream=True), Heard(told.append))
    # Then each piece was told as it came
    assert told == ["one", " two", " three"]


async def test_tokens_are_known_as_soon_as_the_wire_tells(wire: Wire) -> None:
    # Given providers of which two say at once what the question costs
    wire.sim.behaviour = Behaviour(answer="one two", prompt_tokens=12)
    known: list[int | None] = []
    heard = Heard(lambda _: known.append(heard.prompt_tokens))
    # When the second piece arrives
    await wire.provider.complete(wire.attempt(stream=True), heard)
    # Then it is known already; OpenAI's format says it last
    assert known[1] == (None if wire.name == "openai" else 12)


@both_ways
async def test_the_system_prompt_stands_where_the_format_wants_it(wire: Wire, stream: bool) -> None:
    await wire.provider.complete(wire.attempt(stream=stream), Heard())
    match wire.name:
        case "openai":
            assert sent(wire)["messages"][0] == {"role": "system", "content": "Be brief."}
        case "anthropic":
            assert sent(wire)["system"][0]["text"] == "Be brief."
            assert [message["role"] for message in sent(wire)["messages"]] == ["user"]
        case _:
            assert sent(wire)["system_instruction"]["parts"] == [{"text": "Be brief."}]
            assert [content["role"] for content in sent(wire)["contents"]] == ["user"]


@both_ways
async def test_an_answer_in_the_shape_of_a_schema_is_asked_for(wire: Wire, stream: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    answer = await wire.provider.complete(wire.attempt(json_schema=schema, stream=stream), Heard())
    assert json.loads(answer.text) == {"a": 0}


@both_ways
async def test_an_image_travels_beside_its_text(wire: Wire, stream: bool) -> None:
    # Given a question with a picture
    image = ImagePart(media_type="image/png", base64="iVBORw0KGgo=")
    question = (ChatMessage(role="user", content="Look.", images=(image,)),)
    # When it is asked
    await wire.provider.complete(wire.attempt(messages=question, stream=stream), Heard())
    # Then the picture is in the question, in the format's own way
    match wire.name:
        case "openai":
            part = sent(wire)["messages"][0]["content"][1]
            assert part == {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
        case "anthropic":
            source = sent(wire)["messages"][0]["content"][1]["source"]
            assert (source["media_type"], source["data"]) == ("image/png", "iVBORw0KGgo=")
        case _:
            (data,) = (part["inline_data"] for part in sent(wire)["contents"][0]["parts"] if "inline_data" in part)
            assert data == {"mime_type": "image/png", "data": "iVBORw0KGgo="}


@both_ways
async def test_a_model_may_wish_for_a_tool(wire: Wire, stream: bool) -> None:
    # Given a model that is offered a tool
    heard = Heard()
    # When it wishes for it
    answer = await wire.provider.complete(wire.attempt(tools=(LOOK,), stream=stream), heard)
    # Then the wish comes back, and an empty text is no fault
    (call,) = answer.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("look", {"place": "text"})
    assert (answer.text, answer.finish_reason, bool(call.id)) == ("", "tool_calls", True)
    # And what it took to say so counts
    assert heard.unsaid == len(call.arguments)


@both_ways
async def test_several_wishes_may_come_with_a_text(wire: Wire, stream: bool) -> None:
    wire.sim.behaviour = Behaviour(answer="Let me see.", tool_calls=2)
    told: list[ToolCallPiece] = []
    answer = await wire.provider.complete(wire.attempt(tools=(LOOK,), stream=stream), Heard(tell_call=told.append))
    assert answer.text == "Let me see."
    assert [json.loads(call.arguments) for call in answer.tool_calls] == [{"place": "text"}] * 2
    assert len({call.id for call in answer.tool_calls}) == 2
    # And where it is streamed, they were told as they came
    written = ["".join(piece.arguments for piece in told if piece.place == place) for place in range(2)]
    assert written == ([call.arguments for call in answer.tool_calls] if stream else ["", ""])
    assert {piece.id for piece in told} == ({call.id for call in answer.tool_calls} if stream else set())


@both_ways
@pytest.mark.parametrize("choice", ["none", "auto", "required", {"type": "function", "function": {"name": "look"}}])
async def test_the_choice_of_a_tool_is_passed_on(wire: Wire, stream: bool, choice: Any) -> None:
    answer = await wire.provider.complete(wire.attempt(tools=(LOOK,), tool_choice=choice, stream=stream), Heard())
    assert bool(answer.tool_calls) == (choice != "none")


@both_ways
async def test_how_words_are_picked_is_passed_on_where_the_model_takes_it(wire: Wire, stream: bool) -> None:
    # Given a question that says how its answer's words are to be picked
    asked = wire.attempt(sampling=Sampling(seed=7, stop=("END",)), stream=stream)
    if wire.name == "anthropic":
        # When its model knows no such thing, Then it is not left out in silence
        with pytest.raises(UpstreamError, match="takes no seed"):
            await wire.provider.complete(asked, Heard())
        return
    # When the others are asked, Then it is told to them in their words
    await wire.provider.complete(asked, Heard())
    body = sent(wire) if wire.name == "openai" else sent(wire)["generationConfig"]
    assert (body["seed"], body["stop" if wire.name == "openai" else "stop_sequences"]) == (7, ["END"])


@both_ways
async def test_a_tools_result_is_sent_with_the_wish_that_it_answers(wire: Wire, stream: bool) -> None:
    # Given a conversation in which a tool was called
    wish = ToolCall(id="call_1", name="look", arguments='{"place": "the door"}')
    turns = (
        *HELLO,
        ChatMessage(role="assistant", content="", tool_calls=(wish,)),
        ChatMessage(role="tool", content="It is open.", tool_call_id="call_1"),
    )
    # When it goes on
    answer = await wire.provider.complete(wire.attempt(messages=turns, tools=(LOOK,), stream=stream), Heard())
    # Then the model has got both, and answers
    assert answer.text
    match wire.name:
        case "openai":
            wished, result = sent(wire)["messages"][2:]
            assert (wished["content"], wished["tool_calls"][0]["id"]) == (None, "call_1")
            assert result == {"role": "tool", "content": "It is open.", "tool_call_id": "call_1"}
        case "anthropic":
            wished, result = (message["content"][0] for message in sent(wire)["messages"][1:])
            assert (wished["id"], wished["input"]) == ("call_1", {"place": "the door"})
            assert (result["tool_use_id"], "It is open." in json.dumps(result["content"])) == ("call_1", True)
        case _:
            parts = [part for content in sent(wire)["contents"] for part in content["parts"]]
            call = parts[1]["function_call"]
            assert (call["name"], call["args"]) == ("look", {"place": "the door"})
            assert parts[2]["function_response"]["name"] == "look"


async def test_an_image_that_is_no_base64_is_not_sent(wire: Wire) -> None:
    before = len(wire.sim.calls)
    image = ImagePart(media_type="image/png", base64="!")
    question = (ChatMessage(role="user", content="Look.", images=(image,)),)
    with pytest.raises(UpstreamError) as raised:
        await wire.provider.complete(wire.attempt(messages=question), Heard())
    assert (raised.value.again, raised.value.spent, len(wire.sim.calls)) == (False, False, before)


async def test_texts_become_vectors(wire: Wire) -> None:
    # Given a provider that makes vectors; Anthropic makes none
    attempt = wire.embed_attempt("red", "blue sky", "red")
    if wire.name == "anthropic":
        with pytest.raises(UpstreamError) as raised:
            await wire.provider.embed(attempt)
        assert (raised.value.again, raised.value.spent) == (False, False)
        return
    # When it is asked for three
    embedded = await wire.provider.embed(attempt)
    # Then they come in order, and tokens only where the provider counts them
    red, blue, again = embedded.vectors
    assert (red == again, red == blue, len(red)) == (True, False, 64)
    assert (embedded.model, embedded.prompt_tokens) == (MODELS[wire.name], 4 if wire.name == "openai" else None)

"""The unmodified official `openai` SDK against the doors on a real port, with a simulated provider behind them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.broker import Broker
from tests.serve.stack import Stack, stack
from tests.simulators.openai import Behaviour, OpenAISimulator

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Name a use of a tote bag"}]
TEXT = "Carry books,\n\nor bread. Größe: egal."
LOOK: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "look",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}},
            "required": ["place"],
            "additionalProperties": False,
        },
    },
}
SERVICE = "service/simulated"


class Bag(BaseModel):
    colour: str
    litres: int


@pytest.fixture(scope="module")
def sim() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as made:
        yield made


@pytest.fixture
async def live(broker: Broker, sim: OpenAISimulator, tmp_path: Path) -> AsyncIterator[Stack]:
    sim.behaviour = Behaviour()
    async with stack(broker.url, tmp_path / "home", sim, images=True) as made:
        yield made


@pytest.fixture
async def client(live: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0) as made:
        yield made


# -- chat --------------------------------------------------------------------------------------------------------------


async def test_a_chat_has_its_answer_its_usage_and_its_receipt(
    client: openai.AsyncOpenAI, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(answer=TEXT, prompt_tokens=100, completion_tokens=50)
    answer = await client.chat.completions.create(model="devskyy-simple", messages=HELLO)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (TEXT, "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (100, 50, 150)
    assert answer.model_extra is not None
    assert answer.model_extra["devskyy"]["receipt"]["cost_usd"] == pytest.approx(0.0002)


async def test_the_synchronous_client_is_answered_too(live: Stack) -> None:
    def ask() -> tuple[str | None, str]:
        with openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0) as client:
            whole = client.chat.completions.create(model=SERVICE, messages=HELLO)
            pieces = client.chat.completions.create(model=SERVICE, messages=HELLO, stream=True)
            return whole.choices[0].message.content, "".join(p.choices[0].delta.content or "" for p in pieces)

    whole, streamed = await asyncio.to_thread(ask)
    assert whole == streamed != ""


@pytest.mark.parametrize("model", ["devskyy-auto", "devskyy-simple", "agent/scaleway-eu", SERVICE])
async def test_a_stream_comes_as_it_is_written(client: openai.AsyncOpenAI, sim: OpenAISimulator, model: str) -> None:
    # Given a provider that writes thirty words a second
    sim.behaviour = Behaviour(answer=TEXT, tokens_per_s=30, prompt_tokens=100, completion_tokens=50)
    # When its answer is streamed
    raw = await client.chat.completions.with_raw_response.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    text, pieces, first_while_writing = "", 0, False
    async for chunk in raw.parse():
        last = chunk
        if chunk.choices and chunk.choices[0].delta.content:
            first_while_writing = first_while_writing or sim.calls[-1].ended_at is None
            text, pieces = text + chunk.choices[0].delta.content, pieces + 1
        if chunk.choices and chunk.choices[0].finish_reason:
            assert chunk.choices[0].finish_reason == "stop"
    # Then its first words were there before its last, and all of them came
    assert (text, first_while_writing) == (TEXT, True)
    assert pieces > 3
    # And the last chunk says what it took, and the headers whose task it was
    assert (last.choices, last.usage and last.usage.total_tokens) == ([], 150)
    assert last.model_extra is not None
    told = last.model_extra["devskyy"]
    assert told["receipt"]["cost_usd"] == pytest.approx(0.0002)
    assert raw.headers["devskyy-task"] == told["task_id"]


async def test_a_stream_without_usage_has_the_receipt_in_the_chunk_that_ends_it(client: openai.AsyncOpenAI) -> None:
    chunks = [c async for c in await client.chat.completions.create(model=SERVICE, messages=HELLO, stream=True)]
    assert all(chunk.choices for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["devskyy"]["receipt"]["calls"]


async def test_the_helper_that_puts_a_stream_together_can(client: openai.AsyncOpenAI, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer=TEXT)
    async with client.chat.completions.stream(model=SERVICE, messages=HELLO) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == TEXT


async def test_a_team_tells_its_phases_as_reasoning_and_then_answers(
    client: openai.AsyncOpenAI, sim: OpenAISimulator
) -> None:
    # Given a task for a team
    sim.behaviour = Behaviour(answer=TEXT)
    # When it is streamed
    stream = await client.chat.completions.create(model="devskyy-moderate", messages=HELLO, stream=True)
    kinds, thoughts, text = list[str](), "", ""
    async for chunk in stream:
        delta = chunk.choices[0].delta
        if thought := (delta.model_extra or {}).get("reasoning_content"):
            thoughts, kinds = thoughts + thought, [*kinds, "thought"]
        if delta.content:
            text, kinds = text + delta.content, [*kinds, "text"]
    # Then what the team does comes first, a line each, and the answer after it
    lines = thoughts.splitlines()
    assert lines[0].startswith("moderate, parallel: ")
    assert any(line.startswith("drafts: ") for line in lines)
    assert text == TEXT
    assert kinds == sorted(kinds, reverse=True)


async def test_a_conversation_with_images_stands_in_its_order(client: openai.AsyncOpenAI, sim: OpenAISimulator) -> None:
    pixel = "data:image/png;base64,iVBORw0KGgo="
    shown: ChatCompletionMessageParam = {
        "role": "user",
        "content": [{"type": "text", "text": "Here."}, {"type": "image_url", "image_url": {"url": pixel}}],
    }
    turns: list[ChatCompletionMessageParam] = [shown, {"role": "assistant", "content": "A bag."}, *HELLO]
    await client.chat.completions.create(model=SERVICE, messages=turns)
    sent = sim.calls[-1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[0]["content"][1]["image_url"]["url"] == pixel
    assert sent[2]["content"] == HELLO[0]["content"]


async def test_how_words_are_picked_reaches_the_provider(client: openai.AsyncOpenAI, sim: OpenAISimulator) -> None:
    chosen: dict[str, Any] = {"top_p": 0.5, "frequency_penalty": 0.1, "presence_penalty": -1, "seed": 7}
    for model in ("devskyy-auto", "agent/scaleway-eu", SERVICE):
        await client.chat.completions.create(model=model, messages=HELLO, stop=["END"], **chosen)
        body = sim.calls[-1].body
        assert {name: body[name] for name in (*chosen, "stop")} == {**chosen, "stop": ["END"]}
    with pytest.raises(openai.UnprocessableEntityError, match="is a team") as caught:
        await client.chat.completions.create(model="devskyy-mega", messages=HELLO, seed=7)
    assert caught.value.param == "seed"


# -- the form of an answer, and tools ----------------------------------------------------------------------------------


async def test_an_answer_is_parsed_into_the_clients_own_type(client: openai.AsyncOpenAI, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer=json.dumps({"colour": "red", "litres": 20}))
    parsed = await client.chat.completions.parse(model=SERVICE, messages=HELLO, response_format=Bag)
    assert parsed.choices[0].message.parsed == Bag(colour="red", litres=20)
    assert sim.calls[-1].body["response_format"]["json_schema"]["schema"]["required"] == ["colour", "litres"]


@pytest.mark.parametrize("model", ["devskyy-auto", "agent/scaleway-eu", SERVICE])
@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_go_round(client: openai.AsyncOpenAI, sim: OpenAISimulator, model: str, streamed: bool) -> None:
    # Given a model that is offered a tool, and wishes for it twice
    sim.behaviour = Behaviour(tool_calls=2)
    asked: dict[str, Any] = {"model": model, "messages": HELLO, "tools": [LOOK], "tool_choice": "required"}
    # When it is asked
    if streamed:
        async with client.chat.completions.stream(**asked) as stream:
            choice: Any = (await stream.get_final_completion()).choices[0]
    else:
        choice = (await client.chat.completions.create(**asked, parallel_tool_calls=False)).choices[0]
        assert sim.calls[-1].body["parallel_tool_calls"] is False
    # Then its wishes come back
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert [call.function.name for call in choice.message.tool_calls] == ["look", "look"]
    assert all(json.loads(call.function.arguments)["place"] for call in choice.message.tool_calls)
    assert sim.calls[-1].body["tool_choice"] == "required"
    # When the tools have given something, one of them nothing
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call.id, "content": text}
        for call, text in zip(choice.message.tool_calls, ("It is red.", ""), strict=True)
    ]
    turn = choice.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    for call in turn["tool_calls"]:
        for name in set(call["function"]) - {"name", "arguments"}:
            del call["function"][name]
        call.pop("index", None)
    sim.behaviour = Behaviour(answer="Red.")
    answer = await client.chat.completions.create(model=model, messages=[*HELLO, turn, *results], tools=[LOOK])
    # Then the model gets both in their places, and answers
    assert answer.choices[0].message.content == "Red."
    sent = [message for message in sim.calls[-1].body["messages"] if message["role"] != "system"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert [message["content"] for message in sent[2:]] == ["It is red.", ""]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]


async def test_tools_are_no_teams(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="'devskyy-complex' is a team") as caught:
        await client.chat.completions.create(model="devskyy-complex", messages=HELLO, tools=[LOOK])
    assert caught.value.param == "tools"


# -- everything else ---------------------------------------------------------------------------------------------------


async def test_models_are_listed_and_found(client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert {"devskyy-auto", "agent/scaleway-eu", SERVICE, "local-embeddings"} <= set(names)
    assert (await client.models.retrieve("devskyy-auto")).id == "devskyy-auto"
    assert (await client.models.retrieve(SERVICE)).id == SERVICE
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-nothing")


async def test_texts_become_vectors(client: openai.AsyncOpenAI) -> None:
    vectors = await client.embeddings.create(model="local-embeddings", input=["a tote bag", "a suitcase"])
    assert [len(each.embedding) for each in vectors.data] == [256, 256]


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_the_sdks_own(client: openai.AsyncOpenAI, sim: OpenAISimulator, stream: bool) -> None:
    async def ask(**fields: Any) -> None:
        made: Any = await client.chat.completions.create(
            **{"model": SERVICE, "messages": HELLO, "stream": stream, **fields}
        )
        if stream:
            [_ async for _ in made]

    with pytest.raises(openai.NotFoundError, match="no model 'gpt-nothing'"):
        await ask(model="gpt-nothing")
    with pytest.raises(openai.UnprocessableEntityError, match="cannot be kept"):
        await ask(n=2)
    with pytest.raises(openai.UnprocessableEntityError, match="temperature"):
        await ask(temperature=9)
    sim.behaviour = Behaviour(fault="401")
    with pytest.raises(openai.InternalServerError, match="simulated: HTTP 401"):
        await ask()


async def test_a_body_that_is_no_json_is_a_bad_request(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.post("/chat/completions", cast_to=object, content=b"{", options={"headers": {"a": "b"}})


async def test_who_shows_no_key_is_not_authenticated(live: Stack, client: openai.AsyncOpenAI) -> None:
    # Given a platform with a key, that may ask twice a minute
    made = await _key(live, rpm=2)
    # When somebody without it asks, Then it is told so as OpenAI would
    with pytest.raises(openai.AuthenticationError):
        await client.chat.completions.create(model=SERVICE, messages=HELLO)
    # And who has it is served, until it asks too often
    async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key=made, max_retries=0) as allowed:
        for _ in range(2):
            await allowed.chat.completions.create(model=SERVICE, messages=HELLO)
        with pytest.raises(openai.RateLimitError):
            await allowed.chat.completions.create(model=SERVICE, messages=HELLO, stream=True)


async def _key(live: Stack, **fields: Any) -> str:
    from tests.serve.keys import make

    return (await make(live.app, "write", **fields)).secret


# -- responses ---------------------------------------------------------------------------------------------------------


async def test_a_response_has_its_text_its_usage_and_its_receipt(
    client: openai.AsyncOpenAI, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(answer=TEXT, prompt_tokens=100, completion_tokens=50)
    response = await client.responses.create(
        model=SERVICE, input="Name a use", instructions="Be brief.", temperature=0.1, max_output_tokens=7
    )
    assert (response.output_text, response.status, response.model) == (TEXT, "completed", SERVICE)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (100, 50, 150)
    assert response.model_extra is not None
    assert response.model_extra["devskyy"]["receipt"]["cost_usd"] == pytest.approx(0.0002)
    body = sim.calls[-1].body
    assert [(m["role"], m["content"]) for m in body["messages"]] == [("system", "Be brief."), ("user", "Name a use")]
    assert (body["temperature"], body["max_tokens"]) == (0.1, 7)
    # And it is there when it is asked for
    again = await client.responses.retrieve(response.id)
    assert (again.output_text, again.instructions, again.max_output_tokens) == (TEXT, "Be brief.", 7)


async def test_a_response_goes_on_from_another(client: openai.AsyncOpenAI, sim: OpenAISimulator) -> None:
    # Given a response with instructions
    sim.behaviour = Behaviour(answer="A bag.")
    first = await client.responses.create(model=SERVICE, input="What is it?", instructions="Be brief.")
    # When another goes on from it, and a third from that
    second = await client.responses.create(
        model=SERVICE, input="Which colour?", instructions="Be kind.", previous_response_id=first.id
    )
    third = await client.responses.create(model=SERVICE, input="Why?", previous_response_id=second.id)
    # Then all that was said is there, with the instructions of the last alone
    assert [(m["role"], m["content"]) for m in sim.calls[-2].body["messages"]] == [
        ("system", "Be kind."),
        ("user", "What is it?"),
        ("assistant", "A bag."),
        ("user", "Which colour?"),
    ]
    assert [m["role"] for m in sim.calls[-1].body["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert (third.previous_response_id, third.instructions) == (second.id, None)
    with pytest.raises(openai.NotFoundError, match="no response 'resp_nothing'"):
        await client.responses.create(model=SERVICE, input="Why?", previous_response_id="resp_nothing")


@pytest.mark.parametrize("model", ["devskyy-auto", SERVICE])
async def test_a_response_is_streamed(client: openai.AsyncOpenAI, sim: OpenAISimulator, model: str) -> None:
    sim.behaviour = Behaviour(answer=TEXT, tokens_per_s=30, prompt_tokens=100, completion_tokens=50)
    events = [event async for event in await client.responses.create(model=model, input="Name a use", stream=True)]
    kinds = [event.type for event in events]
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert kinds == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *["response.output_text.delta"] * len(pieces),
        *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
        "response.completed",
    ]
    assert ("".join(pieces), len(pieces) > 3) == (TEXT, True)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == TEXT
    assert last.response.usage is not None
    assert last.response.usage.total_tokens == 150
    # And the SDK's own helper agrees
    async with client.responses.stream(model=model, input="Name a use") as stream:
        final = await stream.get_final_response()
    assert final.output_text == TEXT


@pytest.mark.parametrize("streamed", [False, True])
async def test_functions_of_a_response_go_round(
    client: openai.AsyncOpenAI, sim: OpenAISimulator, streamed: bool
) -> None:
    tool: Any = {"type": "function", **LOOK["function"]}
    asked: dict[str, Any] = {"model": SERVICE, "input": "What is it?", "tools": [tool]}
    # Given a model that wishes for a function
    if streamed:
        async with client.responses.stream(**asked) as stream:
            response: Any = await stream.get_final_response()
    else:
        response = await client.responses.create(**asked)
    (wish,) = response.output
    assert (wish.type, wish.name) == ("function_call", "look")
    assert json.loads(wish.arguments)["place"]
    # When what it gave is handed back
    sim.behaviour = Behaviour(answer="Red.")
    gave: Any = {"type": "function_call_output", "call_id": wish.call_id, "output": "It is red."}
    answer = await client.responses.create(model=SERVICE, previous_response_id=response.id, input=[gave], tools=[tool])
    # Then the model has the wish and its result, and answers
    assert answer.output_text == "Red."
    _, wished, result = sim.calls[-1].body["messages"]
    assert wished["tool_calls"][0]["id"] == result["tool_call_id"] == wish.call_id
    # And so it has if the caller keeps the conversation itself
    said: Any = {"role": "user", "content": "What is it?"}
    kept = [said, *(each.model_dump(exclude={"parsed_arguments"}, exclude_none=True) for each in response.output), gave]
    again = await client.responses.create(model=SERVICE, input=kept, tools=[tool])
    assert again.output_text == "Red."
    assert sim.calls[-1].body["messages"] == sim.calls[-2].body["messages"]


async def test_a_response_is_parsed_into_the_clients_own_type(client: openai.AsyncOpenAI, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer=json.dumps({"colour": "red", "litres": 20}))
    parsed = await client.responses.parse(model=SERVICE, input="a bag", text_format=Bag)
    assert parsed.output_parsed == Bag(colour="red", litres=20)


async def test_a_response_in_the_background_is_read_later_or_cancelled(
    live: Stack, client: openai.AsyncOpenAI, sim: OpenAISimulator
) -> None:
    # Given a provider that takes its time
    sim.behaviour = Behaviour(answer="word " * 200, tokens_per_s=20)
    begun = await client.responses.create(model=SERVICE, input="Name a use", background=True)
    assert begun.status in ("queued", "in_progress")
    # When it is cancelled
    cancelled = await client.responses.cancel(begun.id)
    # Then it says so, from then on
    assert cancelled.status == "cancelled"
    assert (await client.responses.retrieve(begun.id)).status == "cancelled"
    # And one that is not can be waited for
    sim.behaviour = Behaviour(answer=TEXT)
    begun = await client.responses.create(model=SERVICE, input="Name a use", background=True)
    await live.app.state.tasks.wait("default", begun.id.removeprefix("resp_"), 20)
    assert (await client.responses.retrieve(begun.id)).output_text == TEXT


async def test_a_response_that_fails_in_a_stream_says_so(client: openai.AsyncOpenAI, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(fault="401")
    with pytest.raises(openai.InternalServerError, match="simulated: HTTP 401"):
        await client.responses.create(model=SERVICE, input="Name a use", stream=True)
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="gpt-nothing", input="Name a use")
    with pytest.raises(openai.UnprocessableEntityError, match="no tools of its own"):
        await client.responses.create(model=SERVICE, input="Name a use", tools=[{"type": "web_search"}])

"""The official `anthropic` SDK, unmodified, against the doors on a real port, with a simulated provider behind them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from pydantic import BaseModel

from schemas.completion import ToolCall
from schemas.message import now
from schemas.problem import Problem
from schemas.task import Task
from serve.anthropic.events import events
from serve.openai.live import End, Text
from serve.openai.wished import Wish
from serve.problems import as_anthropic, reply
from tests.broker import Broker
from tests.serve.keys import at, make
from tests.serve.stack import Stack, stack
from tests.simulators.openai import Behaviour, OpenAISimulator

SERVICE = "service/simulated"
TEXT = "Carry books,\n\nor bread. Größe: egal."
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LOOK: Any = {
    "name": "look",
    "description": "Looks at a place",
    "input_schema": {
        "type": "object",
        "properties": {"place": {"type": "string"}},
        "required": ["place"],
        "additionalProperties": False,
    },
}


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
async def client(live: Stack) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=live.url, api_key="any", max_retries=0) as made:
        yield made


def asked(**fields: Any) -> Any:
    usual = {"role": "user", "content": "Name a use of a tote bag"}
    return {"model": SERVICE, "max_tokens": 500, "messages": [usual], **fields}


async def test_a_message_has_its_answer_its_usage_and_its_receipt(
    client: anthropic.AsyncAnthropic, sim: OpenAISimulator
) -> None:
    # Given a model with an answer
    sim.behaviour = Behaviour(answer=TEXT, prompt_tokens=100, completion_tokens=50)
    # When a message is created
    raw = await client.messages.with_raw_response.create(**asked(system="Be brief."))
    # Then it has the answer, and what it took
    message = await raw.parse()
    assert [(block.type, block.text) for block in message.content if block.type == "text"] == [("text", TEXT)]
    assert (message.model, message.role, message.stop_reason) == (SERVICE, "assistant", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (100, 50)
    assert message.model_extra is not None
    receipt = message.model_extra["devskyy"]["receipt"]
    assert (receipt["cost_usd"], receipt["calls"][0]["service"]) == (pytest.approx(0.0002), "simulated")
    assert float(raw.headers["devskyy-cost-usd"]) == pytest.approx(0.0002)
    assert message._request_id == f"req_{raw.headers['devskyy-task']}"
    # And the model was told what was said
    body = sim.calls[-1].body
    assert [(each["role"], each["content"]) for each in body["messages"]] == [
        ("system", "Be brief."),
        ("user", "Name a use of a tote bag"),
    ]
    assert body["max_tokens"] == 500


async def test_the_synchronous_client_with_a_bearer_token_is_answered_too(live: Stack, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer=TEXT)

    def ask() -> str:
        with (
            anthropic.Anthropic(base_url=live.url, auth_token="any", max_retries=0) as client,
            client.messages.stream(**asked()) as stream,
        ):
            return stream.get_final_text()

    assert await asyncio.to_thread(ask) == TEXT


async def test_a_claude_that_nobody_has_here_is_served_by_who_is_chosen(
    client: anthropic.AsyncAnthropic, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(answer=TEXT)
    message = await client.messages.create(**asked(model="claude-of-tomorrow"))
    assert message.model == "claude-of-tomorrow"
    assert message.model_extra is not None
    assert message.model_extra["devskyy"]["receipt"]["calls"][-1]["service"] == "simulated"
    with pytest.raises(anthropic.NotFoundError, match="gpt-4"):
        await client.messages.create(**asked(model="gpt-4"))


async def test_a_stream_tells_the_answer_as_it_is_written(
    client: anthropic.AsyncAnthropic, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(answer="word " * 40, prompt_tokens=100, completion_tokens=50, tokens_per_s=200)
    # When a message is streamed
    raw = [event async for event in await client.messages.create(**asked(stream=True))]
    # Then its events come in Anthropic's order, the text in pieces
    kinds = [event.type for event in raw]
    assert (kinds[0], kinds[1], kinds[-3:]) == (
        "message_start",
        "content_block_start",
        ["content_block_stop", "message_delta", "message_stop"],
    )
    assert kinds.count("content_block_delta") > 3
    # And the SDK puts them together
    async with client.messages.stream(**asked()) as stream:
        message = await stream.get_final_message()
    assert message.content[0].type == "text"
    assert message.content[0].text.strip() == ("word " * 40).strip()
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 100, 50)


async def test_a_stream_tells_wishes_for_tools_as_they_are_written(
    client: anthropic.AsyncAnthropic, sim: OpenAISimulator
) -> None:
    # Given a model that says a word and wishes for a tool twice
    sim.behaviour = Behaviour(answer="Let me see.", tool_calls=2, tokens_per_s=100)
    # When its message is streamed
    raw: list[Any] = [event async for event in await client.messages.create(**asked(tools=[LOOK], stream=True))]
    # Then one block follows the other, the arguments in pieces
    blocks: list[list[str]] = []
    for event in raw:
        if event.type == "content_block_start":
            blocks.append([event.content_block.type])
        elif event.type == "content_block_delta":
            assert event.index == len(blocks) - 1
            blocks[-1].append(getattr(event.delta, "partial_json", None) or event.delta.text)
        elif event.type == "content_block_stop":
            assert event.index == len(blocks) - 1
    assert [block[0] for block in blocks] == ["text", "tool_use", "tool_use"]
    assert [block[1:] for block in blocks[1:]] == [['{"place":', ' "text"}']] * 2
    # And the SDK's helper puts them together
    async with client.messages.stream(**asked(tools=[LOOK])) as stream:
        message = await stream.get_final_message()
    assert [block.input for block in message.content if block.type == "tool_use"] == [{"place": "text"}] * 2


class Following:
    """Stands for a task that is followed: these things happen."""

    def __init__(self, *moments: Any) -> None:
        self._moments = list(moments)

    async def next(self, patience_s: float) -> Any:
        return self._moments.pop(0)


async def test_text_that_comes_amid_a_wish_waits_for_its_end() -> None:
    # Given a model that says something in the midst of its wishes, the last of it heard only when it ends
    calls = (ToolCall(id="a", name="walk", arguments='{"to": "it"}'), ToolCall(id="b", name="look", arguments="{}"))
    task = Task(task_id="t", status="completed", prompt="p", created_at=now(), tool_calls=calls)
    live: Any = Following(
        *(Text("Let"), Wish(0, "a", "walk", '{"to":', begins=True)),
        *(Text(" me"), Wish(0, "a", "walk", ' "it"}', begins=False)),
        *(Wish(1, "b", "look", "{", begins=True), Text(" see")),
        End(task, ".", (Wish(1, "b", "look", "}", begins=False),)),
    )
    # When it is streamed
    told = [json.loads(raw.decode().split("data: ")[1]) async for raw in events(live, SERVICE, task)]
    # Then each piece is in a block of its kind, one block after the other, and nothing is lost
    blocks: list[str] = []
    for event in told:
        if event["type"] == "content_block_start":
            blocks.append("")
        elif event["type"] == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            blocks[-1] += event["delta"].get("partial_json") or event["delta"]["text"]
    assert blocks == ["Let", '{"to": "it"}', " me", "{}", " see."]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_goes_round(client: anthropic.AsyncAnthropic, sim: OpenAISimulator, streamed: bool) -> None:
    # Given a model that wishes for a tool
    question = asked(tools=[LOOK], tool_choice={"type": "any"})
    if streamed:
        async with client.messages.stream(**question) as stream:
            message: Any = await stream.get_final_message()
    else:
        message = await client.messages.create(**question)
    (wish,) = [block for block in message.content if block.type == "tool_use"]
    assert (wish.name, message.stop_reason) == ("look", "tool_use")
    assert isinstance(wish.input["place"], str)
    assert sim.calls[-1].body["tools"][0]["function"]["parameters"] == LOOK["input_schema"]
    # When what it gave is handed back, with a word beside it
    sim.behaviour = Behaviour(answer="Red.")
    result = {"type": "tool_result", "tool_use_id": wish.id, "content": [{"type": "text", "text": "It is red."}]}
    spoken = {"type": "text", "text": "Be quick."}
    turns = [*question["messages"], {"role": "assistant", "content": message.content}]
    answer = await client.messages.create(
        **{**question, "tool_choice": {"type": "auto"}, "messages": [*turns, {"role": "user", "content": [result]}]}
    )
    # Then the model has the wish and its result, and answers
    assert answer.content[0].text == "Red."  # type: ignore[union-attr]
    _, wished, gave = sim.calls[-1].body["messages"]
    assert wished["tool_calls"][0]["id"] == gave["tool_call_id"] == wish.id
    assert gave["content"] == "It is red."
    # And so it has with the word
    both = [*turns, {"role": "user", "content": [{**result, "is_error": True}, spoken]}]
    await client.messages.create(**{**question, "tool_choice": {"type": "auto"}, "messages": both})
    said = [(each["role"], each["content"]) for each in sim.calls[-1].body["messages"][-2:]]
    assert said == [("tool", "[error] It is red."), ("user", "Be quick.")]


async def test_pictures_are_shown_also_those_that_a_tool_gave(
    client: anthropic.AsyncAnthropic, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(answer="Red.")
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    text = {"type": "text", "text": "Which colour?"}
    await client.messages.create(**asked(messages=[{"role": "user", "content": [image, text]}]))
    content = sim.calls[-1].body["messages"][-1]["content"]
    assert content[-1]["image_url"]["url"].partition(",")[2] == PNG
    # And what a tool gave is shown after its result
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"place": "here"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [image]}
    turns = [*asked()["messages"], {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    await client.messages.create(**asked(messages=turns, tools=[LOOK]))
    *_, gave, shown = sim.calls[-1].body["messages"]
    assert (gave["role"], gave["tool_call_id"]) == ("tool", "toolu_1")
    assert shown["content"][-1]["image_url"]["url"].partition(",")[2] == PNG


async def test_what_clients_of_claude_send_besides_changes_nothing(
    client: anthropic.AsyncAnthropic, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(answer=TEXT)
    cached = {"cache_control": {"type": "ephemeral"}}
    thought = [{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "text", "text": "Books."}]
    message = await client.beta.messages.create(
        betas=["context-management-2025-06-27"],
        system=[{"type": "text", "text": "Be brief.", **cached}],  # type: ignore[typeddict-item, list-item]
        thinking={"type": "enabled", "budget_tokens": 1024},
        context_management={"edits": []},
        metadata={"user_id": "u1"},
        **asked(
            tools=[{**LOOK, **cached}],
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "Name a use", **cached}]},
                {"role": "assistant", "content": thought},
                {"role": "user", "content": "Another"},
            ],
            max_tokens=2048,
            extra_body={"temperature": 1.0},
        ),
    )
    assert message.content
    assert [each["content"] for each in sim.calls[-1].body["messages"]] == [
        *("Be brief.", "Name a use", "Books.", "Another"),
    ]


async def test_an_answer_is_parsed_into_the_clients_own_type(
    client: anthropic.AsyncAnthropic, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(answer=json.dumps({"colour": "red", "litres": 20}))
    message = await client.messages.parse(**asked(output_format=Bag))
    assert message.parsed_output == Bag(colour="red", litres=20)


async def test_tokens_are_counted_about(client: anthropic.AsyncAnthropic, sim: OpenAISimulator) -> None:
    calls = len(sim.calls)
    short = await client.messages.count_tokens(model=SERVICE, messages=asked()["messages"])
    tools = await client.messages.count_tokens(model=SERVICE, messages=asked()["messages"], tools=[LOOK])
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    shown = await client.messages.count_tokens(model=SERVICE, messages=[{"role": "user", "content": [image]}])
    assert short.input_tokens == 6  # 24 bytes
    assert 30 < tools.input_tokens - short.input_tokens < 80
    assert shown.input_tokens == 1600
    assert short.model_extra == {"devskyy": {"estimated": True}}
    assert len(sim.calls) == calls


async def test_the_names_of_models_are_listed(client: anthropic.AsyncAnthropic) -> None:
    found = [model async for model in await client.models.list()]
    assert {"devskyy-auto", "devskyy-mega", SERVICE} <= {model.id for model in found}
    assert (await client.models.retrieve(SERVICE)).display_name == SERVICE


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_provider_that_refuses_is_an_error_of_the_sdk(
    client: anthropic.AsyncAnthropic, sim: OpenAISimulator, streamed: bool
) -> None:
    sim.behaviour = Behaviour(fault="401")
    with pytest.raises(anthropic.APIStatusError, match="simulated: HTTP 401") as failed:
        await client.messages.create(**asked(stream=streamed))
    assert failed.value.response.headers["devskyy-task"]
    body: Any = failed.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "overloaded_error")


async def test_a_stream_that_breaks_ends_with_an_error(client: anthropic.AsyncAnthropic, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer="word " * 200, tokens_per_s=50)
    heard = []
    with pytest.raises(anthropic.APIStatusError, match="not finished within"):
        async for event in await client.messages.create(**asked(stream=True), extra_body={"timeout_s": 2.5}):
            heard.append(event.type)
    assert "content_block_delta" in heard
    assert "message_stop" not in heard


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"top_k": 4}, "top_k"),
        ({"container": "c1"}, "container"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
        ({"tools": [LOOK], "model": "devskyy-complex"}, "tools"),
        ({"messages": [{"role": "assistant", "content": "The answer is"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages.0.content.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}]},
            "messages.0",
        ),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop_sequences": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
    ],
)
async def test_what_cannot_be_kept_is_refused_by_name(
    client: anthropic.AsyncAnthropic, sim: OpenAISimulator, fields: dict[str, Any], name: str
) -> None:
    calls = len(sim.calls)
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.messages.create(**asked(), extra_body=fields)
    body: Any = refused.value.body
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith(name)
    assert len(sim.calls) == calls


async def test_whoever_has_no_key_is_refused_in_anthropics_words(live: Stack, sim: OpenAISimulator) -> None:
    # Given a platform that has keys
    made = await make(live.app, "write")
    viewer = await make(live.app, "read")
    sim.behaviour = Behaviour(answer=TEXT)

    def client(key: str) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=live.url, api_key=key, max_retries=0)

    async with client("sk-ant-nothing") as nobody, client(viewer.secret) as looks, client(made.secret) as writes:
        # Then who has none, or one that may only look, is refused as the SDK knows it
        with pytest.raises(anthropic.AuthenticationError):
            await nobody.messages.create(**asked())
        with pytest.raises(anthropic.PermissionDeniedError):
            await looks.messages.create(**asked())
        # And who has one is not
        assert (await writes.messages.create(**asked())).content
        assert (await looks.messages.count_tokens(model=SERVICE, messages=asked()["messages"])).input_tokens
    async with at(live.app, None) as http:
        refused = await http.post("/v1/messages", json=asked())
    assert refused.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (402, 402, "billing_error"),
        (413, 413, "request_too_large"),
        (422, 400, "invalid_request_error"),
        (429, 429, "rate_limit_error"),
        (500, 500, "api_error"),
        (503, 529, "overloaded_error"),
        (504, 504, "timeout_error"),
    ],
)
def test_each_problem_has_anthropics_status_and_kind(status: int, told: int, kind: str) -> None:
    problem = Problem(type="urn:devskyy:problem:x", title="X", status=status, detail="why")
    answer = reply(problem, path="/v1/messages")
    assert answer.status_code == told
    body = json.loads(bytes(answer.body))
    assert body == as_anthropic(problem).model_dump()
    assert (body["error"], body["code"]) == ({"type": kind, "message": "why"}, "x")


async def test_a_body_that_is_no_json_is_refused_in_anthropics_words(live: Stack) -> None:
    async with httpx.AsyncClient(base_url=live.url) as http:
        reply = await http.post("/v1/messages", content=b"{", headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")

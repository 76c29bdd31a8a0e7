"""The unmodified official `openai` SDK against the OpenAI-compatible door of a real platform."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = pytest.mark.platform

HELLO: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{simulated[0].url}/v1", api_key="any", max_retries=0) as made:
        yield made


def test_a_chat_is_a_task_with_a_receipt(client: openai.OpenAI, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer="Carry books.", prompt_tokens=100, completion_tokens=50)
    # When the SDK asks
    raw = client.chat.completions.with_raw_response.create(
        model="devskyy-auto", messages=[{"role": "user", "content": "Name a use of a tote bag"}]
    )
    answer = raw.parse()
    # Then it gets what OpenAI would send, and the receipt beside it
    assert answer.choices[0].message.content == "Carry books."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (100, 150)
    assert answer.model_extra is not None
    assert answer.model_extra["devskyy"]["receipt"]["cost_usd"] == pytest.approx(0.0002)
    # And the task is there for everybody else
    task_id = raw.headers["devskyy-task"]
    base = str(client.base_url).removesuffix("/v1/")
    assert httpx.get(f"{base}/api/v1/tasks/{task_id}", timeout=10).json()["answer"] == "Carry books."


def test_a_service_is_asked_as_it_is_with_the_whole_conversation(client: openai.OpenAI, sim: OpenAISimulator) -> None:
    before = len(sim.calls)
    client.chat.completions.create(
        model="service/simulated",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "Name a bag"},
        ],
        temperature=0.1,
        max_tokens=7,
    )
    body = sim.calls[before].body
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hi."),
        ("user", "Name a bag"),
    ]
    assert (body["temperature"], body["max_tokens"]) == (0.1, 7)


def test_an_agent_answers_with_its_own_prompt_before_the_conversation(
    client: openai.OpenAI, sim: OpenAISimulator
) -> None:
    before = len(sim.calls)
    client.chat.completions.create(
        model="agent/scaleway-eu", messages=[{"role": "user", "content": "Is this private?"}]
    )
    first, last = sim.calls[before].body["messages"]
    assert first["role"] == "system"
    assert "data protection" in first["content"]
    assert last["content"] == "Is this private?"


def test_a_json_schema_reaches_the_provider(client: openai.OpenAI, sim: OpenAISimulator) -> None:
    before = len(sim.calls)
    schema = {"type": "object", "properties": {"bag": {"type": "string"}}, "required": ["bag"]}
    client.chat.completions.create(
        model="simulated",
        messages=[{"role": "user", "content": "a bag as JSON"}],
        response_format={"type": "json_schema", "json_schema": {"name": "bag", "schema": schema}},
    )
    assert sim.calls[before].body["response_format"]["json_schema"]["schema"] == schema


def test_errors_are_the_sdks_own(client: openai.OpenAI, sim: OpenAISimulator) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-nothing'"):
        client.chat.completions.create(model="gpt-nothing", messages=HELLO)
    with pytest.raises(openai.UnprocessableEntityError, match="temperature"):
        client.chat.completions.create(model="devskyy-auto", messages=HELLO, temperature=9)
    sim.behaviour = Behaviour(fault="500")
    with pytest.raises(openai.InternalServerError, match="simulated: HTTP 500"):
        client.chat.completions.create(model="devskyy-auto", messages=HELLO)


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"devskyy-auto", "devskyy-simple", "agent/groq-lightning", "service/simulated", "service/local"} <= names


def test_a_stream_comes_through_as_it_is_written(client: openai.OpenAI, sim: OpenAISimulator) -> None:
    # Given a provider that writes twenty words a second
    text = "Carry books over the shoulder, or bread by hand where the way is short."
    sim.behaviour = Behaviour(answer=text, tokens_per_s=20)
    # When its answer is streamed through Ray Serve and its proxy
    heard, while_writing = "", 0
    for chunk in client.chat.completions.create(model="devskyy-auto", messages=HELLO, stream=True):
        if chunk.choices[0].delta.content:
            heard += chunk.choices[0].delta.content
            while_writing += sim.calls[-1].ended_at is None
    # Then most of its words were there before it had ended
    assert heard == text
    assert while_writing > 3
    assert chunk.model_extra is not None
    assert chunk.model_extra["devskyy"]["receipt"]["cost_usd"] > 0


def test_a_stream_that_is_left_goes_on_or_is_cancelled_as_its_caller_wants(
    client: openai.OpenAI, sim: OpenAISimulator
) -> None:
    base = str(client.base_url).removesuffix("/v1/")
    for leave, ends in (("false", "completed"), ("true", "cancelled")):
        # Given a stream in the middle of a long text
        sim.behaviour = Behaviour(answer="word " * 60, tokens_per_s=30)
        stream = client.chat.completions.create(
            model="service/simulated",
            messages=HELLO,
            stream=True,
            extra_headers={"Devskyy-Cancel-On-Disconnect": leave},
        )
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
        task = f"{base}/api/v1/tasks/{stream.response.headers['devskyy-task']}"
        # When its reader hangs up
        stream.close()
        # Then the task ends as was asked for
        until(lambda task=task: httpx.get(task, timeout=10).json()["finished_at"], 30, "the end of the task")
        assert httpx.get(task, timeout=10).json()["status"] == ends


def test_a_response_goes_on_from_another(client: openai.OpenAI, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(answer="A bag.")
    first = client.responses.create(model="devskyy-auto", input="What is it?")
    with client.responses.stream(model="devskyy-auto", input="Why?", previous_response_id=first.id) as stream:
        assert stream.get_final_response().output_text == "A bag."
    said = [message["content"] for message in sim.calls[-1].body["messages"]]
    assert said[-3:] == ["What is it?", "A bag.", "Why?"]
    assert client.responses.retrieve(first.id).output_text == "A bag."

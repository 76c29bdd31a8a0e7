"""The unmodified official `openai` SDK against the OpenAI-compatible door of a real platform."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.live import LivePlatform
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = pytest.mark.platform


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
    hello: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-nothing'"):
        client.chat.completions.create(model="gpt-nothing", messages=hello)
    with pytest.raises(openai.UnprocessableEntityError, match="temperature"):
        client.chat.completions.create(model="devskyy-auto", messages=hello, temperature=9)
    sim.behaviour = Behaviour(fault="500")
    with pytest.raises(openai.InternalServerError, match="simulated: HTTP 500"):
        client.chat.completions.create(model="devskyy-auto", messages=hello)


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"devskyy-auto", "devskyy-simple", "agent/groq-lightning", "service/simulated", "service/local"} <= names

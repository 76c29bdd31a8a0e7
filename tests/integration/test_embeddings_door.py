"""The official `openai` SDK at the door for vectors of a real platform, and what the ledger then knows."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = pytest.mark.platform

MODEL = "simulated-embeddings"


@pytest.fixture
def client(simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{simulated[0].url}/v1", api_key="any", max_retries=0) as made:
        yield made


def ledger(client: openai.OpenAI, service: str) -> dict[str, Any]:
    base = str(client.base_url).removesuffix("/v1/")
    found = httpx.get(f"{base}/api/v1/costs", params={"by": "service"}, timeout=10).json()
    return next((dict(row) for row in found["rows"] if row["key"] == service), {"calls": 0, "spent_usd": 0.0})


def comes_to(client: openai.OpenAI, service: str, before: dict[str, Any], calls: int, usd: float) -> None:
    """Return once a service's row has grown by so many calls and so much; one under way stands at its reservation."""
    wanted = (before["calls"] + calls, pytest.approx(before["spent_usd"] + usd))

    def is_there() -> bool:
        row = ledger(client, service)
        return bool((row["calls"], row["spent_usd"]) == wanted)

    until(is_there, 30, f"{wanted} in the ledger")


def test_the_embedded_model_gives_vectors_and_its_calls_are_in_the_ledger(client: openai.OpenAI) -> None:
    before = ledger(client, "local-embeddings")
    cat, kitten, tax = client.embeddings.create(
        model="local-embeddings", input=["The cat sleeps.", "A kitten is asleep.", "Taxes are due."]
    ).data

    def like(other: openai.types.Embedding) -> float:
        return sum(a * b for a, b in zip(cat.embedding, other.embedding, strict=True))

    assert len(cat.embedding) == 256
    assert like(kitten) > like(tax)
    comes_to(client, "local-embeddings", before, 1, 0.0)


def test_a_call_under_a_key_is_paid_once(client: openai.OpenAI, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(prompt_tokens=1000)
    before, asked = ledger(client, MODEL), len(sim.calls)
    answers = [
        client.embeddings.create(model=MODEL, input="red", extra_headers={"Idempotency-Key": "one-index"})
        for _ in range(3)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert len(sim.calls) == asked + 1
    comes_to(client, MODEL, before, 1, 0.001)


def test_a_gateway_that_dies_at_work_leaves_a_call_in_doubt_and_the_client_gets_its_vectors(
    simulated: tuple[LivePlatform, OpenAISimulator], client: openai.OpenAI, sim: OpenAISimulator
) -> None:
    # Given a provider that keeps its first caller waiting
    sim.behaviour = Behaviour(fault="hang", faults_left=1, prompt_tokens=10)
    before = ledger(client, MODEL)
    answers: list[openai.types.CreateEmbeddingResponse] = []
    waiting = threading.Thread(
        target=lambda: answers.append(client.embeddings.create(model=MODEL, input="red", timeout=60))
    )
    waiting.start()
    sim.wait_until(lambda: sim.open == 1, 30)
    # When the gateway is killed
    simulated[0].process("ray::CoordinatorActorWithGateway").kill()
    waiting.join(60)
    # Then the next one makes the call again, and says so
    (answer,) = answers
    assert len(answer.data) == 1
    calls = (answer.model_extra or {})["devskyy"]["calls"]
    assert [call["outcome"] for call in calls] == ["in_doubt", "answered"]
    assert calls[0]["cost_usd"] > calls[1]["cost_usd"] == pytest.approx(10e-6)
    # And the ledger has both
    comes_to(client, MODEL, before, 2, sum(call["cost_usd"] for call in calls))


def test_the_models_that_give_vectors_are_listed(client: openai.OpenAI) -> None:
    assert {"local-embeddings", MODEL} <= {model.id for model in client.models.list()}

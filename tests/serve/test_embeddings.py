"""The door for vectors, with the official client and a real gateway: what it gives and refuses, and what that costs."""

import asyncio
import base64
import math
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import Catalogue, Routing
from bus.client import Bus
from bus.tasklog import TaskLog
from schemas.budget import Budget
from schemas.completion import MAX_TEXTS, NO_TASK
from schemas.errors import InvalidRequest
from schemas.service import ServiceSpec
from schemas.settings import Settings
from serve.app import make_app
from serve.caller import ANYBODY
from serve.embeddings import EmbeddingsRequest, ask_of
from tests.broker import Broker
from tests.gateway.doubles import LONG_S
from tests.serve.gateway import gateway, ledger_is_up_to_date, projector
from tests.serve.keys import at, make
from tests.serve.test_openai import failure
from tests.simulators.openai import DIMENSIONS, Behaviour, OpenAISimulator

DOOR = "/v1/embeddings"
PRICE = {"input_per_mtok": 1.0, "output_per_mtok": 0.0}


@pytest.fixture
def sim() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
def settings(broker: Broker, tmp_path: Path, sim: OpenAISimulator) -> Settings:
    """Three services of the simulator's, and the embedded one."""
    home = tmp_path / "http-home"
    home.mkdir()

    def at_simulator(**fields: Any) -> dict[str, Any]:
        usual = {"kind": "embeddings", "model": "openai/sim-embedding", "api_base": sim.url, "api_key_env": "none"}
        return usual | {"timeout_s": 5, "price": PRICE} | fields

    services = {
        "simulated": at_simulator(),
        "unpriced": at_simulator(price=None),
        "listed": at_simulator(model="openai/text-embedding-3-small"),
        "capped": at_simulator(),
        "narrow": at_simulator(limits={"rpm": 1}),
        "keyless": at_simulator(api_key_env="NOBODY_SET_THIS"),
        "chatty": at_simulator(kind="chat"),
    }
    overlay = home / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"services": services, "budgets": {"services": {"capped": {"usd": 0.0001}}}}))
    return Settings(home=home, nats_url=broker.url, database_url=None, config=overlay)


@pytest.fixture
async def app(settings: Settings, bus: Bus, tasks: TaskLog) -> AsyncIterator[FastAPI]:
    async with gateway(bus, settings):
        app = make_app(settings)
        async with app.router.lifespan_context(app):
            yield app


@pytest.fixture
async def client(http: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, unmodified: it repeats what it takes for an accident twice."""
    async with openai.AsyncOpenAI(base_url="http://localhost/v1", api_key="any", http_client=http) as client:
        yield client


async def refusal(http: httpx.AsyncClient, status: int = 422, **body: Any) -> dict[str, Any]:
    reply = await http.post(DOOR, json={"model": "simulated", "input": "red", **body})
    assert reply.status_code == status, reply.text
    return failure(reply)


async def costs(http: httpx.AsyncClient, bus: Bus, by: str) -> dict[str, Any]:
    await ledger_is_up_to_date(bus)
    return dict((await http.get("/api/v1/costs", params={"by": by})).json())


# -- what it gives -------------------------------------------------------------------------------------------------


async def test_the_embedded_model_gives_vectors_for_nothing(client: openai.AsyncOpenAI) -> None:
    raw = await client.embeddings.with_raw_response.create(
        model="local-embeddings", input=["The cat sleeps.", "A kitten is asleep.", "Taxes are due."]
    )
    answer = raw.parse()
    cat, kitten, tax = (each.embedding for each in answer.data)
    assert [len(cat), math.hypot(*cat)] == [256, pytest.approx(1.0, abs=1e-3)]
    assert sum(a * b for a, b in zip(cat, kitten, strict=True)) > sum(a * b for a, b in zip(cat, tax, strict=True))
    assert (answer.object, answer.model) == ("list", "local-embeddings")
    # And what it took is known
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 8
    assert float(raw.headers["devskyy-cost-usd"]) == 0
    assert answer.model_extra is not None
    (call,) = answer.model_extra["devskyy"]["calls"]
    assert (call["service"], call["region"], call["outcome"]) == ("local-embeddings", "local", "answered")


async def test_a_service_of_the_overlay_gives_vectors_at_its_price(
    client: openai.AsyncOpenAI, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(prompt_tokens=1000)
    raw = await client.embeddings.with_raw_response.create(model="simulated", input="red", encoding_format="float")
    answer = raw.parse()
    assert [len(each.embedding) for each in answer.data] == [DIMENSIONS]
    assert answer.usage.prompt_tokens == 1000
    assert float(raw.headers["devskyy-cost-usd"]) == pytest.approx(0.001)
    assert sim.calls[0].body == {"model": "sim-embedding", "input": ["red"]}


async def test_numbers_and_base64_say_the_same_in_the_order_of_the_texts(http: httpx.AsyncClient) -> None:
    body = {"model": "service/simulated", "input": ["red", "blue"]}
    plain = (await http.post(DOOR, json=body)).json()["data"]
    packed = (await http.post(DOOR, json={**body, "encoding_format": "base64"})).json()["data"]
    assert [each["index"] for each in plain] == [each["index"] for each in packed] == [0, 1]
    for numbers, text in zip(plain, packed, strict=True):
        floats = struct.unpack(f"<{DIMENSIONS}f", base64.b64decode(text["embedding"]))
        assert floats == pytest.approx(numbers["embedding"], rel=1e-6)
    assert plain[0]["embedding"] != plain[1]["embedding"]


async def test_usage_that_nobody_told_is_null_and_so_is_the_cost_with_the_reason(
    http: httpx.AsyncClient, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(fault="usage_missing")
    reply = await http.post(DOOR, json={"model": "simulated", "input": "red"})
    assert reply.json()["usage"] is None
    assert "devskyy-cost-usd" not in reply.headers
    (call,) = reply.json()["devskyy"]["calls"]
    assert (call["cost_usd"], call["cost_unknown_reason"]) == (None, "the provider reported no usage")


async def test_without_a_price_the_cost_is_null_with_the_reason(http: httpx.AsyncClient) -> None:
    reply = await http.post(DOOR, json={"model": "unpriced", "input": "red"})
    (call,) = reply.json()["devskyy"]["calls"]
    assert call["cost_usd"] is None
    assert "state services.unpriced.price" in call["cost_unknown_reason"]


async def test_as_many_texts_as_are_taken_at_once_get_their_vectors(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="local-embeddings", input=["a"] * MAX_TEXTS)
    assert len(answer.data) == MAX_TEXTS


async def test_the_models_that_give_vectors_are_listed(client: openai.AsyncOpenAI) -> None:
    names = {model.id async for model in client.models.list()}
    assert {"local-embeddings", "simulated", "service/chatty"} <= names
    assert "service/simulated" not in names


# -- what it refuses -----------------------------------------------------------------------------------------------


OVERLAY = Catalogue(
    {
        "local-embeddings": ServiceSpec(model="embedded/wordllama-256", kind="embeddings"),
        "simulated": ServiceSpec(model="openai/sim-embedding", kind="embeddings", api_base="http://127.0.0.1:9/v1"),
        "listed": ServiceSpec(model="openai/text-embedding-3-small", kind="embeddings"),
        "chatty": ServiceSpec(model="openai/sim-small"),
    },
    {},
    Routing(premium_service="chatty"),
)


def refused(**body: Any) -> InvalidRequest:
    wanted = EmbeddingsRequest.model_validate({"model": "simulated", "input": "red", **body})
    with pytest.raises(InvalidRequest) as caught:
        ask_of(wanted, OVERLAY, ANYBODY, None)
    return caught.value


@pytest.mark.parametrize(
    ("given", "field", "rule"),
    [
        ("", "input", "is empty"),
        (["red", ""], "input.1", "is empty"),
        ([], "input", "is empty"),
        (["a"] * (MAX_TEXTS + 1), "input", "holds 2,049 texts; 2,048 at most"),
        ([1, 2, 3], "input.0", "arrays of tokens are not taken"),
        ([[1, 2], [3]], "input.0", "arrays of tokens are not taken"),
        (["red", 5], "input.1", "arrays of tokens are not taken"),
        (7, "input", "is no text"),
        (None, "input", "give a text, or a list of texts"),
        ({"text": "red"}, "input", "give a text, or a list of texts"),
        ("\ud800", "input", "surrogate"),
    ],
)
def test_an_input_that_is_no_text_is_refused_by_its_place(given: Any, field: str, rule: str) -> None:
    error = refused(input=given)
    assert error.field == field
    assert rule in error.rule


@given(given=st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_whatever_is_given_is_taken_as_texts_or_refused_as_input(given: Any) -> None:
    try:
        texts = ask_of(EmbeddingsRequest(model="simulated", input=given), OVERLAY, ANYBODY, None).texts
    except InvalidRequest as error:
        assert error.field.startswith("input")
    else:
        assert all(texts)
        assert list(texts) == ([given] if isinstance(given, str) else given)


@pytest.mark.parametrize(
    ("model", "dimensions", "told"),
    [("local-embeddings", 128, "it gives 256"), ("simulated", 64, "not known beforehand"), ("listed", 9, "gives 1536")],
)
def test_dimensions_that_cannot_be_had_are_refused_before_anything_is_paid(
    model: str, dimensions: int, told: str
) -> None:
    error = refused(model=model, dimensions=dimensions)
    assert error.field == "dimensions"
    assert told in error.rule


async def test_what_cannot_be_kept_is_refused_by_name(http: httpx.AsyncClient, sim: OpenAISimulator) -> None:
    wrong = {"encoding_format": "hex", "dimensions": 0, "timeout_s": 0, "max_cost_usd": -1, "input_type": "query"}
    for field, value in wrong.items():
        assert (await refusal(http, **{field: value}))["param"] == field
    assert (await refusal(http, input=["red", ""]))["param"] == "input.1"
    assert sim.calls == []


async def test_dimensions_that_are_given_anyway_are_taken(http: httpx.AsyncClient) -> None:
    body = {"model": "local-embeddings", "input": "red", "dimensions": 256, "user": "u-1"}
    assert len((await http.post(DOOR, json=body)).json()["data"][0]["embedding"]) == 256
    # And a provider that gives others than it is known for has failed
    assert "gave vectors of 64 dimensions" in (await refusal(http, 502, model="listed", dimensions=1536))["message"]


async def test_a_model_that_is_not_there_or_gives_no_vectors_is_openais_own_error(http: httpx.AsyncClient) -> None:
    error = await refusal(http, 404, model="text-embedding-nothing")
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    error = await refusal(http, model="service/chatty")
    assert "chatty serves chat, not embeddings; there is" in error["message"]


async def test_a_text_that_the_service_cannot_take_is_refused_as_the_askers(http: httpx.AsyncClient) -> None:
    error = await refusal(http, model="local-embeddings", input=["red", "x" * 200_000])
    assert (error["param"], "has 200,000 bytes" in error["message"]) == ("input", True)


# -- what goes wrong -----------------------------------------------------------------------------------------------


async def test_a_service_without_a_key_says_so(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="no key: set NOBODY_SET_THIS") as caught:
        await client.with_options(max_retries=0).embeddings.create(model="keyless", input="red")
    assert caught.value.status_code == 503


async def test_nonsense_fails_once_and_may_have_cost(client: openai.AsyncOpenAI, sim: OpenAISimulator) -> None:
    answers = {
        "1 vectors for 2 texts": Behaviour(vectors=1),
        "3 vectors for 2 texts": Behaviour(vectors=3),
        "0 vectors for 2 texts": Behaviour(fault="empty"),
        "a 200 that is no JSON": Behaviour(fault="html"),
    }
    for number, (told, behaviour) in enumerate(answers.items(), start=1):
        # Given a provider that answers nonsense
        sim.behaviour = behaviour
        # When a client with its usual habits asks
        with pytest.raises(openai.InternalServerError, match=told) as caught:
            await client.embeddings.create(model="simulated", input=["red", "blue"])
        # Then it is told at once, with the most that it may have cost
        assert (caught.value.status_code, len(sim.calls)) == (502, number)
        assert float(caught.value.response.headers["devskyy-cost-usd"]) > 0


async def test_a_failure_that_cost_nothing_is_tried_again_by_a_client(
    client: openai.AsyncOpenAI, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(fault="500", faults_left=1)
    assert (await client.embeddings.create(model="simulated", input="red")).data
    assert len(sim.calls) == 2


async def test_a_provider_that_refuses_is_quoted_and_not_asked_again(
    client: openai.AsyncOpenAI, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(fault="401")
    with pytest.raises(openai.InternalServerError, match="HTTP 401 Incorrect API key") as caught:
        await client.embeddings.create(model="simulated", input="red")
    assert len(sim.calls) == 1
    assert float(caught.value.response.headers["devskyy-cost-usd"]) == 0


async def test_a_provider_that_is_silent_is_given_up_in_time(http: httpx.AsyncClient, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(fault="hang")
    error = await refusal(http, 502, timeout_s=0.3)
    assert "no answer within" in error["message"]
    await asyncio.to_thread(sim.wait_until, lambda: sim.open == 0, LONG_S)


async def test_a_client_that_leaves_stops_the_call(http: httpx.AsyncClient, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(fault="hang")
    asked = asyncio.create_task(http.post(DOOR, json={"model": "simulated", "input": "red"}))
    await asyncio.to_thread(sim.wait_until, lambda: sim.open == 1, LONG_S)
    asked.cancel()
    await asyncio.to_thread(sim.wait_until, lambda: sim.cut_by_client == 1, LONG_S)
    assert sim.open == 0


async def test_what_no_budget_allows_is_refused_with_what_is_left(
    http: httpx.AsyncClient, sim: OpenAISimulator
) -> None:
    error = await refusal(http, 402, model="capped", input="x" * 1000)
    assert (error["code"], error["type"]) == ("budget_refused", "insufficient_quota")
    assert "$0.0001 is left of the day's budget of service capped" in error["message"]
    error = await refusal(http, 402, max_cost_usd=0.000001)
    assert "left of the task's budget" in error["message"]
    assert sim.calls == []


async def test_a_limit_of_ones_own_is_of_one_call(http: httpx.AsyncClient) -> None:
    for _ in range(3):
        reply = await http.post(DOOR, json={"model": "simulated", "input": "red", "max_cost_usd": 0.00002})
        assert reply.status_code == 200


async def test_a_provider_that_counts_more_than_can_be_has_failed_and_is_counted(
    http: httpx.AsyncClient, sim: OpenAISimulator
) -> None:
    sim.behaviour = Behaviour(prompt_tokens=90)
    reply = await http.post(DOOR, json={"model": "capped", "input": "red"})
    assert reply.status_code == 402
    assert failure(reply)["code"] == "budget_exceeded"
    assert float(reply.headers["devskyy-cost-usd"]) == pytest.approx(90e-6)


async def test_a_service_at_its_limit_says_when_to_come_again(client: openai.AsyncOpenAI) -> None:
    await client.embeddings.create(model="narrow", input="red")
    with pytest.raises(openai.RateLimitError) as caught:
        await client.with_options(max_retries=0).embeddings.create(
            model="narrow", input="red", extra_body={"timeout_s": 0.2}
        )
    assert int(caught.value.response.headers["retry-after"]) > 50


# -- asked again ---------------------------------------------------------------------------------------------------


async def test_the_same_question_under_one_key_is_one_call(http: httpx.AsyncClient, sim: OpenAISimulator) -> None:
    # Given vectors that were asked for under a key
    body, key = {"model": "simulated", "input": ["red", "blue"]}, {"Idempotency-Key": "order-7"}
    first, beside = await asyncio.gather(*(http.post(DOOR, json=body, headers=key) for _ in range(2)))
    # When the same comes again
    again = await http.post(DOOR, json=body, headers=key)
    # Then it gets the same, and it was paid once
    assert first.status_code == 200
    assert first.json() == beside.json() == again.json()
    assert len(sim.calls) == 1


@pytest.mark.parametrize("changed", [{"input": "blue"}, {"model": "local-embeddings"}])
async def test_another_question_under_that_key_is_refused(http: httpx.AsyncClient, changed: dict[str, Any]) -> None:
    body, key = {"model": "simulated", "input": "red"}, {"Idempotency-Key": "order-7"}
    assert (await http.post(DOOR, json=body, headers=key)).status_code == 200
    reply = await http.post(DOOR, json=body | changed, headers=key)
    error = failure(reply)
    assert (reply.status_code, error["code"]) == (422, "idempotency_key_of_other_texts")
    assert "other texts or another model" in error["message"]


async def test_a_key_that_is_blank_is_refused(http: httpx.AsyncClient) -> None:
    reply = await http.post(DOOR, json={"model": "simulated", "input": "red"}, headers={"Idempotency-Key": " "})
    assert (reply.status_code, failure(reply)["param"]) == (422, "Idempotency-Key")


async def test_without_a_key_the_same_is_asked_anew(client: openai.AsyncOpenAI, sim: OpenAISimulator) -> None:
    for _ in range(2):
        await client.embeddings.create(model="simulated", input="red")
    assert len(sim.calls) == 2


async def test_a_failure_that_may_have_cost_stays_under_its_key(http: httpx.AsyncClient, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(fault="html", faults_left=1)
    body, key = {"model": "simulated", "input": "red"}, {"Idempotency-Key": "order-7"}
    replies = [await http.post(DOOR, json=body, headers=key) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [502, 502]
    assert len(sim.calls) == 1


# -- the ledger ----------------------------------------------------------------------------------------------------


async def test_every_call_is_in_the_ledger(
    client: openai.AsyncOpenAI,
    http: httpx.AsyncClient,
    bus: Bus,
    settings: Settings,
    sim: OpenAISimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a free call, two that are paid, and one of unknown cost
    sim.behaviour = Behaviour(prompt_tokens=1000)
    await client.embeddings.create(model="local-embeddings", input="red")
    for _ in range(2):
        await client.embeddings.create(model="simulated", input="red")
    await client.embeddings.create(model="unpriced", input="red")
    # When a projector has taken them up, and another one once more
    for _ in range(2):
        async with projector(bus, settings, monkeypatch):
            found = await costs(http, bus, "service")
    # Then each counts once, for its service
    assert (found["calls"], found["spent_usd"], found["unknown_calls"]) == (4, pytest.approx(0.002), 1)
    rows = {row["key"]: (row["calls"], row["spent_usd"], row["unknown_calls"]) for row in found["rows"]}
    assert rows == {
        "simulated": (2, pytest.approx(0.002), 0),
        "local-embeddings": (1, 0, 0),
        "unpriced": (1, 0, 1),
    }
    assert [row["key"] for row in (await costs(http, bus, "task"))["rows"]] == [NO_TASK]
    assert [row["key"] for row in (await costs(http, bus, "agent"))["rows"]] == ["embeddings"]


async def test_a_call_is_its_keys_and_its_tenants(
    app: FastAPI, bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given keys of two tenants, one of which may spend nothing
    paying = await make(app, "write", tenant="acme")
    broke = await make(app, "write", tenant="other", budget=Budget(usd=0))
    async with at(app, paying.secret) as one, at(app, broke.secret) as other:
        # When both ask
        body = {"model": "simulated", "input": "red"}
        assert (await one.post(DOOR, json=body)).status_code == 200
        refused = await other.post(DOOR, json=body)
        assert (refused.status_code, failure(refused)["code"]) == (402, "budget_refused")
        async with projector(bus, settings, monkeypatch):
            # Then each sees what its own tenant spent, and by which key
            rows = (await costs(one, bus, "key"))["rows"]
            assert [(row["key"], row["calls"]) for row in rows] == [(paying.key.id, 1)]
            assert (await costs(other, bus, "key"))["calls"] == 0


def test_what_the_door_refuses_is_documented_in_its_own_shape(app: FastAPI) -> None:
    described = app.openapi()["paths"][DOOR]["post"]
    assert {"402", "404", "413", "422", "429", "502", "503", "504"} <= described["responses"].keys()

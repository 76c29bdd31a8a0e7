"""Embeddings over OpenAI's wire format: what is sent, and what is not taken for vectors."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from actors.gateway.providers import EmbedAttempt, Embedded, OpenAIProvider
from schemas.errors import UpstreamError
from schemas.service import ServiceSpec
from tests.gateway.doubles import LONG_S
from tests.gateway.servers import Started
from tests.simulators.openai import Behaviour, OpenAISimulator


def attempt(api_base: str, *texts: str) -> EmbedAttempt:
    spec = ServiceSpec(model="openai/sim-embedding", api_base=api_base, kind="embeddings")
    return EmbedAttempt("simulated", spec, "the-key-that-nobody-may-see", texts, LONG_S, "request-1")


@pytest.fixture
async def provider() -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider()
    yield provider
    await provider.close()


async def answered(provider: OpenAIProvider, server: Started, body: str) -> Embedded:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    return await provider.embed(attempt(await server(answer), "red", "blue"))


async def test_a_call_says_what_is_asked(provider: OpenAIProvider) -> None:
    with OpenAISimulator() as sim:
        await provider.embed(attempt(sim.url, "red", "blue"))
    (call,) = sim.calls
    assert (call.path, call.authorization, call.idempotency_key) == ("/v1/embeddings", True, "request-1")
    assert call.body == {"model": "sim-embedding", "input": ["red", "blue"]}


async def test_without_usage_tokens_are_unknown(provider: OpenAIProvider) -> None:
    with OpenAISimulator(Behaviour(fault="usage_missing")) as sim:
        assert (await provider.embed(attempt(sim.url, "red"))).prompt_tokens is None


async def test_vectors_are_put_in_the_order_of_their_texts(provider: OpenAIProvider, server: Started) -> None:
    body = '{"model": "m", "data": [{"index": 1, "embedding": [3, 4.5]}, {"index": 0, "embedding": [1, 2]}]}'
    assert await answered(provider, server, body) == Embedded(((1.0, 2.0), (3.0, 4.5)), "m", None)


@pytest.mark.parametrize(
    "data",
    [
        '[{"index": 0, "embedding": [1]}]',
        '[{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]',
        '[{"index": 0, "embedding": [1]}, {"index": 2, "embedding": [1]}]',
        '[{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]',
        '[{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]',
        '[{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [NaN]}]',
        '[{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1e999]}]',
        '[{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [true]}]',
        '[{"index": 0, "embedding": [1]}, {"index": 1, "embedding": ["1"]}]',
        '[{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1' + "0" * 400 + "]}]",
        '[{"index": 0, "embedding": [1]}, {"index": null, "embedding": [1]}]',
        '[{"embedding": [1]}, {"embedding": [1]}]',
        "[1, 2]",
        "{}",
        "5",
    ],
)
async def test_what_is_not_one_sound_vector_for_each_text_is_refused_and_may_have_cost(
    provider: OpenAIProvider, server: Started, data: str
) -> None:
    with pytest.raises(UpstreamError) as raised:
        await answered(provider, server, f'{{"model": "m", "data": {data}}}')
    assert (raised.value.again, raised.value.spent) == (True, None)


@pytest.mark.parametrize("body", ["[]", '{"error": {"message": "No."}}', "{}", "<html>"])
async def test_a_200_that_is_no_list_of_embeddings_may_have_cost(
    provider: OpenAIProvider, server: Started, body: str
) -> None:
    with pytest.raises(UpstreamError) as raised:
        await answered(provider, server, body)
    assert (raised.value.again, raised.value.spent) == (True, None)

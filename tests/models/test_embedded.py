"""The real embedded models: they answer, keep to a schema, refuse what is too long, stop when told to."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from actors.models.embedded import CONTEXT_TOKENS, PARALLEL, EmbeddedEmbeddings, EmbeddedModel
from schemas.completion import ChatMessage, Generate
from schemas.errors import InvalidRequest, UpstreamError

# The model's HTTP client belongs to the loop that it was first used in.
pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG_S = 120.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[EmbeddedModel]:
    model = await asyncio.to_thread(EmbeddedModel, threads=1)
    await model.warm()
    yield model
    await model.close()


@pytest.fixture(scope="module")
def embeddings() -> EmbeddedEmbeddings:
    return EmbeddedEmbeddings()


def ask(prompt: str, max_tokens: int = 24, timeout_s: float = LONG_S, **changed: Any) -> Generate:
    messages = (ChatMessage(role="user", content=prompt),)
    return Generate(messages=messages, temperature=0.0, max_tokens=max_tokens, timeout_s=timeout_s, **changed)


async def busy(model: EmbeddedModel) -> int:
    """Slots that generate now."""
    slots = (await model._http.get("/slots")).json()
    assert len(slots) == PARALLEL
    return sum(slot["is_processing"] for slot in slots)


async def until_busy(model: EmbeddedModel, wanted: int) -> None:
    async with asyncio.timeout(LONG_S):
        while await busy(model) != wanted:  # noqa: ASYNC110 - the server announces nothing
            await asyncio.sleep(0.01)


# -- text ----------------------------------------------------------------------------------------------------------


async def test_it_answers_and_counts_its_tokens(model: EmbeddedModel) -> None:
    answer = await model.generate(ask("Write one sentence about a cat."))
    assert "cat" in answer.text.lower()
    assert answer.finish_reason in ("stop", "length")
    assert (answer.prompt_tokens or 0) > 5
    assert 0 < (answer.completion_tokens or 0) <= 24


async def test_an_answer_ends_at_the_tokens_allowed(model: EmbeddedModel) -> None:
    answer = await model.generate(ask("Tell me a very long story about the sea.", max_tokens=8))
    assert (answer.finish_reason, answer.completion_tokens) == ("length", 8)


async def test_an_answer_in_json_parses_and_fits_its_schema(model: EmbeddedModel) -> None:
    schema = {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "green", "blue"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "words": {"type": "array", "items": {"type": "string", "maxLength": 8}, "minItems": 1, "maxItems": 2},
        },
        "required": ["colour", "count", "words"],
        "additionalProperties": False,
    }
    answer = await model.generate(ask("Name a colour, a number and a word.", max_tokens=128, json_schema=schema))
    jsonschema.validate(json.loads(answer.text), schema)


async def test_more_than_there_are_slots_are_all_answered(model: EmbeddedModel) -> None:
    asked = [model.generate(ask(f"Say the number {i}.", max_tokens=4)) for i in range(2 * PARALLEL)]
    assert all((answer.completion_tokens or 0) > 0 for answer in await asyncio.gather(*asked))


async def test_a_prompt_over_the_context_is_refused_with_both_sizes(model: EmbeddedModel) -> None:
    with pytest.raises(UpstreamError) as raised:
        await model.generate(ask("word " * (CONTEXT_TOKENS + 1000)))
    reason = raised.value.reason
    size = int(reason.removeprefix("the prompt has ").split()[0])
    assert size > CONTEXT_TOKENS
    assert reason.endswith(f"it can hold {CONTEXT_TOKENS}")
    assert (raised.value.again, raised.value.spent) == (False, False)


async def test_an_answer_that_takes_too_long_is_given_up_and_its_slot_freed(model: EmbeddedModel) -> None:
    with pytest.raises(UpstreamError, match=r"no answer within 0\.2 s"):
        await model.generate(ask("Count from one to one thousand.", max_tokens=4096, timeout_s=0.2))
    await until_busy(model, 0)


async def test_cancelling_stops_the_generation_and_frees_the_slot(model: EmbeddedModel) -> None:
    # Given an answer that takes minutes
    await until_busy(model, 0)
    generating = asyncio.create_task(model.generate(ask("Count from one to one thousand.", max_tokens=4096)))
    await until_busy(model, 1)
    # When nobody waits for it any more
    generating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await generating
    # Then its slot is free, and serves the next
    await until_busy(model, 0)
    assert (await model.generate(ask("Say hello.", max_tokens=4))).text


async def test_whoever_has_no_key_is_refused(model: EmbeddedModel) -> None:
    refused = await model._http.post("/v1/chat/completions", json={}, headers={"Authorization": "Bearer wrong"})
    assert refused.status_code == 401


# -- embeddings ----------------------------------------------------------------------------------------------------


def cosine(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def vectors_of(embeddings: EmbeddedEmbeddings, *texts: str) -> tuple[tuple[float, ...], ...]:
    return (await embeddings.embed(texts)).vectors


async def test_vectors_have_unit_length_and_256_dimensions(embeddings: EmbeddedEmbeddings) -> None:
    vectors = await vectors_of(embeddings, "A handbag of calf leather.", "x", "Das ist ein längerer Satz." * 50)
    assert [len(vector) for vector in vectors] == [256] * 3
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0] * 3, abs=1e-3)


async def test_similar_texts_are_nearer_than_different_ones(embeddings: EmbeddedEmbeddings) -> None:
    cat, kitten, tax = await vectors_of(
        embeddings,
        "The cat sleeps on the sofa.",
        "A kitten is asleep on the couch.",
        "Quarterly tax returns are due in April.",
    )
    assert cosine(cat, kitten) > cosine(cat, tax) + 0.2


async def test_a_text_has_the_same_vector_whatever_stands_beside_it(embeddings: EmbeddedEmbeddings) -> None:
    (alone,) = await vectors_of(embeddings, "A handbag.")
    _, small, _ = await vectors_of(
        embeddings, "Something much longer than that, to be padded to.", "A handbag.", "and so on " * 10_000
    )
    assert cosine(alone, small) == pytest.approx(1.0, abs=1e-3)


async def test_vectors_are_those_of_the_package(embeddings: EmbeddedEmbeddings) -> None:
    texts = ["A handbag.", " ", "längst", "\U0001f45c", "and so on " * 500]
    theirs = embeddings._model.embed(texts, norm=True)
    for mine, other in zip(await vectors_of(embeddings, *texts), theirs.tolist(), strict=True):
        assert mine == pytest.approx(other, abs=1e-6)


async def test_the_tokens_of_all_texts_are_counted(embeddings: EmbeddedEmbeddings) -> None:
    one, both = await embeddings.embed(("A handbag.",)), await embeddings.embed(("A handbag.", "A handbag." * 1000))
    assert one.prompt_tokens is not None
    assert both.prompt_tokens is not None
    assert 2 <= one.prompt_tokens <= 6
    assert one.prompt_tokens * 700 < both.prompt_tokens < one.prompt_tokens * 1300


@pytest.mark.parametrize(("text", "rule"), [("", "is empty"), ("é" * 70_000, "has 140,000 bytes")])
async def test_a_text_that_cannot_be_embedded_is_refused_by_its_place(
    embeddings: EmbeddedEmbeddings, text: str, rule: str
) -> None:
    with pytest.raises(InvalidRequest, match=rf"texts\.1: {rule}"):
        await embeddings.embed(("A handbag.", text))

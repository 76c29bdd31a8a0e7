"""The simulator keeps to OpenAI's wire format, misbehaves as told, and counts what clients do to it."""

import asyncio
import contextlib
import json
import resource
import struct
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field, ValidationError

from tests.simulators.openai import MODELS, Behaviour, Fault, OpenAISimulator

ROOT = Path(__file__).parents[2]
NOTICED_S = 0.2
"""A client that leaves is noticed within this time."""


@pytest.fixture
def provider() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
def client(provider: OpenAISimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=provider.url, timeout=10, trust_env=False) as client:
        yield client


def question(prompt: str = "how tall is it", **fields: Any) -> dict[str, Any]:
    return {"model": "sim-small", "messages": [{"role": "user", "content": prompt}], **fields}


def ask(client: httpx.Client, prompt: str = "how tall is it", **fields: Any) -> httpx.Response:
    return client.post("/chat/completions", json=question(prompt, **fields))


def said(response: httpx.Response) -> str:
    return str(response.json()["choices"][0]["message"]["content"])


def streamed(client: httpx.Client, **fields: Any) -> list[str]:
    """What stands behind `data: ` in each event that comes before the stream ends or breaks."""
    events: list[str] = []
    with client.stream("POST", "/chat/completions", json=question(stream=True, **fields)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        with contextlib.suppress(httpx.RemoteProtocolError):
            events.extend(line.removeprefix("data: ") for line in response.iter_lines() if line)
    return events


# Proper answers


def test_a_question_is_answered_in_the_shape_of_openai(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider that answers with fixed words
    provider.behaviour = Behaviour(answer="eleven metres tall")
    # When it is asked
    response = ask(client, "how tall is it")
    # Then the answer has the real shape, and usage counts words
    body = response.json()
    assert response.status_code == 200
    assert (body["object"], body["model"]) == ("chat.completion", "sim-small")
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert said(response) == "eleven metres tall"
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}


def test_the_same_prompt_gets_the_same_answer_and_another_prompt_another(client: httpx.Client) -> None:
    # Given two prompts
    # When one is asked twice and the other once
    first, again, other = (said(ask(client, prompt)) for prompt in ("a b", "a b", "a c"))
    # Then the answers follow the prompt
    assert first == again != other


def test_usage_says_what_the_behaviour_says(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given stated counts
    provider.behaviour = Behaviour(prompt_tokens=120, completion_tokens=30)
    # When the provider is asked
    usage = ask(client).json()["usage"]
    # Then they are what it bills
    assert usage == {"prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150}


def test_a_stream_gives_the_answer_word_by_word_and_usage_last(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given an answer with line breaks and blanks in it
    answer = "one  two\nthree "
    provider.behaviour = Behaviour(answer=answer)
    # When it is streamed with usage
    *events, end = streamed(client, stream_options={"include_usage": True})
    # Then the chunks put together are the answer, and the last one bills it
    *chunks, last = [json.loads(event) for event in events]
    assert end == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in [*chunks, last]}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == answer
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 3)


def test_a_stream_says_nothing_of_usage_unless_it_is_asked_for(client: httpx.Client) -> None:
    # Given a stream without options
    # When it is read
    *events, _ = streamed(client)
    # Then no chunk has usage
    assert all("usage" not in json.loads(event) for event in events)


class Review(BaseModel):
    verdict: str = Field(min_length=10)
    score: int = Field(ge=1, le=5)
    share: float = Field(gt=0)
    tags: list[str] = Field(min_length=2)
    parent: "Review | None"
    kind: Any = Field(json_schema_extra={"enum": ["good", "bad"]})
    note: str = "left out"


@pytest.mark.parametrize(
    "schema",
    [
        Review.model_json_schema(),
        {"type": "object", "required": ["a"], "properties": {"a": {"type": ["string", "null"]}}},
        {"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "format": "date-time"}}},
        {"type": "array", "items": {"type": "number", "minimum": -3, "maximum": -1}, "minItems": 1},
        {"oneOf": [{"type": "boolean"}, {"const": 3}]},
        {},
    ],
)
def test_an_answer_to_a_schema_fits_it(client: httpx.Client, schema: dict[str, Any]) -> None:
    # Given a schema
    wanted = {"type": "json_schema", "json_schema": {"name": "wanted", "schema": schema, "strict": True}}
    # When an answer to it is asked for
    answer = json.loads(said(ask(client, response_format=wanted)))
    # Then it fits
    jsonschema.validate(answer, schema)


def test_a_schema_that_nothing_fits_is_refused(client: httpx.Client) -> None:
    # Given an object that has to contain itself
    schema = {"type": "object", "required": ["me"], "properties": {"me": {"$ref": "#"}}}
    # When it is asked for
    response = ask(client, response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    # Then the fault is the caller's
    assert response.status_code == 400
    assert "without end" in response.json()["error"]["message"]


def test_embeddings_are_unit_vectors_that_follow_the_text(client: httpx.Client) -> None:
    # Given two texts, one of them twice
    call = {"model": "sim-embedding", "input": ["red", "blue", "red"], "dimensions": 16}
    # When their embeddings are asked for, as numbers and in base64
    plain = client.post("/embeddings", json=call).json()
    packed = client.post("/embeddings", json={**call, "encoding_format": "base64"}).json()
    # Then equal texts have equal vectors of length 1, whichever way they travel
    red, blue, red_again = (item["embedding"] for item in plain["data"])
    assert red == red_again != blue
    assert sum(x * x for x in red) == pytest.approx(1)
    assert struct.unpack("<16f", b64decode(packed["data"][0]["embedding"])) == pytest.approx(red, rel=1e-6)
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_models_are_listed(client: httpx.Client) -> None:
    # Given nothing but the provider
    # When its models are asked for
    listed = client.get("/models").json()
    # Then they are all there
    assert [model["id"] for model in listed["data"]] == list(MODELS)


def test_the_client_of_openai_itself_is_content(provider: OpenAISimulator) -> None:
    # Given the SDK that most callers use
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "say it"}]}]
    with openai.OpenAI(base_url=provider.url, api_key="sk-very-secret", max_retries=0) as sdk:
        # When it completes, streams and embeds
        whole = sdk.chat.completions.create(model="sim-small", messages=messages).choices[0].message.content
        chunks = list(sdk.chat.completions.create(model="sim-small", messages=messages, stream=True))
        vector = sdk.embeddings.create(model="sim-embedding", input="say it").data[0].embedding
    # Then it understands everything, and the record knows that there was a key but not which
    assert whole is not None
    assert whole.startswith("Answer")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert len(vector) == 64
    assert all(call.authorization for call in provider.calls)
    assert "very-secret" not in httpx.get(f"{provider.control_url}/calls", trust_env=False).text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat/completions", b"{", 400),
        ("/chat/completions", b'{"model": "sim-small"}', 400),
        ("/chat/completions", b'{"model": "sim-small", "messages": "hello"}', 400),
        ("/embeddings", b'{"model": "sim-embedding", "input": {"a": 1}}', 400),
        ("/embeddings", b'{"model": "sim-embedding", "input": ["red", ""]}', 400),
        ("/embeddings", b'{"model": "sim-embedding", "input": [' + b'"a",' * 2048 + b'"a"]}', 400),
        ("/v1/chat/completions", b"{}", 404),
    ],
)
def test_a_wrong_call_is_refused_and_recorded(
    provider: OpenAISimulator, client: httpx.Client, path: str, body: bytes, status: int
) -> None:
    # Given a call that the real one would refuse
    # When it is made
    response = client.post(path, content=body)
    # Then it is told so in OpenAI's words
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert provider.calls[0].status == status


# What is recorded


def test_a_call_is_recorded_with_what_it_carried(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a call with the headers that matter
    headers = {"authorization": "Bearer secret", "x-request-id": "r-1", "idempotency-key": "k-1"}
    before = time.time()
    # When it is made
    client.post("/chat/completions", json=question(), headers=headers)
    # Then all of it is on record
    (call,) = provider.calls
    assert (call.method, call.path, call.status) == ("POST", "/v1/chat/completions", 200)
    assert (call.authorization, call.x_request_id, call.idempotency_key) == (True, "r-1", "k-1")
    assert call.body == question()
    assert call.ended_at is not None
    assert before <= call.arrived_at <= call.ended_at <= time.time()


def test_counters_agree_when_many_threads_call(provider: OpenAISimulator) -> None:
    # Given eight threads
    def call_25_times() -> None:
        with httpx.Client(base_url=provider.url, trust_env=False) as client:
            for _ in range(25):
                ask(client)

    threads = [threading.Thread(target=call_25_times) for _ in range(8)]
    # When all of them call
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then every call is counted once
    assert provider.stats == {"calls": 200, "open": 0, "cut_by_client": 0, "completed": 200}
    assert [call.number for call in provider.calls] == list(range(200))


# Time


def test_an_answer_takes_its_latency(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a latency
    provider.behaviour = Behaviour(latency_s=0.1)
    # When the provider is asked
    started = time.monotonic()
    ask(client)
    # Then the answer has taken that long
    assert 0.1 <= time.monotonic() - started < 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_text_comes_at_its_pace(provider: OpenAISimulator, client: httpx.Client, stream: bool) -> None:
    # Given ten words at a hundred a second
    provider.behaviour = Behaviour(tokens_per_s=100, answer="a b c d e f g h i j")
    # When they are asked for
    started = time.monotonic()
    ask(client, stream=stream)
    # Then they take a tenth of a second
    assert 0.1 <= time.monotonic() - started < 1


# Faults


def test_a_rate_limit_says_when_to_come_back(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider over its limit
    provider.behaviour = Behaviour(fault="429", retry_after_s=0.25)
    # When it is asked
    response = ask(client)
    # Then it refuses, and names a time
    assert (response.status_code, response.headers["retry-after"]) == (429, "0.25")
    assert response.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_fault_passes_after_its_number_of_calls(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a fault for two calls
    provider.behaviour = Behaviour(fault="500", faults_left=2)
    # When four are made
    statuses = [ask(client).status_code for _ in range(4)]
    # Then the first two meet it
    assert statuses == [500, 500, 200, 200]
    assert [call.fault for call in provider.calls] == ["500", "500", None, None]
    assert provider.behaviour.faults_left == 0


def test_a_fault_without_a_number_stays(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a fault for ever
    provider.behaviour = Behaviour(fault="500")
    # When three calls are made
    statuses = [ask(client).status_code for _ in range(3)]
    # Then all of them meet it
    assert statuses == [500, 500, 500]
    assert provider.completed == 3


def test_a_provider_that_hangs_answers_nobody(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider that hangs
    provider.behaviour = Behaviour(fault="hang")
    # When a client loses patience
    with pytest.raises(httpx.ReadTimeout):
        client.post("/chat/completions", json=question(), timeout=0.1)
    # Then its going is counted, and nothing was answered
    provider.wait_until(lambda: provider.cut_by_client == 1, timeout_s=5)
    (call,) = provider.calls
    assert (call.status, call.cut_by_client, provider.open, provider.completed) == (None, True, 0, 0)


def test_a_cut_answer_ends_before_its_length(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a connection that breaks in the middle
    provider.behaviour = Behaviour(fault="cut")
    # When an answer is read
    received = b""
    with (
        pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"),
        client.stream("POST", "/chat/completions", json=question()) as response,
    ):
        for data in response.iter_raw():
            received += data
    # Then a part of it came, and the client is not to blame
    assert 0 < len(received) < int(response.headers["content-length"])
    provider.wait_until(lambda: provider.open == 0, timeout_s=5)
    assert (provider.cut_by_client, provider.completed) == (0, 0)


def test_a_cut_stream_ends_after_two_chunks(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a connection that breaks in the middle
    provider.behaviour = Behaviour(fault="cut", answer="one two three")
    # When a stream is read
    events = streamed(client)
    # Then two chunks came, and no end
    assert [json.loads(event)["choices"][0]["delta"]["content"] for event in events] == ["", "one"]


def test_a_malformed_answer_is_no_json(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider that breaks its JSON
    provider.behaviour = Behaviour(fault="malformed")
    # When it is asked
    response = ask(client)
    # Then the answer looks well until it is decoded
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_a_malformed_stream_has_a_chunk_that_is_no_json(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider that breaks its JSON
    provider.behaviour = Behaviour(fault="malformed")
    # When a stream is read
    first, second, *_, end = streamed(client)
    # Then its second chunk cannot be decoded
    assert json.loads(first)["choices"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(second)
    assert end == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_a_proxy_may_answer_with_a_page(provider: OpenAISimulator, client: httpx.Client, stream: bool) -> None:
    # Given a proxy in between
    provider.behaviour = Behaviour(fault="html")
    # When the provider is asked
    response = ask(client, stream=stream)
    # Then the answer is a page, and yet a 200
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.text.startswith("<!doctype html>")


def test_an_error_may_come_as_a_success(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider that wraps its errors in a 200
    provider.behaviour = Behaviour(fault="error_in_200")
    # When it is asked for an answer and for a stream
    response = ask(client)
    event, end = streamed(client)
    # Then the status says nothing of the error
    assert response.status_code == 200
    assert response.json()["error"]["code"] == json.loads(event)["error"]["code"] == "overloaded"
    assert end == "[DONE]"


def test_usage_may_be_missing(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider that does not bill
    provider.behaviour = Behaviour(fault="usage_missing")
    # When it is asked for an answer, a stream and an embedding
    whole = ask(client).json()
    *events, _ = streamed(client, stream_options={"include_usage": True})
    embedded = client.post("/embeddings", json={"model": "sim-embedding", "input": "red"}).json()
    # Then none of them has usage
    assert whole["choices"]
    assert all("usage" not in part for part in [whole, embedded, *map(json.loads, events)])


def test_usage_may_lie(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider that bills what it likes
    provider.behaviour = Behaviour(fault="usage_lies", answer="one two")
    # When it is asked four words
    usage = ask(client, "how tall is it").json()["usage"]
    # Then the counts are absurd, and do not add up
    assert usage == {"prompt_tokens": 4000, "completion_tokens": 2000, "total_tokens": 1}


def test_an_answer_may_be_empty(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider with nothing to say
    provider.behaviour = Behaviour(fault="empty", answer="never said")
    # When it is asked for an answer and for an embedding
    whole = ask(client)
    embedded = client.post("/embeddings", json={"model": "sim-embedding", "input": "red"}).json()
    # Then both are well-formed and hold nothing
    assert said(whole) == ""
    assert whole.json()["usage"]["completion_tokens"] == 0
    assert embedded["data"] == []


def test_vectors_may_be_more_or_fewer_than_the_texts(provider: OpenAISimulator, client: httpx.Client) -> None:
    for count in (1, 3):
        provider.behaviour = Behaviour(vectors=count)
        data = client.post("/embeddings", json={"model": "sim-embedding", "input": ["red", "blue"]}).json()["data"]
        assert [each["index"] for each in data] == list(range(count))


LOOK: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look", "parameters": {"properties": {"at": {"type": "string"}}, "required": ["at"]}},
}


def test_a_tool_is_called_whole_and_in_pieces(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a tool on offer
    # When an answer is asked for, and a stream
    choice = ask(client, tools=[LOOK]).json()["choices"][0]
    *events, _ = streamed(client, tools=[LOOK])
    # Then both call it with what it takes
    (call,) = choice["message"]["tool_calls"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("look", {"at": "text"})
    deltas = [json.loads(event)["choices"][0]["delta"].get("tool_calls", [{}])[0] for event in events]
    pieces = [delta["function"]["arguments"] for delta in deltas if delta]
    assert (len(pieces) > 2, json.loads("".join(pieces))) == (True, {"at": "text"})
    assert json.loads(events[-1])["choices"][0]["finish_reason"] == "tool_calls"


def test_a_tool_is_not_called_again_when_its_result_is_there(client: httpx.Client) -> None:
    wish = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    turns = [{"role": "user", "content": "look"}, {"role": "assistant", "content": None, "tool_calls": [wish]}]
    result = {"role": "tool", "tool_call_id": "c1", "content": "red"}
    assert said(ask(client, messages=[*turns, result], tools=[LOOK])).endswith("to: red")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function"}]},
        {"tools": [LOOK], "tool_choice": "perhaps"},
        {"tools": [LOOK], "tool_choice": {"type": "function", "function": {"name": "walk"}}},
        {"tool_choice": "auto"},
        {"stream_options": {"include_usage": True}},
        {"messages": [{"role": "tool", "tool_call_id": "c1", "content": "red"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}]}
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    ],
)
def test_what_the_real_one_would_not_understand_is_refused(client: httpx.Client, fields: dict[str, Any]) -> None:
    response = ask(client, **fields)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(("fault", "status"), [("401", 401), ("500", 500), ("overloaded", 503)])
def test_a_refusal_has_its_status(provider: OpenAISimulator, client: httpx.Client, fault: Fault, status: int) -> None:
    provider.behaviour = Behaviour(fault=fault)
    assert ask(client).status_code == status


def test_a_stream_may_end_in_good_order_before_it_is_finished(provider: OpenAISimulator, client: httpx.Client) -> None:
    provider.behaviour = Behaviour(fault="unfinished", answer="one two")
    choices = [json.loads(event)["choices"][0] for event in streamed(client)]
    assert [choice["delta"]["content"] for choice in choices] == ["", "one", " two"]
    assert {choice["finish_reason"] for choice in choices} == {None}
    assert provider.completed == 1


def test_an_error_may_come_in_the_middle_of_a_stream(provider: OpenAISimulator, client: httpx.Client) -> None:
    provider.behaviour = Behaviour(fault="error_midway", answer="one two")
    _, word, error, end = streamed(client)
    assert json.loads(word)["choices"][0]["delta"]["content"] == "one"
    assert (json.loads(error)["error"]["code"], end) == ("overloaded", "[DONE]")


def test_a_stream_may_go_silent(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a provider that stops in the middle
    provider.behaviour = Behaviour(fault="stall", answer="one two")
    # When a client loses patience
    with (
        pytest.raises(httpx.ReadTimeout),
        client.stream("POST", "/chat/completions", json=question(stream=True), timeout=0.2) as response,
    ):
        response.read()
    # Then it has left an answer that had begun
    provider.wait_until(lambda: provider.cut_by_client == 1, timeout_s=5)
    assert provider.calls[0].status == 200


def test_a_stream_may_be_answered_whole(provider: OpenAISimulator, client: httpx.Client) -> None:
    provider.behaviour = Behaviour(fault="whole", answer="one two")
    assert said(ask(client, stream=True)) == "one two"


# Clients that leave


def test_a_client_that_leaves_during_the_latency_is_noticed_at_once(
    provider: OpenAISimulator, client: httpx.Client
) -> None:
    # Given an answer that is far away
    provider.behaviour = Behaviour(latency_s=60)
    # When the client leaves
    with pytest.raises(httpx.ReadTimeout):
        client.post("/chat/completions", json=question(), timeout=0.05)
    left_at = time.time()
    # Then the provider knows soon, and stops
    provider.wait_until(lambda: provider.open == 0, timeout_s=5)
    (call,) = provider.calls
    assert call.cut_by_client
    assert call.ended_at is not None
    assert call.ended_at - left_at < NOTICED_S


def test_a_client_that_leaves_a_stream_is_noticed_at_once(provider: OpenAISimulator, client: httpx.Client) -> None:
    # Given a stream whose next word is far away
    provider.behaviour = Behaviour(tokens_per_s=0.01)
    # When the client leaves after the first chunk
    with client.stream("POST", "/chat/completions", json=question(stream=True)) as response:
        assert next(response.iter_lines()).startswith("data: ")
    left_at = time.time()
    # Then the provider knows soon, and stops
    provider.wait_until(lambda: provider.cut_by_client == 1, timeout_s=5)
    (call,) = provider.calls
    assert (call.status, call.cut_by_client, provider.completed) == (200, True, 0)
    assert call.ended_at is not None
    assert call.ended_at - left_at < NOTICED_S


def test_a_client_that_stops_reading_and_leaves_has_not_got_its_answer(
    provider: OpenAISimulator, client: httpx.Client
) -> None:
    # Given an answer larger than what sockets hold
    provider.behaviour = Behaviour(answer="word " * 200_000)
    # When the client reads its beginning and leaves
    with client.stream("POST", "/chat/completions", json=question(stream=True)) as response:
        assert next(response.iter_lines()).startswith("data: ")
    # Then it counts as cut
    provider.wait_until(lambda: provider.open == 0, timeout_s=10)
    assert (provider.cut_by_client, provider.completed) == (1, 0)


async def test_two_thousand_calls_may_be_open_at_once() -> None:
    # Given a provider that hangs, and room for both ends of 2,000 connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 5_000:
        pytest.skip(f"this process may open {hard} files; the test needs 5,000")
    if 0 <= soft < 5_000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (5_000, hard))
    body = json.dumps(question()).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: sim", f"content-length: {len(body)}", "connection: close"]
    request = "\r\n".join([*lines, "", ""]).encode() + body

    async def call() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request)
        return reader, writer

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        status = await reader.readline()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        return status.strip()

    async with OpenAISimulator(Behaviour(fault="hang")) as provider:
        address = (httpx.URL(provider.url).host, httpx.URL(provider.url).port)
        # When 2,000 call and leave, and 2,000 more call for a proper answer
        hanging = await asyncio.gather(*(call() for _ in range(2_000)))
        await asyncio.to_thread(provider.wait_until, lambda: provider.open == 2_000, 30)
        for _, writer in hanging:
            writer.close()
        await asyncio.to_thread(provider.wait_until, lambda: provider.open == 0, 30)
        provider.behaviour = Behaviour(latency_s=0.2)
        served = await asyncio.gather(*(call() for _ in range(2_000)))
        statuses = await asyncio.gather(*(answer(*ends) for ends in served))
        # Then every one is accounted for
        assert set(statuses) == {b"HTTP/1.1 200 OK"}
        assert provider.stats == {"calls": 4_000, "open": 0, "cut_by_client": 2_000, "completed": 2_000}


# Life


def test_a_stopped_provider_breaks_off_and_comes_back_where_it_was(
    provider: OpenAISimulator, client: httpx.Client
) -> None:
    # Given a call that hangs
    provider.behaviour = Behaviour(fault="hang", faults_left=1)
    broken: list[Exception] = []

    def hang() -> None:
        try:
            ask(client)
        except httpx.TransportError as error:
            broken.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    provider.wait_until(lambda: provider.open == 1, timeout_s=5)
    # When the provider stops
    provider.stop()
    thread.join(timeout=5)
    # Then the call breaks, which the client did not cause, and nobody listens
    assert len(broken) == 1
    assert provider.stats == {"calls": 1, "open": 0, "cut_by_client": 0, "completed": 0}
    with pytest.raises(httpx.ConnectError):
        ask(client)
    # And when it starts again, the same address answers
    provider.start()
    assert ask(client).status_code == 200
    assert len(provider.calls) == 2


def test_a_provider_starts_once(provider: OpenAISimulator) -> None:
    # Given a provider that serves
    # When it is started again
    # Then it says that it is
    with pytest.raises(RuntimeError, match="started already"):
        provider.start()


def test_a_wait_that_is_in_vain_says_how_things_stand(provider: OpenAISimulator) -> None:
    # Given a provider that nobody calls
    # When somebody waits for a call
    # Then the end of the wait names the counters
    with pytest.raises(TimeoutError, match="'calls': 0"):
        provider.wait_until(lambda: provider.open == 1, timeout_s=0.05)


@pytest.mark.parametrize("fields", [{"fault": "boredom"}, {"latency_s": -1}, {"latency": 1}, {"tokens_per_s": 0}])
def test_an_impossible_behaviour_is_refused(
    provider: OpenAISimulator, client: httpx.Client, fields: dict[str, Any]
) -> None:
    # Given a behaviour that does not exist
    # When it is built here, or sent there
    with pytest.raises(ValidationError):
        Behaviour(**fields)
    response = client.post(f"{provider.control_url}/behaviour", json=fields)
    # Then it is refused, and the old one stays
    assert response.status_code == 400
    assert provider.behaviour == Behaviour()


@pytest.mark.parametrize("fault", get_args(Fault))
def test_every_fault_can_be_set_from_another_process(
    provider: OpenAISimulator, client: httpx.Client, fault: Fault
) -> None:
    # Given a provider without fault
    # When one is posted
    response = client.post(f"{provider.control_url}/behaviour", json={"fault": fault, "faults_left": 3})
    # Then it is set, and looking is no call
    assert response.status_code == 200
    assert provider.behaviour == Behaviour(fault=fault, faults_left=3)
    assert client.get(f"{provider.control_url}/behaviour").json() == response.json()
    assert provider.calls == []


def test_the_provider_runs_as_a_process() -> None:
    # Given the simulator as a process of its own
    command = [sys.executable, "-m", "tests.simulators.openai", "--port", "0", "--latency-s", "0.05"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            control = url.removesuffix("/v1") + "/_sim"
            with httpx.Client(base_url=url, trust_env=False) as client:
                # When it is asked, told to fail, and asked again
                started = time.monotonic()
                proper = ask(client)
                took_s = time.monotonic() - started
                client.post(f"{control}/behaviour", json={"fault": "500"})
                failed = ask(client)
                calls = client.get(f"{control}/calls").json()
                stats = client.get(f"{control}/stats").json()
        finally:
            process.terminate()
        # Then it has done all that, tells it over HTTP, and ends when it is told to
        assert process.wait(timeout=10) == 0
    assert (proper.status_code, failed.status_code) == (200, 500)
    assert took_s >= 0.05
    assert [(call["path"], call["status"], call["fault"]) for call in calls] == [
        ("/v1/chat/completions", 200, None),
        ("/v1/chat/completions", 500, "500"),
    ]
    assert stats == {"calls": 2, "open": 0, "cut_by_client": 0, "completed": 2}

"""The simulator keeps to Gemini's wire format, and takes nothing that the real one would refuse."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.simulators.base import Behaviour, Fault
from tests.simulators.gemini import GeminiSimulator

ROOT = Path(__file__).parents[2]
HEADERS = {"x-goog-api-key": "secret"}
PATH = "/v1beta/models/sim-1.5:generateContent"
TOOL = {
    "functionDeclarations": [
        {"name": "look", "parameters": {"type": "OBJECT", "properties": {"at": {"type": "STRING"}}, "required": ["at"]}}
    ]
}
WISH = {"functionCall": {"name": "look", "args": {"at": "it"}}}
RESULT = {"functionResponse": {"name": "look", "response": {"result": "red"}}}


@pytest.fixture
def provider() -> Iterator[GeminiSimulator]:
    with GeminiSimulator() as simulator:
        yield simulator


@pytest.fixture
def client(provider: GeminiSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=provider.url, timeout=10, trust_env=False, headers=HEADERS) as client:
        yield client


def question(**fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "how tall is it"}]}], **fields}


def turns(*parts: Any) -> dict[str, Any]:
    roles = ("user", "model") * len(parts)
    return question(contents=[{"role": role, "parts": [p]} for role, p in zip(roles, parts, strict=False)])


def streamed(client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    path = PATH.replace("generate", "streamGenerate") + "?alt=sse"
    with client.stream("POST", path, json=question(**fields)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events: list[dict[str, Any]] = []
        with contextlib.suppress(httpx.RemoteProtocolError):
            events.extend(json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line)
    return events


def test_a_question_is_answered_in_the_shape_of_gemini(provider: GeminiSimulator, client: httpx.Client) -> None:
    # Given a provider that answers with fixed words
    provider.behaviour = Behaviour(answer="eleven metres tall")
    # When it is asked
    answer = client.post(PATH, json=question(systemInstruction={"parts": [{"text": "Be brief."}]})).json()
    # Then the answer has the real shape, and usage counts words
    (candidate,) = answer["candidates"]
    assert candidate["content"] == {"role": "model", "parts": [{"text": "eleven metres tall"}]}
    assert (candidate["finishReason"], answer["modelVersion"]) == ("STOP", "sim-1.5")
    usage = answer["usageMetadata"]
    assert [usage[f"{name}TokenCount"] for name in ("prompt", "candidates", "total")] == [6, 3, 9]
    assert provider.calls[0].authorization


def test_a_stream_says_in_every_chunk_what_has_been_used(provider: GeminiSimulator, client: httpx.Client) -> None:
    # Given an answer of three words
    provider.behaviour = Behaviour(answer="one two three")
    # When it is streamed
    events = streamed(client)
    # Then the chunks put together are the answer, and only the last one ends it
    said = [event["candidates"][0]["content"]["parts"][0]["text"] for event in events]
    assert said == ["one", " two", " three", ""]
    assert ["finishReason" in event["candidates"][0] for event in events] == [False, False, False, True]
    assert [event["usageMetadata"]["candidatesTokenCount"] for event in events] == [1, 2, 3, 3]


def test_a_tool_is_called_until_its_result_is_there(client: httpx.Client) -> None:
    wishing = client.post(PATH, json=question(tools=[TOOL])).json()
    answering = client.post(PATH, json={**turns({"text": "look"}, WISH, RESULT), "tools": [TOOL]}).json()
    assert wishing["candidates"][0]["content"]["parts"] == [{"functionCall": {"name": "look", "args": {"at": "text"}}}]
    assert "text" in answering["candidates"][0]["content"]["parts"][0]


def test_field_names_may_come_in_snake_case(client: httpx.Client) -> None:
    # Given a call as Google's own clients for Python write it
    config = {"response_mime_type": "application/json", "response_json_schema": {"type": "array", "minItems": 1}}
    body = question(generation_config=config, system_instruction={"parts": [{"text": "Be brief."}]})
    # When it is made
    answer = client.post(PATH, json=body).json()
    # Then it is understood
    assert json.loads(answer["candidates"][0]["content"]["parts"][0]["text"]) == ["text"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        question(contents=[]),
        question(messages=[]),
        question(contents=[{"role": "assistant", "parts": [{"text": "hi"}]}]),
        question(contents=[{"role": "user", "parts": []}]),
        turns({"words": "hi"}),
        turns({"inlineData": {"mimeType": "image/png", "data": "!"}}),
        turns({"inlineData": {"data": "AAAA"}}),
        turns({"text": "look"}, WISH, {"text": "and?"}),
        turns({"text": "look"}, {"text": "no"}, RESULT),
        question(generationConfig={"temperature": 3}),
        question(generationConfig={"responseSchema": {"type": "STRING"}}),
        question(tools=[{"functionDeclarations": [{"name": "not a name"}]}]),
        question(tools=[TOOL], toolConfig={"functionCallingConfig": {"mode": "MAYBE"}}),
        question(tools=[TOOL], toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["walk"]}}),
        [],
    ],
)
def test_a_wrong_call_is_refused_in_googles_words(client: httpx.Client, body: Any) -> None:
    response = client.post(PATH, json=body)
    assert response.status_code == 400
    assert (response.json()["error"]["code"], response.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_a_call_without_a_key_is_refused_and_one_with_it_in_its_address_is_not(client: httpx.Client) -> None:
    del client.headers["x-goog-api-key"]
    refused, served = client.post(PATH, json=question()), client.post(f"{PATH}?key=secret", json=question())
    assert (refused.status_code, refused.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert served.status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("401", 401, "UNAUTHENTICATED"),
        ("429", 429, "RESOURCE_EXHAUSTED"),
        ("500", 500, "INTERNAL"),
        ("overloaded", 503, "UNAVAILABLE"),
    ],
)
def test_a_refusal_has_the_real_status(
    provider: GeminiSimulator, client: httpx.Client, fault: Fault, status: int, kind: str
) -> None:
    provider.behaviour = Behaviour(fault=fault, retry_after_s=2)
    response = client.post(PATH, json=question())
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["status"]) == (status, status, kind)
    # Google says in the body when to come back.
    assert [detail["retryDelay"] for detail in error.get("details", ())] == (["2s"] if fault == "429" else [])


def test_an_error_may_come_in_the_middle_of_a_stream(provider: GeminiSimulator, client: httpx.Client) -> None:
    provider.behaviour = Behaviour(fault="error_midway", answer="one two")
    said, error = streamed(client)
    assert said["candidates"][0]["content"]["parts"] == [{"text": "one"}]
    assert error["error"]["status"] == "UNAVAILABLE"


def test_texts_become_vectors_in_batches(client: httpx.Client) -> None:
    requests = [{"model": "models/sim", "content": {"parts": [{"text": text}]}} for text in ("red", "blue", "red")]
    answer = client.post("/v1beta/models/sim:batchEmbedContents", json={"requests": requests}).json()
    red, blue, again = (each["values"] for each in answer["embeddings"])
    assert (red == again, red == blue) == (True, False)


def test_the_provider_runs_as_a_process() -> None:
    # Given the simulator as a process of its own
    command = [sys.executable, "-m", "tests.simulators.gemini"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            # When it is asked
            response = httpx.post(url + PATH, json=question(), headers=HEADERS, trust_env=False)
        finally:
            process.terminate()
        # Then it answers, and ends when it is told to
        assert process.wait(timeout=10) == 0
    assert response.json()["candidates"]

"""The simulator keeps to Anthropic's wire format, and takes nothing that the real one would refuse."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.base import Behaviour, Fault

ROOT = Path(__file__).parents[2]
HEADERS = {"x-api-key": "secret", "anthropic-version": "2023-06-01"}
TOOL = {
    "name": "look",
    "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
}
WISH = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "it"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "red"}


@pytest.fixture
def provider() -> Iterator[AnthropicSimulator]:
    with AnthropicSimulator() as simulator:
        yield simulator


@pytest.fixture
def client(provider: AnthropicSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=provider.url, timeout=10, trust_env=False, headers=HEADERS) as client:
        yield client


def question(**fields: Any) -> dict[str, Any]:
    return {"model": "sim", "max_tokens": 50, "messages": [{"role": "user", "content": "how tall is it"}], **fields}


def turns(*contents: Any) -> dict[str, Any]:
    roles = ("user", "assistant") * len(contents)
    return question(messages=[{"role": role, "content": c} for role, c in zip(roles, contents, strict=False)])


def streamed(client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    """The events that come before the stream ends or breaks; each is named as what it holds."""
    events: list[dict[str, Any]] = []
    name = ""
    with client.stream("POST", "/v1/messages", json=question(stream=True, **fields)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        with contextlib.suppress(httpx.RemoteProtocolError):
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line:
                    events.append(json.loads(line.removeprefix("data: ")))
                    assert events[-1]["type"] == name
    return events


def test_a_question_is_answered_in_the_shape_of_anthropic(provider: AnthropicSimulator, client: httpx.Client) -> None:
    # Given a provider that answers with fixed words
    provider.behaviour = Behaviour(answer="eleven metres tall")
    # When it is asked
    message = client.post("/v1/messages", json=question(system="Be brief.")).json()
    # Then the answer has the real shape, and usage counts words
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "sim")
    assert message["content"] == [{"type": "text", "text": "eleven metres tall"}]
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (6, 3)
    assert provider.calls[0].authorization


def test_a_stream_has_the_events_in_their_order(provider: AnthropicSimulator, client: httpx.Client) -> None:
    # Given a text, and a tool that is called
    provider.behaviour = Behaviour(answer="let me", tool_calls=1)
    # When it is streamed
    events = streamed(client, tools=[TOOL])
    # Then every block is begun, filled and ended
    names = [event["type"] for event in events if event["type"] != "ping"]
    block = ["content_block_start", *["content_block_delta"] * 2, "content_block_stop"]
    tool = ["content_block_start", *["content_block_delta"] * 3, "content_block_stop"]
    assert names == ["message_start", *block, *tool, "message_delta", "message_stop"]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(delta.get("text", "") for delta in deltas) == "let me"
    assert json.loads("".join(delta.get("partial_json", "") for delta in deltas)) == {"at": "text"}
    # And usage comes with the first and the last
    assert events[0]["message"]["usage"]["input_tokens"] == 4
    assert (events[-2]["delta"]["stop_reason"], events[-2]["usage"]) == ("tool_use", {"output_tokens": 5})


def test_a_tool_is_called_until_its_result_is_there(client: httpx.Client) -> None:
    wishing = client.post("/v1/messages", json=question(tools=[TOOL])).json()
    answering = client.post("/v1/messages", json={**turns("look", [WISH], [RESULT]), "tools": [TOOL]}).json()
    assert (wishing["content"][0]["type"], wishing["stop_reason"]) == ("tool_use", "tool_use")
    assert (answering["content"][0]["type"], answering["stop_reason"]) == ("text", "end_turn")


@pytest.mark.parametrize("place", ["output_format", "output_config"])
def test_an_answer_to_a_schema_fits_it(client: httpx.Client, place: str) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form: dict[str, Any] = {"type": "json_schema", "schema": schema}
    wanted = {place: form if place == "output_format" else {"format": form}}
    message = client.post("/v1/messages", json=question(**wanted)).json()
    assert json.loads(message["content"][0]["text"]) == {"n": 0}


@pytest.mark.parametrize(
    "body",
    [
        {"model": "sim", "messages": [{"role": "user", "content": "hi"}]},
        question(max_tokens=0),
        question(messages=[]),
        question(temperature=1.5),
        question(frequency_penalty=1),
        question(messages=[{"role": "system", "content": "hi"}]),
        turns(" "),
        turns([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!"}}]),
        turns([{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "AAAA"}}]),
        turns([{"type": "picture"}]),
        turns("look", [WISH], "and?"),
        turns("look", "no", [RESULT]),
        question(tools=[{**TOOL, "name": "not a name"}]),
        question(tools=[{"name": "look", "input_schema": {}}]),
        question(tools=[TOOL], tool_choice="auto"),
        question(tools=[TOOL], tool_choice={"type": "tool", "name": "walk"}),
        question(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}}),
        [],
    ],
)
def test_a_wrong_call_is_refused_in_anthropics_words(client: httpx.Client, body: Any) -> None:
    response = client.post("/v1/messages", json=body)
    assert response.status_code == 400
    assert (response.json()["type"], response.json()["error"]["type"]) == ("error", "invalid_request_error")
    assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("header", "status", "kind"),
    [("x-api-key", 401, "authentication_error"), ("anthropic-version", 400, "invalid_request_error")],
)
def test_a_call_without_its_headers_is_refused(client: httpx.Client, header: str, status: int, kind: str) -> None:
    del client.headers[header]
    response = client.post("/v1/messages", json=question())
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("401", 401, "authentication_error"),
        ("429", 429, "rate_limit_error"),
        ("500", 500, "api_error"),
        ("overloaded", 529, "overloaded_error"),
    ],
)
def test_a_refusal_has_the_real_status_and_type(
    provider: AnthropicSimulator, client: httpx.Client, fault: Fault, status: int, kind: str
) -> None:
    provider.behaviour = Behaviour(fault=fault, retry_after_s=2)
    response = client.post("/v1/messages", json=question())
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
    assert response.headers.get("retry-after") == ("2" if fault == "429" else None)


def test_an_error_may_come_in_the_middle_of_a_stream(provider: AnthropicSimulator, client: httpx.Client) -> None:
    provider.behaviour = Behaviour(fault="error_midway", answer="one two")
    *_, said, error = streamed(client)
    assert said["delta"]["text"] == "one"
    assert (error["type"], error["error"]["type"]) == ("error", "overloaded_error")


def test_the_provider_runs_as_a_process() -> None:
    # Given the simulator as a process of its own
    command = [sys.executable, "-m", "tests.simulators.anthropic"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            # When it is asked
            response = httpx.post(f"{url}/v1/messages", json=question(), headers=HEADERS, trust_env=False)
        finally:
            process.terminate()
        # Then it answers, and ends when it is told to
        assert process.wait(timeout=10) == 0
    assert response.json()["type"] == "message"

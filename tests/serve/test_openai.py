"""The OpenAI-compatible door: what it keeps, what it refuses by name, and how its failures look to OpenAI's clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from openai.types.chat import ChatCompletionMessageParam

from actors.catalogue import Catalogue, load
from bus.client import Bus
from bus.codec import decode_as
from bus.tasklog import OwnedTask, TaskLog
from schemas.errors import BusUnavailable, Cancelled, DeadlineExceeded, DevSkyyError, InvalidRequest, NoService, TooBusy
from schemas.event import TASK_EVENT, Failed
from schemas.problem import Problem
from schemas.projection import project
from schemas.receipt import Call, Receipt
from schemas.settings import DEFAULT_TENANT
from schemas.task import TaskRequest
from serve.middleware import BodyLimit
from serve.openai import IMAGE_ONLY, ChatRequest, task_of
from tests.serve.conftest import claim, complete

DOOR = "/v1/chat/completions"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
PIXEL = "data:image/png;base64,iVBORw0KGgo="
IMAGE = {"type": "image_url", "image_url": {"url": PIXEL}}
LOOK = {"type": "text", "text": "What is this?"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load(None)


def asked(catalogue: Catalogue, **fields: Any) -> TaskRequest:
    body = {"model": "devskyy-auto", "messages": HELLO, **fields}
    return task_of(ChatRequest.model_validate(body), catalogue)


def refused(catalogue: Catalogue, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        asked(catalogue, **fields)
    return caught.value


# -- what is kept, and what is refused by name -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logit_bias", {"50256": -100}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("reasoning_effort", "low"),
        ("verbosity", "low"),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("tools", [{"type": "web_search"}]),
        ("tool_choice", "required"),
        ("stream_options", {"a_field_of_next_year": True}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("prediction", {"type": "content", "content": "hi"}),
        ("web_search_options", {}),
        ("service_tier", "priority"),
        ("n", 2),
        ("stop", ["1", "2", "3", "4", "5"]),
        ("min_quality", 0.9),
        ("a_field_of_next_year", False),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(catalogue: Catalogue, field: str, value: Any) -> None:
    # Given a request that asks for what this door cannot do, or does not know
    # When it comes
    error = refused(catalogue, **{field: value})
    # Then it is refused, and the field is named
    assert error.field.partition(".")[0] == field


@pytest.mark.parametrize(
    "harmless",
    [
        {"user": "u-1", "safety_identifier": "s", "prompt_cache_key": "k", "store": True},
        {"stream": False, "stream_options": {"include_usage": True}},
        {"stream": None, "n": None, "seed": None, "tools": None, "stop": None, "a_field_of_next_year": None},
        {"n": 1, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}},
        {"logprobs": False, "top_logprobs": 0, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"tool_choice": "none", "service_tier": "auto", "modalities": ["text"], "stop": []},
        {"response_format": {"type": "text"}},
    ],
)
def test_what_changes_nothing_is_taken(catalogue: Catalogue, harmless: dict[str, Any]) -> None:
    # Given fields that are harmless, unset, or say what holds anyway
    # When a request carries them
    # Then it is the same task as without them
    assert asked(catalogue, **harmless) == asked(catalogue)


def test_a_refusal_says_what_would_be_taken(catalogue: Catalogue) -> None:
    assert refused(catalogue, n=2).rule == "cannot be kept by this version; leave it out, or set it to 1"
    assert refused(catalogue, audio={}).rule == "cannot be kept by this version; leave it out"


def test_metadata_stays_with_the_task(catalogue: Catalogue) -> None:
    assert asked(catalogue, metadata={"order": "7"}).metadata == {"order": "7"}


def test_two_limits_that_differ_are_refused(catalogue: Catalogue) -> None:
    # Given the old and the new name of the same limit
    # When they say the same, or only one is there, Then it holds
    assert asked(catalogue, max_tokens=5, max_completion_tokens=5).max_tokens == 5
    assert asked(catalogue, max_tokens=5).max_tokens == asked(catalogue, max_completion_tokens=5).max_tokens == 5
    # When they differ, Then neither is dropped in silence
    assert refused(catalogue, max_tokens=5, max_completion_tokens=6).field == "max_tokens"


TOOL_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("turn", "field"),
    [
        ({"role": "user", "content": "hi", "name": "Ada"}, "messages.0.name"),
        ({"role": "user", "content": "hi", "tool_calls": [TOOL_CALL]}, "messages.0.tool_calls"),
        (
            {"role": "assistant", "content": "", "tool_calls": [{**TOOL_CALL, "more": 1}]},
            "messages.0.tool_calls.0.more",
        ),
        ({"role": "tool", "content": "hi"}, "messages.0"),
        ({"role": "tool", "content": "hi", "tool_call_id": "c"}, "messages.0"),
        ({"role": "assistant", "content": "hi", "function_call": {"name": "f"}}, "messages.0.function_call"),
        ({"role": "assistant", "content": "hi", "audio": {"id": "a"}}, "messages.0.audio"),
        ({"role": "assistant", "content": "", "refusal": "no"}, "messages.0.refusal"),
        ({"role": "assistant", "content": None}, "messages.0.content"),
        ({"role": "user", "content": [{**LOOK, "mood": "kind"}]}, "messages.0.content.0.mood"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages.0.content.0"),
        ({"role": "user", "content": [LOOK, {"type": "input_audio", "input_audio": {}}]}, "messages.0.content.1."),
    ],
)
def test_what_a_turn_holds_beside_its_words_is_refused_by_name(
    catalogue: Catalogue, turn: dict[str, Any], field: str
) -> None:
    # Given a turn, or a part of it, with something that this door cannot pass on
    # When it comes, Then its place is named
    assert refused(catalogue, messages=[turn, *HELLO]).field.startswith(field)


def test_the_turn_that_a_client_hands_back_is_taken(catalogue: Catalogue) -> None:
    # Given an answer as a client keeps it, with everything that is not there spelled out
    turn = {
        "role": "assistant",
        "content": "Hi.",
        "refusal": None,
        "tool_calls": None,
        "annotations": [],
        "audio": None,
    }
    # When the conversation goes on, Then it is history
    (kept,) = asked(catalogue, messages=[turn, *HELLO]).history
    assert (kept.role, kept.content) == ("assistant", "Hi.")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"type": "grammar"}, "response_format"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "response_format"),
        ({"type": "json_object", "schema": {}}, "response_format.schema"),
        (
            {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "description": "a bag"}},
            "response_format.json_schema.description",
        ),
    ],
)
def test_a_form_of_the_answer_that_cannot_be_kept_is_refused(
    catalogue: Catalogue, wanted: dict[str, Any], field: str
) -> None:
    assert refused(catalogue, response_format=wanted).field == field


def test_a_schema_becomes_the_tasks(catalogue: Catalogue) -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    assert asked(catalogue, response_format=form).json_schema == schema


# -- images ------------------------------------------------------------------------------------------------------------


def test_an_image_of_the_last_message_is_an_input(catalogue: Catalogue) -> None:
    found = asked(catalogue, messages=[{"role": "user", "content": [LOOK, IMAGE]}])
    assert (found.prompt, [each.media_type for each in found.inputs]) == ("What is this?", ["image/png"])


def test_a_last_message_that_is_only_an_image_is_taken(catalogue: Catalogue) -> None:
    # Given a system's word on what to do with images, and then an image and nothing else
    system = {"role": "system", "content": "Read out the text of each image."}
    # When it comes
    found = asked(catalogue, messages=[system, {"role": "user", "content": [IMAGE]}])
    # Then the prompt asks for nothing else
    assert (found.prompt, len(found.inputs)) == (IMAGE_ONLY, 1)


def test_an_image_of_an_earlier_turn_stays_there(catalogue: Catalogue) -> None:
    # Given a conversation that showed an image before
    shown = {"role": "user", "content": [LOOK, IMAGE]}
    # When it goes on
    found = asked(catalogue, messages=[shown, {"role": "assistant", "content": "A bag."}, *HELLO])
    # Then the image is where it was, and not in the last message
    assert ([len(turn.images) for turn in found.history], found.inputs) == ([1, 0], ())
    assert found.history[0].content == "What is this?"


@pytest.mark.parametrize(
    ("image", "field"),
    [
        ({"url": PIXEL, "detail": "high"}, "image_url.detail"),
        ({"url": "https://example.com/a.png"}, "image_url.url"),
        ({"url": "data:image/png;base64,***"}, "image_url.url"),
        ({}, "image_url.url"),
    ],
)
def test_an_image_that_cannot_be_shown_as_asked_is_refused(
    catalogue: Catalogue, image: dict[str, Any], field: str
) -> None:
    part = {"type": "image_url", "image_url": image}
    assert (
        refused(catalogue, messages=[{"role": "user", "content": [LOOK, part]}]).field
        == f"messages.0.content.1.{field}"
    )


def test_the_detail_that_holds_anyway_is_taken(catalogue: Catalogue) -> None:
    part = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "auto"}}
    assert asked(catalogue, messages=[{"role": "user", "content": [part]}]).inputs


@pytest.mark.parametrize("content", ["", "  ", []])
def test_a_last_message_that_says_and_shows_nothing_is_refused(catalogue: Catalogue, content: Any) -> None:
    assert refused(catalogue, messages=[{"role": "user", "content": content}]).field == "messages.0.content"


# -- the shape of errors -----------------------------------------------------------------------------------------------


def failure(reply: httpx.Response) -> dict[str, Any]:
    """The error that OpenAI's clients see, checked for its shape."""
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return dict(body["error"])


async def test_a_field_is_named_as_param(http: httpx.AsyncClient) -> None:
    reply = await http.post(DOOR, json={"model": "devskyy-auto", "messages": HELLO, "logprobs": True})
    error = failure(reply)
    assert (reply.status_code, error["type"], error["param"]) == (422, "invalid_request_error", "logprobs")


async def test_a_name_that_is_no_text_is_refused_like_any_other(http: httpx.AsyncClient) -> None:
    # Given a body with half of a surrogate pair for a name, which JSON can spell
    body = json.dumps({"model": "devskyy-auto", "messages": HELLO, "\ud800": 1})
    for door in (DOOR, "/api/v1/tasks"):
        reply = await http.post(door, content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 422, door


async def test_a_model_that_is_not_there_is_openais_own_error(http: httpx.AsyncClient) -> None:
    reply = await http.post(DOOR, json={"model": "gpt-nothing", "messages": HELLO})
    error = failure(reply)
    assert (reply.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")


async def test_a_body_that_is_too_large_looks_like_openais_errors(app: FastAPI, http: httpx.AsyncClient) -> None:
    next(m for m in app.user_middleware if m.cls is BodyLimit).kwargs["limit"] = 1000
    app.middleware_stack = None
    reply = await http.post(DOOR, content=b"x" * 2000)
    assert (reply.status_code, failure(reply)["code"]) == (413, "too_large")


async def test_another_machine_gets_openais_errors_too(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app, client=("10.0.0.7", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as stranger:
        reply = await stranger.get("/v1/models")
    assert (reply.status_code, failure(reply)["code"]) == (403, "not_loopback")


async def test_a_key_that_is_blank_is_refused(http: httpx.AsyncClient) -> None:
    body = {"model": "devskyy-auto", "messages": HELLO}
    reply = await http.post(DOOR, json=body, headers={"Idempotency-Key": " "})
    assert (reply.status_code, failure(reply)["param"]) == (422, "Idempotency-Key")


def test_what_the_door_refuses_is_documented_in_its_own_shape(app: FastAPI) -> None:
    described = app.openapi()
    replies = described["paths"][DOOR]["post"]["responses"]
    assert {"402", "404", "413", "422", "429", "503"} <= replies.keys()
    for status, reply in replies.items():
        if status != "200":
            assert reply["content"]["application/json"]["schema"]["$ref"].endswith("/OpenAIFailure"), status


def test_a_task_is_over_before_a_client_hangs_up(catalogue: Catalogue) -> None:
    # Given a request that says nothing of time, When it comes, Then it ends before a client would send it again
    assert asked(catalogue).timeout_s < openai.DEFAULT_TIMEOUT.read
    assert asked(catalogue, timeout_s=1000).timeout_s == 1000


# -- what a client repeats by itself -----------------------------------------------------------------------------------

PAID = Call(step="direct", agent="writing", service="groq", model="m", outcome="failed", cost_usd=0.25)
FREE = PAID.model_copy(update={"cost_usd": 0.0})
UNTOLD = PAID.model_copy(update={"cost_usd": None})

Ending = Callable[[OwnedTask], Any]


def failing(error: DevSkyyError, *calls: Call) -> Ending:
    """End a task with this error, these calls made."""

    async def end(owned: OwnedTask) -> None:
        fields = owned.next_fields
        ended = {
            "status": "failed",
            "finished_at": fields["at"],
            "error": Problem.of(error),
            "receipt": Receipt.of(calls, wall_ms=1.0),
        }
        await owned.append(Failed(**fields, epoch=1, task=project(owned.events).model_copy(update=ended)))

    return end


class Coordinator:
    """Ends every task that is accepted, in the way that comes next; the last way stays."""

    def __init__(self, tasks: TaskLog) -> None:
        self._tasks = tasks
        self.seen: list[str] = []
        self.endings: list[Ending] = [complete]

    async def take(self, task_id: str) -> None:
        ending = self.endings[min(len(self.seen), len(self.endings) - 1)]
        self.seen.append(task_id)
        await ending(await claim(self._tasks, task_id))


@pytest.fixture
async def coordinator(bus: Bus, tasks: TaskLog) -> AsyncIterator[Coordinator]:
    made = Coordinator(tasks)
    running: set[asyncio.Task[None]] = set()

    async def on_accepted(msg: Any) -> None:
        event = decode_as(msg.data, TASK_EVENT, "task event")
        running.add(asyncio.create_task(made.take(event.task_id)))

    subscription = await bus.client.subscribe(f"devskyy.v1.tasks.{DEFAULT_TENANT}.*.accepted", cb=on_accepted)
    await bus.settle()
    yield made
    await subscription.unsubscribe()
    await asyncio.gather(*running)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, unmodified: it repeats what it takes for an accident twice."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 50000))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        openai.AsyncOpenAI(base_url="http://localhost/v1", api_key="any", http_client=http) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (failing(Cancelled("the task", "by its caller"), PAID), openai.ConflictError),
        (failing(DeadlineExceeded("the task", 1), PAID), openai.InternalServerError),
        (failing(NoService("all have failed"), PAID), openai.InternalServerError),
        (failing(NoService("all have failed"), UNTOLD), openai.InternalServerError),
        (failing(DeadlineExceeded("the task", 1)), openai.InternalServerError),
    ],
    ids=["cancelled", "too late", "spent", "may have spent", "would come again"],
)
async def test_a_task_that_may_have_cost_something_is_not_run_again_by_a_client(
    client: openai.AsyncOpenAI, coordinator: Coordinator, ending: Ending, error: type[Exception]
) -> None:
    # Given a task that fails
    coordinator.endings = [ending, complete]
    # When a client with its usual habits asks
    with pytest.raises(error):
        await client.chat.completions.create(model="devskyy-auto", messages=HELLO)
    # Then there was one task
    assert len(coordinator.seen) == 1


@pytest.mark.parametrize("calls", [(), (FREE,)], ids=["no call", "a call that cost nothing"])
async def test_what_passes_and_cost_nothing_is_asked_again(
    client: openai.AsyncOpenAI, coordinator: Coordinator, calls: tuple[Call, ...]
) -> None:
    # Given services that are at their limits, once
    coordinator.endings = [failing(TooBusy("all are at their limits"), *calls), complete]
    # When a client asks, Then its second try is answered
    answer = await client.chat.completions.create(model="devskyy-auto", messages=HELLO)
    assert answer.choices[0].message.content == "Hello."
    assert len(coordinator.seen) == 2


async def test_a_task_under_a_key_has_failed_for_good(client: openai.AsyncOpenAI, coordinator: Coordinator) -> None:
    # Given a task under a key, which failed without cost
    coordinator.endings = [failing(TooBusy("all are at their limits")), complete]
    # When a client asks, Then it is told at once: the same key would only find the same task
    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(
            model="devskyy-auto", messages=HELLO, extra_headers={"Idempotency-Key": "order-7"}
        )
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (caught.value.type, caught.value.code) == ("rate_limit_error", "too_busy")


async def test_a_failed_task_says_what_it_cost(http: httpx.AsyncClient, coordinator: Coordinator) -> None:
    coordinator.endings = [failing(NoService("all have failed"), PAID)]
    reply = await http.post(DOOR, json={"model": "devskyy-auto", "messages": HELLO})
    assert reply.status_code == 503
    assert float(reply.headers["devskyy-cost-usd"]) == 0.25
    assert failure(reply)["type"] == "service_unavailable_error"


@pytest.mark.parametrize("key", [None, "order-7"])
async def test_a_bus_that_may_have_taken_the_task_is_asked_again_only_under_a_key(
    app: FastAPI, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    # Given a bus of which nobody knows whether it recorded the task
    async def lost(*_: Any) -> None:
        raise BusUnavailable("JetStream did not answer")

    monkeypatch.setattr(app.state.tasks, "perform", lost)
    # When a task is sent, with a key or without
    headers = {} if key is None else {"Idempotency-Key": key}
    reply = await http.post(DOOR, json={"model": "devskyy-auto", "messages": HELLO}, headers=headers)
    # Then without one a repeat could be a second task
    assert reply.status_code == 503
    assert reply.headers.get("x-should-retry") == ("false" if key is None else None)


@pytest.mark.parametrize("key", [None, "order-7"])
async def test_a_task_that_goes_on_is_waited_for_again_only_under_a_key(
    app: FastAPI, http: httpx.AsyncClient, tasks: TaskLog, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    # Given a task that has not ended although its time is over
    accepted, _ = await tasks.accept(TaskRequest(prompt="hello"), DEFAULT_TENANT)

    async def unended(*_: Any) -> Any:
        return accepted

    monkeypatch.setattr(app.state.tasks, "perform", unended)
    # When its caller is told so
    headers = {} if key is None else {"Idempotency-Key": key}
    reply = await http.post(DOOR, json={"model": "devskyy-auto", "messages": HELLO}, headers=headers)
    # Then only a repeat that finds the same task is worth it
    assert reply.status_code == 500
    assert reply.headers.get("x-should-retry") == ("false" if key is None else None)


async def test_the_tasks_door_says_nothing_of_openais_habits(http: httpx.AsyncClient) -> None:
    assert "x-should-retry" not in (await http.post("/api/v1/tasks", json={"prompt": ""})).headers

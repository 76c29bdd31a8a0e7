"""The embedded models as a provider: what is asked over the bus, and what an error of theirs means."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from pydantic import BaseModel

from actors.gateway.providers import Attempt, EmbedAttempt, Embedded, EmbeddedProvider, Heard, Served
from bus.client import Bus
from schemas.completion import ChatMessage, Embeddings, Generated
from schemas.errors import DeadlineExceeded, ResponderLost, Unavailable, UpstreamError
from schemas.service import ServiceSpec
from tests.gateway.wires import LOOK

SPEC = ServiceSpec(model="embedded/small")


class ScriptedBus:
    """Answers every request in one way, and keeps what was asked."""

    def __init__(self, answer: BaseModel | Exception) -> None:
        self._answer = answer
        self.asked: list[tuple[str, BaseModel, float]] = []

    async def request(self, subject: object, message: BaseModel, reply: type, *, timeout_s: float) -> Any:
        self.asked.append((str(subject), message, timeout_s))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def provider_on(bus: ScriptedBus) -> EmbeddedProvider:
    return EmbeddedProvider(cast(Bus, bus))


def attempt(**changed: Any) -> Attempt:
    fields: dict[str, Any] = {
        "service": "local",
        "spec": SPEC,
        "api_key": None,
        "messages": (ChatMessage(role="user", content="Say hello."),),
        "temperature": 0.5,
        "max_tokens": 10,
        "json_schema": None,
        "timeout_s": 5.0,
        "request_id": "request-1",
        **changed,
    }
    return Attempt(**fields)


async def test_a_text_is_asked_for_and_told_whole_even_of_a_stream() -> None:
    # Given a model that answers
    bus = ScriptedBus(Generated(text="Hello.", finish_reason="stop", prompt_tokens=12, completion_tokens=3))
    told: list[str] = []
    # When a stream is asked for
    served = await provider_on(bus).complete(attempt(stream=True), Heard(told.append))
    # Then the text comes in one piece
    assert served == Served("Hello.", "small", "stop", 12, 3)
    assert told == ["Hello."]
    assert [(subject, timeout_s) for subject, _, timeout_s in bus.asked] == [
        ("devskyy.v1.embedded.small.complete", 5.0)
    ]


async def test_vectors_are_asked_for() -> None:
    bus = ScriptedBus(Embeddings.of(((0.0, 1.0),), model="small", prompt_tokens=1))
    embedded = await provider_on(bus).embed(EmbedAttempt("local", SPEC, None, ("red",), 5.0, "r"))
    assert embedded == Embedded(((0.0, 1.0),), "small", 1)
    assert bus.asked[0][0] == "devskyy.v1.embedded.small.embed"


@pytest.mark.parametrize(
    ("error", "again"),
    [(ResponderLost("gone"), True), (DeadlineExceeded("it", 5), False), (Unavailable("not now"), True)],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda provider: provider.complete(attempt(), Heard()),
        lambda provider: provider.embed(EmbedAttempt("local", SPEC, None, ("red",), 5.0, "r")),
    ],
    ids=["complete", "embed"],
)
async def test_a_failure_says_whether_another_try_may_help_and_has_cost_nothing(
    error: Exception, again: bool, call: Callable[[EmbeddedProvider], Any]
) -> None:
    with pytest.raises(UpstreamError) as raised:
        await call(provider_on(ScriptedBus(error)))
    assert (raised.value.again, raised.value.spent) == (again, False)


async def test_an_empty_text_is_a_failure() -> None:
    with pytest.raises(UpstreamError, match="an empty answer"):
        await provider_on(ScriptedBus(Generated(text=" "))).complete(attempt(), Heard())


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look"}}])
async def test_a_call_that_must_use_a_tool_is_refused(choice: Any) -> None:
    bus = ScriptedBus(Generated(text="Hello."))
    with pytest.raises(UpstreamError, match="calls no tools"):
        await provider_on(bus).complete(attempt(tools=(LOOK,), tool_choice=choice), Heard())
    assert bus.asked == []


async def test_a_call_that_may_use_a_tool_is_answered_without() -> None:
    provider = provider_on(ScriptedBus(Generated(text="Hello.")))
    assert (await provider.complete(attempt(tools=(LOOK,), tool_choice="auto"), Heard())).text == "Hello."

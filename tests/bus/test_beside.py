"""What is handed over inside a process follows the rules of what goes over the wire."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bus import trace
from bus.client import Bus
from bus.desk import Endpoint
from bus.subjects import AgentAsk, ModelsComplete
from schemas.errors import Cancelled, DeadlineExceeded, NoService, RemoteError
from schemas.message import Message
from tests.broker import Broker, until
from tests.bus.responders import Handler, Hanging, Say, Serve, echo

LONG_S = 30.0
ASK = ModelsComplete("writing")


class Said(Message):
    """As `Say`, of a later version."""

    text: str
    tone: str = "plain"


@pytest.fixture
async def serve(broker: Broker, bus: Bus) -> AsyncIterator[Serve]:
    """Answers `devskyy.v1.models.*.complete` beside `bus`."""
    serving: list[Bus] = []

    async def start(handler: Handler, concurrency: int = 256) -> Bus:
        other = await broker.connect("gateway-0")
        serving.append(other)
        await other.serve("gateway-0", [Endpoint("ask", ASK.pattern(), Say, handler, concurrency)], "Answers.", {})
        bus.stand_beside(other)
        return other

    yield start
    for other in serving:
        await other.close(grace_s=0.1)


async def test_what_stands_beside_is_handed_the_message_itself(bus: Bus, serve: Serve) -> None:
    # Given a responder beside, and nothing that takes messages to it
    seen: list[Say] = []

    async def note(message: Say) -> Say:
        seen.append(message)
        return message

    await serve(note)
    # When it is asked
    asked = Say(text="hello")
    answer = await bus.request(ASK, asked, Say, timeout_s=LONG_S)
    # Then it has had the very message, and so has whoever asked the very answer
    assert seen[0] is asked
    assert answer is asked


async def test_everybody_else_still_comes_over_the_wire(bus: Bus, broker: Broker, serve: Serve) -> None:
    await serve(echo)
    stranger = await broker.connect("agent")
    assert (await stranger.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S)).text == "hello"
    await stranger.close()


async def test_what_it_does_not_answer_goes_over_the_wire(bus: Bus, broker: Broker, serve: Serve) -> None:
    await serve(echo)
    agent = await broker.connect("agent")

    async def shout(message: Say) -> Say:
        return Say(text=message.text.upper())

    await agent.serve("agent", [Endpoint("ask", str(AgentAsk("writing")), Say, shout)], "Shouts.", {})
    assert (await bus.request(AgentAsk("writing"), Say(text="hello"), Say, timeout_s=LONG_S)).text == "HELLO"
    await agent.close(grace_s=0.1)


async def test_messages_of_other_versions_are_read_as_over_the_wire(bus: Bus, serve: Serve) -> None:
    await serve(echo)
    answer = await bus.request(ASK, Said(text="hello", tone="kind"), Said, timeout_s=LONG_S)
    assert (answer.text, answer.tone) == ("hello", "plain")


async def test_an_error_arrives_as_its_problem(bus: Bus, serve: Serve) -> None:
    async def refuse(message: Say) -> Say:
        raise NoService("nobody is there", ("a: down",))

    other = await serve(refuse)
    with pytest.raises(RemoteError) as raised:
        await bus.request(ASK, Say(text=""), Say, timeout_s=LONG_S)
    assert (raised.value.code, raised.value.http_status) == (NoService.code, NoService.http_status)
    assert other.in_flight == 0


async def test_a_mistake_in_the_handler_tells_nothing_of_its_inside(bus: Bus, serve: Serve) -> None:
    async def broken(message: Say) -> Say:
        raise RuntimeError("secret")

    await serve(broken)
    with pytest.raises(RemoteError, match="see its log") as raised:
        await bus.request(ASK, Say(text=""), Say, timeout_s=LONG_S)
    assert "secret" not in str(raised.value)


async def test_the_deadline_is_kept_and_ends_the_work(bus: Bus, serve: Serve) -> None:
    handler = Hanging()
    await serve(handler)
    with pytest.raises(DeadlineExceeded):
        await bus.request(ASK, Say(text=""), Say, timeout_s=0.05)
    await asyncio.wait_for(handler.cancelled.wait(), LONG_S)


async def test_cancelling_a_request_cancels_its_handler(bus: Bus, serve: Serve) -> None:
    handler = Hanging()
    await serve(handler)
    asking = asyncio.create_task(bus.request(ASK, Say(text=""), Say, timeout_s=LONG_S))
    await handler.started.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(handler.cancelled.wait(), LONG_S)


async def test_aborting_a_task_ends_its_requests(bus: Bus, serve: Serve) -> None:
    handler = Hanging()
    await serve(handler)
    asking = asyncio.create_task(bus.request(ASK, Say(text=""), Say, timeout_s=LONG_S, work="task-1"))
    await handler.started.wait()
    await bus.abort("task-1")
    with pytest.raises(RemoteError) as raised:
        await asking
    assert raised.value.code == Cancelled.code
    assert handler.cancelled.is_set()


async def test_whoever_is_busy_says_so(bus: Bus, serve: Serve) -> None:
    # Given one request worked on and one that waits
    handler = Hanging()
    other = await serve(handler, concurrency=1)
    asked = [asyncio.create_task(bus.request(ASK, Say(text=str(i)), Say, timeout_s=LONG_S)) for i in range(2)]
    await until(lambda: other.in_flight == 2)
    await handler.started.wait()
    # When a third comes, Then it may be tried again later, and the other two are answered
    with pytest.raises(RemoteError, match="busy") as raised:
        await bus.request(ASK, Say(text="3"), Say, timeout_s=LONG_S)
    assert raised.value.retryable
    handler.go_on.set()
    assert [(await request).text for request in asked] == ["0", "1"]


async def test_whoever_is_closing_takes_no_more_and_finishes_what_it_has(bus: Bus, serve: Serve) -> None:
    handler = Hanging()
    other = await serve(handler)
    asked = asyncio.create_task(bus.request(ASK, Say(text="first"), Say, timeout_s=LONG_S))
    await handler.started.wait()
    closing = asyncio.create_task(other.close(grace_s=LONG_S))
    await until(lambda: other._draining)
    with pytest.raises(RemoteError) as raised:
        await bus.request(ASK, Say(text="second"), Say, timeout_s=LONG_S)
    assert raised.value.retryable
    handler.go_on.set()
    assert (await asked).text == "first"
    await closing


async def test_the_trace_goes_along(bus: Bus, serve: Serve) -> None:
    seen: list[str | None] = []

    async def note(message: Say) -> Say:
        seen.append(trace.current())
        return message

    await serve(note)
    mine = trace.start()
    await bus.request(ASK, Say(text=""), Say, timeout_s=LONG_S)
    # The same trace, a span of its own; and whoever asked is still in its own
    assert seen[0] is not None
    assert (seen[0].split("-")[1], seen[0] != mine) == (mine.split("-")[1], True)
    assert trace.current() == mine

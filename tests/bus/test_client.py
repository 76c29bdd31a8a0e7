"""Asking, answering, aborting and dead letters over a real server."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgpack
import nats.errors
import pytest
from nats.aio.msg import Msg

from bus import trace
from bus.client import Bus
from bus.codec import decode, encode
from bus.desk import Endpoint
from bus.replies import H_STATUS, WORKING
from bus.streams import ALERTS, DEAD
from bus.subjects import AgentAsk, AlertSubject, DeadLetterSubject
from schemas.errors import (
    BusUnavailable,
    Cancelled,
    DeadlineExceeded,
    NoService,
    RemoteError,
    ResponderLost,
)
from schemas.event import Alert, DeadLetter
from schemas.message import Message, now
from tests.broker import Broker, until
from tests.bus.responders import Handler, Hanging, Say, Serve, echo

ASK = AgentAsk("writing")
LONG_S = 30.0
"""A time limit that a test reaches only when it fails."""


@pytest.fixture
async def serve(broker: Broker, bus: Bus) -> AsyncIterator[Serve]:
    """Serves `devskyy.v1.agents.writing.ask` on a connection of its own."""
    serving: list[Bus] = []

    async def start(handler: Handler, concurrency: int = 256) -> Bus:
        other = await broker.connect("responder")
        serving.append(other)
        endpoint = Endpoint("ask", str(ASK), Say, handler, concurrency)
        await other.serve("writing", [endpoint], "Writes.", {"kind": "agent"})
        return other

    yield start
    for other in serving:
        await other.close(grace_s=0.1)


async def test_a_request_is_answered(bus: Bus, serve: Serve) -> None:
    await serve(echo)
    assert await bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S) == Say(text="hello")


async def test_many_requests_at_once_each_get_their_own_answer(bus: Bus, serve: Serve) -> None:
    await serve(echo)
    answers = await asyncio.gather(*(bus.request(ASK, Say(text=str(i)), Say, timeout_s=LONG_S) for i in range(200)))
    assert [answer.text for answer in answers] == [str(i) for i in range(200)]


@pytest.mark.parametrize("size", [256 * 1024 + 1, 3_000_000], ids=["over the travel limit", "over NATS's own limit"])
async def test_what_is_too_large_travels_through_the_object_store(bus: Bus, serve: Serve, size: int) -> None:
    await serve(echo)
    seen: list[Msg] = []

    async def watch(msg: Msg) -> None:
        seen.append(msg)

    await bus.client.subscribe(str(ASK), cb=watch)
    await bus.settle()
    text = "ä" * (size // 2 + 1)
    answer = await bus.request(ASK, Say(text=text), Say, timeout_s=LONG_S)
    assert answer.text == text
    assert [msg.data for msg in seen] == [b""]
    # Then it is kept for as long as a request may last, and not for as long as events
    kept = await bus.js.stream_info("OBJ_requests")
    assert (kept.state.bytes >= size, kept.config.max_age) == (True, 3600)
    assert (await bus.js.stream_info("OBJ_payloads")).state.bytes == 0


async def test_nobody_listens(bus: Bus) -> None:
    with pytest.raises(ResponderLost, match="nobody listens"):
        await bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S)


RESPONDER = """
import asyncio, sys
from bus.client import Bus
from bus.desk import Endpoint
from schemas.message import Message

class Say(Message):
    text: str

async def hang(message):
    print("started", flush=True)
    await asyncio.sleep(3600)

async def main():
    bus = await Bus(sys.argv[1], "mortal").connect()
    await bus.serve("writing", [Endpoint("ask", sys.argv[2], Say, hang)], "Hangs.", {})
    print("ready", flush=True)
    await bus.closed.wait()

asyncio.run(main())
"""


async def _line(process: asyncio.subprocess.Process, wanted: str) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if line.decode().strip() == wanted:
            return
    raise AssertionError(f"the process ended before it said {wanted!r}")


async def test_a_killed_responder_is_noticed(broker: Broker, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.replies.SILENCE_S", 2.0)
    monkeypatch.setattr("bus.client.SILENCE_S", 2.0)
    # Given a process that works on a request
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RESPONDER, broker.url, str(ASK), stdout=asyncio.subprocess.PIPE
    )
    try:
        await _line(process, "ready")
        asked = asyncio.create_task(bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S))
        await _line(process, "started")
    finally:
        # When it is killed
        process.kill()
        await process.wait()
    # Then whoever asked hears of it long before its own time is over
    async with asyncio.timeout(LONG_S / 2):
        with pytest.raises(ResponderLost, match="silent"):
            await asked


async def test_slow_work_is_no_silence(bus: Bus, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("desk", "client"):
        monkeypatch.setattr(f"bus.{module}.HEARTBEAT_S", 0.05)
    for module in ("replies", "client"):
        monkeypatch.setattr(f"bus.{module}.SILENCE_S", 1.0)
    handler = Hanging()
    other = await serve(handler)
    beats = asyncio.Semaphore(0)
    publish = other.client.publish

    async def count(subject: str, payload: bytes = b"", **kwargs: Any) -> None:
        await publish(subject, payload, **kwargs)
        if (kwargs.get("headers") or {}).get(H_STATUS) == WORKING:
            beats.release()

    monkeypatch.setattr(other.client, "publish", count)
    asked = asyncio.create_task(bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S))
    # Given work that has gone on for longer than the silence that is tolerated
    for _ in range(30):
        await beats.acquire()
    handler.go_on.set()
    # Then it is still waited for
    assert (await asked).text == "hello"


async def test_the_deadline_is_kept_and_ends_the_work(bus: Bus, serve: Serve) -> None:
    handler = Hanging()
    await serve(handler)
    began = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
        await bus.request(ASK, Say(text="hello"), Say, timeout_s=0.3)
    assert 0.3 <= asyncio.get_running_loop().time() - began < 3
    await asyncio.wait_for(handler.cancelled.wait(), LONG_S)


async def test_cancelling_a_request_cancels_its_handler(bus: Bus, serve: Serve) -> None:
    handler = Hanging()
    other = await serve(handler)
    asked = asyncio.create_task(bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S))
    await handler.started.wait()
    assert other.in_flight == 1
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await asyncio.wait_for(handler.cancelled.wait(), LONG_S)


async def test_aborting_a_task_ends_all_its_requests_and_no_other(bus: Bus, serve: Serve) -> None:
    running: dict[str, asyncio.Event] = {text: asyncio.Event() for text in ("a1", "a2", "b")}
    go_on = asyncio.Event()

    async def work(message: Say) -> Say:
        running[message.text].set()
        await go_on.wait()
        return message

    await serve(work)
    asked = {
        text: asyncio.create_task(bus.request(ASK, Say(text=text), Say, timeout_s=LONG_S, work=text[0]))
        for text in running
    }
    for started in running.values():
        await started.wait()
    await bus.abort("a")
    for text in ("a1", "a2"):
        with pytest.raises(RemoteError) as raised:
            await asked[text]
        assert raised.value.code == Cancelled.code
    go_on.set()
    assert (await asked["b"]).text == "b"


async def test_a_busy_endpoint_says_so(bus: Bus, serve: Serve) -> None:
    # Given one request worked on and one that waits
    handler = Hanging()
    other = await serve(handler, concurrency=1)
    asked = [asyncio.create_task(bus.request(ASK, Say(text=str(i)), Say, timeout_s=LONG_S)) for i in range(2)]
    await handler.started.wait()
    await until(lambda: other.in_flight == 2)
    # When a third comes
    with pytest.raises(RemoteError, match="busy") as raised:
        await bus.request(ASK, Say(text="3"), Say, timeout_s=LONG_S)
    # Then it may be tried again later, and the other two are answered
    assert raised.value.retryable
    handler.go_on.set()
    assert [(await request).text for request in asked] == ["0", "1"]


async def test_an_error_of_the_handler_arrives_as_its_problem(bus: Bus, serve: Serve) -> None:
    async def refuse(message: Say) -> Say:
        raise NoService("none of 2 services can serve", ("a: no key", "b: no key"))

    await serve(refuse)
    with pytest.raises(RemoteError) as raised:
        await bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S)
    error = raised.value
    assert (error.code, error.http_status, error.retryable) == (NoService.code, 503, True)
    assert str(error) == "none of 2 services can serve (a: no key; b: no key)"


async def test_a_mistake_in_the_handler_tells_nothing_of_its_inside(bus: Bus, serve: Serve) -> None:
    async def fail(message: Say) -> Say:
        raise ValueError("a secret")

    await serve(fail)
    with pytest.raises(RemoteError) as raised:
        await bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S)
    assert raised.value.code == "internal"
    assert "secret" not in str(raised.value)


async def test_an_undecodable_request_is_refused(bus: Bus, serve: Serve) -> None:
    await serve(echo)

    class Other(Message):
        number: int

    with pytest.raises(RemoteError, match="text: Field required") as raised:
        await bus.request(ASK, Other(number=1), Say, timeout_s=LONG_S)
    assert (raised.value.code, raised.value.http_status) == ("undecodable", 400)


async def test_an_agent_is_found_by_service_discovery(bus: Bus, serve: Serve) -> None:
    await serve(echo)
    await bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S)
    info = json.loads((await bus.client.request("$SRV.INFO.writing", timeout=LONG_S)).data)
    assert info["metadata"] == {"kind": "agent"}
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == [str(ASK)]
    stats = json.loads((await bus.client.request("$SRV.STATS.writing", timeout=LONG_S)).data)
    assert stats["endpoints"][0]["data"] == {"in_flight": 0, "answered": 1, "errors": 0}


async def test_the_trace_goes_along(bus: Bus, serve: Serve) -> None:
    async def tell(message: Say) -> Say:
        return Say(text=trace.trace_id() or "")

    await serve(tell)
    trace.start()
    answer = await bus.request(ASK, Say(text=""), Say, timeout_s=LONG_S)
    assert answer.text == trace.trace_id()


async def test_asking_goes_on_until_somebody_answers(bus: Bus, serve: Serve) -> None:
    asked = asyncio.create_task(bus.ask(ASK, Say(text="hello"), Say, deadline=now() + timedelta(seconds=LONG_S)))
    await asyncio.sleep(0)
    await serve(echo)
    assert (await asked).text == "hello"


async def test_asking_ends_with_its_deadline(bus: Bus) -> None:
    with pytest.raises(DeadlineExceeded, match=r"within 0\.[23]\d* s"):
        await bus.ask(ASK, Say(text="hello"), Say, deadline=now() + timedelta(seconds=0.3))


async def test_a_missed_deadline_names_the_whole_time_not_what_was_left_for_the_last_try(
    bus: Bus, serve: Serve
) -> None:
    asked = asyncio.create_task(bus.ask(ASK, Say(text="hello"), Say, deadline=now() + timedelta(seconds=2)))
    # Given a responder that comes late, and then does not answer
    await asyncio.sleep(0.3)
    handler = Hanging()
    await serve(handler)
    await asyncio.wait_for(handler.started.wait(), LONG_S)
    with pytest.raises(DeadlineExceeded, match=r"within (2|1\.9\d*) s"):
        await asked


class Trying(Bus):
    """Counts its failures."""

    failures = 0

    async def _on_error(self, error: Exception) -> None:
        await super()._on_error(error)
        self.failures += 1


async def test_a_connection_outlives_the_server(broker: Broker, serve: Serve) -> None:
    other = await serve(echo)
    bus = Trying(broker.url, "trying")
    await bus.connect()
    await asyncio.to_thread(broker.kill)
    await until(lambda: bus.failures > 5)
    asked = asyncio.create_task(bus.ask(ASK, Say(text="hello"), Say, deadline=now() + timedelta(seconds=LONG_S)))
    await asyncio.to_thread(broker.start)
    assert (await asked).text == "hello"
    assert bus.healthy
    assert other.healthy
    await bus.close(grace_s=0.2)


async def test_closing_finishes_what_is_under_way(bus: Bus, serve: Serve) -> None:
    handler = Hanging()
    other = await serve(handler)
    asked = asyncio.create_task(bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S))
    await handler.started.wait()
    closing = asyncio.create_task(other.close(grace_s=LONG_S))
    handler.go_on.set()
    assert (await asked).text == "hello"
    await closing
    with pytest.raises(ResponderLost):
        await bus.request(ASK, Say(text="hello"), Say, timeout_s=LONG_S)


@pytest.mark.parametrize(
    ("fault", "cause"), [("nobody there", "ConnectionRefusedError"), ("wrong password", "Authorization Violation")]
)
async def test_connecting_gives_up_in_time(broker: Broker, fault: str, cause: str) -> None:
    if fault == "nobody there":
        url = broker.url
        await asyncio.to_thread(broker.stop)
    else:
        url = broker.url.replace(broker.credentials.supervisor, "guess")
    began = asyncio.get_running_loop().time()
    with pytest.raises(BusUnavailable, match=rf"within 0\.5 s: .*{cause}"):
        await Bus(url, "hopeless").connect(patience_s=0.5)
    assert asyncio.get_running_loop().time() - began < 10


async def _last(bus: Bus, stream: str, subject: object) -> bytes:
    msg = await bus.js.get_last_msg(stream, str(subject))
    return await bus.blobs.unwrap(msg.data or b"", msg.headers)


@pytest.mark.parametrize("size", [7, 1024 * 1024], ids=["small", "as large as NATS takes"])
async def test_a_dead_letter_keeps_the_bytes_and_raises_an_alert(bus: Bus, size: int) -> None:
    data = b"\xc1" * size
    await bus.dead_letter("intake", Msg(_client=bus.client, subject="devskyy.v1.submit.x", data=data), "no msgpack")
    letter = decode(await _last(bus, DEAD, DeadLetterSubject("intake")), DeadLetter)
    assert (letter.subject, letter.reason, letter.data) == ("devskyy.v1.submit.x", "no msgpack", data)
    alert = decode(await _last(bus, ALERTS, AlertSubject("2")), Alert)
    assert (alert.level, alert.source, alert.detail) == (2, "test", "devskyy.v1.submit.x: no msgpack")


async def test_a_recorded_message_is_kept_once(bus: Bus) -> None:
    for _ in range(2):
        await bus.record(DeadLetterSubject("probe"), Say(text="hello"), dedupe="one")
    assert (await bus.js.stream_info(DEAD)).state.messages == 1


async def test_a_closed_connection_says_so(broker: Broker) -> None:
    closed = await broker.connect()
    await closed.close()
    assert not closed.healthy
    with pytest.raises(BusUnavailable):
        await closed.publish("devskyy.v1.agents.x.ask", Say(text=""))
    with pytest.raises((BusUnavailable, nats.errors.Error)):
        await closed.record(DeadLetterSubject("probe"), Say(text=""))


async def test_a_search_for_a_server_ends_with_the_connection(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a connection that has lost its server, and a refusal that hides it when the search is cancelled
    lost, searching = await broker.connect(), asyncio.Event()

    async def refused(server: Any) -> None:
        searching.set()
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            raise ConnectionRefusedError from None

    monkeypatch.setattr(lost.client, "_connect_to_server", refused)
    await asyncio.to_thread(broker.kill)
    await asyncio.wait_for(searching.wait(), LONG_S)
    # When it is closed
    await lost.close(grace_s=0)
    # Then nobody searches any more
    assert lost.client._reconnection_task.done()


async def test_what_no_stream_takes_is_not_called_recorded(bus: Bus) -> None:
    with pytest.raises(BusUnavailable, match="not recorded"):
        await bus.record("devskyy.v1.nowhere", Say(text=""))


def test_messages_are_plain_msgpack() -> None:
    assert msgpack.unpackb(encode(Say(text="hello"))) == {"text": "hello"}


async def test_what_is_published_while_the_connection_breaks_goes_out_by_the_next_one(broker: Broker, bus: Bus) -> None:
    # Given somebody who listens by a connection of its own
    heard: list[bytes] = []

    async def hear(msg: Msg) -> None:
        heard.append(msg.data)

    other = await Bus(broker.url, "other").connect()
    await other.client.subscribe("devskyy.v1.probe", cb=hear)
    await other.settle()
    # When something is published on a socket that is lost, which nobody has noticed yet
    bus.client._transport._io_writer.transport.abort()
    assert bus.client.is_connected
    for text in (b"one", b"two"):
        await bus.client.publish("devskyy.v1.probe", text)
    # Then it is heard, once and in order
    await until(lambda: len(heard) >= 2)
    await bus.settle()
    await other.settle()
    assert heard == [b"one", b"two"]
    await other.close()


async def test_who_no_longer_waits_for_a_flush_does_not_make_the_connection_deaf(bus: Bus) -> None:
    # Given a flush that is given up while its answer is on its way
    flush = asyncio.create_task(bus.client.flush())
    await asyncio.sleep(0)
    assert bus.client._pongs
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    # When the answer has come, then the connection still hears
    await bus.settle()
    assert bus.client._pongs == []


async def test_a_flush_does_not_overtake_what_was_said_before(broker: Broker, bus: Bus) -> None:
    other = await broker.connect("other")
    for number in range(50):
        # Given a subscription, and then a flush that was answered
        subscription = await bus.client.subscribe(f"here.{number}")
        await bus.client.flush()
        # When somebody else publishes
        await other.client.publish(f"here.{number}", b"")
        # Then it is heard
        assert (await subscription.next_msg(timeout=5)).subject == f"here.{number}"
    await other.close()

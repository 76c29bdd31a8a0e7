import json
from time import monotonic

import pytest

from devskyy.errors import BadReply
from devskyy.sse import Following, ServerEvent, SseParser, of_task
from devskyy.wire import Patience

STREAM = (
    b"\xef\xbb\xbf: welcome\r\nid: 1\r\nevent: accepted\r\ndata: {}\r\n\r\n"
    b": heartbeat\n\nid: 2\ndata: line one\ndata:line two\n\nretry: 10\ndata: unfinished"
)
EVENTS = [ServerEvent("1", "accepted", "{}"), ServerEvent("2", "message", "line one\nline two")]


def test_events_are_the_same_however_the_bytes_arrive() -> None:
    # Given a stream with every kind of line end, a comment, and an event that never ends
    # When it arrives in pieces of every size
    for size in range(1, len(STREAM) + 1):
        parser = SseParser()
        events = [event for at in range(0, len(STREAM), size) for event in parser.feed(STREAM[at : at + size])]
        # Then the events are the same, and the unfinished one is none
        assert events == EVENTS, f"in pieces of {size}"


def test_a_text_may_hold_what_python_takes_for_line_ends() -> None:
    # Given data with a form feed, a next-line and a line separator
    text = "a\x0cb\x85c\u2028d"
    # When it arrives
    (event,) = SseParser().feed(f"data: {text}\n\n".encode())
    # Then it is whole
    assert event.data == text


def test_the_time_for_one_event_grows_with_its_size_and_no_faster() -> None:
    # Given one event of 20 MB
    piece = b"x" * 16_384
    parser = SseParser()
    # When it arrives in pieces
    began = monotonic()
    parser.feed(b"data: ")
    for _ in range(1_280):
        parser.feed(piece)
    (event,) = parser.feed(b"\n\n")
    # Then it is whole, and took no seconds
    assert len(event.data) == 1_280 * 16_384
    assert monotonic() - began < 2


def following(after: int = 0) -> Following:
    return Following(of_task("t1"), after, None, Patience(timeout_s=5, retries=2, outage_s=5), url="http://x")


def wire(number: int, event: str) -> bytes:
    return f"id: {number}\nevent: {event}\ndata: {json.dumps({'event': event})}\n\n".encode()


def test_an_event_that_was_seen_is_not_told_again() -> None:
    # Given a follower that has seen two events
    follower = following(after=2)
    # When a platform sends from the start all the same
    events = follower.take(wire(1, "accepted") + wire(2, "claimed") + wire(3, "completed"))
    # Then only the third is news, and the end
    assert [event["seq"] for event in events] == [3]
    assert follower.ended


@pytest.mark.parametrize("data", ["{", "[]"])
def test_an_event_that_cannot_be_read_is_a_bad_reply(data: str) -> None:
    # Given an event that is no JSON object
    # When it arrives
    # Then that is an error, and no silence
    with pytest.raises(BadReply, match="t1"):
        following().take(f"data: {data}\n\n".encode())

"""Events of a task or workflow as they come in, over as many connections as it takes. Knows no connection: both clients
share it."""

import json
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx

from devskyy.errors import BadReply, StillRunning
from devskyy.wire import CONNECT_S, NOT_NOW, Patience, Verb, backoff_s, error_of, events_path, retry_after_s
from schemas.event import TERMINAL

NEAR_S = 0.25
"""A wait may end this much later than it was asked to."""


@dataclass(frozen=True)
class Story:
    """Whose events they are."""

    kind: str
    """`task` or `workflow`, for those who are told that it goes on."""
    id: str
    path: str
    """Where its events are."""
    last: frozenset[str]
    """Events that end it."""
    may_go_on: bool = False
    """Whether others may follow these: then it has ended when its stream does."""


def of_task(task_id: str) -> Story:
    return Story("task", task_id, events_path(task_id), TERMINAL)


@dataclass(frozen=True)
class ServerEvent:
    """One event of the wire format, whole."""

    id: str | None
    name: str
    data: str

    @property
    def number(self) -> int | None:
        return int(self.id) if self.id and self.id.isdecimal() else None


class SseParser:
    """Bytes in, whole events out. An event that a cut connection left unfinished is never seen.

    Lines end in LF, CRLF or CR only: a text may well hold the other characters that Python's `splitlines` splits at.
    """

    def __init__(self) -> None:
        self._begun: list[bytes] = []  # the unfinished line in its pieces, each looked at once
        self._held = b""  # a CR whose line feed may be in the next chunk
        self._id: str | None = None
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        events = []
        for line in self._lines(chunk):
            if not line:
                if self._data:
                    events.append(ServerEvent(self._id, self._name or "message", "\n".join(self._data)))
                self._name, self._data = "", []
            else:
                self._field(line.decode(errors="replace"))
        return events

    def _lines(self, chunk: bytes) -> list[bytes]:
        whole, self._held = self._held + chunk, b""
        if whole.endswith(b"\r"):
            whole, self._held = whole[:-1], b"\r"
        first, *others = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._begun.append(first)
        if not others:
            return []
        lines = [b"".join(self._begun), *others[:-1]]
        self._begun = [others[-1]]
        return lines

    def _field(self, line: str) -> None:
        name, _, value = line.removeprefix("\ufeff").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                self._id = value
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case _:
                pass  # a comment such as a heartbeat, or a field of the future


def so_far(story: Story, after: int = 0) -> Verb[tuple[dict[str, Any], ...]]:
    """The events that there are by now, those with a number above `after`."""

    def read(reply: httpx.Response) -> tuple[dict[str, Any], ...]:
        parser = SseParser()
        where = str(reply.request.url)
        return tuple(event_of(raw, where, story.id) for raw in parser.feed(reply.content))

    params = {"follow": "false", **({"after": str(after)} if after else {})}
    return Verb("GET", story.path, {200: read}, params=params, headers={"accept": "text/event-stream"})


def event_of(raw: ServerEvent, where: str, of: str) -> dict[str, Any]:
    """
    Args:
        where: the address that it came from, for the error.

    Raises:
        BadReply: it is no JSON object.
    """
    try:
        event = json.loads(raw.data)
    except ValueError as error:
        raise BadReply(where, f"an event of {of} is no JSON: {error}") from None
    if not isinstance(event, dict):
        raise BadReply(where, f"an event of {of} is no JSON object")
    event.setdefault("event", raw.name)
    if (number := raw.number) is not None:
        event.setdefault("seq", number)
    return event


class Following:
    """Where to resume a story, when to stop, and how long to wait for a platform that has gone.

    Args:
        after: the last event already known; 0 for none.
        timeout_s: patience with the task or workflow; None for as long as it takes.
        patience: with the platform.
        url: its address, for errors.
    """

    def __init__(self, story: Story, after: int, timeout_s: float | None, patience: Patience, *, url: str) -> None:
        self.ended = False
        self._story, self._url = story, url
        self._last, self._news = after, False
        self._timeout_s = timeout_s
        self._deadline = None if timeout_s is None else monotonic() + timeout_s
        self._patience = patience
        self._read_s = patience.timeout_s
        self._heard_at: float | None = None
        self._failed = 0
        self._at_its_end = self._over = False
        self._parser = SseParser()

    # A connection

    def arguments(self) -> dict[str, Any]:
        """For `httpx`'s `stream`: the next connection."""
        self._parser, self._news = SseParser(), False
        self._read_s = min(self._patience.timeout_s, max(self._remaining_s, 0.01))
        headers = {"accept": "text/event-stream"}
        if self._last:
            headers["last-event-id"] = str(self._last)
        timeout = httpx.Timeout(self._patience.timeout_s, connect=min(CONNECT_S, self._read_s), read=self._read_s)
        return {"method": "GET", "url": self._story.path, "headers": headers, "timeout": timeout}

    def take(self, chunk: bytes) -> list[dict[str, Any]]:
        """The events that these bytes complete, each once."""
        self._heard_at, self._failed = monotonic(), 0
        return [event for raw in self._parser.feed(chunk) if (event := self._event(raw)) is not None]

    @property
    def in_a_hurry(self) -> bool:
        """Whether the deadline comes before this connection would notice: take a new one, with a shorter timeout."""
        return self._remaining_s + NEAR_S < self._read_s

    # Between connections

    def refused(self, reply: httpx.Response) -> float:
        """Seconds until the next connection, after a reply that is no stream.

        Raises:
            ApiError, PlatformNotRunning, BadReply: there will be none.
            StillRunning: the time is up.
        """
        error = error_of(reply, self._url)
        if reply.status_code not in NOT_NOW:
            raise error
        asked_s = retry_after_s(reply.headers.get("retry-after"))
        return self._next_s(error, asked_s)

    def broke(self, error: httpx.TransportError) -> float:
        """Seconds until the next connection, after one that failed; raises as `refused` does."""
        return self._next_s(error_of(error, self._url), None)

    def closed(self) -> float:
        """Seconds until the next connection, after one that ended in order; raises as `refused` does."""
        self.ended = self.ended or self._at_its_end
        if self.ended or (self.in_a_hurry and self._remaining_s > 0):
            return 0.0
        kind, of = self._story.kind, self._story.id
        return self._next_s(BadReply(self._url, f"the events of {of} end, and the {kind} does not"), None)

    @property
    def brought_nothing(self) -> bool:
        """Whether the connection had no news and is over: ask whether the task or workflow is."""
        return not (self._news or self.ended or self.in_a_hurry)

    def found(self, ended: bool) -> None:
        """What was found on asking. If it has ended, one more connection gets what came in between; if that brings
        nothing either, there is nothing more to come."""
        self.ended = ended and self._over
        self._over = ended

    def _next_s(self, error: Exception, asked_s: float | None) -> float:
        remaining_s = self._remaining_s
        if remaining_s <= 0:
            assert self._timeout_s is not None
            raise StillRunning(self._story.id, self._timeout_s, self._story.kind)
        if self._heard_at is None:
            in_vain = self._failed >= self._patience.retries
        else:
            in_vain = monotonic() - self._heard_at > self._patience.outage_s
        if in_vain:
            raise error
        delay_s = backoff_s(self._failed) if asked_s is None else asked_s
        self._failed += 1
        return min(delay_s, remaining_s)

    @property
    def _remaining_s(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - monotonic()

    def _event(self, raw: ServerEvent) -> dict[str, Any] | None:
        if raw.number is not None and raw.number <= self._last:
            return None
        event = event_of(raw, self._url, self._story.id)
        if raw.number is not None:
            self._last = raw.number
        self._news = True
        self._at_its_end = event["event"] in self._story.last
        self.ended = self._at_its_end and not self._story.may_go_on
        return event

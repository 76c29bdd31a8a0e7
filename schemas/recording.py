"""A recorded run: all that is needed to answer the same task again without any service.

A file of JSON lines. The first says what it is, then come the task's events as every door gives them, then the model
calls that were answered, and a last line with a checksum of each line before it:

    {"devskyy_recording": 1, "task_id": "…", "at": "…", "version": "…", "prompt": "…"}
    {"event": {"event": "accepted", "seq": 1, …}}
    {"call": {"step": "direct", "question": "<SHA-256>", "completion": {…}}}
    {"end": {"events": 3, "calls": 1, "lines": ["5f0c6f2b", …]}}

So a file that was cut off or changed is never taken for the run that it once was, and the line is named.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, Self, TypeVar

import pydantic_core
from pydantic import BaseModel, Field, ValidationError

from schemas.completion import Completion
from schemas.errors import InvalidRequest
from schemas.event import TERMINAL, TaskEvent
from schemas.message import Message, Moment
from schemas.problem import field_errors
from schemas.task import TaskRequest

FORMAT = 1
MEDIA_TYPE = "application/jsonl"
MAX_RECORDING_BYTES = 64 * 1024 * 1024
"""20 MB of inputs in base64, and room for many answers."""

M = TypeVar("M", bound=BaseModel)
P = ParamSpec("P")
T = TypeVar("T")


class RecordedCall(Message):
    """What the gateway answered to one question."""

    step: str
    question: str = Field(pattern=r"^[0-9a-f]{64}$")
    """The question's digest."""
    completion: Completion


class Uploaded(Message):
    """A recording that the platform holds now."""

    recording: str
    """Its name: the SHA-256 of its text, for `replay` of a task's request."""
    request: TaskRequest
    """The task that was recorded, as a request that replays it."""


class _Header(Message):
    devskyy_recording: int
    task_id: str
    at: Moment
    version: str
    prompt: str


class _End(Message):
    events: int
    calls: int
    lines: tuple[str, ...]
    """Of each line before this one the first eight hexadecimal digits of its SHA-256."""


@dataclass(frozen=True)
class Recording:
    """One run, as recorded."""

    task_id: str
    at: Moment
    """When it was recorded."""
    version: str
    """Of the DevSkyy that recorded it."""
    events: tuple[dict[str, Any], ...]
    """The task's events as JSON has them: all of them, from `accepted` to its end."""
    calls: tuple[RecordedCall, ...]

    @classmethod
    def of(cls, events: Sequence[TaskEvent], calls: Sequence[RecordedCall], at: Moment, version: str) -> Self:
        """Put together what was recorded of a task that has ended."""
        plain = tuple(event.model_dump(mode="json") for event in events)
        return cls(events[0].task_id, at, version, plain, tuple(calls))

    @property
    def request(self) -> TaskRequest:
        """What was asked for, as it may be asked again."""
        return _request(self.events[0])

    def dump(self) -> str:
        """The recording as JSON lines. The same recording always makes the same text."""
        lines = [_line(part) for part in self._parts()]
        end = {"events": len(self.events), "calls": len(self.calls), "lines": [_checksum(line) for line in lines]}
        return "\n".join((*lines, _line({"end": end}), ""))

    def _parts(self) -> Iterator[dict[str, Any]]:
        header = _Header(
            devskyy_recording=FORMAT,
            task_id=self.task_id,
            at=self.at,
            version=self.version,
            prompt=str(self.events[0]["request"]["prompt"]),
        )
        yield header.model_dump(mode="json")
        yield from ({"event": event} for event in self.events)
        yield from ({"call": call.model_dump(mode="json", exclude_defaults=True)} for call in self.calls)

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read a recording back.

        Raises:
            InvalidRequest: it is none, or it was cut off or changed since; `field` is the line, as `line 3`.
        """
        lines = _lines(text)
        header = _read(1, _header, lines[0])
        end = _read(len(lines), _end, lines[-1])
        _unchanged(lines[:-1], end)
        events: list[dict[str, Any]] = []
        calls: list[RecordedCall] = []
        for number, line in enumerate(lines[1:-1], start=2):
            match _read(number, _json, line):
                case {"event": event} if not calls:
                    events.append(_read(number, _event, event, header.task_id, len(events) + 1))
                case {"call": call}:
                    calls.append(_read(number, _valid, RecordedCall, call))
                case _:
                    raise InvalidRequest(f"line {number}", "is neither an event nor a call in its place")
        if (len(events), len(calls)) != (end.events, end.calls):
            told = f"tells of {end.events} events and {end.calls} calls; there are {len(events)} and {len(calls)}"
            raise InvalidRequest(f"line {len(lines)}", told)
        if not events or events[-1]["event"] not in TERMINAL:
            raise InvalidRequest(f"line {len(events) + 1}", "a recorded task's last event is the one that ended it")
        return cls(header.task_id, header.at, header.version, tuple(events), tuple(calls))


# Writing

_SPLITTERS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}
"""Beside line feeds, which JSON escapes, what some programs take for the end of a line."""


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_SPLITTERS)


def _checksum(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:8]


# Reading


def _lines(text: bytes) -> list[str]:
    """The lines, of which an editor may have changed the ends and nothing else."""
    try:
        whole = text.decode()
    except UnicodeDecodeError as error:
        number = text.count(b"\n", 0, error.start) + 1
        raise InvalidRequest(f"line {number}", f"is not UTF-8 text: {error.reason}") from None
    return [line.removesuffix("\r") for line in whole.removeprefix("\ufeff").rstrip("\r\n").split("\n")]


def _read(number: int, read: Callable[P, T], *what: P.args, **how: P.kwargs) -> T:
    """Read something of a line, which an error names."""
    try:
        return read(*what, **how)
    except ValueError as error:
        raise InvalidRequest(f"line {number}", str(error)) from None


def _json(line: str) -> dict[str, Any]:
    try:
        value = pydantic_core.from_json(line, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 - a TypeError would pass the reader by
    _finite(value)
    return value


def _finite(value: Any) -> None:
    """Refuse what was spelled as a number and is too large for one, as 1e400."""
    parts = [value]
    while parts:
        match parts.pop():
            case dict() as inner:
                parts.extend(inner.values())
            case list() as inner:
                parts.extend(inner)
            case float() as number if not math.isfinite(number):
                raise ValueError("holds a number that is too large")


def _valid(model: type[M], value: Any) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = field_errors(error)[0]
        raise ValueError(f"{first.field}: {first.message}" if first.field else first.message) from None


def _header(line: str) -> _Header:
    value = _json(line)
    if (found := value.get("devskyy_recording")) is None:
        raise ValueError("is no beginning of a recording")
    if found != FORMAT:
        raise ValueError(f"begins a recording of format {found!r}; this version reads {FORMAT}")
    return _valid(_Header, value)


def _end(line: str) -> _End:
    try:
        return _valid(_End, _json(line)["end"])
    except (ValueError, KeyError):
        raise ValueError("is not the last line of a recording: what came after it is missing") from None


def _event(event: Any, task_id: str, seq: int) -> dict[str, Any]:
    if not isinstance(event, dict) or (event.get("task_id"), event.get("seq")) != (task_id, seq):
        raise ValueError(f"is not event {seq} of task {task_id}")
    if not isinstance(event.get("event"), str) or (seq == 1) != (event["event"] == "accepted"):
        raise ValueError("is no event of a task, of which 'accepted' is the first and only the first")
    if seq == 1:
        _request(event)
    return event


def _request(accepted: dict[str, Any]) -> TaskRequest:
    asked = accepted.get("request")
    return _valid(TaskRequest, {**asked, "replay": None} if isinstance(asked, dict) else asked)


def _unchanged(lines: Sequence[str], end: _End) -> None:
    for number, (line, checksum) in enumerate(zip(lines, end.lines, strict=False), start=1):
        if _checksum(line) != checksum:
            raise InvalidRequest(f"line {number}", "was changed after it was recorded")
    if len(lines) != len(end.lines):
        number = min(len(lines), len(end.lines)) + 1
        raise InvalidRequest(f"line {number}", f"there were {len(end.lines)} lines before the last; now {len(lines)}")

"""The recording's text: it comes back as it was, and a damaged one is refused with its line."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.completion import Completion, ToolCall
from schemas.errors import InvalidRequest
from schemas.event import Completed
from schemas.problem import Problem
from schemas.receipt import Call
from schemas.recording import RecordedCall, Recording
from schemas.task import TaskRequest
from tests.schemas.test_projection import accepted, claimed, ended

AT = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
CALL = Call(step="direct", agent="writing", service="cheap", model="m", prompt_tokens=10, cost_usd=0.1 + 0.2)
ANSWERED = RecordedCall(
    step="direct", question="0" * 64, completion=Completion(text="Hello.", finish_reason="stop", calls=(CALL,))
)


def recording(*calls: RecordedCall, request: TaskRequest | None = None) -> Recording:
    events = [accepted(**({"request": request} if request else {})), claimed()]
    return Recording.of([*events, ended(Completed, events, status="completed", answer="Hello.")], calls, AT, "0.1.0")


WHOLE = recording(ANSWERED, ANSWERED)

text = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
counts = st.none() | st.integers(0, 10**12)
costs = st.none() | st.floats(0, 1e6)
made = st.builds(
    Call, step=text, agent=text, service=text, model=text, fallback_from=st.lists(text, max_size=2).map(tuple),
    cached=st.booleans(), prompt_tokens=counts, completion_tokens=counts, cost_usd=costs, latency_ms=costs,
)  # fmt: skip
problems = st.builds(Problem, type=text, title=text, status=st.integers(400, 599), detail=text, retryable=st.booleans())
completions = st.builds(
    Completion, text=st.none() | text, finish_reason=st.none() | text, problem=st.none() | problems,
    tool_calls=st.lists(st.builds(ToolCall, id=text, name=text, arguments=text), max_size=2).map(tuple),
    calls=st.lists(made, max_size=3).map(tuple),
)  # fmt: skip
questions = st.text("0123456789abcdef", min_size=64, max_size=64)
answered = st.builds(RecordedCall, step=text, question=questions, completion=completions)
requests = st.builds(
    TaskRequest, prompt=text.filter(str.strip), metadata=st.dictionaries(text, plain, max_size=3), cache_s=st.just(5.0)
)
recordings = st.builds(
    lambda calls, request: recording(*calls, request=request), st.lists(answered, max_size=4), requests
)


def lines_of(whole: Recording) -> list[str]:
    return whole.dump().removesuffix("\n").split("\n")


def refused(lines: list[str]) -> tuple[int, str]:
    """The line that is named, counted from 1, and what is said of it."""
    with pytest.raises(InvalidRequest) as caught:
        Recording.parse("\n".join(lines).encode())
    found = re.fullmatch(r"line (\d+)", caught.value.field)
    assert found is not None, caught.value.field
    return int(found[1]), caught.value.rule


# -- what comes back ---------------------------------------------------------------------------------------------------


@given(recordings)
def test_any_recording_comes_back_as_it_was(whole: Recording) -> None:
    # Given any recording, When it is written and read
    dumped = whole.dump()
    read = Recording.parse(dumped.encode())
    # Then it is the same, and so is its text, whatever takes it apart into lines
    assert read == whole
    assert read.dump() == dumped
    assert len(dumped.splitlines()) == dumped.count("\n") == len(whole.events) + len(whole.calls) + 2
    assert read.request == TaskRequest.model_validate({**whole.events[0]["request"], "replay": None})


def test_each_line_is_json_of_its_own() -> None:
    # Given a recording, When its lines are read
    header, *events, first, _, end = map(json.loads, lines_of(WHOLE))
    # Then each says what it is
    assert header == {
        "devskyy_recording": 1, "task_id": "t", "at": "2026-05-04T12:00:00.123456Z", "version": "0.1.0",
        "prompt": "Say hello.",
    }  # fmt: skip
    assert [line["event"]["event"] for line in events] == ["accepted", "claimed", "completed"]
    assert first["call"]["completion"]["calls"][0]["cost_usd"] == 0.1 + 0.2
    assert (end["end"]["events"], end["end"]["calls"], len(end["end"]["lines"])) == (3, 2, 6)


@pytest.mark.parametrize("ends", ["\r\n", "\n\n", ""])
def test_ends_of_lines_that_an_editor_changed_are_no_damage(ends: str) -> None:
    # Given a recording that some editor has saved
    lines = lines_of(WHOLE)
    saved = ("\r\n".join(lines) + ends).encode()
    # When it is read, with a byte order mark too, Then it is the same
    assert Recording.parse(saved) == Recording.parse(b"\xef\xbb\xbf" + saved) == WHOLE


def test_a_replay_of_a_replay_answers_from_the_recording_at_hand() -> None:
    # Given a recorded run that was a replay itself
    whole = recording(ANSWERED, request=TaskRequest(prompt="p", replay="1" * 64))
    # When it is to be asked again, Then the older recording is not needed
    assert whole.request == TaskRequest(prompt="p")


# -- damage ------------------------------------------------------------------------------------------------------------


@given(st.data())
def test_a_recording_that_was_cut_off_is_refused_with_the_line(data: st.DataObject) -> None:
    # Given a recording of which only the beginning is left
    whole = WHOLE.dump().encode().rstrip()
    cut = data.draw(st.integers(0, len(whole) - 1))
    # When it is read, Then the line where it breaks off is named
    with pytest.raises(InvalidRequest) as caught:
        Recording.parse(whole[:cut])
    last = whole[:cut].rstrip(b"\n").count(b"\n") + 1
    assert caught.value.field == f"line {last}"


@given(st.data())
def test_a_recording_in_which_a_character_was_changed_is_refused_with_the_line(data: st.DataObject) -> None:
    # Given a recording in which one character before the last line is another one
    whole = WHOLE.dump()
    place = data.draw(st.integers(0, whole.rindex("\n", 0, -1) - 1).filter(lambda at: whole[at] != "\n"))
    other = data.draw(st.characters(exclude_categories=["Cs"], exclude_characters=whole[place] + "\r\n"))
    # When it is read
    with pytest.raises(InvalidRequest) as caught:
        Recording.parse((whole[:place] + other + whole[place + 1 :]).encode())
    # Then its line is named
    assert caught.value.field == f"line {whole.count(chr(10), 0, place) + 1}"


def test_a_line_that_is_gone_added_or_moved_is_named() -> None:
    lines = lines_of(WHOLE)
    assert refused(lines[:2] + lines[3:])[0] == 3
    assert refused([*lines[:3], lines[2], *lines[3:]])[0] == 4
    assert refused([lines[0], lines[2], lines[1], *lines[3:]])[0] == 2
    assert refused([*lines[:-1], lines[-2], lines[-1]]) == (7, "there were 6 lines before the last; now 7")


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"", 1, "is no JSON"),
        (b"hello", 1, "is no JSON"),
        (b"[]", 1, "is no JSON object"),
        (b"{}", 1, "is no beginning of a recording"),
        (b'{"devskyy_recording": 2}', 1, "format 2; this version reads 1"),
        (b'{"devskyy_recording": 1}', 1, "task_id: Field required"),
        (b'{"prompt": "\xff"}', 1, "is not UTF-8"),
        (b'{}\n"\xff"', 2, "is not UTF-8"),
        (b'{"devskyy_recording": 1, "prompt": "\\ud800"}', 1, "is no JSON"),
        (b"[" * 100_000, 1, "is no JSON"),
    ],
)
def test_what_is_no_recording_is_refused(content: bytes, line: int, said: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(said)) as caught:
        Recording.parse(content)
    assert caught.value.field == f"line {line}"


# -- forged ------------------------------------------------------------------------------------------------------------


def forged(*changes: tuple[int, Any], events: int = 3, calls: int = 2) -> list[str]:
    """The recording with other lines (counted from 1; a text as it is; None: left out), and their checksums."""
    lines: list[str | None] = [*lines_of(WHOLE)[:-1]]
    for number, value in changes:
        lines[number - 1] = value if value is None or isinstance(value, str) else json.dumps(value)
    left = [line for line in lines if line is not None]
    from schemas.recording import _checksum

    end = {"events": events, "calls": calls, "lines": [_checksum(line) for line in left]}
    return [*left, json.dumps({"end": end})]


def test_a_forgery_that_breaks_a_rule_is_refused_with_the_line() -> None:
    event = json.loads(lines_of(WHOLE)[1])["event"]
    call = json.loads(lines_of(WHOLE)[4])["call"]
    cases: list[tuple[list[str], int, str]] = [
        (forged((2, {"event": {**event, "request": {"prompt": " "}}})), 2, "prompt: is empty"),
        (forged((2, {"event": {**event, "request": {"prompt": "p", "colour": 1}}})), 2, "colour: unknown field"),
        (forged((2, {"event": {**event, "request": 7}})), 2, ""),
        (forged((2, {"event": {**event, "task_id": "u"}})), 2, "is not event 1 of task t"),
        (forged((2, {"event": {**event, "event": "claimed"}})), 2, "'accepted' is the first"),
        (forged((2, {"event": 7})), 2, "is not event 1 of task t"),
        (forged((3, {"event": {**event, "seq": 2}})), 3, "'accepted' is the first"),
        (forged((5, {"call": {**call, "question": "?"}})), 5, "question: String should match"),
        (forged((5, {"call": {**call, "completion": None}})), 5, "completion: "),
        (forged((5, {"event": {**event, "seq": 4}})), 5, "'accepted' is the first"),
        (forged((6, {"remark": "hello"})), 6, "is neither an event nor a call"),
        (forged((5, {"call": call}), (6, {"event": {**event, "seq": 4}})), 6, "is neither an event nor a call"),
        (forged((4, None), events=2), 3, "is the one that ended it"),
        (forged((6, None)), 6, "tells of 3 events and 2 calls; there are 3 and 1"),
        (forged(*[(n, None) for n in (2, 3, 4, 5, 6)], events=0, calls=0), 1, "is the one that ended it"),
    ]
    for lines, number, said in cases:
        found = refused(lines)
        assert found[0] == number, (said, found)
        assert said in found[1]


@pytest.mark.parametrize(
    ("figure", "value", "said"),
    [
        ("cost_usd", "-5", "greater than or equal to 0"),
        ("cost_usd", "1e400", "a number that is too large"),
        ("latency_ms", "-0.1", "greater than or equal to 0"),
        ("latency_ms", '"inf"', "finite number"),
        ("prompt_tokens", "-1", "greater than or equal to 0"),
        ("completion_tokens", "9223372036854775808", "less than or equal to 9223372036854775807"),
    ],
)
def test_a_figure_that_no_call_can_have_is_refused_with_the_line(figure: str, value: str, said: str) -> None:
    # Given a recording, well sealed, with a call at an impossible cost, time or length
    call = json.loads(lines_of(WHOLE)[4])["call"]
    call["completion"]["calls"][0][figure] = "FIGURE"
    lines = forged((5, json.dumps({"call": call}).replace('"FIGURE"', value)))
    # When it is read
    number, rule = refused(lines)
    # Then the line is named, and what is wrong in it
    assert number == 5
    assert said in rule
    assert figure in rule or "1e400" in value


def test_an_event_with_a_number_that_is_none_is_refused_with_the_line() -> None:
    event = json.loads(lines_of(WHOLE)[3])["event"]
    line = json.dumps({"event": {**event, "later": [{"figure": "FIGURE"}]}}).replace('"FIGURE"', "-1e999")
    assert refused(forged((4, line))) == (4, "holds a number that is too large")

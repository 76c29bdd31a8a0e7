"""What is told of a text while it is written: nothing that must be taken back, and at the end all of it."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.completion import Delta
from serve.openai.written import Written


def piece(attempt: int, offset: int, text: str) -> Delta:
    return Delta(step="direct", attempt=attempt, offset=offset, text=text)


def pieces(attempt: int, *texts: str) -> list[Delta]:
    offsets = [sum(len(each) for each in texts[:place]) for place in range(len(texts))]
    return [piece(attempt, offset, text) for offset, text in zip(offsets, texts, strict=True)]


def told(written: Written, *heard: Delta) -> list[str]:
    return [text for each in heard if (text := written.take(each))]


def test_each_piece_is_told_as_it_comes() -> None:
    written = Written(trimmed=True)
    assert told(written, *pieces(1, "Carry", " books", ".")) == ["Carry", " books", "."]
    assert written.rest("Carry books.") == ""


def test_white_space_at_the_ends_waits_for_what_follows() -> None:
    written = Written(trimmed=True)
    assert told(written, *pieces(1, "\n ", " One", "\n", "\n", "two", " \n")) == ["One", "\n\ntwo"]
    assert written.rest("One\n\ntwo") == ""


def test_of_a_service_that_is_passed_on_as_it_is_no_space_is_left_out() -> None:
    written = Written(trimmed=False)
    assert told(written, *pieces(1, "\n One", " \n")) == ["\n One", " \n"]
    assert written.rest("\n One \n") == ""


def test_after_a_lost_piece_the_rest_comes_at_the_end() -> None:
    first, _, third = pieces(1, "one ", "two ", "three")
    written = Written(trimmed=True)
    assert told(written, first, third) == ["one"]
    assert written.rest("one two three") == " two three"


def test_a_piece_that_comes_twice_is_told_once() -> None:
    first, second = pieces(1, "one", " two")
    assert told(Written(trimmed=True), first, first, second, second, piece(1, 2, "e two three")) == [
        "one",
        " two",
        " three",
    ]


def test_an_attempt_that_begins_alike_goes_on_where_the_first_broke_off() -> None:
    written = Written(trimmed=True)
    heard = [*pieces(1, "one", " two"), *pieces(2, "one ", "two th", "ree")]
    assert told(written, *heard) == ["one", " two", " th", "ree"]
    assert written.rest("one two three") == ""


def test_an_attempt_that_begins_otherwise_is_not_told() -> None:
    # Given a text whose beginning was told, and which is written anew with other words
    written = Written(trimmed=True)
    assert told(written, *pieces(1, "one"), *pieces(2, "uno dos", " tres")) == ["one"]
    # When it is whole, Then nobody says that it follows
    assert written.rest("uno dos tres") is None


def test_of_two_attempts_at_once_the_one_that_was_told_goes_on() -> None:
    # Given a hedge that begins while the first attempt still writes
    written = Written(trimmed=True)
    one, other = pieces(1, "one", " two", " three"), pieces(2, "uno", " dos")
    assert told(written, one[0], other[0], one[1], other[1], one[2]) == ["one", " two", " three"]
    assert written.rest("one two three") == ""


def test_what_was_heard_of_nothing_is_all_at_the_end() -> None:
    assert Written(trimmed=True).rest("all") == "all"


@st.composite
def stories(draw: st.DrawFn) -> tuple[str, list[Delta], bool]:
    """A text, and what may be heard of it: of several attempts, some of another beginning, in pieces, some of them lost
    or come twice."""
    alphabet = "ab \n"
    text, heard = draw(st.text(alphabet, min_size=1, max_size=30)), list[Delta]()
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        said = text if draw(st.booleans()) else draw(st.text(alphabet, max_size=30))
        cuts = sorted(draw(st.sets(st.integers(0, len(said)), max_size=6)))
        bounds = [0, *cuts, len(said)]
        parts = [piece(attempt, begin, said[begin:end]) for begin, end in itertools.pairwise(bounds)]
        heard += [each for each in parts for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2])))]
    if draw(st.booleans()):  # attempts side by side; the pieces of each stay in their order
        order = random.Random(draw(st.integers(0, 99)))
        queues: dict[int, list[Delta]] = {}
        for each in heard:
            queues.setdefault(each.attempt, []).append(each)
        heard = []
        while queues:
            attempt = order.choice(sorted(queues))
            heard.append(queues[attempt].pop(0))
            if not queues[attempt]:
                del queues[attempt]
    return text, heard, draw(st.booleans())


@given(stories())
def test_whatever_is_heard_what_was_told_and_the_rest_are_the_text(story: tuple[str, list[Delta], bool]) -> None:
    text, heard, trimmed = story
    whole = text.strip() if trimmed else text
    written = Written(trimmed=trimmed)
    # When pieces come as they may, and then the whole text
    said = "".join(told(written, *heard))
    rest = written.rest(whole)
    # Then either all of it was told, once and in order, or it is known that it was not
    assert said == written.told
    if rest is None:
        assert not whole.startswith(said)
    else:
        assert said + rest == whole


@given(st.text("ab \n", min_size=1, max_size=40), st.data())
def test_of_one_attempt_without_loss_nothing_is_left_but_space(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    bounds = [0, *cuts, len(text)]
    written = Written(trimmed=True)
    told(written, *(piece(1, a, text[a:b]) for a, b in itertools.pairwise(bounds)))
    assert written.rest(text.strip()) == ""


def test_a_long_text_takes_no_time_for_its_length() -> None:
    # Given a text of many pieces; what looked at all of it for each would take minutes
    written, count = Written(trimmed=True), 200_000
    for number in range(count):
        written.take(piece(1, number * 2, "ab"))
    assert len(written.told) == 2 * count


@pytest.mark.parametrize("trimmed", [True, False])
def test_an_empty_text_is_told_by_nothing(trimmed: bool) -> None:
    written: Any = Written(trimmed=trimmed)
    assert (told(written, piece(1, 0, "")), written.rest("")) == ([], "")

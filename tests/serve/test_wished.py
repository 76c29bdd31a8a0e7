"""What is told of wishes for tools while they are written: one after the other, and at the end all of them."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.completion import Delta, ToolCall, ToolCallPiece
from serve.openai.wished import Wish, Wished

LOOK = ToolCall(id="a", name="look", arguments='{"at": "the door"}')
WALK = ToolCall(id="b", name="walk", arguments="{}")


def piece(call: ToolCall, place: int, begin: int, end: int | None = None, attempt: int = 1) -> Delta:
    part = ToolCallPiece(place=place, id=call.id, name=call.name, offset=begin, arguments=call.arguments[begin:end])
    return Delta(step="direct", attempt=attempt, offset=0, text="", tool_call=part)


def told(wished: Wished, *heard: Delta) -> list[tuple[int, str, bool]]:
    wishes = [wished.take(each) for each in heard]
    return [(wish.place, wish.arguments, wish.begins) for wish in wishes if wish is not None]


def test_each_piece_is_told_as_it_comes() -> None:
    wished = Wished()
    heard = [piece(LOOK, 0, 0, 0), piece(LOOK, 0, 0, 6), piece(LOOK, 0, 6), piece(WALK, 1, 0)]
    assert told(wished, *heard) == [(0, "", True), (0, '{"at":', False), (0, ' "the door"}', False), (1, "{}", True)]
    assert wished.rest([LOOK, WALK]) == ()


def test_a_piece_that_comes_twice_is_told_once() -> None:
    first, second = piece(LOOK, 0, 0, 6), piece(LOOK, 0, 6, 9)
    heard = [first, first, second, second, first, piece(LOOK, 0, 4)]
    assert told(Wished(), *heard) == [(0, '{"at":', True), (0, ' "t', False), (0, 'he door"}', False)]


def test_after_a_lost_piece_the_rest_comes_at_the_end() -> None:
    wished = Wished()
    assert told(wished, piece(LOOK, 0, 0, 3), piece(LOOK, 0, 6), piece(WALK, 1, 0)) == [(0, '{"a', True)]
    assert wished.rest([LOOK, WALK]) == (
        Wish(0, "a", "look", LOOK.arguments[3:], begins=False),
        Wish(1, "b", "walk", "{}", begins=True),
    )


@pytest.mark.parametrize("heard", [[], [piece(LOOK, 0, 6)], [piece(WALK, 1, 0)]], ids=["all", "beginning", "first"])
def test_what_was_not_heard_from_its_beginning_is_all_at_the_end(heard: list[Delta]) -> None:
    wished = Wished()
    assert told(wished, *heard) == []
    assert wished.rest([LOOK]) == (Wish(0, "a", "look", LOOK.arguments, begins=True),)


def test_a_wish_that_begins_before_the_last_is_whole_waits_for_the_end() -> None:
    # Given a provider that writes two wishes by turns
    wished = Wished()
    heard = [piece(LOOK, 0, 0, 6), piece(WALK, 1, 0), piece(LOOK, 0, 6)]
    # When clients know only one at a time, Then the second comes after all of the first
    assert told(wished, *heard) == [(0, '{"at":', True)]
    assert [wish.place for wish in wished.rest([LOOK, WALK]) or ()] == [0, 1]


def test_wishes_of_another_attempt_are_no_part_of_it() -> None:
    # Given a wish whose beginning was told, and which another attempt has anew under another id
    other = LOOK.model_copy(update={"id": "c"})
    wished = Wished()
    assert told(wished, piece(LOOK, 0, 0, 3), piece(other, 0, 0, attempt=2)) == [(0, '{"a', True)]
    # When that attempt is the answer, Then nobody says that it follows
    assert wished.rest([other]) is None
    assert wished.rest([]) is None


def test_a_wish_that_goes_on_after_another_has_begun_is_not_how_it_was_told() -> None:
    wished = Wished()
    told(wished, piece(WALK, 0, 0), piece(LOOK, 1, 0))
    assert wished.rest([WALK.model_copy(update={"arguments": "{} "}), LOOK]) is None


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[ToolCall], list[Delta]]:
    """Wishes, and what may be heard of them: in pieces, some of them lost, some twice, of an attempt or two."""
    calls, heard = list[ToolCall](), list[Delta]()
    for place in range(draw(st.integers(0, 3))):
        arguments = json.dumps(draw(st.dictionaries(st.text("ab", max_size=2), st.integers(0, 9), max_size=2)))
        calls.append(ToolCall(id=f"call-{place}", name=draw(st.sampled_from(["look", "walk"])), arguments=arguments))
    for attempt in range(1, draw(st.integers(1, 2)) + 1):
        for place, call in enumerate(calls):
            cuts = sorted(draw(st.sets(st.integers(0, len(call.arguments)), max_size=4)))
            bounds = [0, *cuts, len(call.arguments)]
            parts = [piece(call, place, begin, end, attempt) for begin, end in itertools.pairwise(bounds)]
            heard += [each for each in parts for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2])))]
    return calls, draw(st.one_of(st.just(heard), st.permutations(heard)))


@given(stories())
def test_whatever_is_heard_what_was_told_and_the_rest_are_the_wishes(story: tuple[list[ToolCall], list[Delta]]) -> None:
    calls, heard = story
    wished = Wished()
    # When pieces come as they may, and then the whole answer
    wishes = [wish for each in heard if (wish := wished.take(each)) is not None]
    rest = wished.rest(calls)
    # Then all of it was told once, each wish after the one before it, and says at its beginning what it is
    assert rest is not None
    wishes += rest
    assert [wish.place for wish in wishes] == sorted(wish.place for wish in wishes)
    said: dict[int, Any] = {}
    for wish in wishes:
        assert wish.begins == (wish.place not in said)
        said.setdefault(wish.place, ToolCall(id=wish.id, name=wish.name, arguments=""))
        whole = said[wish.place].arguments + wish.arguments
        said[wish.place] = said[wish.place].model_copy(update={"arguments": whole})
    assert list(said.values()) == calls


def test_long_arguments_take_no_time_for_their_length() -> None:
    # Given arguments of many pieces; what looked at all of them for each would take minutes
    wished, count = Wished(), 100_000
    call = ToolCall(id="a", name="look", arguments="ab" * count)
    for number in range(count):
        wished.take(piece(call, 0, number * 2, number * 2 + 2))
    assert wished.rest([call]) == ()

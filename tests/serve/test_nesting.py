"""How deep a body is nested: found out piece by piece, without reading it."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.nesting import MOST_DEEP, MOST_PARTS, Nesting, trouble

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.text(alphabet='[]{}"\\,:')
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


def depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
    return 0


def parts(value: Any) -> int:
    match value:
        case dict():
            return 1 + sum(map(parts, value.values()))
        case list():
            return 1 + sum(map(parts, value))
    return 0


@given(VALUES, st.lists(st.integers(0, 200)), st.booleans())
def test_depth_and_parts_are_those_of_the_value_however_it_is_cut(
    value: Any, cuts: list[int], ascii_only: bool
) -> None:
    # Given a value as JSON, in pieces
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    nesting = Nesting()
    # When they are read
    for start, end in itertools.pairwise(places):
        nesting.read(text[start:end])
    # Then it is known how deep it is, and of how many parts
    assert (nesting.deepest, nesting.parts) == (depth(value), parts(value))
    assert nesting._depth == 0


@given(st.lists(st.binary(max_size=50)))
def test_whatever_comes_is_read(pieces: list[bytes]) -> None:
    nesting = Nesting()
    for piece in pieces:
        nesting.read(piece)
    assert nesting.parts >= nesting.deepest >= 0


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (b"", None),
        (b"[" * MOST_DEEP + b"]" * MOST_DEEP, None),
        (b"[" * (MOST_DEEP + 1), "nested too deep"),
        (b'{"a":' * (MOST_DEEP + 1), "nested too deep"),
        (b'"' + b"[" * 10_000 + b'"', None),
        (b'"\\"' + b"[" * 10_000 + b'"', None),
        (b'"\\\\"' + b"[" * 10_000, "nested too deep"),
        (b"[" + b"[]," * (MOST_PARTS - 1) + b"1]", None),
        (b"[" + b"[]," * MOST_PARTS + b"1]", "too many parts"),
        ('{"a": 1}'.encode("utf-16"), "zero byte"),
    ],
)
def test_what_is_refused(text: bytes, wrong: str | None) -> None:
    found = trouble(text)
    assert found is None if wrong is None else wrong in (found or "")

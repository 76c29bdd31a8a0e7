"""API keys: what their secrets and ids look like, and what a key may not be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bus.subjects import token
from schemas.budget import Budget
from schemas.key import MAX_TOKENS, OPERATOR, NewKey, digest, id_of, including, new_id, new_secret


@given(st.text(max_size=100))
def test_every_name_makes_an_id_that_fits_into_subjects_and_secrets(name: str) -> None:
    made = new_id(name)
    assert token(made) == made
    assert len(made) <= 33
    assert id_of(new_secret(made)) == made
    assert made != OPERATOR


def test_an_id_tells_its_name() -> None:
    assert re.fullmatch(r"nightly-build-2-[0-9a-f]{8}", new_id("  Nightly build #2 "))
    assert re.fullmatch(r"key-[0-9a-f]{8}", new_id("日本"))


@given(st.text() | st.from_regex(r"dsk_[a-z0-9_-]*_[0-9a-fA-F]{60,66}", fullmatch=True))
def test_a_text_is_either_a_secret_with_its_id_or_none_of_ours(text: str) -> None:
    found = id_of(text)
    if found is not None:
        assert re.fullmatch(r"[0-9a-f]{64}", text.removeprefix(f"dsk_{found}_"))
        assert token(found) == found


def test_secrets_are_long_random_and_kept_as_their_sha256() -> None:
    one, two = new_secret("ci"), new_secret("ci")
    assert one != two
    assert len(bytes.fromhex(one.rpartition("_")[2])) * 8 == 256
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_scope_includes_those_below_it() -> None:
    assert [len(including(scopes)) for scopes in ((), ("read",), ("write",), ("admin",))] == [0, 1, 2, 3]
    assert including(("read", "write")) == {"read", "write"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "  "}, "name"),
        ({"name": "a\x1b[2J"}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "a" * 101}, "name"),
        ({"tenant": "a.b"}, "tenant"),
        ({"scopes": ()}, "scopes"),
        ({"scopes": ("root",)}, "scopes"),
        ({"rpm": 0}, "rpm"),
        ({"budget": {}}, "budget"),
        ({"budget": {"tokens": MAX_TOKENS + 1}}, "budget"),
        ({"budget": {"usd": -1}}, "budget"),
        ({"expires_at": "2026-05-04T12:00:00"}, "expires_at"),
        ({"expires": "2026-05-04"}, "expires"),
    ],
)
def test_a_key_that_cannot_be_is_refused_and_the_field_named(fields: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        NewKey.model_validate({"name": "ci", **fields})
    assert refused.value.errors()[0]["loc"][0] == field


def test_a_budget_may_be_of_the_largest_number() -> None:
    assert NewKey(name="ci", budget=Budget(tokens=MAX_TOKENS)).budget == Budget(tokens=MAX_TOKENS)

"""`devskyy keys`."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskyy.cli.keys import UNITS, moment
from schemas.errors import InvalidRequest
from schemas.message import now
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_a_key_is_made_and_only_its_secret_is_on_stdout(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform, When a key is made with all that it may have
    words = (
        "--scope",
        "read",
        "--scope",
        "write",
        "--expires",
        "30d",
        "--usd-per-day",
        "2.5",
        "--tokens-per-day",
        "9000",
    )
    ran = devskyy("keys", "create", "Nightly build", *words, "--rpm", "60", "--tenant", "acme")
    # Then the secret can be piped, and what the key may is told beside it
    (key,) = platform.keys
    assert (ran.code, ran.out.startswith(f"dsk_{key.id}_"), len(ran.out.splitlines())) == (0, True, 1)
    said = "may read, write in tenant acme, spend $2.50, 9,000 tokens a day, call 60 times a minute, until "
    assert f"key {key.id}: {said}" in ran.err
    # And the platform was told so
    sent = platform.made("POST", "/api/v1/keys")[0].body
    expires = datetime.fromisoformat(sent.pop("expires_at"))
    assert abs(expires - now() - timedelta(days=30)) < timedelta(minutes=5)
    budget = {"usd": 2.5, "tokens": 9000}
    assert sent == {"name": "Nightly build", "tenant": "acme", "scopes": ["read", "write"], "budget": budget, "rpm": 60}


def test_what_is_not_said_is_not_sent(devskyy: Command, platform: PlatformSimulator) -> None:
    made = devskyy("keys", "create", "ci", "--json").document
    assert platform.made("POST", "/api/v1/keys")[0].body == {"name": "ci"}
    assert (made["key"]["scopes"], made["secret"].startswith(f"dsk_{made['key']['id']}_")) == (["write"], True)


def test_keys_are_listed_with_what_they_may_and_their_state(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given no key, Then that is said
    assert "no key was ever made" in devskyy("keys", "list").out
    # Given one that may spend something, and one that is revoked
    devskyy("keys", "create", "ci", "--tokens-per-day", "5000")
    gone = devskyy("keys", "create", "old", "--json").document["key"]["id"]
    revoked = devskyy("keys", "revoke", gone)
    # When they are listed
    head, first, second = devskyy("keys", "list").out.splitlines()
    # Then each is a line with its state
    assert (revoked.code, f"key {gone} is revoked" in revoked.out) == (0, True)
    assert (head.split()[0], first.split()[0]) == ("Id", gone)
    assert "revoked 2" in first
    assert ("5,000 tokens" in second, "never" in second, second.split()[-1]) == (True, True, "valid")
    assert devskyy("keys", "list", "--json").document["keys"][0]["id"] == gone


def test_a_key_that_is_not_there_cannot_be_revoked(devskyy: Command, platform: PlatformSimulator) -> None:
    ran = devskyy("keys", "revoke", "nobody")
    assert (ran.code, "there is no key 'nobody'" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("ci", "--expires", "soon"), "--expires"),
        (("ci", "--tenant", "a b"), "tenant"),
        ((" ",), "name"),
        (("ci", "--usd-per-day", "inf"), "budget"),
    ],
)
def test_a_key_that_cannot_be_is_refused_before_anything_is_sent(
    devskyy: Command, platform: PlatformSimulator, words: tuple[str, ...], field: str
) -> None:
    ran = devskyy("keys", "create", *words)
    assert (ran.code, field in ran.err, platform.seen) == (2, True, [])


@given(st.integers(0, 9999), st.sampled_from(sorted(UNITS)))
def test_a_length_of_time_counts_from_now(count: int, unit: str) -> None:
    assert moment(f" {count}{unit}", NOON) - NOON == timedelta(**{UNITS[unit]: count})


def test_a_date_and_a_time_are_this_machines_and_a_zone_is_kept() -> None:
    assert moment("2027-01-31", NOON) == datetime(2027, 1, 31).astimezone()
    assert moment("2027-01-31T10:00:00+02:00", NOON) == datetime(2027, 1, 31, 8, tzinfo=UTC)


@given(st.text(max_size=20) | st.from_regex(r"[0-9]{1,8}[smhdwx]?", fullmatch=True))
def test_any_other_text_is_a_date_or_refused_by_name(text: str) -> None:
    try:
        found = moment(text, NOON)
    except InvalidRequest as error:
        assert error.field == "--expires"
    else:
        assert found.tzinfo is not None


# -- changing them -------------------------------------------------------------------------------------------------


def test_of_a_key_what_is_said_is_changed(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a key
    devskyy("keys", "create", "ci", "--rpm", "60")
    (key,) = platform.keys
    # When it may spend so much, and come as often as it likes
    ran = devskyy("keys", "update", key.id, "--usd-per-day", "5", "--rpm", "none", "--expires", "30d")
    # Then that alone is sent, and what it may now is told
    sent = platform.made("PATCH", f"/api/v1/keys/{key.id}")[0].body
    expires = datetime.fromisoformat(sent.pop("expires_at"))
    assert abs(expires - now() - timedelta(days=30)) < timedelta(minutes=5)
    assert sent == {"budget": {"usd": 5.0}, "rpm": None}
    assert (ran.code, f"key {key.id}: may write in tenant default, spend $5.00 a day, until " in ran.out) == (0, True)
    # When every limit is taken away
    words = ("--usd-per-day", "none", "--tokens-per-day", "none", "--expires", "never")
    assert devskyy("keys", "update", key.id, *words, "--json").code == 0
    sent = platform.made("PATCH", f"/api/v1/keys/{key.id}")[1].body
    assert sent == {"budget": {"usd": None, "tokens": None}, "expires_at": None}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "--usd-per-day"),
        (("--usd-per-day", "much"), "--usd-per-day"),
        (("--usd-per-day", "-1"), "budget.usd"),
        (("--tokens-per-day", "1.5"), "budget.tokens"),
        (("--rpm", "0"), "rpm"),
        (("--rpm", "1.5"), "rpm"),
        (("--expires", "soon"), "--expires"),
    ],
)
def test_a_bad_change_is_named_and_not_sent(
    devskyy: Command, platform: PlatformSimulator, words: tuple[str, ...], named: str
) -> None:
    ran = devskyy("keys", "update", "ci-1234", *words)
    assert (ran.code, named in ran.err) == (2, True)
    assert platform.seen == []


def test_roles_words_will_do_for_scopes(devskyy: Command, platform: PlatformSimulator) -> None:
    devskyy("keys", "create", "ci", "--scope", "viewer", "--scope", "operator")
    assert platform.made("POST", "/api/v1/keys")[0].body == {"name": "ci", "scopes": ["read", "write"]}

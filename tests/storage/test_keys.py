"""API keys in SQL, on SQLite and PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

import storage.keys
from schemas.budget import Budget
from schemas.errors import Conflict, NotFound
from schemas.key import KeyChange, NewKey, digest, id_of
from storage import Database, KeyRepository
from storage.tables import API_KEYS

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
ALL = NewKey(
    name="Nightly build",
    scopes=("read", "admin", "read"),
    expires_at=NOON + timedelta(days=30),
    budget=Budget(usd=2.5, tokens=10**15),
    rpm=600,
)


@pytest.fixture
def keys(database: Database) -> KeyRepository:
    return KeyRepository(database)


async def test_a_key_comes_back_as_it_was_made(keys: KeyRepository) -> None:
    # Given a key with all that it may have
    made = await keys.add(ALL, "acme")
    # When the keys are read
    (found,) = await keys.list()
    # Then it is there, each scope once
    assert found == made.key
    assert (found.name, found.tenant, found.scopes) == ("Nightly build", "acme", ("read", "admin"))
    assert (found.expires_at, found.budget, found.rpm) == (ALL.expires_at, ALL.budget, 600)
    assert (found.revoked_at, found.last_used_at) == (None, None)
    assert found.id.startswith("nightly-build-")


async def test_what_is_left_out_limits_nothing(keys: KeyRepository) -> None:
    made = await keys.add(NewKey(name="ci"), "default")
    assert (made.key.scopes, made.key.expires_at, made.key.budget, made.key.rpm) == (("write",), None, None, None)
    assert await keys.list() == (made.key,)


async def test_a_secret_is_kept_nowhere(keys: KeyRepository, database: Database) -> None:
    # Given a key
    made = await keys.add(NewKey(name="ci"), "default")
    # When everything that is kept of it is read
    async with database.begin() as connection:
        (row,) = (await connection.execute(API_KEYS.select())).all()
    # Then its secret is not there, nor the random part of it; its digest is
    assert made.secret.rpartition("_")[2] not in repr(tuple(row))
    assert (row.digest, id_of(made.secret)) == (digest(made.secret), made.key.id)
    assert made.secret not in repr(made)


async def test_two_keys_of_one_name_are_two_keys(keys: KeyRepository) -> None:
    one, two = await asyncio.gather(*(keys.add(NewKey(name="ci"), "default") for _ in range(2)))
    assert one.key.id != two.key.id
    assert one.secret != two.secret


async def test_an_id_that_is_taken_is_not_given_again(keys: KeyRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a key, and chance that brings its id once more
    first = await keys.add(NewKey(name="ci"), "default")
    ids = [first.key.id, "ci-00000001"]
    monkeypatch.setattr(storage.keys, "new_id", lambda _: ids.pop(0))
    # When another is made, Then it has another id, and the first keeps its secret
    second = await keys.add(NewKey(name="ci"), "default")
    assert second.key.id == "ci-00000001"
    assert (await keys.load()).by_id[first.key.id].digest == digest(first.secret)
    # And where chance never brings another, it is an error
    monkeypatch.setattr(storage.keys, "new_id", lambda _: first.key.id)
    with pytest.raises(IntegrityError):
        await keys.add(NewKey(name="ci"), "default")


async def test_what_may_be_used_is_told_apart_from_what_was(keys: KeyRepository) -> None:
    # Given no key
    assert ((await keys.load()).by_id, (await keys.load()).made) == ({}, 0)
    # When there are one that has expired, and one that was revoked
    expired = await keys.add(NewKey(name="old", expires_at=NOON - timedelta(days=900)), "default")
    revoked = await keys.add(NewKey(name="ci"), "default")
    await keys.revoke(revoked.key.id)
    # Then the first is there, for its expiry is looked at on each use
    assert set((await keys.load()).by_id) == {expired.key.id}
    # And that there ever was a key is known also when none is left
    await keys.revoke(expired.key.id)
    assert ((await keys.load()).by_id, (await keys.load()).made) == ({}, 2)


async def test_keys_are_read_again_only_when_one_was_made_or_revoked(keys: KeyRepository) -> None:
    # Given keys that were read, of which one was used since
    made = await keys.add(NewKey(name="ci"), "default")
    known = await keys.load()
    await keys.used([made.key.id], NOON)
    # When they are looked at again, Then they are as they were
    assert await keys.load(known) is known
    # And one that is made, and one that is revoked, are seen; also both at once
    await keys.add(NewKey(name="ci"), "default")
    more = await keys.load(known)
    assert len(more.by_id) == 2
    await keys.revoke(made.key.id)
    await keys.add(NewKey(name="ci"), "default")
    assert made.key.id not in (await keys.load(more)).by_id


async def test_a_revoked_key_stays_as_it_was_revoked_first(keys: KeyRepository) -> None:
    made = await keys.add(NewKey(name="ci"), "default")
    first = await keys.revoke(made.key.id)
    again = await keys.revoke(made.key.id)
    assert first.revoked_at is not None
    assert again == first == (await keys.list())[0]


async def test_a_tenant_has_only_its_own_keys(keys: KeyRepository) -> None:
    # Given a key of each of two tenants
    ours, theirs = await keys.add(NewKey(name="a"), "acme"), await keys.add(NewKey(name="b"), "other")
    # When one lists and revokes, Then it sees and reaches its own
    assert await keys.list("acme") == (ours.key,)
    with pytest.raises(NotFound):
        await keys.revoke(theirs.key.id, "acme")
    with pytest.raises(NotFound):
        await keys.revoke("nobody")
    assert set((await keys.load()).by_id) == {ours.key.id, theirs.key.id}
    assert (await keys.revoke(theirs.key.id, "other")).revoked_at is not None


async def test_keys_are_listed_newest_first(keys: KeyRepository) -> None:
    made = [(await keys.add(NewKey(name=f"n{number}"), "default")).key for number in range(3)]
    assert await keys.list() == tuple(reversed(made))


async def test_last_use_is_noted_for_the_keys_that_were_used(keys: KeyRepository) -> None:
    one, two, three = [(await keys.add(NewKey(name="ci"), "default")).key.id for _ in range(3)]
    await keys.used([one, three], NOON)
    assert {key.id: key.last_used_at for key in await keys.list()} == {one: NOON, two: None, three: NOON}


# -- changing them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "budget", "rpm"),
    [
        ({"rpm": 5}, Budget(usd=2.5, tokens=10**15), 5),
        ({"rpm": None}, Budget(usd=2.5, tokens=10**15), None),
        ({"budget": {"usd": 9}}, Budget(usd=9, tokens=10**15), 600),
        ({"budget": {"usd": None}}, Budget(tokens=10**15), 600),
        ({"budget": {"usd": None, "tokens": None}}, None, 600),
        ({"budget": None, "rpm": 1}, None, 1),
        ({"budget": {}}, Budget(usd=2.5, tokens=10**15), 600),
    ],
)
async def test_of_a_key_only_what_is_named_is_changed(
    keys: KeyRepository, change: dict[str, object], budget: Budget | None, rpm: int | None
) -> None:
    # Given a key with all that it may have
    made = await keys.add(ALL, "acme")
    # When something of it is changed
    changed = await keys.change(made.key.id, KeyChange.model_validate(change))
    # Then that is other, and nothing else
    assert changed == made.key.model_copy(update={"budget": budget, "rpm": rpm})
    assert await keys.list() == (changed,)


async def test_a_key_that_was_changed_is_read_again(keys: KeyRepository) -> None:
    # Given keys as they were read
    made = await keys.add(ALL, "acme")
    before = await keys.load()
    assert await keys.load(before) is before
    # When one is changed, twice to the same
    for _ in range(2):
        await keys.change(made.key.id, KeyChange(expires_at=None))
    # Then whoever looks again is told
    after = await keys.load(before)
    assert after is not before
    assert after.by_id[made.key.id].key.expires_at is None
    assert await keys.load(after) is after


async def test_a_key_of_another_tenant_or_one_that_is_revoked_is_not_changed(keys: KeyRepository) -> None:
    made = await keys.add(ALL, "acme")
    with pytest.raises(NotFound):
        await keys.change(made.key.id, KeyChange(rpm=1), "default")
    with pytest.raises(NotFound):
        await keys.change("nobody", KeyChange(rpm=1))
    revoked = await keys.revoke(made.key.id)
    with pytest.raises(Conflict, match="is revoked"):
        await keys.change(made.key.id, KeyChange(rpm=1))
    assert await keys.list() == (revoked,)

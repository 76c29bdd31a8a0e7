"""The keys in memory: how soon a change is seen, how few looks that takes, and what holds without a database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.errors import NotAuthenticated, Unavailable
from schemas.key import CreatedKey, NewKey, new_secret
from schemas.message import now
from serve import keyring
from serve.caller import ANYBODY
from serve.keyring import FRESH_S, RENEW_S, STALE_S, Keyring
from storage import Database, KeptKeys, KeyRepository

CI = NewKey(name="ci")


class Cabinet(KeyRepository):
    """Keys in a real database, which can be out of reach, and be slow."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.looks = 0
        self.away = False
        self.slow: asyncio.Event | None = None

    async def load(self, known: KeptKeys | None = None) -> KeptKeys:
        self.looks += 1
        if self.slow is not None:
            await self.slow.wait()
        if self.away:
            raise Unavailable("the database is away")
        return await super().load(known)


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[Cabinet]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'devskyy.db'}")
    await database.migrate()
    yield Cabinet(database)
    await database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ring(keys: Cabinet, clock: Clock) -> AsyncIterator[Keyring]:
    """The keys of a replica of the door; whatever is done to `keys` another one does."""
    ring = Keyring(keys, None, open_without_keys=True, clock=clock)
    await ring.look()
    yield ring
    await ring.close()


async def let_in(ring: Keyring, secret: str | None) -> bool:
    try:
        await ring.caller(secret)
    except NotAuthenticated:
        return False
    return True


async def settled(ring: Keyring) -> None:
    """Once a look beside a request is over."""
    if ring._renewing is not None:
        await ring._renewing


async def add(keys: Cabinet, ring: Keyring, new: NewKey = CI) -> CreatedKey:
    made = await keys.add(new, "acme")
    await ring.look()
    return made


async def test_a_key_is_whose_it_says(keys: Cabinet, ring: Keyring) -> None:
    made = await add(keys, ring, NewKey(name="ci", scopes=("admin",), rpm=7))
    found = await ring.caller(made.secret)
    assert (found.tenant, found.key, found.rpm, found.everywhere) == ("acme", made.key.id, 7, False)
    assert found.scopes == {"read", "write", "admin"}


async def test_recognising_a_key_costs_no_look(keys: Cabinet, ring: Keyring) -> None:
    made, looks = await add(keys, ring), keys.looks
    for _ in range(100):
        await ring.caller(made.secret)
    assert keys.looks == looks


async def test_a_key_that_was_just_made_elsewhere_is_known_at_once(keys: Cabinet, ring: Keyring, clock: Clock) -> None:
    # Given a replica that knows a key
    await add(keys, ring)
    # When another is made elsewhere, and used here half a second later
    made, clock.at = await keys.add(CI, "acme"), clock.at + 0.5
    # Then it is let in
    assert await let_in(ring, made.secret)


async def test_who_tries_keys_at_random_causes_few_looks(keys: Cabinet, ring: Keyring, clock: Clock) -> None:
    # Given somebody who tries a thousand keys within a second, some at once
    await add(keys, ring)
    looks = keys.looks
    for _ in range(100):
        clock.at += 0.01
        assert not any(await asyncio.gather(*(let_in(ring, new_secret("ci-00000000")) for _ in range(10))))
    # Then the database is asked four times at most
    assert keys.looks - looks <= 4


async def test_what_is_no_key_of_ours_causes_no_look(keys: Cabinet, ring: Keyring, clock: Clock) -> None:
    await add(keys, ring)
    looks, clock.at = keys.looks, clock.at + 1
    assert not await let_in(ring, "sk-anything")
    assert not await let_in(ring, None)
    assert keys.looks == looks


async def test_a_key_revoked_elsewhere_is_refused_within_five_seconds(
    keys: Cabinet, ring: Keyring, clock: Clock
) -> None:
    # Given a key that another replica revokes
    made = await add(keys, ring)
    await keys.revoke(made.key.id)
    # When it is used again and again
    clock.at += RENEW_S - 0.1
    assert await let_in(ring, made.secret)
    # Then the look beside a request finds it out, or at the latest the one before a request
    clock.at += 0.2
    assert await let_in(ring, made.secret)
    await settled(ring)
    assert not await let_in(ring, made.secret)
    assert FRESH_S + keyring.WAIT_S <= 5


async def test_the_first_request_after_a_pause_waits_for_the_look(keys: Cabinet, ring: Keyring, clock: Clock) -> None:
    made = await add(keys, ring)
    await keys.revoke(made.key.id)
    clock.at += FRESH_S
    assert not await let_in(ring, made.secret)


async def test_a_look_beside_requests_holds_nobody_up_and_is_made_once(
    keys: Cabinet, ring: Keyring, clock: Clock
) -> None:
    # Given a database that takes its time
    made, keys.slow, clock.at = await add(keys, ring), asyncio.Event(), clock.at + RENEW_S
    looks = keys.looks
    # When many come at once, Then they are let in meanwhile, and one look is made
    assert all(await asyncio.gather(*(let_in(ring, made.secret) for _ in range(50))))
    keys.slow.set()
    await settled(ring)
    assert keys.looks == looks + 1


async def test_the_first_key_shuts_the_door_of_every_replica(keys: Cabinet, ring: Keyring, clock: Clock) -> None:
    # Given an open door
    assert await ring.caller("whatever") == ANYBODY
    # When the first key is made elsewhere, Then it is shut here soon
    await keys.add(CI, "acme")
    clock.at += FRESH_S
    assert not await let_in(ring, "whatever")
    assert not await let_in(ring, None)


async def test_without_the_database_keys_work_on_for_a_while(keys: Cabinet, ring: Keyring, clock: Clock) -> None:
    # Given a key, and a database that goes away
    made = await add(keys, ring)
    keys.away = True
    # When time passes, Then the key is let in, and a wrong one is not
    for _ in range(3):
        clock.at += STALE_S / 4
        assert await let_in(ring, made.secret)
        assert not await let_in(ring, new_secret(made.key.id))
        await settled(ring)
    # And after a quarter of an hour nobody is
    clock.at += STALE_S / 4 + 1
    with pytest.raises(Unavailable):
        await ring.caller(made.secret)
    # Until the database is back
    await settled(ring)
    keys.away, clock.at = False, clock.at + RENEW_S
    with pytest.raises(Unavailable):
        await ring.caller(made.secret)
    await settled(ring)
    assert await let_in(ring, made.secret)


async def test_a_database_that_is_known_to_be_away_holds_nobody_up(keys: Cabinet, ring: Keyring, clock: Clock) -> None:
    # Given a database that was found to be away, and now does not even say so
    made, keys.away = await add(keys, ring), True
    clock.at += FRESH_S
    assert await let_in(ring, made.secret)
    keys.slow, clock.at = asyncio.Event(), clock.at + FRESH_S
    # When somebody comes, Then they do not wait for it
    began = asyncio.get_running_loop().time()
    assert await let_in(ring, made.secret)
    assert asyncio.get_running_loop().time() - began < keyring.WAIT_S / 2
    keys.slow.set()


async def test_an_expiry_is_kept_to_the_moment_without_a_look(
    keys: Cabinet, ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a key that expires in an hour
    expires = now() + timedelta(hours=1)
    made = await add(keys, ring, NewKey(name="ci", expires_at=expires))
    looks = keys.looks
    # When it is used right before that, and right then
    found = []
    for later_s in (-0.001, 0.0):
        monkeypatch.setattr(keyring, "time", SimpleNamespace(time=lambda: expires.timestamp() + later_s))  # noqa: B023
        found.append((await let_in(ring, made.secret), len(ring.keys)))
    # Then it is let in before, and not then
    assert (found, keys.looks) == ([(True, 1), (False, 0)], looks)


async def test_a_keys_last_use_is_noted_once_a_minute_at_most(keys: Cabinet, ring: Keyring) -> None:
    # Given two keys, of which one is used
    used, idle = await add(keys, ring), await add(keys, ring)
    await ring.caller(used.secret)
    # When the keys are looked at, and it is used again
    await ring.look()
    first = {key.id: key.last_used_at for key in await keys.list()}
    await ring.look()
    await ring.caller(used.secret)
    await ring.look()
    # Then its use was noted, once, and the other's was not
    assert first[used.key.id] is not None
    assert first[idle.key.id] is None
    assert {key.id: key.last_used_at for key in await keys.list()} == first

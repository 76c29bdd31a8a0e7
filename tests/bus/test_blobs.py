"""Payloads in the object store of a real server."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from nats.js.object_store import ObjectStore

from bus.blobs import H_REF, TRAVEL_LIMIT
from bus.client import Bus
from bus.streams import KEEP_S, PAYLOADS, REQUESTS
from schemas.errors import DecodeError
from schemas.message import now

LARGE = b"x" * (TRAVEL_LIMIT + 1)


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were really written."""
    written: list[str] = []
    put = ObjectStore.put

    async def note(store: ObjectStore, name: str, *args: Any, **kwargs: Any) -> Any:
        written.append(name)
        return await put(store, name, *args, **kwargs)

    monkeypatch.setattr(ObjectStore, "put", note)
    return written


@pytest.mark.parametrize("bucket", [PAYLOADS, REQUESTS])
async def test_what_is_there_is_not_stored_again(bus: Bus, puts: list[str], bucket: str) -> None:
    names = [await bus.blobs.put(LARGE, bucket) for _ in range(3)]
    assert len(set(names)) == len(puts) == 1
    assert await bus.blobs.get(names[0]) == LARGE


async def test_what_may_grow_too_old_before_its_reference_is_stored_again(
    bus: Bus, puts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a payload past half of its time
    name = await bus.blobs.put(LARGE)
    later = now() + timedelta(seconds=KEEP_S * 0.6)
    monkeypatch.setattr("bus.blobs.now", lambda: later)
    # When it is needed again
    assert await bus.blobs.put(LARGE) == name
    # Then its time begins anew
    assert puts == [name, name]
    assert await bus.blobs.get(name) == LARGE


async def test_the_bucket_of_requests_is_made_by_whoever_needs_it_first(bus: Bus) -> None:
    many = [bytes([number]) * (TRAVEL_LIMIT + 1) for number in range(8)]
    names = await asyncio.gather(*(bus.blobs.put(data, REQUESTS) for data in many))
    assert [await bus.blobs.get(name) for name in names] == many
    assert (await bus.js.stream_info("OBJ_requests")).config.max_bytes


async def test_a_reference_names_its_bucket(bus: Bus) -> None:
    headers: dict[str, str] = {}
    assert await bus.blobs.offload(LARGE, headers, REQUESTS) == b""
    assert headers[H_REF].startswith("requests/")
    assert await bus.blobs.unwrap(b"", headers) == LARGE


@pytest.mark.parametrize("name", ["0" * 64, "requests/" + "0" * 64, "a.b/c", "/"])
async def test_a_name_that_stands_for_nothing_cannot_be_decoded(bus: Bus, name: str) -> None:
    with pytest.raises(DecodeError, match="there is none named"):
        await bus.blobs.get(name)

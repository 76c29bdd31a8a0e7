"""Vectors on a real server: kept for a day, apart from other payloads, and given up where there is no room."""

import pytest

from bus.client import Bus
from bus.streams import PAYLOADS, VECTORS
from bus.vectors import Vectors


@pytest.fixture
def vectors(bus: Bus) -> Vectors:
    return Vectors(bus)


async def test_vectors_come_back_as_they_were(vectors: Vectors) -> None:
    packed = bytes(range(256)) * 4000
    name = await vectors.put(packed)
    assert name is not None
    assert await vectors.get(name) == packed


async def test_vectors_that_are_gone_are_none(vectors: Vectors) -> None:
    assert await vectors.get(f"{VECTORS}/{'0' * 64}") is None
    await vectors.put(b"something")
    assert await vectors.get(f"{VECTORS}/{'0' * 64}") is None


async def test_they_crowd_out_no_other_payload(bus: Bus, vectors: Vectors) -> None:
    await vectors.put(b"something")
    theirs, others = [await bus.js.stream_info(f"OBJ_{name}") for name in (VECTORS, PAYLOADS)]
    assert theirs.config.max_age == 86_400
    assert theirs.config.max_bytes == (others.config.max_bytes or 0) // 2
    assert others.state.messages == 0


async def test_where_there_is_no_room_nothing_fails(bus: Bus, vectors: Vectors) -> None:
    await vectors.put(b"something")
    config = (await bus.js.stream_info(f"OBJ_{VECTORS}")).config
    config.max_bytes = 4096
    await bus.js.update_stream(config)
    assert await vectors.put(b"x" * 100_000) is None

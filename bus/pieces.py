"""What is too large to travel, for those who have no JetStream: the gateway reads and writes the object store for them.

Whoever may ask JetStream decides where its answer goes, and JetStream may publish anywhere: what was stored before, on
the subject of a task's event, for example. So those who hold what models wrote ask here instead.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import Field

from bus.blobs import PATIENCE_S, Blobs, Bodies, checked
from bus.desk import Endpoint
from bus.streams import PAYLOADS, REQUESTS
from bus.subjects import Payload
from schemas.errors import DecodeError
from schemas.message import Message

PIECE_BYTES = 128 * 1024
"""As much as a chunk of the object store; far less than what may travel."""

FETCH, KEEP = Payload("fetch"), Payload("keep")

Request = Callable[..., Awaitable[Any]]
"""`Bus.request`."""


class Fetch(Message):
    """Asks for the next piece of a payload."""

    name: str
    after: int = Field(default=0, ge=0)
    """The place of the piece before it; 0 for the first."""


class Piece(Message):
    """A piece of a payload."""

    data: bytes
    place: int
    pieces: int
    """Of the whole payload."""


class Keep(Message):
    """Brings a piece of a payload; with the last one it gets its name."""

    upload: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Random: only who knows it can add to what is being brought."""
    index: int = Field(ge=0)
    data: bytes = Field(max_length=PIECE_BYTES)
    name: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """The SHA-256 of the whole, with its last piece."""
    size: int = Field(default=0, ge=0)
    """Bytes of the whole, with its last piece."""


class Kept(Message):
    """What to ask for later; None until the last piece is there."""

    name: str | None = None


class Pieces(Bodies):
    """The side of those who ask."""

    def __init__(self, request: Request) -> None:
        self._request = request

    async def put(self, data: bytes, bucket: str = PAYLOADS) -> str:
        """Have bytes of a request or an answer kept, and return their name.

        Raises:
            BusUnavailable, ResponderLost, DeadlineExceeded: they were not.
        """
        upload, name = secrets.token_hex(16), hashlib.sha256(data).hexdigest()
        pieces = [data[first : first + PIECE_BYTES] for first in range(0, len(data), PIECE_BYTES)]
        kept = Kept()
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            keep = Keep(upload=upload, index=index, data=piece, name=name if last else None, size=len(data))
            kept = await self._request(KEEP, keep, Kept, timeout_s=PATIENCE_S)
        assert kept.name is not None
        return kept.name

    async def get(self, name: str) -> bytes:
        """The bytes behind a name.

        Raises:
            DecodeError: there is no such payload; it may have grown too old.
            BusUnavailable, ResponderLost, DeadlineExceeded: it was not read.
        """
        data, place, missing = bytearray(), 0, 1
        while missing:
            piece = await self._request(FETCH, Fetch(name=name, after=place), Piece, timeout_s=PATIENCE_S)
            missing = piece.pieces - 1 if place == 0 else missing - 1
            place = piece.place
            data += piece.data
        return checked(name, bytes(data))


def endpoints(blobs: Callable[[], Blobs]) -> list[Endpoint]:
    """The side of whoever has JetStream. Only bodies of requests and answers are to be had here."""

    async def fetch(ask: Fetch) -> Piece:
        if not ask.name.startswith(f"{REQUESTS}/"):
            raise DecodeError("payload", f"{ask.name} is no body of a request", b"")
        chunk = await blobs().chunk(ask.name, ask.after)
        return Piece(data=chunk.data, place=chunk.place, pieces=chunk.chunks)

    async def keep(ask: Keep) -> Kept:
        await blobs().add_chunk(ask.upload, ask.index, ask.data, REQUESTS)
        if ask.name is None:
            return Kept()
        return Kept(name=await blobs().finish(ask.upload, ask.name, ask.size, ask.index + 1, REQUESTS))

    return [
        Endpoint("fetch", str(FETCH), Fetch, fetch, concurrency=256),
        Endpoint("keep", str(KEEP), Keep, keep, concurrency=256),
    ]

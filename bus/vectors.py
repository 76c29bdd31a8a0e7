"""Vectors that were paid for, so that whoever asks again need not pay again. A day's worth, in a store of their own.

They may not crowd out what other payloads are for: an index of a million texts has six gigabytes of vectors.
"""

import structlog

from bus.client import Bus
from bus.streams import VECTORS
from schemas.errors import BusUnavailable, DecodeError

log = structlog.get_logger()


class Vectors:
    """Vectors by name, as they were packed."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def put(self, packed: bytes) -> str | None:
        """Keep vectors and return their name; None where there is no room for them, which is no reason to fail."""
        try:
            return await self._bus.blobs.put(packed, VECTORS)
        except BusUnavailable as error:
            log.warning("vectors are not kept; whoever asks for them again pays again", error=str(error))
            return None

    async def get(self, name: str) -> bytes | None:
        """The vectors of that name; None when they are gone.

        Raises:
            BusUnavailable: the store did not answer.
        """
        try:
            return await self._bus.blobs.get(name)
        except DecodeError:
            return None

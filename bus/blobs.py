"""What is too large to travel lies in the object store, and a reference travels instead."""

import asyncio
import hashlib
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from bus.streams import PAYLOADS
from schemas.errors import BusUnavailable, DecodeError

TRAVEL_LIMIT = 256 * 1024
H_REF = "Devskyy-Ref"
PATIENCE_S = 30.0
"""For one payload to come out of the store."""


class Blobs:
    """Content-addressed payloads: the name is the SHA-256 of the bytes, so storing twice stores once."""

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def put(self, data: bytes) -> str:
        """Store bytes and return their name.

        Raises:
            BusUnavailable: they were not stored.
        """
        name = hashlib.sha256(data).hexdigest()
        try:
            store = await self._js.object_store(PAYLOADS)
            await store.put(name, data)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"a payload of {len(data):,} bytes was not stored: {error!r}") from error
        return name

    async def get(self, name: str) -> bytes:
        """The bytes behind a name.

        Raises:
            DecodeError: there is no such payload; it may have grown too old.
            BusUnavailable: the store did not answer.
        """
        try:
            # nats-py waits for ever for a chunk that a broken connection dropped.
            async with asyncio.timeout(PATIENCE_S):
                store = await self._js.object_store(PAYLOADS)
                return (await store.get(name)).data or b""
        except NotFoundError:
            raise DecodeError("payload", f"there is none named {name}; it may have grown too old", b"") from None
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"payload {name} was not read: {error!r}") from error

    async def offload(self, body: bytes, headers: dict[str, Any]) -> bytes:
        """The body as it may travel: itself, or empty with its name set in `headers`."""
        if len(body) <= TRAVEL_LIMIT:
            return body
        headers[H_REF] = await self.put(body)
        return b""

    async def load(self, msg: Msg) -> bytes:
        """The body that a message stands for."""
        return await self.unwrap(msg.data, msg.headers)

    async def unwrap(self, body: bytes, headers: dict[str, Any] | None) -> bytes:
        """The body that travelled, or the one that its headers name."""
        name = (headers or {}).get(H_REF)
        return body if name is None else await self.get(name)

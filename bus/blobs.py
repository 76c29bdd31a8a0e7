"""What is too large to travel lies in the object store, and a reference travels instead."""

import asyncio
import hashlib
from datetime import datetime, timedelta
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, InvalidBucketNameError, NotFoundError
from nats.js.object_store import ObjectStore

from bus.streams import KEEP_S, PAYLOADS, STORES, store_config
from schemas.errors import BusUnavailable, DecodeError
from schemas.message import now

TRAVEL_LIMIT = 256 * 1024
H_REF = "Devskyy-Ref"
PATIENCE_S = 30.0
"""For one payload to come out of the store."""
_KEEP_S = {PAYLOADS: KEEP_S, **STORES}


class Blobs:
    """Content-addressed payloads: a name is the SHA-256 of the bytes, after that of a bucket other than `payloads`, and
    after that of an owner, where there is one.

    What is there is not stored again: that would replace its chunks, and a reader in the midst of them would wait in
    vain. Only past half of its time is it, so that a reference never outlives what it refers to.
    """

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def put(self, data: bytes, bucket: str = PAYLOADS, owner: str | None = None) -> str:
        """Store bytes and return their name. With an owner they are its own, also where another has the same.

        Raises:
            BusUnavailable: they were not stored.
        """
        digest = "".join((f"{owner}." if owner else "", hashlib.sha256(data).hexdigest()))
        try:
            store = await self._store(bucket)
            if not await _is_there(store, digest, _KEEP_S[bucket] / 2):
                await store.put(digest, data)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"a payload of {len(data):,} bytes was not stored: {error!r}") from error
        return digest if bucket == PAYLOADS else f"{bucket}/{digest}"

    async def replace(self, name: str, data: bytes, bucket: str) -> str:
        """Store bytes under a name of the caller's, in place of those that had it, and return what to ask for.

        Raises:
            BusUnavailable: they were not stored.
        """
        try:
            await (await self._store(bucket)).put(name, data)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"{name} of {len(data):,} bytes was not stored: {error!r}") from error
        return f"{bucket}/{name}"

    async def _store(self, bucket: str) -> ObjectStore:
        try:
            return await self._js.object_store(bucket)
        except NotFoundError:
            if bucket == PAYLOADS:
                raise
        payloads = await self._js.stream_info(f"OBJ_{PAYLOADS}")
        await self._js.add_stream(store_config(bucket, payloads.config))
        return await self._js.object_store(bucket)

    async def get(self, name: str) -> bytes:
        """The bytes behind a name.

        Raises:
            DecodeError: there is no such payload; it may have grown too old.
            BusUnavailable: the store did not answer.
        """
        try:
            # nats-py waits for ever for a chunk that a broken connection dropped.
            async with asyncio.timeout(PATIENCE_S):
                bucket, _, digest = name.rpartition("/")
                store = await self._js.object_store(bucket or PAYLOADS)
                return (await store.get(digest)).data or b""
        except (NotFoundError, InvalidBucketNameError):
            raise DecodeError("payload", f"there is none named {name}; it may have grown too old", b"") from None
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"payload {name} was not read: {error!r}") from error

    async def holds(self, name: str) -> bool:
        """Whether there is a payload of that name among those that are kept.

        Raises:
            BusUnavailable: the store did not answer.
        """
        try:
            return await _is_there(await self._store(PAYLOADS), name, _KEEP_S[PAYLOADS])
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"payload {name} was not looked for: {error!r}") from error

    async def offload(self, body: bytes, headers: dict[str, Any], bucket: str = PAYLOADS) -> bytes:
        """The body as it may travel: itself, or empty with its name set in `headers`."""
        if len(body) <= TRAVEL_LIMIT:
            return body
        headers[H_REF] = await self.put(body, bucket)
        return b""

    async def load(self, msg: Msg) -> bytes:
        """The body that a message stands for."""
        return await self.unwrap(msg.data, msg.headers)

    async def unwrap(self, body: bytes, headers: dict[str, Any] | None) -> bytes:
        """The body that travelled, or the one that its headers name."""
        name = (headers or {}).get(H_REF)
        return body if name is None else await self.get(name)


async def _is_there(store: ObjectStore, digest: str, age_s: float) -> bool:
    try:
        stored_at = (await store.get_info(digest)).mtime
    except NotFoundError:
        return False
    return stored_at is not None and datetime.fromisoformat(stored_at) > now() - timedelta(seconds=age_s)

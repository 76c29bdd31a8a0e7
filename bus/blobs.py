"""What is too large to travel lies in the object store, and a reference travels instead."""

import abc
import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, InvalidBucketNameError, NotFoundError
from nats.js.object_store import ObjectStore

from bus.streams import KEEP_S, PAYLOADS, STATES, store_config
from bus.subjects import token
from schemas.errors import BusUnavailable, DecodeError
from schemas.message import now

TRAVEL_LIMIT = 256 * 1024
H_REF = "Devskyy-Ref"
PATIENCE_S = 30.0
"""For one payload to come out of the store."""


class Bodies(abc.ABC):
    """Lets bodies travel by reference."""

    @abc.abstractmethod
    async def put(self, data: bytes, bucket: str = PAYLOADS) -> str: ...

    @abc.abstractmethod
    async def get(self, name: str) -> bytes: ...

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


@dataclass(frozen=True)
class Chunk:
    """One of the messages that a payload lies in."""

    data: bytes
    place: int
    """In the stream; the next lies after it."""
    chunks: int
    """Of the whole payload."""


class Blobs(Bodies):
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
            store, keep_s = await self._store(bucket)
            if not await _is_there(store, digest, keep_s / 2):
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
            store, _ = await self._store(bucket)
            await store.put(name, data)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"{name} of {len(data):,} bytes was not stored: {error!r}") from error
        return f"{bucket}/{name}"

    async def keep_s(self, bucket: str = PAYLOADS) -> float:
        """How long a store keeps what is in it.

        Raises:
            BusUnavailable: the store did not answer.
        """
        try:
            return (await self._store(bucket))[1]
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"the store {bucket} was not found: {error!r}") from error

    async def _store(self, bucket: str) -> tuple[ObjectStore, float]:
        """A store, which is made where it is missing, and how long it keeps what is in it."""
        stream = f"OBJ_{bucket}"
        try:
            info = await self._js.stream_info(stream)
        except NotFoundError:
            if bucket == PAYLOADS:
                raise
            payloads = await self._js.stream_info(f"OBJ_{PAYLOADS}")
            info = await self._js.add_stream(store_config(bucket, payloads.config))
        return ObjectStore(bucket, stream, self._js), info.config.max_age or KEEP_S

    async def get(self, name: str) -> bytes:
        """The bytes behind a name.

        Raises:
            DecodeError: there is no such payload; it may have grown too old.
            BusUnavailable: the store did not answer.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                store, info = await self._info(name)
                data, place = bytearray(), 0
                for _ in range(info.chunks or 0):
                    msg = await self._next(store, info, place)
                    data += msg.data or b""
                    place = msg.seq or 0
        except (NotFoundError, InvalidBucketNameError):
            raise _missing(name) from None
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"payload {name} was not read: {error!r}") from error
        return checked(name, bytes(data))

    async def chunk(self, name: str, after: int) -> Chunk:
        """The first chunk of a payload that lies behind `after` in its stream.

        Raises:
            DecodeError, BusUnavailable: see `get`.
        """
        try:
            store, info = await self._info(name)
            msg = await self._next(store, info, after)
            return Chunk(msg.data or b"", msg.seq or 0, info.chunks or 0)
        except (NotFoundError, InvalidBucketNameError):
            raise _missing(name) from None
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"payload {name} was not read: {error!r}") from error

    async def erase(self, name: str) -> bool:
        """Delete the bytes behind a name, and return whether there were any. Of the name itself a mark is left.

        Raises:
            BusUnavailable: they may still be there.
        """
        bucket, _, digest = name.rpartition("/")
        try:
            await (await self._js.object_store(bucket or PAYLOADS)).delete(digest)
        except NotFoundError:
            return False
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"payload {name} was not erased: {error!r}") from error
        return True

    async def _info(self, name: str) -> tuple[str, api.ObjectInfo]:
        bucket, _, digest = name.rpartition("/")
        store = await self._js.object_store(bucket or PAYLOADS)
        return bucket or PAYLOADS, await store.get_info(digest)

    async def _next(self, bucket: str, info: api.ObjectInfo, after: int) -> api.RawStreamMsg:
        """The next chunk. nats-py's own reading takes a consumer, and whoever may make one can have it deliver to any
        subject."""
        stream, chunks = f"OBJ_{bucket}", f"$O.{bucket}.C.{info.nuid}"
        try:
            return await self._js.get_msg(stream, after + 1, chunks, direct=True, next=True)
        except NotFoundError:  # of a cluster this server may not have it yet
            return await self._js.get_msg(stream, after + 1, chunks, next=True)

    async def add_chunk(self, upload: str, index: int, data: bytes, bucket: str) -> None:
        """Write a part of a payload that somebody brings piece by piece, once for each index.

        Raises:
            BusUnavailable: it was not stored.
        """
        try:
            subject, once = f"$O.{bucket}.C.{token(upload)}", {"Nats-Msg-Id": f"{upload}.{index}"}
            await self._store(bucket)
            await self._js.publish(subject, data, headers=once)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"a piece of a payload was not stored: {error!r}") from error

    async def finish(self, upload: str, name: str, size: int, chunks: int, bucket: str) -> str:
        """Name a payload whose chunks are all there, and return what to ask for. One of that name stays as it is; what
        was brought instead goes when its time is over.

        Args:
            name: the SHA-256 of its bytes; whoever reads it checks that.

        Raises:
            BusUnavailable: it was not stored.
        """
        try:
            store, keep_s = await self._store(bucket)
            if not await _is_there(store, name, keep_s / 2):
                digest = base64.urlsafe_b64encode(bytes.fromhex(name)).decode()
                info = api.ObjectInfo(
                    name=name,
                    bucket=bucket,
                    nuid=token(upload),
                    size=size,
                    chunks=chunks,
                    digest=f"SHA-256={digest}",
                    mtime=now().isoformat(),
                    options=api.ObjectMetaOptions(),
                )
                subject = f"$O.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"
                rollup = {"Nats-Rollup": "sub"}
                await self._js.publish(subject, json.dumps(info.as_dict()).encode(), headers=rollup)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"a payload of {size:,} bytes was not stored: {error!r}") from error
        return f"{bucket}/{name}"

    async def holds(self, name: str) -> bool:
        """Whether there is a payload of that name among those that are kept.

        Raises:
            BusUnavailable: the store did not answer.
        """
        try:
            store, keep_s = await self._store(PAYLOADS)
            return await _is_there(store, name, keep_s)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"payload {name} was not looked for: {error!r}") from error


def checked(name: str, data: bytes) -> bytes:
    """What was read, if it is what its name says.

    Raises:
        DecodeError: it is not; whoever stored it gave it another's name, or something of it is lost.
    """
    bucket, _, digest = name.rpartition("/")
    if bucket != STATES and hashlib.sha256(data).hexdigest() != digest.rpartition(".")[2]:
        raise DecodeError("payload", f"{name} is not what its name says", b"")
    return data


def _missing(name: str) -> DecodeError:
    return DecodeError("payload", f"there is none named {name}; it may have grown too old", b"")


async def _is_there(store: ObjectStore, digest: str, age_s: float) -> bool:
    try:
        stored_at = (await store.get_info(digest)).mtime
    except NotFoundError:
        return False
    return stored_at is not None and datetime.fromisoformat(stored_at) > now() - timedelta(seconds=age_s)

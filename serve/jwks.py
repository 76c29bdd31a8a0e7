"""The public keys of whoever makes tokens, from a URL or a file, kept in memory."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import structlog
from jwt import PyJWK, PyJWTError

from schemas.errors import Unavailable

ALGORITHMS = frozenset({"RS256", "ES256"})
FRESH_S = 300.0
"""The age at which keys are looked at again: one that its maker takes back is refused after it."""
STALE_S = 86_400.0
"""The age after which keys that could not be looked at again are trusted no more."""
MISS_S = 30.0
"""A kid that is not known may be new: then they are looked at again, but only so often, whoever makes kids up."""
WAIT_S = 5.0
MOST_BYTES = 1_000_000

log = structlog.get_logger()


class KeySet:
    """One for each replica of the door."""

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            source: an http(s) URL, or a file's path.
        """
        self._source, self._clock = source, clock
        self._keys: tuple[PyJWK, ...] = ()
        self._read_at = self._tried_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def key(self, algorithm: str, kid: str | None) -> PyJWK | None:
        """The key that a token says it is signed with; without a kid the only one of that algorithm.

        Raises:
            Unavailable: no keys could be read, now or for long.
        """
        if self._clock() - self._read_at >= FRESH_S:
            reading = self._read_again()
            if reading is not None and self._clock() - self._read_at >= STALE_S:
                await asyncio.wait([reading], timeout=WAIT_S)
        found = self._find(algorithm, kid)
        if found is None and (reading := self._read_again()) is not None:
            await asyncio.wait([reading], timeout=WAIT_S)
            found = self._find(algorithm, kid)
        if self._clock() - self._read_at > STALE_S:
            raise Unavailable("whose token this is cannot be told: the keys of DEVSKYY_JWKS_URL cannot be read")
        return found

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _find(self, algorithm: str, kid: str | None) -> PyJWK | None:
        fit = [key for key in self._keys if key.algorithm_name == algorithm and kid in (None, key.key_id)]
        return fit[0] if len(fit) == 1 else None

    def _read_again(self) -> "asyncio.Task[None] | None":
        """The look under way; None: the last was a moment ago."""
        if self._reading is None or self._reading.done():
            if self._clock() - self._tried_at < MISS_S:
                return None
            self._tried_at = self._clock()
            self._reading = asyncio.create_task(self._try())
        return self._reading

    async def _try(self) -> None:
        began = self._clock()
        try:
            self._keys = usable(await self._text())
        except (httpx.HTTPError, OSError, ValueError) as error:
            log.warning("the keys of tokens are as they were: they cannot be read", error=repr(error))
            return
        self._read_at = began

    async def _text(self) -> bytes:
        if not self._source.startswith(("https://", "http://")):
            return await asyncio.to_thread(Path(self._source).read_bytes)
        async with (
            httpx.AsyncClient(timeout=WAIT_S) as http,  # follows no redirect: keys come from where was said
            http.stream("GET", self._source) as reply,
        ):
            reply.raise_for_status()
            text = b""
            async for part in reply.aiter_bytes():
                text += part
                if len(text) > MOST_BYTES:
                    raise ValueError(f"more than {MOST_BYTES:,} bytes")
            return text


def usable(text: bytes) -> tuple[PyJWK, ...]:
    """The keys of a JWK set that may sign tokens; others, secrets among them, are left out.

    Raises:
        ValueError: it is no JWK set, or holds no such key.
    """
    document: Any = json.loads(text)
    listed = document.get("keys") if isinstance(document, dict) else None
    found: list[PyJWK] = []
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and each.get("use", "sig") == "sig":
            try:
                key = PyJWK(each)
            except (PyJWTError, ValueError, TypeError, KeyError):
                continue
            if key.algorithm_name in ALGORITHMS:
                found.append(key)
    if not found:
        raise ValueError("no key for RS256 or ES256 is in it")
    return tuple(found)

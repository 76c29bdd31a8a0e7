"""The keys as the database last told them, kept in memory: recognising one costs no look at the database.

They are looked at again while requests come: beside the first one after two seconds, and before the first one after
four. So a key that is revoked, also through another replica, is refused within five seconds, as long as the database
answers. When it does not, the keys that are known go on working for a quarter of an hour; then nobody is let in.
"""

import asyncio
import contextlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from schemas.errors import NotAuthenticated, Unavailable
from schemas.key import ApiKey, digest, id_of, including
from schemas.message import now
from serve.caller import ANYBODY, THE_OPERATOR, Caller
from storage import KeptKeys, KeyRepository

RENEW_S, FRESH_S = 2.0, 4.0
"""The age at which keys are looked at again beside a request, and before one."""
WAIT_S = 1.0
"""How long a request waits for that look."""
MISS_S = 0.25
"""A key that is not known may have just been made through another replica: then they are looked at again, but only so
often, whoever tries keys at random."""
STALE_S = 900.0
NOTED = timedelta(seconds=60)
"""How exactly a key's last use is noted."""

HOW = "send 'Authorization: Bearer dsk_…' or 'x-api-key: dsk_…'; `devskyy keys create` makes a key"
_NOBODYS = "0" * 64
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Known:
    key: ApiKey
    digest: str
    caller: Caller
    expires: float
    """Seconds since the epoch."""


class Keyring:
    """`look` first, `close` last. One for each replica of the door."""

    def __init__(
        self,
        keys: KeyRepository,
        operator_sha256: str | None,
        *,
        open_without_keys: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            operator_sha256: what the operator's key is recognised by; None: there is none.
            open_without_keys: whether anybody may come in as long as there never was a key.
        """
        self._keys, self._operator, self._clock = keys, operator_sha256 or "", clock
        self._open_without_keys = open_without_keys
        self._kept: KeptKeys | None = None
        self._known: Mapping[str, _Known] = {}
        self._open = False
        self._looked_at = self._tried_at = float("-inf")
        self._failing = False
        self._used: set[str] = set()
        self._noted: dict[str, datetime] = {}
        """When each key's last use was noted from here."""
        self._one_at_a_time = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys that may be used."""
        at = time.time()
        return tuple(known.key for known in self._known.values() if known.expires > at)

    async def caller(self, secret: str | None) -> Caller:
        """Whose secret this is.

        Raises:
            NotAuthenticated: nobody's that may come in.
            Unavailable: the database has not answered for too long.
        """
        if (age_s := self._clock() - self._looked_at) >= RENEW_S:
            await self._renewed(age_s)
        its_digest = "" if secret is None else digest(secret)
        if secret is not None and hmac.compare_digest(its_digest, self._operator):
            return THE_OPERATOR
        if self._open:
            return ANYBODY
        if secret is None:
            raise NotAuthenticated(f"no key was sent; {HOW}")
        known = await self._find(id_of(secret))
        if not hmac.compare_digest(its_digest, known.digest if known else _NOBODYS) or known is None:
            raise NotAuthenticated(f"this key is not known here, or was revoked; {HOW}")
        if known.expires <= time.time():
            raise NotAuthenticated(f"the key {known.key.id} has expired, at {known.key.expires_at}; {HOW}")
        self._used.add(known.key.id)
        return known.caller

    async def look(self) -> None:
        """Read the keys as they are from now on.

        Raises:
            Unavailable: the database does not answer.
        """
        async with self._one_at_a_time:
            self._tried_at = began = self._clock()
            await self._note_uses()
            kept = await self._keys.load(self._kept)
            if kept is not self._kept:
                self._known = {key_id: _known(each.key, each.digest) for key_id, each in kept.by_id.items()}
                self._open = self._open_without_keys and not kept.made
                self._kept = kept
            self._looked_at, self._failing = began, False

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewing
        await self._note_uses()

    async def _find(self, key_id: str | None) -> _Known | None:
        if key_id is None or (known := self._known.get(key_id)) is not None:
            return None if key_id is None else known
        if self._clock() - self._tried_at >= MISS_S:
            await self._wait(self._renew())
        return self._known.get(key_id)

    async def _renewed(self, age_s: float) -> None:
        if self._clock() - self._tried_at >= RENEW_S:
            self._renew()
        if age_s >= FRESH_S and self._renewing is not None and not self._failing:
            await self._wait(self._renewing)
        if self._clock() - self._looked_at > STALE_S:
            raise Unavailable("whose key this is cannot be told: the database has not answered for long")

    def _renew(self) -> "asyncio.Task[None]":
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._try())
        return self._renewing

    async def _try(self) -> None:
        try:
            await self.look()
        except Unavailable as error:
            if not self._failing:
                log.warning("keys are as they were: the database does not answer", error=str(error))
            self._failing = True

    async def _wait(self, renewing: "asyncio.Task[None]") -> None:
        await asyncio.wait([renewing], timeout=WAIT_S)

    async def _note_uses(self) -> None:
        """Nothing depends on it, so what cannot be written is left."""
        at, used = now(), self._used
        self._used = set()
        ids = [key_id for key_id in used if at - self._noted.get(key_id, _LONG_AGO) >= NOTED]
        if ids:
            with contextlib.suppress(Unavailable):
                await self._keys.used(ids, at)
                self._noted |= dict.fromkeys(ids, at)


def _known(key: ApiKey, its_digest: str) -> _Known:
    who = Caller(key.tenant, including(key.scopes), key.id, key.budget, key.rpm)
    return _Known(key, its_digest, who, key.expires_at.timestamp() if key.expires_at else float("inf"))

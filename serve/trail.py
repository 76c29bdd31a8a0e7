"""The audit log as it is written: beside the requests, never before their answers.

What happened waits in memory, up to a limit, and is written a moment later in one statement. While the database does
not answer it goes on waiting; what finds no room is counted and logged, and the request it tells of goes on as ever.

Refusals that are alike are written once, and once more with their number when their minute is over. So whoever knocks
ten thousand times a second fills no disk.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from schemas.audit import AuditEntry
from schemas.errors import Unavailable
from schemas.message import now
from serve.metrics import AUDIT_LOST
from storage import AuditLog

GATHER_S = 0.25
MOST_WAITING = 10_000
AT_ONCE = 500
MINUTE_S = 60.0
MOST_KINDS = 100
"""Kinds of refusals that one minute tells apart; from then on those of all addresses are one. It makes 300,000 rows a
day at the very most."""
AGAIN_S, SELDOM_S = 0.5, 15.0
"""How long to wait before the database is tried again, at first and at last."""
FORGET_S = 3600.0
END_S = 3.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Alike:
    """Refusals of one kind within a minute: the first, which is written, and how many came after it."""

    first: AuditEntry
    more: int = 0


class Trail:
    """`start` first, `close` last. One for each replica of the door."""

    def __init__(self, kept: AuditLog, keep: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept, self._keep, self._clock = kept, keep, clock
        self._waiting: deque[AuditEntry] = deque()
        self._alike: dict[tuple[str | None, str | None, int], _Alike] = {}
        self._minute_began = clock()
        self._lost = 0
        self._ending = False
        self._something = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._forgetting: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._writing = asyncio.create_task(self._write())
        self._forgetting = asyncio.create_task(self._forget())

    def note(self, entry: AuditEntry) -> None:
        """Remember that something was changed, or was to be."""
        if len(self._waiting) >= MOST_WAITING:
            self._lose(1)
            return
        self._waiting.append(entry)
        self._something.set()

    def refused(self, address: str | None, key: str | None, status: int, entry: Callable[[], AuditEntry]) -> None:
        """Remember a refusal. `entry` is asked for the first of its kind in a minute alone."""
        self._end_minute()
        kind = (address, key, status)
        if kind not in self._alike and len(self._alike) >= MOST_KINDS:
            kind = (None, None, status)
        if (alike := self._alike.get(kind)) is not None:
            alike.more += 1
            return
        first = entry()
        if kind[0] != address:
            first = first.model_copy(update={"address": None, "key": None, "tenant": None, "target": None})
        self._alike[kind] = _Alike(first)
        self.note(first)

    async def close(self) -> None:
        """Write what waits, if the database takes it in time."""
        self._end_minute(at_once=True)
        self._ending = True
        self._something.set()
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=END_S)
        for task in (self._forgetting, self._writing):
            if task is not None:
                task.cancel()
                await asyncio.wait([task], timeout=END_S)
        self._lose(len(self._waiting))

    # -- refusals ----------------------------------------------------------------------------------------------

    def _end_minute(self, *, at_once: bool = False) -> None:
        """Once a minute is over, write how many refusals there were of each kind beside the first."""
        if not at_once and self._clock() - self._minute_began < MINUTE_S:
            return
        self._minute_began = self._clock()
        ended, self._alike = self._alike, {}
        for each in ended.values():
            if each.more:
                again = {"id": f"{each.first.id}-more", "count": each.more, "target": None}
                self.note(each.first.model_copy(update=again))

    # -- writing -----------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        pause_s = AGAIN_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MINUTE_S if self._alike else None):
                    await self._something.wait()
            self._end_minute()
            self._something.clear()
            if not self._ending:
                await asyncio.sleep(GATHER_S)
            try:
                while self._waiting:
                    await self._write_some()
                pause_s = AGAIN_S
                if self._ending:
                    return
            except Unavailable as error:
                waiting = len(self._waiting)
                log.warning("the audit log waits: the database does not answer", waiting=waiting, error=str(error))
                self._something.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, SELDOM_S)

    async def _write_some(self) -> None:
        """Write the oldest. They go on waiting until they are written; writing them twice changes nothing.

        Raises:
            Unavailable: they may not be written.
        """
        some = _first(self._waiting, AT_ONCE)
        try:
            await self._kept.add(some)
        except Unavailable:
            raise
        except Exception:
            log.exception("entries of the audit log cannot be written, and are left")
            self._lose(len(some))
        for _ in some:
            self._waiting.popleft()

    def _lose(self, number: int) -> None:
        """Count what is not written, and say so: at the first, and each time that ten thousand more are."""
        if number:
            AUDIT_LOST.inc(number)
            before, self._lost = self._lost, self._lost + number
            if not before or before // MOST_WAITING != self._lost // MOST_WAITING:
                log.error("entries of the audit log found no room", lost=self._lost)

    # -- forgetting --------------------------------------------------------------------------------------------

    async def _forget(self) -> None:
        while True:
            try:
                if gone := await self._kept.forget(now() - self._keep):
                    log.info("the audit log forgot what was too old", entries=gone)
            except Unavailable:
                pass
            await asyncio.sleep(FORGET_S)


def _first(waiting: Iterable[AuditEntry], most: int) -> list[AuditEntry]:
    return [entry for entry, _ in zip(waiting, range(most), strict=False)]

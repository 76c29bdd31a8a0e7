"""The account of one journalled call: what it has come to so far, written down before and after every attempt."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, TypeVar

import structlog

from actors.gateway.purse import Purse
from bus.journal import Entry, JournalStore, Overtaken, Spent, in_doubt
from bus.subjects import CallJournal
from schemas.budget import BudgetRefused, Reservation
from schemas.completion import Complete, Completion, Embed, Embeddings
from schemas.errors import BusUnavailable, DeadlineExceeded, Unavailable
from schemas.message import now
from schemas.receipt import Call

PATIENCE_S = 60.0
"""How long the bus may take to record an entry."""
STOOD_STILL_S = 2.0
"""A gateway that cannot be asked for three seconds is taken for dead; after this long it asks whether it was."""
Kind = Literal["unfit", "budget", "busy", "failed"]
"""Why a service was passed over: it cannot do this, no budget allows it, it has no room, or it failed now or lately."""
Q = TypeVar("Q", Complete, Embed)
"""What is asked."""

log = structlog.get_logger()


@dataclass
class Account(Generic[Q]):
    """One question on its way through the services of its order."""

    ask: Q
    key: CallJournal
    question: str
    """What `question_of` gives."""
    gateway: str
    journal: JournalStore
    seq: int = 0
    """Where the entry's last version lies; 0 while there is none."""
    calls: tuple[Call, ...] = ()
    """Attempts that are over and were or may have been charged."""
    open: tuple[Call, ...] = ()
    """Attempts under way, each at its reservation."""
    held: dict[str, Spent | None] = field(default_factory=dict)
    """What the attempts came to that hold something in a budget, by reservation; None while they are under way."""
    to_settle: list[Reservation] = field(default_factory=list)
    """Of attempts that are over; the purse is told once the journal knows."""
    passed: list[str] = field(default_factory=list)
    """`service: reason` for every service that was passed over."""
    kinds: list[Kind] = field(default_factory=list)
    retry_after_s: list[float] = field(default_factory=list)
    """When services may be asked again, by what they said."""
    attempts: int = 0

    def go_on_from(self, seq: int, entry: Entry | None) -> None:
        """Take over what others have written. What they had under way is in doubt: nobody can know its outcome."""
        self.seq = seq
        self.calls = () if entry is None else entry.calls + tuple(in_doubt(call) for call in entry.open)
        self.held = {} if entry is None else dict(entry.held)
        self.open, self.passed, self.kinds, self.retry_after_s = (), [], [], []

    def pass_over(self, service: str, reason: object, kind: Kind, retry_after_s: float | None = None) -> None:
        self.passed.append(f"{service}: {reason}")
        self.kinds.append(kind)
        if retry_after_s is not None:
            self.retry_after_s.append(retry_after_s)

    async def set_out(self, call: Call, purse: Purse, most_tokens: int, free: bool = False) -> Reservation | None:
        """Hold what an attempt may cost and take, and record it: after this, and not before, it may be made.

        Args:
            call: as it begins, its cost the most that it can come to; None when nobody knows.
            free: nothing is written first where no budget limits it: there is nothing that a crash could leave open.

        Returns:
            What is held, if anything is.

        Raises:
            BudgetRefused: no budget allows it, or others gave back what was held.
            DeadlineExceeded: the question's time is over.
            Overtaken, BusUnavailable: see `note`.
        """
        began = time.monotonic()
        place = self.attempts + 1
        reserved = await purse.reserve(self.ask, call.service, call.cost_usd, most_tokens, str(self.key), place)
        reservation = reserved if reserved.holds else None
        if free and reservation is None:
            self.attempts += 1
            return None
        try:
            await self.begin(call, reservation)
            in_time(self.ask.deadline_at)
            stood_still = time.monotonic() - began > STOOD_STILL_S
            if reservation is not None and stood_still and not await purse.holds(reservation):
                raise BudgetRefused("this gateway was taken for dead, and what it held was given back", "tree")
        except BaseException:
            if any(each is call for each in self.open):
                self.end(call, None, reservation)
            elif reservation is not None:
                await purse.release(reservation)
            raise
        return reservation

    async def begin(self, call: Call, reservation: Reservation | None) -> None:
        """Record an attempt before it is made, and only then go on; where this raises as `note` does, it has not."""
        self.attempts += 1
        self.open += (call,)
        if reservation is not None:
            self.held[reservation.id] = None
        try:
            await self.note()
        except (Overtaken, Unavailable):
            self._shut(call)
            if reservation is not None:
                del self.held[reservation.id]
            raise

    def end(self, call: Call, became: Call | None, reservation: Reservation | None) -> None:
        """An attempt is over; `became` is None where it cost nothing. The next record will say so."""
        self._shut(call)
        if became is not None:
            self.calls += (became,)
        if reservation is not None:
            self.held[reservation.id] = Spent.of(became)
            self.to_settle.append(reservation)

    def _shut(self, call: Call) -> None:
        self.open = tuple(each for each in self.open if each is not call)

    async def settle(self, purse: Purse) -> None:
        """Tell the purse what the attempts that are over came to. The journal must know already."""
        while self.to_settle:
            reservation = self.to_settle.pop()
            spent = self.held[reservation.id] or Spent()
            await purse.settle(reservation, spent.cost_usd, spent.tokens)

    async def forsake(self, purse: Purse) -> None:
        """Leave at their reservations the attempts whose end the journal was not told: there they are in doubt."""
        while self.to_settle:
            await purse.settle(self.to_settle.pop(), None, None)

    async def note(self) -> None:
        """Record how things stand. A cancellation waits for it: a record whose acknowledgement nobody awaited would
        later be taken for another gateway's.

        Raises:
            Overtaken: another gateway has written to this entry.
            BusUnavailable: the bus did not take it within a minute.
        """
        writing = asyncio.ensure_future(self._write(self._entry("begun", None)))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await writing
            raise

    async def close(self, reply: Completion | Embeddings) -> None:
        """Record what came of it; raises as `note` does."""
        await self._write(self._entry("ended", reply))

    def _entry(self, state: Literal["begun", "ended"], reply: Completion | Embeddings | None) -> Entry:
        return Entry(
            state=state,
            gateway=self.gateway,
            began_at=now(),
            question=self.question,
            open=self.open,
            calls=self.calls,
            held=dict(self.held),
            completion=reply if isinstance(reply, Completion) else None,
            embeddings=reply.model_copy(update={"packed": b""}) if isinstance(reply, Embeddings) else None,
            key=self.ask.key,
        )

    async def _write(self, entry: Entry) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.seq = await self.journal.write(self.key, entry, self.seq)
                return
            except BusUnavailable as error:
                if time.monotonic() > give_up:
                    raise
                log.warning("recording again", key=str(self.key), error=str(error))
                await asyncio.sleep(0.2)


def in_time(deadline: datetime) -> None:
    """Raises DeadlineExceeded when the deadline has passed."""
    if (left := (deadline - now()).total_seconds()) <= 0:
        raise DeadlineExceeded("the call", max(0.0, left))

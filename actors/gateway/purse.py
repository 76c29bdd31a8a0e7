"""The purse: what a call may cost is reserved in every budget before it is made, and what it cost is settled after.

A call is granted if every counter, its own reservation just added, stands at or below its limit. Whatever is granted
was added before or is added after that moment, so what is reserved and spent by granted calls never exceeds a limit,
whoever else adds at the same time. What is over takes its own reservation back. Until it has, others may see a value
that is too high; so nobody is refused before having looked again a little later.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from actors.gateway.scopes import Limit, is_or_are, limits_of, nano, said
from bus.purse import PurseStore
from bus.streams import PURSE_KEEP_S, PURSE_REPEAT_S
from schemas.budget import NEVER_BEGAN, Budget, BudgetRefused, Budgets, Hold, Left, Outcome, Reservation, Unit
from schemas.completion import Complete, Embed
from schemas.errors import BusUnavailable, DevSkyyError
from schemas.message import now

log = structlog.get_logger()

PAUSES_S = (0.02, 0.06)
"""Between looks at a counter that stands too high, at most. Taking back what did not fit takes some milliseconds."""
_SURELY_KNOWN = timedelta(seconds=PURSE_REPEAT_S / 2)
"""A change that is younger has no effect when it is repeated, with room for clocks that differ and for a slow sweep."""
_AT_ONCE = 32
"""Reservations of dead gateways that are settled at a time."""
_KNOWN_FULL = 10_000
"""Counters remembered to be full, at most."""


@dataclass(frozen=True, slots=True)
class _Over:
    """A limit that a call does not fit under, and what its counter stood at without the call."""

    limit: Limit
    amount: int
    used: int

    def refusal(self) -> BudgetRefused:
        unit = self.limit.unit
        left = max(0, self.limit.limit - self.used)
        costs = f"may {'cost' if unit == 'usd' else 'take'} {said(unit, self.amount)}"
        return BudgetRefused(
            f"{costs}, {said(unit, left)} {is_or_are(unit, left)} left of {self.limit}", self.limit.scope
        )


@dataclass(frozen=True, slots=True)
class _Debt:
    """A settlement that the bus did not take yet."""

    reservation: Reservation
    outcome: Outcome
    taken: int | None
    """How many holds are surely taken, the others surely not; None: not known."""
    at: datetime
    """When it was first tried."""


IsAlive = Callable[[str], Awaitable[bool]]
OutcomeOf = Callable[[Reservation], Awaitable[Outcome]]


class Purse:
    """One gateway's hand in the common purse. Whatever has no limit costs nothing: no counter is touched for it."""

    def __init__(
        self,
        instance: str,
        budgets: Budgets,
        store: PurseStore,
        clock: Callable[[], datetime] = now,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        """`instance` names this gateway for as long as it lives, and never another."""
        self._instance, self._budgets, self._store, self._clock = instance, budgets, store, clock
        self._pauses_s = pauses_s
        self._full: set[str] = set()
        """Counters that stood too high when last seen: they are looked at before anything is added."""
        self._debts: dict[str, _Debt] = {}
        self._background: set[asyncio.Task[Any]] = set()

    # -- before and after a call -------------------------------------------------------------------------------

    async def reserve(
        self,
        ask: Complete | Embed,
        service: str,
        cost_usd: float | None,
        tokens: int,
        journal_key: str,
        attempt: int,
    ) -> Reservation:
        """Hold what one attempt may cost, in the day's budget, the service's, the key's and the tree's, in that order.

        Cancelled, it holds nothing.

        Args:
            cost_usd: the most that it can cost; None when nobody knows.
            tokens: the most that it can take, question and answer together.

        Raises:
            BudgetRefused: it does not fit, or its price is unknown and a budget in dollars limits it.
            BusUnavailable: nothing is granted; what was taken will be given back.
        """
        opened_at = self._clock()
        limits = limits_of(self._budgets, ask, service, opened_at)
        amounts: dict[Unit, int | None] = {"usd": None if cost_usd is None else nano(cost_usd), "tokens": tokens}
        holds: list[tuple[Limit, int]] = []
        for limit in limits:
            if (amount := amounts[limit.unit]) is None:
                raise BudgetRefused(f"its price is unknown, so {limit} cannot be kept", limit.scope)
            if amount:
                holds.append((limit, amount))
        reservation = Reservation(
            id=secrets.token_hex(8),
            instance=self._instance,
            journal_key=journal_key,
            attempt=attempt,
            opened_at=opened_at,
            cost_nano=amounts["usd"],
            tokens=tokens,
            holds=tuple(Hold(counter=limit.counter, unit=limit.unit, amount=amount) for limit, amount in holds),
        )
        if not holds:
            return reservation
        # A cancellation must not tear it apart between a change and its record.
        reserving = self._later(self._reserve(reservation, [limit for limit, _ in holds]))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            self._later(self._undo(reserving))
            raise

    async def settle(self, reservation: Reservation, cost_usd: float | None, tokens: int | None) -> None:
        """Put what the attempt took in place of its reservation; what is None nobody knows, and stays as reserved.

        Cancelled or without a bus, it goes on in the background: `sweep` tries again, and when this gateway dies,
        another one's `sweep` settles by what the journal says. So let the journal know before this.
        """
        outcome = Outcome(began=True, cost_usd=cost_usd, tokens=tokens)
        if reservation.holds:
            await asyncio.shield(self._later(self._settle(reservation, outcome, len(reservation.holds))))

    async def release(self, reservation: Reservation) -> None:
        """Give a reservation back for which no provider was called."""
        if reservation.holds:
            await asyncio.shield(self._later(self._settle(reservation, NEVER_BEGAN, len(reservation.holds))))

    async def holds(self, reservation: Reservation) -> bool:
        """Whether nobody has given it back meanwhile, as is done for a gateway that is taken for dead.

        Raises:
            BusUnavailable: the bus did not say.
        """
        return await self._store.is_open(reservation)

    async def left(self, ask: Complete | None = None, keys: Mapping[str, Budget] | None = None) -> tuple[Left, ...]:
        """Every limit and what it has come to today; with `ask` also its tree's, with `keys` also those that are
        stored with these keys.

        Raises:
            BusUnavailable: the counters did not answer.
        """
        limits = limits_of(self._budgets.with_keys(keys or {}), ask, None, self._clock())
        if not limits:
            return ()
        used = await self._store.values([limit.counter for limit in limits])
        return tuple(Left(scope=x.scope, name=x.name, unit=x.unit, limit=x.limit, used=used[x.counter]) for x in limits)

    async def drain(self) -> None:
        """Return once nothing is under way in the background; call it before the bus is closed."""
        while self._background:
            await asyncio.wait(self._background)

    # -- what others left behind -------------------------------------------------------------------------------

    async def sweep(self, is_alive: IsAlive, outcome_of: OutcomeOf) -> tuple[Reservation, ...]:
        """Settle what the bus would not take before, and the reservations of gateways that no longer live.

        Any number of gateways may do so at once, as often as they like.

        Args:
            is_alive: whether the gateway of that instance name lives; asked once for each.
            outcome_of: what the journal says of the attempt. A call that it does not know never began.

        Returns:
            What was settled for dead gateways.

        Raises:
            BusUnavailable: try again later.
        """
        for id_ in list(self._debts):
            await asyncio.shield(self._later(self._pay(self._debts.pop(id_))))
            if id_ in self._debts:
                break  # the bus is still away: each of the others would wait for it too
        opened = [r for r in await self._store.opened() if r.instance != self._instance]
        instances = sorted({r.instance for r in opened})
        alive = dict(zip(instances, await asyncio.gather(*map(is_alive, instances)), strict=True))
        room = asyncio.Semaphore(_AT_ONCE)

        async def inherit(reservation: Reservation) -> Reservation | None:
            async with room:
                try:
                    await self._inherit(reservation, await outcome_of(reservation))
                except DevSkyyError as error:
                    log.warning("a dead gateway's reservation is not settled yet", id=reservation.id, error=str(error))
                    return None
            return reservation

        settled = await asyncio.gather(*(inherit(r) for r in opened if not alive[r.instance]))
        return tuple(r for r in settled if r is not None)

    async def _inherit(self, reservation: Reservation, outcome: Outcome) -> None:
        age = self._clock() - reservation.opened_at
        if age < _SURELY_KNOWN:
            await self._take_again(reservation)
            await self._each(self._adjust, reservation, outcome)
        elif age < timedelta(seconds=PURSE_KEEP_S):
            await self._each(self._adjust_old, reservation, outcome)
        await self._store.close(reservation)
        log.info("settled for a dead gateway", id=reservation.id, gateway=reservation.instance, began=outcome.began)

    async def _take_again(self, reservation: Reservation) -> None:
        """Make sure that every hold is in: what is has no effect, and what is not can then never come in late."""
        for n, hold in enumerate(reservation.holds):
            await self._store.add(hold.counter, hold.amount, _taking(reservation, n))

    async def _adjust_old(self, reservation: Reservation, n: int, outcome: Outcome) -> None:
        """As `_adjust`, of a reservation whose changes the broker may no longer know by name.

        Where the counter has dropped them too, it is left at the higher of what it may have to be.
        """
        hold = reservation.holds[n]
        past = await self._store.past(hold.counter, reservation.opened_at)
        taken, settled = _taking(reservation, n) in past.amounts, _settling(reservation, n) in past.amounts
        change = _spent(hold, outcome) - hold.amount
        if settled or not (taken or outcome.began):
            return
        if change < 0 and not past.whole:
            log.warning("a reservation is too old to be settled; it stays", id=reservation.id, counter=hold.counter)
            return
        await self._store.add(hold.counter, change, _settling(reservation, n))

    # -- one reservation ---------------------------------------------------------------------------------------

    async def _reserve(self, reservation: Reservation, limits: list[Limit]) -> Reservation:
        for pause_s in (*self._pauses_s, None):
            over = await self._look(reservation, limits) or await self._take(reservation, limits)
            if over is None:
                return reservation
            if pause_s is None or over.amount > over.limit.limit:
                raise over.refusal()
            # Others may be about to take back what did not fit either.
            await asyncio.sleep(random.uniform(0.5, 1) * pause_s)
            # Each try has names of its own: those of the last one are used up.
            reservation = reservation.model_copy(update={"id": secrets.token_hex(8)})
        raise AssertionError("the last look refuses or grants")

    async def _look(self, reservation: Reservation, limits: list[Limit]) -> _Over | None:
        """Whether it is plain that it does not fit; nothing is added then, and an empty purse costs no writes."""
        for hold, limit in zip(reservation.holds, limits, strict=True):
            if hold.counter in self._full or hold.amount > limit.limit:
                used = (await self._store.values([hold.counter]))[hold.counter]
                if used + hold.amount > limit.limit:
                    return _Over(limit, hold.amount, used)
                self._full.discard(hold.counter)
        return None

    async def _take(self, reservation: Reservation, limits: list[Limit]) -> _Over | None:
        """Record the reservation and take its holds one after another; give them back if one does not fit."""
        taken: int | None = 0
        try:
            await self._store.open(reservation)
            repeated = False
            for n, (hold, limit) in enumerate(zip(reservation.holds, limits, strict=True)):
                taken = None
                added = await self._store.add(hold.counter, hold.amount, _taking(reservation, n))
                taken = n + 1
                repeated |= added.repeated
                if added.value > limit.limit:
                    self._note_full(hold.counter)
                    await self._settle(reservation, NEVER_BEGAN, taken)
                    return _Over(limit, hold.amount, added.value - hold.amount)
            if repeated and not await self._store.is_open(reservation):
                raise BusUnavailable("this gateway was taken for dead, and its reservation given back")
        except BusUnavailable:
            self._later(self._settle(reservation, NEVER_BEGAN, taken))
            raise
        return None

    async def _settle(self, reservation: Reservation, outcome: Outcome, taken: int | None) -> None:
        await self._pay(_Debt(reservation, outcome, taken, self._clock()))

    async def _pay(self, debt: _Debt) -> None:
        """Adjust the counters and delete the record; what the bus does not take is owed until `sweep`."""
        reservation = debt.reservation
        try:
            if self._clock() - debt.at > _SURELY_KNOWN:
                await self._each(self._adjust_old, reservation, debt.outcome, debt.taken)
            else:
                if debt.taken is None:
                    await self._take_again(reservation)
                await self._each(self._adjust_own, reservation, debt.outcome, debt.taken)
        except BusUnavailable as error:
            log.warning("a reservation is settled later", id=reservation.id, error=str(error))
            self._debts[reservation.id] = debt
            return
        # Nobody need wait for this: whoever finds the record settles once more, without effect.
        self._later(self._close(debt))

    async def _close(self, debt: _Debt) -> None:
        try:
            await self._store.close(debt.reservation)
        except BusUnavailable as error:
            log.warning("a settled reservation is deleted later", id=debt.reservation.id, error=str(error))
            self._debts[debt.reservation.id] = debt

    async def _each(
        self,
        adjust: Callable[[Reservation, int, Outcome], Awaitable[object]],
        reservation: Reservation,
        outcome: Outcome,
        taken: int | None = None,
    ) -> None:
        """Adjust every hold, or the first `taken` of them, all at once."""
        count = len(reservation.holds) if taken is None else taken
        await asyncio.gather(*(adjust(reservation, n, outcome) for n in range(count)))

    async def _adjust(self, reservation: Reservation, n: int, outcome: Outcome) -> int:
        """Put what was spent in place of a hold, once; returns by how much somebody else did so otherwise before."""
        hold = reservation.holds[n]
        change = _spent(hold, outcome) - hold.amount
        # Written even if it is 0, so that nobody can settle it otherwise later.
        added = await self._store.add(hold.counter, change, _settling(reservation, n))
        return change - added.amount

    async def _adjust_own(self, reservation: Reservation, n: int, outcome: Outcome) -> None:
        """As `_adjust`; whoever took this gateway for dead could not know what the call came to, and is put right."""
        if missing := await self._adjust(reservation, n, outcome):
            hold = reservation.holds[n]
            log.warning("another gateway had settled otherwise", id=reservation.id, counter=hold.counter, by=missing)
            await self._store.add(hold.counter, missing, f"{reservation.id}.{n}.late")

    async def _undo(self, reserving: "asyncio.Task[Reservation]") -> None:
        """Give back what nobody waits for any more, should it have been granted."""
        await asyncio.wait([reserving])
        if not reserving.cancelled() and reserving.exception() is None:
            await self.release(reserving.result())

    def _note_full(self, counter: str) -> None:
        if len(self._full) >= _KNOWN_FULL:
            self._full.clear()
        self._full.add(counter)

    def _later(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _spent(hold: Hold, outcome: Outcome) -> int:
    """What a hold has come to."""
    if not outcome.began:
        return 0
    if hold.unit == "tokens":
        return hold.amount if outcome.tokens is None else outcome.tokens
    return hold.amount if outcome.cost_usd is None else nano(outcome.cost_usd)


def _taking(reservation: Reservation, n: int) -> str:
    return f"{reservation.id}.{n}.take"


def _settling(reservation: Reservation, n: int) -> str:
    return f"{reservation.id}.{n}.settle"

"""A purse's store in memory that can be cut off, lose acknowledgements and die, and the proof that no limit broke."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.gateway.purse import Purse
from bus.purse import Added, Past
from schemas.budget import NEVER_BEGAN, Budget, BudgetRefused, Budgets, Outcome, Reservation
from schemas.errors import BusUnavailable
from tests.gateway.questions import ask

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
DAY = "day.2026-03-04.all"
FOUR = Budgets(day=Budget(usd=1), services={"cheap": Budget(usd=1), "dear": Budget(usd=1)}, keys={"ci": Budget(usd=1)})


@dataclass(frozen=True)
class Change:
    """One change of a counter, in the order in which the store made them."""

    counter: str
    amount: int
    name: str

    @property
    def reservation(self) -> str:
        return self.name.split(".")[0]


def peaks(changes: Iterable[Change], granted: set[str]) -> dict[str, int]:
    """The most that granted calls ever had reserved and spent together, for each counter, after every single change."""
    stands: Counter[str] = Counter()
    highest: dict[str, int] = {}
    for change in changes:
        if change.reservation in granted:
            stands[change.counter] += change.amount
            highest[change.counter] = max(highest.get(change.counter, 0), stands[change.counter])
    return highest


@dataclass
class Shelf:
    """What is kept, whoever dies."""

    counters: Counter[str] = field(default_factory=Counter)
    records: dict[str, Reservation] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    known: dict[str, Added] = field(default_factory=dict)
    """Changes that are known by name."""

    def forget(self) -> None:
        """What the server does with names after some minutes; the changes themselves it keeps."""
        self.known.clear()


class MemoryPurse:
    """One gateway's connection to a shelf."""

    def __init__(self, shelf: Shelf, seed: int = 0) -> None:
        self.shelf = shelf
        self.traffic = 0
        self.dead = False
        """Whatever is asked has no effect, and is not answered before the burial."""
        self._buried = asyncio.Event()
        self.fails: Callable[[str], str] = lambda _: ""
        """For each operation: `before` (it has no effect), `after` (nobody hears of it), or nothing."""
        self._random = random.Random(seed)

    async def open(self, reservation: Reservation) -> None:
        fate = await self._there("open")
        self.shelf.records[reservation.id] = reservation
        await self._back("open", fate)

    async def is_open(self, reservation: Reservation) -> bool:
        await self._back("is_open", await self._there("is_open"))
        return reservation.id in self.shelf.records

    async def opened(self) -> tuple[Reservation, ...]:
        await self._back("opened", await self._there("opened"))
        return tuple(self.shelf.records.values())

    async def close(self, reservation: Reservation) -> None:
        fate = await self._there("close")
        self.shelf.records.pop(reservation.id, None)
        await self._back("close", fate)

    async def add(self, counter: str, amount: int, name: str) -> Added:
        fate = await self._there("add")
        shelf = self.shelf
        if (first := shelf.known.get(name)) is not None:
            added = Added(first.value, first.amount, repeated=True)
        else:
            shelf.counters[counter] += amount
            shelf.changes.append(Change(counter, amount, name))
            added = shelf.known[name] = Added(shelf.counters[counter], amount)
        await self._back("add", fate)
        return added

    async def past(self, counter: str, since: datetime) -> Past:
        await self._back("past", await self._there("past"))
        return Past({c.name: c.amount for c in self.shelf.changes if c.counter == counter}, whole=True)

    async def values(self, counters: Sequence[str]) -> dict[str, int]:
        await self._back("values", await self._there("values"))
        return {counter: self.shelf.counters[counter] for counter in counters}

    async def _there(self, operation: str) -> str:
        await self._pass()
        self.traffic += 1
        fate = self.fails(operation)
        if fate == "before":
            raise BusUnavailable(f"{operation} was lost on the way")
        return fate

    async def _back(self, operation: str, fate: str) -> None:
        await self._pass()
        if fate == "after":
            raise BusUnavailable(f"the acknowledgement of {operation} was lost")

    async def _pass(self) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        if self.dead:
            await self._buried.wait()
            raise BusUnavailable("this gateway is dead")

    async def bury(self, *purses: Purse) -> None:
        """End what a dead gateway was about to do, without effect."""
        self.dead = True
        self._buried.set()
        for purse in purses:
            await purse.drain()


def stands(shelf: Shelf) -> Mapping[str, int]:
    """The counters that are not 0, without what all their subjects begin with."""
    return {c.removeprefix("devskyy.v1.purse."): v for c, v in shelf.counters.items() if v}


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


@dataclass
class Bench:
    """Gateways with one purse, and what their journals say."""

    budgets: Budgets
    shelf: Shelf
    clock: Clock

    def store(self, seed: int = 0) -> MemoryPurse:
        return MemoryPurse(self.shelf, seed)

    def purse(self, instance: str = "a", store: MemoryPurse | None = None) -> Purse:
        return Purse(instance, self.budgets, store or self.store(), self.clock, pauses_s=(0.0, 0.0))


def bench_of(budgets: Budgets) -> Bench:
    return Bench(budgets, Shelf(), Clock())


async def reserve(
    purse: Purse, cost_usd: float | None = 0.1, tokens: int = 100, service: str = "cheap", **asked: Any
) -> Reservation:
    return await purse.reserve(ask(**asked), service, cost_usd, tokens, "key", 1)


async def refusal(*args: Any, **kwargs: Any) -> BudgetRefused:
    with pytest.raises(BudgetRefused) as caught:
        await reserve(*args, **kwargs)
    return caught.value


async def everybody_is_dead(_: str) -> bool:
    return False


def said_by(journal: dict[str, Outcome]) -> Callable[[Reservation], Awaitable[Outcome]]:
    async def outcome_of(reservation: Reservation) -> Outcome:
        return journal.get(reservation.id, NEVER_BEGAN)

    return outcome_of

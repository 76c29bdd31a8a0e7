"""A team's story: what its steps came to and what was decided, read from the task's events and written to them.

Whatever is not the same each time a shape runs is written here before it is used. So a later owner, running the same
shape, comes to the same place without asking anybody again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.event import Answered, Decided, Dispatched, TaskEvent
from schemas.team import Contribution, Decision, Step


@dataclass(frozen=True)
class Dispatch:
    """A phase and the steps that it asks for."""

    phase: str
    steps: tuple[Step, ...]


Fact = Dispatch | Contribution | Decision


MOST_BYTES = 600_000
"""Of contributions that share an event, roughly: it stays below what clients from outside can read."""

Waiting = tuple[Fact, "asyncio.Future[None]"]


class Owned(Protocol):
    """The task in its owner's hands."""

    @property
    def events(self) -> list[TaskEvent]: ...

    @property
    def next_fields(self) -> dict[str, Any]: ...

    async def append(self, event: TaskEvent) -> None: ...


class Story:
    """Tells facts in order. Those that come while an event is being written share the next one."""

    def __init__(self, owned: Owned, epoch: int) -> None:
        self._owned, self._epoch = owned, epoch
        self.dispatched: set[str] = set()
        """Steps that were asked for, by name."""
        self.contributions: dict[str, Contribution] = {}
        """By step."""
        self.decisions: dict[str, Decision] = {}
        """By name."""
        for event in owned.events:
            self._learn(event)
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    def _learn(self, event: TaskEvent) -> None:
        match event:
            case Dispatched():
                self.dispatched.update(step.step for step in event.steps)
            case Answered():
                self.contributions.update((each.step, each) for each in event.contributions)
            case Decided():
                self.decisions.update((each.name, each) for each in event.decisions)
            case _:
                pass

    async def tell(self, fact: Fact) -> None:
        """Return once the fact is written.

        Raises:
            Fenced, BusUnavailable, StorageFull: see `OwnedTask.append`.
        """
        if self._closed:
            raise asyncio.CancelledError
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((fact, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def settled(self) -> None:
        """Return once nothing waits to be written."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def close(self) -> None:
        """Finish the write under way and take no more: whoever ends the task writes next.

        A write is never stopped half way. Whether it took place would be unknown, and the next event would be refused.
        """
        self._closed = True
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        try:
            while self._waiting and not self._closed:
                together = self._next()
                self._waiting = self._waiting[len(together) :]
                try:
                    event = self._event([fact for fact, _ in together])
                    await self._owned.append(event)
                    self._learn(event)
                except Exception as error:
                    for _, done in _heard(together):
                        done.set_exception(error)
                else:
                    for _, done in _heard(together):
                        done.set_result(None)
        finally:
            self._writing = None
            if self._closed:
                for _, done in self._waiting:
                    done.cancel()

    def _next(self) -> list[Waiting]:
        """The facts that share the next event: those of one kind that wait at the front; a phase has its own."""
        first = type(self._waiting[0][0])
        if first is Dispatch:
            return self._waiting[:1]
        together: list[Waiting] = []
        size = 0
        for fact, done in self._waiting:
            size += _bytes(fact) if isinstance(fact, Contribution) else 0
            if type(fact) is not first or (together and size > MOST_BYTES):
                break
            together.append((fact, done))
        return together

    def _event(self, facts: Sequence[Fact]) -> TaskEvent:
        fields = {**self._owned.next_fields, "epoch": self._epoch}
        match facts[0]:
            case Dispatch():
                return Dispatched(**fields, phase=facts[0].phase, steps=facts[0].steps)
            case Contribution():
                return Answered(**fields, contributions=tuple(f for f in facts if isinstance(f, Contribution)))
            case _:
                return Decided(**fields, decisions=tuple(f for f in facts if isinstance(f, Decision)))


def _bytes(contribution: Contribution) -> int:
    said = [contribution.text or "", *(f"{r.place}{r.problem}{r.proposal}" for r in contribution.remarks)]
    return sum(len(each.encode("utf-8", "replace")) for each in said) + 500 * (1 + len(contribution.calls))


def _heard(waiting: Sequence[Waiting]) -> list[Waiting]:
    """Those who still wait to hear of it."""
    return [(fact, done) for fact, done in waiting if not done.done()]

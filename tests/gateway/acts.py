"""A provider that acts: takes its time, says a part, fails, or hangs; and a gateway in time that only seems to pass."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from actors.catalogue import Catalogue
from actors.gateway.charges import most_usd
from actors.gateway.providers import Attempt, Heard, Served
from bus.journal import Entry, key_of
from schemas.budget import Budgets, Reservation
from schemas.completion import Complete, Completion
from schemas.errors import UpstreamError
from tests.gateway import virtual
from tests.gateway.doubles import LONG_S, Bench, Script, ask, catalogue_of, served
from tests.gateway.purses import Shelf

T = TypeVar("T")
Act = Callable[[Attempt, Heard], Awaitable[Served]]


def answers(
    text: str = "An answer.", after_s: float = 0.0, prompt: int | None = 100, completion: int | None = 50
) -> Act:
    async def act(attempt: Attempt, heard: Heard) -> Served:
        await asyncio.sleep(after_s)
        answer = served(text, prompt, completion)
        heard.whole(answer)
        return answer

    return act


def fails(error: UpstreamError, *said: str, after_s: float = 0.0) -> Act:
    """Fails after it has said a part."""

    async def act(attempt: Attempt, heard: Heard) -> Served:
        for piece in said:
            heard.say(piece)
        await asyncio.sleep(after_s)
        raise error

    return act


def hangs(*said: str, prompt: int | None = None, completion: int | None = None) -> Act:
    """Says a part, and then nothing more until it is cancelled."""

    async def act(attempt: Attempt, heard: Heard) -> Served:
        for piece in said:
            heard.say(piece)
        heard.prompt_tokens, heard.completion_tokens = prompt, completion
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    return act


class Stage(Script):
    """Plays one act after another, the last one for ever."""

    def __init__(self, *acts: Act) -> None:
        super().__init__()
        self._acts = list(acts)
        self.inside = 0
        """How many acts are under way."""
        self.began_at: list[float] = []

    async def complete(self, attempt: Attempt, heard: Heard) -> Served:
        self.attempts.append(attempt)
        self.began_at.append(virtual.clock())
        self.started.set()
        act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
        self.inside += 1
        try:
            return await act(attempt, heard)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.inside -= 1


def catalogue_with(folder: Path, **changed: dict[str, Any]) -> Catalogue:
    """The doubles' catalogue, with other entries: `cheap={"hedge": True}`."""
    catalogue = catalogue_of(folder)
    services = {
        name: spec.model_validate(spec.model_dump() | changed.get(name, {}))
        for name, spec in catalogue.services.items()
    }
    return dataclasses.replace(catalogue, services=services)


def play(
    folder: Path,
    story: Callable[[Bench], Coroutine[Any, Any, T]],
    budgets: Budgets | None = None,
    **changed: dict[str, Any],
) -> T:
    """Runs a story with one gateway, in virtual time."""

    async def whole() -> T:
        bench = Bench(catalogue_with(folder, **changed), budgets=budgets, clock=virtual.clock)
        # Given here and not in the end of each story: what is under way in the background is finished.
        try:
            return await story(bench)
        finally:
            await bench.recorded()

    return virtual.run(whole())


async def warmed(bench: Bench, seconds: float = 1.0, calls: int = 20) -> None:
    """Lets `cheap` answer so often that its usual time is known."""
    bench.plays(cheap=Stage(answers(after_s=seconds)))
    for n in range(calls):
        await bench.gateway.complete(ask(task_id=f"warm-{n}"))


def entry_of(bench: Bench, question: Complete) -> Entry:
    return bench.journal.entry(key_of(question))


def used(shelf: Shelf) -> int:
    """What one counter stands at, where there is only one."""
    (amount,) = shelf.counters.values() or (0,)
    return amount


def most(bench: Bench, question: Complete, service: str = "cheap") -> float:
    """What is reserved for a question, in dollars."""
    amount = most_usd(bench.catalogue.services[service].price, question)
    assert amount is not None
    return amount


def the_one(shelf: Shelf) -> Reservation:
    """The reservation that is open, where there is only one."""
    (reservation,) = shelf.records.values()
    return reservation


async def ended(bench: Bench, question: Complete) -> Completion:
    """The answer, once all that follows from it is done too."""
    completion = await asyncio.wait_for(bench.gateway.complete(question), LONG_S)
    await bench.recorded()
    return completion

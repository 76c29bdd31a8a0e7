"""A second try beside a slow first one: whichever answers first counts, the other is cancelled.

Source:
    Dean & Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013: a hedge after the 95th percentile adds
    5 % of load and cuts off most of the tail.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ran(Generic[T]):
    """How one of the two ended: with a value, with an error, or with neither, outrun by the other."""

    value: T | None = None
    error: Exception | None = None

    @property
    def outrun(self) -> bool:
        return self.value is None and self.error is None


class _Racer(Generic[T]):
    def __init__(self, run: Coroutine[Any, Any, T]) -> None:
        self.task = asyncio.ensure_future(run)

    @property
    def arrived(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None

    def ran(self, won: bool) -> Ran[T]:
        if won:
            return Ran(value=self.task.result())
        error = None if self.task.cancelled() else self.task.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        return Ran(error=error)


async def race(
    first: Coroutine[Any, Any, T],
    after_s: float,
    second: Callable[[], Coroutine[Any, Any, T] | None],
) -> tuple[Ran[T], Ran[T] | None]:
    """Run `first`, and beside it `second` if that has not ended after `after_s` seconds.

    A first that fails before then is not tried again here: that is for a retry, which waits. Of two that run, one that
    fails leaves the race to the other. When the race is cancelled, both are; they have ended when it returns or raises.

    Args:
        second: starts the second try, or returns None where there is to be none after all. It is asked once at most.

    Returns:
        How the first ended, and the second if there was one. One of them at most has a value; errors are returned,
        not raised.
    """
    racers = [_Racer(first)]
    winner: _Racer[T] | None = None
    try:
        await asyncio.wait([racers[0].task], timeout=max(0.0, after_s))
        if not racers[0].task.done() and (other := second()) is not None:
            racers.append(_Racer(other))
        while (running := [r.task for r in racers if not r.task.done()]) and not any(r.arrived for r in racers):
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        winner = next((r for r in racers if r.arrived), None)
    finally:
        await _end([r.task for r in racers])
    ran = [r.ran(won=r is winner) for r in racers]
    return ran[0], ran[1] if len(ran) > 1 else None


async def _end(tasks: list[asyncio.Future[T]]) -> None:
    """Cancel what still runs and wait until it has ended, even if somebody cancels the waiting."""
    interrupted = False
    for task in tasks:
        task.cancel()
    while late := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(late)
        except asyncio.CancelledError:
            interrupted = True
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it
    if interrupted:
        raise asyncio.CancelledError

"""An event loop whose time passes only when nobody has anything to do: minutes take no time, and no test sleeps."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skips(selectors.DefaultSelector):
    """Waits for nothing: it moves the clock on by what the loop would have waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits for something that will never happen")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.virtual = _Skips()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.now


def run(story: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine in a loop of its own, whose time begins at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)


def clock() -> float:
    """Seconds of the loop that runs."""
    return asyncio.get_running_loop().time()


class Clock:
    """A clock that moves when it is told to, for what needs no loop."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

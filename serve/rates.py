"""How often a key calls: requests in the last minute, as this replica saw them."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from actors.gateway.limits import Window

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Rate:
    """What became of a request, and what is left for others."""

    limit: int
    left: int
    reset_s: int
    """Until one more request than now would have room. The window slides, so it is never full anew at once."""
    wait_s: int
    """0: it was counted. Else it was not, and there is room for it in so many seconds."""

    @property
    def headers(self) -> Headers:
        said = {b"ratelimit-limit": self.limit, b"ratelimit-remaining": self.left, b"ratelimit-reset": self.reset_s}
        return [(name, b"%d" % value) for name, value in said.items()]


class Rates:
    """A sliding window for each key: no minute, wherever it begins, has more requests than the limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, Window] = {}

    def count(self, key: str, rpm: int) -> Rate:
        """Count a request of a key, if there is room for it."""
        window = self._windows.get(key)
        if window is None or window.limit != rpm:
            window = self._windows[key] = Window(rpm)
        at = self._clock()
        wait_s = math.ceil(window.wait_s(at, 1))
        if not wait_s:
            window.take(at, 1)
        left = window.left(at)
        return Rate(rpm, left, math.ceil(window.wait_s(at, left + 1)), wait_s)

"""What every gateway last said of the services, as long as it is news."""

import time
from collections.abc import Callable

from schemas.figures import Figures, ServiceFigures, merge

STALE_S = 5.0
"""Gateways speak each second; one that has been silent for so long is gone, or its word is worth nothing now."""


class LatestFigures:
    """The last word of each gateway. Ages are of this machine's clock: another's may go otherwise."""

    def __init__(self, stale_s: float = STALE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_s, self._clock = stale_s, clock
        self._heard: dict[str, tuple[float, Figures]] = {}
        self._merged: dict[str, ServiceFigures] = {}
        self._until = float("inf")

    def heard(self, figures: Figures) -> None:
        """A gateway spoke."""
        self._heard[figures.gateway] = (self._clock(), figures)
        self._until = float("-inf")

    def now(self) -> dict[str, ServiceFigures]:
        """Each service's figures, by name; without those that no gateway has spoken of lately. Not to be changed."""
        moment = self._clock()
        if moment > self._until:
            self._heard = {who: said for who, said in self._heard.items() if moment - said[0] <= self._stale_s}
            self._merged = merge([figures for _, figures in self._heard.values()])
            self._until = min((at + self._stale_s for at, _ in self._heard.values()), default=float("inf"))
        return self._merged

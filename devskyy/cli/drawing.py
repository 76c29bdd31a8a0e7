"""What is drawn anew on stderr while something goes on, by a thread of rich's, with what was said last beneath it."""

import threading
from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from devskyy.cli import render
from schemas.message import now

V = TypeVar("V")

REFRESHES_A_SECOND = 4
FINAL_LINES = 40
"""What it takes at most when it stays on the screen at the end."""


def draws(console: Console) -> bool:
    """Whether what is there can be drawn over; otherwise lines follow each other."""
    return console.is_terminal and not console.is_dumb_terminal


class Drawing(ABC, Generic[V]):
    """Shown from `start` to `stop`, and once more for good at the end. `lock` guards what its view is made of."""

    def __init__(self, console: Console) -> None:
        self.console, self.lock = console, threading.Lock()
        self._said = ""
        self._spinner = Spinner("dots", style="green")
        self._late: timedelta | None = None
        self._live: Live | None = None

    @property
    @abstractmethod
    def view(self) -> V:
        """What is drawn, as it is now; it does not change any more."""

    @abstractmethod
    def title(self, view: V, clock: datetime) -> str: ...

    @abstractmethod
    def drawn(self, view: V, clock: datetime, lines: int, title: RenderableType | None) -> RenderableType:
        """All of it in so many lines.

        Args:
            title: in place of the plain one.
        """

    @property
    def shown(self) -> bool:
        return self._live is not None

    def heard(self, at: datetime) -> None:
        """Something is told that happened at this moment by the platform's clock, which may differ from this one:
        none can have come sooner than the fastest of all."""
        late = now() - at
        self._late = late if self._late is None else min(late, self._late)

    def say(self, text: str) -> None:
        with self.lock:
            self._said = text

    def start(self) -> None:
        self._live = Live(
            console=self.console,
            get_renderable=self._draw,
            refresh_per_second=REFRESHES_A_SECOND,
            transient=True,
            vertical_overflow="ellipsis",
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start(refresh=True)

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self.console.print(self.drawn(self.view, self._clock, FINAL_LINES, None))
            self.console.print(Text(render.safe(self._said)))

    @property
    def _clock(self) -> datetime:
        return now() - (self._late or timedelta())

    def _draw(self) -> RenderableType:
        with self.lock:
            view, clock, said = self.view, self._clock, self._said
        self._spinner.update(text=Text(self.title(view, clock), style="bold"))
        drawn = self.drawn(view, clock, self.console.height - 1 - bool(said), self._spinner)
        return Group(drawn, Text(render.safe(said), style="bold")) if said else drawn

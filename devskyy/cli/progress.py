"""How a task goes, on stderr while it runs: on a terminal a status line or a team's tree, else a line an event."""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.spinner import Spinner
from rich.text import Text

from devskyy.cli import render, tree
from devskyy.cli.words import MOST_IN_AN_EVENT, event_line
from schemas.message import now
from schemas.progress import TeamWatch, known_event

REFRESHES_A_SECOND = 4
FINAL_LINES = 40
"""What a team's tree takes at most when it stays on the screen at the end."""


class Progress:
    """Says what is going on. One agent who answers alone has a line; a team has a tree, which stays at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or render.err()
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._bar: Bar | None = None
        self._team: _Team | None = None

    def __enter__(self) -> Self:
        if self._live:
            columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._bar.add_task("sending", total=None)
            self._bar.start()
            self._team = _Team(self._console)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._team is not None:
            self._team.stop()

    def say(self, text: str) -> None:
        if self._team is not None and self._team.shown:
            self._team.say(text)
        elif self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=render.safe(text).replace("\n", " "))
        else:
            self._console.print(Text(render.safe(text)), soft_wrap=True)

    def event(self, event: Mapping[str, Any]) -> None:
        if self._team is not None:
            self._team.take(event)
            if not self._team.shown and self._team.there and self._bar is not None:
                self._bar.stop()
                self._bar = None
                self._team.start()
        if self._team is None or not self._team.shown:
            self.say(render.line(event_line(event), MOST_IN_AN_EVENT))


class _Team:
    """The tree, drawn anew some times a second by a thread of rich's."""

    def __init__(self, console: Console) -> None:
        self._console, self._watch, self._said = console, TeamWatch(), ""
        self._spinner = Spinner("dots", style="green")
        self._late: timedelta | None = None
        self._live: Live | None = None
        self._lock = threading.Lock()

    @property
    def shown(self) -> bool:
        return self._live is not None

    @property
    def there(self) -> bool:
        return self._watch.view.is_team

    def take(self, raw: Mapping[str, Any]) -> None:
        if (event := known_event(raw)) is None:
            return
        late = now() - event.at
        with self._lock:
            # The two clocks may differ: none of the events can have come sooner than the fastest of them.
            self._late = late if self._late is None else min(late, self._late)
            self._watch.take(event)

    def say(self, text: str) -> None:
        with self._lock:
            self._said = text

    def start(self) -> None:
        self._live = Live(
            console=self._console,
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
            self._console.print(tree.fitted(self._watch.view, self._clock, self._console, FINAL_LINES))
            self._console.print(Text(render.safe(self._said)))

    @property
    def _clock(self) -> datetime:
        return now() - (self._late or timedelta())

    def _draw(self) -> RenderableType:
        with self._lock:
            view, clock, said = self._watch.view, self._clock, self._said
        self._spinner.update(text=Text(tree.totals(view, clock), style="bold"))
        footer = 1 if said else 0
        drawn = tree.fitted(view, clock, self._console, self._console.height - 1 - footer, self._spinner)
        return Group(drawn, Text(render.safe(said), style="bold")) if said else drawn

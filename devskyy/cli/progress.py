"""How a task goes, on stderr while it runs: on a terminal a status line or a team's tree, else a line an event."""

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from devskyy.cli import render, tree
from devskyy.cli.drawing import Drawing, draws
from devskyy.cli.words import MOST_IN_AN_EVENT, event_line
from schemas.progress import TeamView, TeamWatch, known_event


class Progress:
    """Says what is going on. One agent who answers alone has a line; a team has a tree, which stays at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or render.err()
        self._live = draws(self._console)
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


class _Team(Drawing[TeamView]):
    """A team's tree."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._watch = TeamWatch()

    @property
    def view(self) -> TeamView:
        return self._watch.view

    @property
    def there(self) -> bool:
        return self.view.is_team

    def take(self, raw: Mapping[str, Any]) -> None:
        if (event := known_event(raw)) is not None:
            with self.lock:
                self.heard(event.at)
                self._watch.take(event)

    def title(self, view: TeamView, clock: datetime) -> str:
        return tree.totals(view, clock)

    def drawn(self, view: TeamView, clock: datetime, lines: int, title: RenderableType | None) -> RenderableType:
        return tree.fitted(view, clock, self.console, lines, title)

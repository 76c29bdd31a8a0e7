"""How a workflow goes, on stderr while it runs: on a terminal its graph, else a line an event."""

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError
from rich.console import Console, RenderableType
from rich.text import Text

from actors.workflow.state import State
from actors.workflow.view import view_of
from devskyy.cli import graph, render
from devskyy.cli import workflow_words as words
from devskyy.cli.drawing import Drawing, draws
from devskyy.cli.words import MOST_IN_AN_EVENT
from schemas.workflow import Workflow
from schemas.workflow_event import WORKFLOW_EVENT, Created, WorkflowEvent


class WorkflowProgress:
    """Says what is going on. The graph stays at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or render.err()
        self._watch = WorkflowWatch()
        self._graph = _Graph(self._console, self._watch) if draws(self._console) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._graph is not None:
            self._graph.stop()

    def say(self, text: str) -> None:
        if self._graph is not None and self._graph.shown:
            self._graph.say(text)
        else:
            self._console.print(Text(render.safe(text)), soft_wrap=True)

    def event(self, raw: Mapping[str, Any]) -> None:
        if self._graph is not None:
            with self._graph.lock:
                event = self._watch.take(raw)
                if event is not None:
                    self._graph.heard(event.at)
            if not self._graph.shown and self._watch.known:
                self._graph.start()
            return
        self.say(render.line(words.event_line(raw), MOST_IN_AN_EVENT))
        event = self._watch.take(raw)
        for name in [] if event is None else [change.task for change in event.changes if change.to == "waiting"]:
            for line in words.wanted(self._watch.view, name):
                self.say(f"  {line}")


class WorkflowWatch:
    """A workflow as its events so far tell it; those of a later version that are not understood are passed over."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._view: Workflow | None = None

    @property
    def known(self) -> bool:
        return self._state is not None

    def take(self, raw: Mapping[str, Any]) -> WorkflowEvent | None:
        try:
            event = WORKFLOW_EVENT.validate_python(raw)
        except ValidationError:
            return None
        if self._state is None:
            if not isinstance(event, Created):
                return None
            self._state = State(event)
        self._state.take(event)
        self._view = None
        return event

    @property
    def view(self) -> Workflow:
        assert self._state is not None
        if self._view is None:
            self._view = view_of(self._state)
        return self._view


class _Graph(Drawing[Workflow]):
    def __init__(self, console: Console, watch: WorkflowWatch) -> None:
        super().__init__(console)
        self._watch = watch

    @property
    def view(self) -> Workflow:
        return self._watch.view

    def title(self, view: Workflow, clock: datetime) -> str:
        return words.totals(view, clock)

    def drawn(self, view: Workflow, clock: datetime, lines: int, title: RenderableType | None) -> RenderableType:
        return graph.fitted(view, clock, self.console, lines, title)

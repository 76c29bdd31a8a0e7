"""A workflow as a graph for a terminal: each task stands below those that it needs, branches are indented, and where
they meet the indentation ends. What does not fit is folded into counts, the quietest first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from devskyy.cli import workflow_words as words
from devskyy.cli.render import line
from schemas.workflow import SETTLED, Attempted, TaskView, UnitStatus, Workflow

STYLES: dict[UnitStatus, str] = {
    "pending": "dim",
    "running": "yellow",
    "waiting": "cyan",
    "retrying": "yellow",
    "completed": "green",
    "failed": "red",
    "skipped": "dim",
    "cancelled": "magenta",
    "compensating": "magenta",
    "compensated": "magenta",
    "undo_failed": "bold red",
}
MOST_INDENT = 8
BAR = 40
"""Columns of the bar at most."""
MOST_WAITS = 3
"""Signals that are told with their commands, where there is little room."""


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is shown."""

    items: int
    """Of each mapped task, those that are told one by one."""
    folded: bool = False
    """Whether tasks in a row that are over, or have not begun, are counted."""


DETAILS = (Detail(8), Detail(3), Detail(0), Detail(0, folded=True))
"""From the most to the least."""

Row = tuple[Text, Text]
"""Who, and how that is."""


def layout(needs: Mapping[str, Sequence[str]]) -> list[tuple[str, int]]:
    """Every task after those that it needs, with its indentation: one more for each branch of several, one less
    where branches meet."""
    left = {name: len(needed) for name, needed in needs.items()}
    dependents: dict[str, list[str]] = {name: [] for name in needs}
    for name, needed in needs.items():
        for other in needed:
            dependents[other].append(name)
    indents: dict[str, int] = {}
    todo = [name for name in reversed(list(needs)) if not left[name]]
    while todo:
        name = todo.pop()
        match needs[name]:
            case []:
                indents[name] = 0
            case [only]:
                indents[name] = indents[only] + (len(dependents[only]) > 1)
            case several:
                indents[name] = max(0, min(indents[other] for other in several) - 1)
        for other in reversed(dependents[name]):
            left[other] -= 1
            if not left[other]:
                todo.append(other)
    return [(name, min(indent, MOST_INDENT)) for name, indent in indents.items()]


def whole(view: Workflow, clock: datetime, width: int) -> Iterator[RenderableType]:
    """All of it, in as many lines as it takes."""
    yield Text(words.totals(view, clock), style="bold")
    yield bar(view, width)
    yield _wrapped(_rows(view, clock, DETAILS[0]), width)


def fitted(
    view: Workflow, clock: datetime, console: Console, lines: int, title: RenderableType | None = None
) -> RenderableType:
    """As much of it as fits into so many lines.

    Args:
        title: in place of the line of totals, and at most two columns longer.
    """
    width, totals = console.width, Text(words.totals(view, clock), style="bold")
    told = list(waits(view, MOST_WAITS))
    taken = 1 + ceil((cell_len(totals.plain) + 2) / width) + sum(ceil(cell_len(each.plain) / width) for each in told)
    room = max(1, lines - taken)
    # Of a thousand tasks each try takes 20 ms, and there are several a second.
    for detail in DETAILS if len(view.tasks) <= room else DETAILS[-1:]:
        rows = _rows(view, clock, detail)
        if len(rows) <= room:
            break
    else:
        more = len(rows) - room + 1
        rows = [*rows[: room - 1], (Text(f"and {more:,} more", style="dim"), Text())]
    return Group(title or totals, bar(view, width, console.options.ascii_only), *_lines(rows, width), *told)


def bar(view: Workflow, width: int, ascii_only: bool = False) -> Text:
    """How far it is, and its id where there is room."""
    full, empty = ("#", "-") if ascii_only else ("━", "╌")
    percentage, length = view.progress.percentage, max(0, min(BAR, width - 8))
    done = int(length * percentage / 100)
    drawn = Text.assemble((full * done, "green"), (empty * (length - done), "dim"), f" {percentage:g} %")
    told = f"  {view.workflow_id}"
    return drawn.append(told, "dim") if drawn.cell_len + len(told) <= width else drawn


def plan(needs: Mapping[str, Sequence[str]], titles: Mapping[str, str], width: int) -> RenderableType:
    """The tasks of a workflow that has not begun."""
    rows = []
    for name, indent in layout(needs):
        told = [titles[name]] if titles.get(name) else []
        told += [f"after {words.some(needs[name])}"] if needs[name] else []
        rows.append((Text("  " * indent + name), Text(line(", ".join(told)))))
    return _wrapped(rows, width)


def _column(rows: Sequence[Row], width: int) -> int:
    """The width of the names."""
    return min(max((name.cell_len for name, _ in rows), default=0), max(12, width // 2 - 2))


def _wrapped(rows: Sequence[Row], width: int) -> Table:
    """What is too long for its line goes on in the next."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="fold", width=_column(rows, width))
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


def _lines(rows: Sequence[Row], width: int) -> Iterator[Text]:
    """What is too long for its line is cut off."""
    column = _column(rows, width)
    for name, told in rows:
        name.truncate(column, overflow="ellipsis", pad=True)
        row = Text.assemble(name, "  ", told, no_wrap=True, overflow="ellipsis")
        yield row


# -- rows --------------------------------------------------------------------------------------------------------------


def _rows(view: Workflow, clock: datetime, detail: Detail) -> list[Row]:
    places = layout({name: task.depends_on for name, task in view.tasks.items()})
    if not detail.folded:
        return [row for name, indent in places for row in _task(view, name, indent, clock, detail)]
    rows: list[Row] = []
    quiet: list[tuple[str, int]] = []
    for name, indent in places:
        if _is_quiet(view.tasks[name]):
            quiet.append((name, indent))
            continue
        rows += _fold(view, quiet, clock, detail)
        quiet = []
        rows += _task(view, name, indent, clock, detail)
    return [*rows, *_fold(view, quiet, clock, detail)]


def _is_quiet(task: TaskView) -> bool:
    return task.status == "pending" or (task.status in SETTLED and task.status not in ("failed", "undo_failed"))


def _fold(view: Workflow, quiet: Sequence[tuple[str, int]], clock: datetime, detail: Detail) -> Iterable[Row]:
    """Tasks in a row of which there is nothing to tell, in one line."""
    if len(quiet) < 2:
        return [row for name, indent in quiet for row in _task(view, name, indent, clock, detail)]
    counts = Counter(words.STATES[view.tasks[name].status] for name, _ in quiet)
    told = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    indent = min(indent for _, indent in quiet)
    return [(Text(f"{'  ' * indent}{words.plural(len(quiet), 'task')}", style="dim"), Text(told, style="dim"))]


def _task(view: Workflow, name: str, indent: int, clock: datetime, detail: Detail) -> Iterator[Row]:
    task = view.tasks[name]
    waited = [other for other in task.depends_on if view.tasks[other].status not in SETTLED]
    yield (
        Text("  " * indent + name, style="" if task.status != "pending" else "dim"),
        _state(task, words.task_facts(task, waited, clock)),
    )
    told = [(number, item) for number, item in enumerate(task.items) if _is_news(item)] if detail.items else []
    for number, item in told[: detail.items]:
        yield Text(f"{'  ' * (indent + 1)}[{number}]", style="dim"), _state(item, words.facts(item, clock))
    if len(told) > detail.items and detail.items:
        rest = Counter(words.STATES[item.status] for _, item in told[detail.items :])
        counted = ", ".join(f"{count:,} more {state}" for state, count in rest.items())
        yield Text(), Text(counted, style="dim")


def _is_news(item: Attempted) -> bool:
    return item.status not in ("pending", "completed", "skipped")


def _state(unit: Attempted, facts: Iterable[str]) -> Text:
    told = "".join(f", {line(fact, 200)}" for fact in facts)
    return Text.assemble((words.STATES[unit.status], STYLES[unit.status]), told)


def waits(view: Workflow, most: int | None = None) -> Iterator[Text]:
    """What it waits for, and how it gets that.

    Args:
        most: tasks that are told of.
    """
    waiting = [name for name, task in view.tasks.items() if task.waits_for is not None]
    for name in waiting[:most]:
        what, *commands = words.wanted(view, name)
        yield Text(line(what), style="cyan")
        yield from (Text(f"  {command}") for command in commands)
    if most is not None and len(waiting) > most:
        yield Text(f"and {words.plural(len(waiting) - most, 'task')} more", style="dim")

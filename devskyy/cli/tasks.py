"""`devskyy tasks`: look at tasks, follow them, cancel them, delete them."""

import contextlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from devskyy.cli import erase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from schemas.task import TaskSummary

StatusName = Literal["accepted", "running", "completed", "failed", "cancelled"]
TaskId = Annotated[str, typer.Argument(metavar="ID", help="A task's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(help="Look at tasks, follow them, cancel them, delete them.", no_args_is_help=True)


@app.command("list")
def list_(
    limit: Annotated[int | None, typer.Option(min=1, help="Tasks on one page.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before this one ended.")] = None,
    status: Annotated[StatusName | None, typer.Option(help="Only these.")] = None,
    as_json: AsJson = False,
) -> None:
    """The latest tasks."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        page = client.tasks(limit, cursor, status)
    if as_json:
        render.document(page)
        return
    rows = [
        (
            task.task_id,
            task.status,
            task.tier,
            f"{task.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
            _cost(task),
            " ".join(task.prompt.split())[:60],
        )
        for task in page.tasks
    ]
    render.table(("Task", "Status", "Tier", "Created", "Cost", "Prompt"), rows, "no tasks")
    if page.next:
        render.say(f"more: devskyy tasks list --cursor {page.next}")


@app.command()
def show(
    task_id: TaskId,
    full: Annotated[bool, typer.Option("--full", help="All that was said, found and measured, unshortened.")] = False,
    with_events: Annotated[bool, typer.Option("--events", help="With --json: its events too.")] = False,
    as_json: AsJson = False,
) -> None:
    """One task: its answer and receipt as far as they are there, how good it is and why, and the story of its team."""
    from devskyy.cli import receipts, render, story
    from devskyy.client import Client
    from devskyy.errors import NoSuchTask
    from schemas.progress import known_event, team_view

    with Client() as client:
        task = client.task(task_id)
        events: tuple[dict[str, Any], ...] | None = None
        if with_events or not as_json:
            with contextlib.suppress(NoSuchTask):  # it has outlived its events
                events = client.history(task_id)
    if as_json:
        told = task.model_dump(mode="json")
        render.document({**told, "events": None if events is None else list(events)} if with_events else told)
        return
    render.say(f"{task.status}: {' '.join(task.prompt.split())[:200]}", "")
    receipts.task(task, as_json=False, full=full)
    if task.quality is not None:
        _section(story.quality(task.quality, full=full))
    view = team_view(event for raw in events or () if (event := known_event(raw)) is not None)
    if view.is_team:
        _section(story.Story(view, full=full).told())
    elif events is None and task.shape not in (None, "direct"):
        render.say("", "the events that tell the story of its team are no longer kept")


def _section(told: "Iterable[RenderableType]") -> None:
    """On stdout, after an empty line, if there is anything."""
    from devskyy.cli import render

    if lines := list(told):
        render.say("", *lines)


@app.command()
def events(
    task_id: TaskId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the task ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """What happened to a task, in order. With --follow --json: one JSON object a line."""
    from devskyy.cli.events import print_events

    print_events(
        "task_id",
        task_id,
        history=lambda client: client.history(task_id),
        following=(lambda client: client.events(task_id)) if follow else None,
        line=_line,
        as_json=as_json,
    )


@app.command()
def cancel(task_id: TaskId, as_json: AsJson = False) -> None:
    """Ask for a task's end. One that has ended already stays as it is."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        task = client.cancel(task_id)
    if as_json:
        render.document(task)
    elif task.ended:
        render.say(f"task {task.task_id} has ended: {task.status}")
    else:
        render.say(f"task {task.task_id} was asked to end; `devskyy tasks events {task.task_id} --follow` tells when")


@app.command()
def delete(task_ids: erase.Ids, with_costs: erase.WithCosts = False, as_json: AsJson = False) -> None:
    """Erase tasks that have ended, everywhere they are kept."""
    from devskyy.client import Client

    with Client() as client:
        erase.each(task_ids, lambda task_id: client.delete_task(task_id, with_costs=with_costs), as_json)


def _cost(task: "TaskSummary") -> str:
    from devskyy.cli import render

    if task.cost_usd is None:
        return "unknown" if task.finished_at else ""
    return render.cost(task.cost_usd) + (" (replayed)" if task.replayed else "")


def _line(event: dict[str, Any]) -> str:
    from devskyy.cli.render import line
    from devskyy.cli.words import MOST_IN_AN_EVENT, event_line

    return f"{event.get('seq', '')!s:>4}  {when(event.get('at'))}  {line(event_line(event), MOST_IN_AN_EVENT)}"


def when(at: Any) -> str:
    """In the reader's own time, to the millisecond."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(at).astimezone().isoformat(" ", "milliseconds")
    except (TypeError, ValueError):
        return str(at or "")

"""`devskyy tasks`: look at tasks, follow them, cancel them."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from schemas.task import TaskSummary

QUIET_S = 0.5
"""Without --follow the events so far are wanted: they come at once, and then nothing does for so long."""

StatusName = Literal["accepted", "running", "completed", "failed", "cancelled"]
TaskId = Annotated[str, typer.Argument(metavar="ID", help="A task's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(help="Look at tasks, follow them, cancel them.", no_args_is_help=True)


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
def show(task_id: TaskId, as_json: AsJson = False) -> None:
    """One task: its answer and receipt as far as they are there."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        task = client.task(task_id)
    if not as_json:
        render.say(f"{task.status}: {' '.join(task.prompt.split())[:200]}", "")
    render.task(task, as_json)


@app.command()
def events(
    task_id: TaskId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the task ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """What happened to a task, in order. With --follow --json: one JSON object a line."""
    import asyncio

    from devskyy.cli import render
    from devskyy.client import AsyncClient

    async def collect() -> list[dict[str, Any]]:
        seen = []
        async with AsyncClient() as client:
            async for event in client.events(task_id) if follow else _so_far(client.events(task_id)):
                if not follow:
                    seen.append(event)
                elif as_json:
                    render.document(event)
                else:
                    render.say(_line(event))
        return seen

    seen = asyncio.run(collect())
    if follow:
        return
    if as_json:
        render.document({"task_id": task_id, "events": seen})
    else:
        render.say(*map(_line, seen))


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


async def _so_far(events: "AsyncGenerator[dict[str, Any]]") -> "AsyncGenerator[dict[str, Any]]":
    """The events until a pause; the first may take as long as it needs."""
    import asyncio
    import contextlib

    async with contextlib.aclosing(events):
        with contextlib.suppress(TimeoutError, StopAsyncIteration):
            yield await anext(events)
            while True:
                yield await asyncio.wait_for(anext(events), QUIET_S)


def _cost(task: "TaskSummary") -> str:
    from devskyy.cli import render

    if task.cost_usd is None:
        return "unknown" if task.finished_at else ""
    return render.cost(task.cost_usd) + (" (replayed)" if task.replayed else "")


def _line(event: dict[str, Any]) -> str:
    from devskyy.cli import render

    return f"{event.get('seq', '')!s:>4}  {event.get('at', '')}  {render.event_line(event)}"

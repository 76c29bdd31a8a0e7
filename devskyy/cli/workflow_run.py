"""`devskyy workflows run` and `watch`: hand in a workflow, show its graph while it goes, print what came of it.

Ctrl-C cancels the workflow that `run` has started; `watch` leaves it alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devskyy.cli.codes import ExitCode

if TYPE_CHECKING:
    from devskyy.cli.workflow_progress import WorkflowProgress
    from devskyy.client import AsyncClient
    from schemas.workflow import Workflow, WorkflowAccepted, WorkflowRequest

CANCEL_S = 5.0
"""For the platform to take a cancel; how long it takes to undo what was done is another matter."""

Source = Annotated[str, typer.Argument(metavar="FILE|TEMPLATE", help="A YAML file, or a template's name.")]
Input = Annotated[
    list[str] | None, typer.Option("--input", metavar="NAME=VALUE", help="An input, as text or JSON; repeatable.")
]
Inputs = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, readable=True, metavar="FILE", help="Inputs as a JSON or YAML file."),
]
MaxParallel = Annotated[int | None, typer.Option(min=1, help="Tasks at once.")]
MaxCost = Annotated[float | None, typer.Option(min=0, help="What all its tasks may cost together.")]
Timeout = Annotated[float | None, typer.Option(min=0.001, help="Seconds from its start until it fails.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WorkflowId = Annotated[str, typer.Argument(metavar="ID", help="A workflow's id.")]


def run(
    source: Source,
    input_: Input = None,
    inputs: Inputs = None,
    max_parallel: MaxParallel = None,
    max_cost_usd: MaxCost = None,
    timeout: Timeout = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print its id and leave it running.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a workflow: watch its graph, then print its output, what failed and what was undone. Ctrl-C cancels it."""
    import asyncio

    from devskyy.cli import workflow_result
    from devskyy.cli.workflow_files import located
    from devskyy.client import AsyncClient
    from schemas.errors import Cancelled

    request = wanted(source, input_, inputs, max_parallel, max_cost_usd, timeout, start=True)
    if detach:
        handed_in(source, request, as_json)
        return

    async def carry_out() -> "Workflow":
        async with AsyncClient() as client:
            return await _carry_out(client, request)

    try:
        with located(source, as_json):
            workflow = asyncio.run(carry_out())
    except asyncio.CancelledError:
        raise Cancelled(
            "this command", "Ctrl-C, twice; the workflow may still be running: see `devskyy workflows list`"
        ) from None
    workflow_result.workflow(workflow, as_json)
    raise typer.Exit(exit_code(workflow))


def create(
    source: Source,
    input_: Input = None,
    inputs: Inputs = None,
    max_parallel: MaxParallel = None,
    max_cost_usd: MaxCost = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Hand in a workflow without starting it, and print its id."""
    handed_in(source, wanted(source, input_, inputs, max_parallel, max_cost_usd, timeout, start=False), as_json)


def watch(workflow_id: WorkflowId, as_json: AsJson = False) -> None:
    """Show a workflow's graph until it ends, then what came of it. Ctrl-C leaves it running."""
    import asyncio

    from devskyy.cli import workflow_result
    from devskyy.cli.workflow_progress import WorkflowProgress
    from devskyy.client import AsyncClient
    from schemas.errors import Cancelled

    async def follow() -> "Workflow":
        async with AsyncClient() as client:
            with WorkflowProgress() as progress:
                return await _follow(client, workflow_id, progress)

    try:
        workflow = asyncio.run(follow())
    except KeyboardInterrupt:
        raise Cancelled("watching", "Ctrl-C; the workflow goes on") from None
    workflow_result.workflow(workflow, as_json)
    raise typer.Exit(exit_code(workflow))


def wanted(
    source: str,
    pairs: list[str] | None,
    file: Path | None,
    max_parallel: int | None,
    max_cost_usd: float | None,
    timeout: float | None,
    *,
    start: bool,
) -> "WorkflowRequest":
    """What the command line asks for, checked as far as that goes without a platform."""
    from devskyy.cli.workflow_files import read_inputs, read_source
    from devskyy.workflow_wire import WorkflowOptions, workflow_request

    request = read_source(source)
    options: WorkflowOptions = {
        "max_parallel_tasks": max_parallel,
        "max_cost_usd": max_cost_usd,
        "timeout_s": timeout,
    }
    inputs = read_inputs(pairs or [], file, _schemas(request) if pairs else {})
    return workflow_request(request, inputs, options, start=start)


def _schemas(request: "WorkflowRequest") -> dict[str, Any]:
    """Those of the inputs, so that a text that looks like a number stays a text."""
    from devskyy.client import Client
    from devskyy.errors import NoSuchTask, PlatformNotRunning

    if request.definition is not None:
        return request.definition.inputs
    try:
        with Client() as client:
            return client.workflow_template(request.template or "").inputs
    except (NoSuchTask, PlatformNotRunning):  # that is said where it is handed in
        return {}


def handed_in(source: str, request: "WorkflowRequest", as_json: bool) -> None:
    """Hand a workflow in and print its id."""
    from devskyy.cli.workflow_files import located
    from devskyy.client import Client

    with located(source, as_json), Client() as client:
        accepted = client.create_workflow(request, start=request.start)
    tell(accepted, as_json, started=request.start)


def tell(accepted: "WorkflowAccepted", as_json: bool, *, started: bool) -> None:
    """The id alone on stdout, so that a script can take it."""
    from devskyy.cli import render

    if as_json:
        render.document(accepted)
        return
    render.say(accepted.workflow_id)
    how = "runs; next: devskyy workflows watch" if started else "is created; next: devskyy workflows start"
    render.err().print(f"{accepted.name} {how} {accepted.workflow_id}", soft_wrap=True)


async def _carry_out(client: "AsyncClient", request: "WorkflowRequest") -> "Workflow":
    """The workflow as it ended; the first Ctrl-C cancels it, the second leaves at once."""
    import asyncio

    from devskyy.cli.run import on_ctrl_c
    from devskyy.cli.workflow_progress import WorkflowProgress
    from devskyy.errors import Conflict
    from schemas.errors import Cancelled

    creating = asyncio.create_task(client.create_workflow(request))

    async def follow() -> "Workflow":
        accepted = await creating
        return await _follow(client, accepted.workflow_id, progress)

    with WorkflowProgress() as progress:
        following = asyncio.create_task(follow())
        first = on_ctrl_c(asyncio.current_task())
        try:
            news: set[asyncio.Future[Any]] = {following, first}
            await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                return await following
            progress.say("cancelling: what was done is undone; Ctrl-C again leaves at once")
            try:
                async with asyncio.timeout(CANCEL_S):
                    accepted = await asyncio.shield(creating)
                    await client.cancel_workflow(accepted.workflow_id, "Ctrl-C")
            except TimeoutError:
                raise Cancelled(
                    "this command", "Ctrl-C; the platform has not confirmed that the workflow ends"
                ) from None
            except Conflict:  # it has ended meanwhile, or is about to
                pass
            return await following
        finally:
            following.cancel()
            creating.cancel()
            await asyncio.gather(following, creating, return_exceptions=True)


async def _follow(client: "AsyncClient", workflow_id: str, progress: "WorkflowProgress") -> "Workflow":
    from devskyy.errors import NoSuchTask

    try:
        async for event in client.workflow_events(workflow_id):
            progress.event(event)
    except NoSuchTask:  # there is none, or it has outlived its events
        pass
    return await client.workflow(workflow_id)


def exit_code(workflow: "Workflow") -> ExitCode:
    match workflow.status:
        case "failed":
            return ExitCode.FAILED
        case "cancelled":
            return ExitCode.CANCELLED
        case _:
            return ExitCode.DONE

"""`devskyy run`: hand in a task, show how it goes, print its answer and receipt. Ctrl-C cancels the task."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from devskyy.cli.codes import ExitCode

if TYPE_CHECKING:
    import asyncio

    from devskyy.cli.progress import Progress
    from devskyy.cli.recordings import RecordingFile
    from devskyy.client import AsyncClient
    from devskyy.wire import TaskOptions
    from schemas.errors import DevSkyyError
    from schemas.task import Task

CANCEL_S = 5.0
"""How long a cancelled task may take to say what was spent."""

TierName = Literal["simple", "moderate", "complex", "mega"]


class _UsageMistake(typer.TyperException):
    exit_code = ExitCode.USAGE


def run(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT|-", help="What is to be done; - reads it from stdin.")
    ] = None,
    tier: Annotated[TierName | None, typer.Option(help="Fix the shape of the team. Left out: chosen for you.")] = None,
    max_cost_usd: Annotated[float | None, typer.Option(min=0, help="Spend no more than this.")] = None,
    min_quality: Annotated[
        float | None, typer.Option(min=0, max=1, help="Ask for this overall quality, 0 to 1; exit code 5 if missed.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds until the task fails.")] = None,
    agents: Annotated[int | None, typer.Option(min=1, help="The team's size within its shape.")] = None,
    capability: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What it takes: a capability of an agent, or a profile such as translation; repeatable.",
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, readable=True, metavar="PATH", help="A file to work on; repeatable."),
    ] = None,
    cache: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="SECONDS", help="Take the answer to an equal question that is no older than this."
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, metavar="FILE", help="Record the run; --replay runs it again without any service."
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, readable=True, metavar="FILE", help="Run a recorded task; it costs nothing."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole task as JSON.")] = False,
) -> None:
    """Run one task and print its answer with the receipt."""
    if prompt is None and replay is None:
        raise _UsageMistake("Missing argument 'PROMPT|-'; only with --replay may it be left out.")
    if record is not None and replay is not None:
        raise _UsageMistake("Give --record or --replay, not both: what is replayed is recorded already.")
    import asyncio
    import contextlib

    from devskyy.cli import receipts, render
    from devskyy.cli.inputs import read_inputs
    from devskyy.cli.progress import Progress
    from devskyy.cli.recordings import RecordingFile, read_recording
    from devskyy.client import AsyncClient
    from devskyy.wire import options_of, task_request
    from schemas.errors import Cancelled

    options: TaskOptions = {
        "tier": tier,
        "max_cost_usd": max_cost_usd,
        "min_quality": min_quality,
        "timeout_s": timeout,
        "agents": agents,
        "cache_s": cache,
    }
    if capability:
        options["capabilities"] = tuple(capability)
    if file:
        options["inputs"] = read_inputs(file)
    text = (stdin() if prompt == "-" else prompt) or ""
    recorded: str | None = None
    if replay is not None:
        recorded, asked = read_recording(replay, None if prompt is None else text, options)
        text, options = asked.prompt, options_of(asked)
    task_request(text, options)  # what is wrong with it can be said without a platform

    async def carry_out(to: "RecordingFile | None") -> "tuple[Task, DevSkyyError | None]":
        async with AsyncClient() as client:
            with Progress() as progress:
                if recorded is not None:
                    options["replay"] = (await client.upload_recording(recorded)).recording
                task = await _carry_out(client, text, options, progress)
            return task, None if to is None else await to.write(client, task)

    try:
        with contextlib.nullcontext() if record is None else RecordingFile(record) as to:
            task, unrecorded = asyncio.run(carry_out(to))
    except asyncio.CancelledError:
        raise Cancelled(
            "this command", "Ctrl-C, twice; the task may still be running: see `devskyy tasks list`"
        ) from None
    min_quality = options.get("min_quality")
    receipts.task(task, as_json, min_quality=min_quality)
    if not as_json and task.shape not in (None, "direct"):
        render.err().print(f"its team's story: devskyy tasks show {task.task_id}")
    code = _exit_code(task, min_quality)
    if unrecorded is not None:
        render.failure(unrecorded, as_json=False)
        code = code or ExitCode.FAILED
    raise typer.Exit(code)


async def _carry_out(client: "AsyncClient", prompt: str, options: "TaskOptions", progress: "Progress") -> "Task":
    """The task as it ended; after a Ctrl-C that the platform does not confirm in time, as it stands."""
    import asyncio

    from devskyy.wire import Waiting, ended_task
    from schemas.errors import Cancelled

    submitting = asyncio.create_task(client.submit(prompt, **options))

    async def follow() -> "Task":
        waiting = Waiting(options)
        accepted = await submitting
        async for event in client.events(accepted.task_id, timeout_s=waiting.remaining_s):
            progress.event(event)
            if task := ended_task(event):
                return task
        return await client.task(accepted.task_id)

    following = asyncio.create_task(follow())
    first = on_ctrl_c(asyncio.current_task())
    try:
        news: set[asyncio.Future[Any]] = {following, first}
        await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            return await following
        progress.say("cancelling; Ctrl-C again leaves at once")
        task = None
        try:
            async with asyncio.timeout(CANCEL_S):
                accepted = await asyncio.shield(submitting)
                task = await client.cancel(accepted.task_id)
                return task if task.ended else await following
        except TimeoutError:
            if task is None:
                raise Cancelled("this command", "Ctrl-C; the platform has not confirmed that the task ends") from None
            progress.say(f"not confirmed within {CANCEL_S:g} s; see `devskyy tasks show {task.task_id}`")
            return task
    finally:
        following.cancel()
        submitting.cancel()
        await asyncio.gather(following, submitting, return_exceptions=True)


def on_ctrl_c(work: "asyncio.Task[Any] | None") -> "asyncio.Future[None]":
    """Done at the first Ctrl-C; the second cancels `work`."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    first: asyncio.Future[None] = loop.create_future()

    def hit() -> None:
        if not first.done():
            first.set_result(None)
        elif work is not None:
            work.cancel()

    loop.add_signal_handler(signal.SIGINT, hit)
    return first


def stdin() -> str:
    from schemas.errors import InvalidRequest

    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("prompt", f"stdin is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _exit_code(task: "Task", min_quality: float | None) -> ExitCode:
    match task.status:
        case "completed" if min_quality is not None and not (task.quality and task.quality.met):
            return ExitCode.UNDER_QUALITY
        case "completed":
            return ExitCode.DONE
        case "failed":
            return ExitCode.FAILED
        case _:
            return ExitCode.CANCELLED

"""`devskyy backup` and `devskyy restore`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from schemas.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from schemas.backup import Checked, Part

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it is written to.")],
    verify: Annotated[bool, typer.Option("--verify", help="Make none: check the one that is there.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put the whole state of this home's platform into one file, while it runs or where it is stopped."""
    from devskyy.backup.take import check, take
    from devskyy.cli.progress import Progress
    from schemas.settings import Settings

    if verify:
        _tell(check(file), "is whole", as_json)
        return
    _quiet()
    with Progress() as progress:
        made = _run(take(Settings.from_environment(), file.absolute(), replace=force, say=progress.say))
    _tell(made, "was written", as_json)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `devskyy backup`.")],
    as_json: AsJson = False,
) -> None:
    """Restore a backup to an empty home and database; `devskyy up` then goes on with what was under way."""
    from devskyy.backup.restore import restore
    from devskyy.cli import render
    from devskyy.cli.progress import Progress
    from schemas.settings import Settings

    _quiet()
    with Progress() as progress:
        restored = _run(restore(Settings.from_environment(), file.absolute(), say=progress.say))
    if as_json:
        render.document(restored)
        return
    manifest = restored.manifest
    render.say(f"restored to {restored.home}: the state of {manifest.made_at.astimezone():%Y-%m-%d %H:%M:%S}")
    if restored.woken:
        render.say(f"{restored.woken:,} workflows go on when the platform starts")
    if restored.overlay is not None:
        render.say(f"set DEVSKYY_CONFIG={restored.overlay} for it to have the services and agents that it had")
    render.say("start it with `devskyy up`")


def _run(work: "Coroutine[None, None, T]") -> T:
    """To its end; told to stop, it leaves nothing half done."""
    import asyncio
    import signal

    async def run() -> T:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise Cancelled("the command", "SIGTERM") from None


def _quiet() -> None:
    """What the connection to the broker logs is of no use here: what went wrong is said at the end."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _tell(checked: "Checked", how: str, as_json: bool) -> None:
    from devskyy.cli import render

    if as_json:
        render.document(checked)
        return
    manifest = checked.manifest
    rows = [(part.name, _holds(part), f"{part.bytes:,}") for part in manifest.parts]
    render.table(("Part", "Holds", "Bytes"), rows, "it is empty")
    when = f"{manifest.made_at.astimezone():%Y-%m-%d %H:%M:%S}"
    render.say(f"{checked.file} {how}: {checked.bytes:,} bytes, the state of {when}, version {manifest.version}")


def _holds(part: "Part") -> str:
    if part.rows is not None:
        return f"{part.rows:,} rows"
    return f"{part.state.get('messages', 0):,} messages" if part.state is not None else ""

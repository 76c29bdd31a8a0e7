"""`devskyy mcp`: the platform's tools for a coding assistant, over stdin and stdout."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def mcp(
    root: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIRECTORY",
            help="Files may be delegated from here and below, hidden ones excepted. Left out: the present directory.",
        ),
    ] = None,
) -> None:
    """Serve MCP over stdin and stdout: tools to delegate work to the platform that runs. Starts none.

    To register it with Claude Code: claude mcp add devskyy -- devskyy mcp
    """
    import asyncio
    import signal

    from devskyy.mcp import serve

    if sys.stdin.isatty():
        print("devskyy mcp: waiting for an MCP client on stdin; Ctrl-C ends this", file=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a thread that reads stdin would outlast the usual way out
    asyncio.run(serve(root or Path.cwd()))

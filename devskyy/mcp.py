"""The platform's tools for a coding assistant over stdin and stdout: `devskyy mcp`."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Sequence
from datetime import date
from pathlib import Path

from mcp.server.stdio import stdio_server

from devskyy.cli.inputs import read_inputs
from devskyy.client import AsyncClient
from devskyy.errors import PlatformNotRunning
from devskyy.wire import options_of
from schemas.agent import AgentStatus
from schemas.costs import CostKey, Costs
from schemas.errors import DevSkyyError, InvalidRequest
from schemas.event import TaskEvent
from schemas.progress import known_event
from schemas.service import ServiceStatus
from schemas.task import Input, Task, TaskList, TaskRequest
from serve.mcp.platform import Platform
from serve.mcp.server import Context, make_server


class Beside:
    """A platform over HTTP.

    It is looked for anew at each verb: while an assistant runs, a platform may be started, end, and come back at
    another port with another operator's key.

    Args:
        root: files are read under this directory alone.
    """

    leaving = False  # whoever closes our stdin has given up what it waits for

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def read(self, paths: Sequence[str]) -> tuple[Input, ...]:
        try:
            return read_inputs([self._within(path) for path in paths])
        except InvalidRequest as error:
            raise InvalidRequest("files", error.rule) from None

    def _within(self, path: str) -> Path:
        """The file of that name, links followed.

        Raises:
            InvalidRequest: it lies elsewhere, or is hidden. An assistant that may not read `.env` or `~/.ssh` itself
                is not to send them to a model this way.
        """
        try:
            found = (self._root / Path(path)).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a null byte
            raise InvalidRequest("files", f"{path!r} is no path: {error}") from None
        if not found.is_relative_to(self._root):
            raise InvalidRequest("files", f"{path} is not under {self._root}, where this server runs")
        if any(part.startswith(".") for part in found.relative_to(self._root).parts):
            raise InvalidRequest("files", f"{path} is hidden; hidden files are not read")
        if not found.is_file():
            raise InvalidRequest("files", f"{path} is no file under {self._root}")
        return found

    async def submit(self, request: TaskRequest) -> str:
        async with AsyncClient() as client:
            return (await client.submit(request.prompt, **options_of(request))).task_id

    async def task(self, task_id: str) -> Task:
        async with AsyncClient() as client:
            return await client.task(task_id)

    async def tasks(self, limit: int) -> TaskList:
        async with AsyncClient() as client:
            return await client.tasks(limit)

    async def follow(self, task_id: str) -> AsyncGenerator[TaskEvent, None]:
        async with AsyncClient() as client, contextlib.aclosing(client.events(task_id)) as events:
            async for raw in events:
                if (event := known_event(raw)) is not None:
                    yield event

    async def history(self, task_id: str) -> tuple[TaskEvent, ...]:
        async with AsyncClient() as client:
            known = map(known_event, await client.history(task_id))
        return tuple(event for event in known if event is not None)

    async def cancel(self, task_id: str) -> None:
        async with AsyncClient() as client:
            await client.cancel(task_id)

    async def agents(self) -> tuple[AgentStatus, ...]:
        async with AsyncClient() as client:
            return await client.agents()

    async def services(self) -> tuple[ServiceStatus, ...]:
        async with AsyncClient() as client:
            return await client.services()

    async def costs(self, by: CostKey, since: date | None, until: date | None) -> Costs:
        async with AsyncClient() as client:
            return await client.costs(by=by, since=since, until=until)


async def serve(root: Path) -> None:
    """Serve until stdin is closed. What a call waits for then is cancelled."""
    platform = Beside(root)

    def the_same(_: Context) -> Platform:
        return platform

    server = make_server(the_same, reads_files=True)
    looking = asyncio.create_task(_look())
    try:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _look() -> None:
    """Say on stderr whether a platform is there. Nothing is started; the tools say it too, when they are called."""
    try:
        async with AsyncClient(retries=0) as client:
            await client.health()
        said = f"the platform at {client.base_url} answers"
    except PlatformNotRunning as error:
        said = f"{error}\n  until then every tool answers with this"
    except DevSkyyError as error:
        said = str(error)
    print(f"devskyy mcp: {said}", file=sys.stderr, flush=True)

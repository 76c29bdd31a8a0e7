"""The platform from within: what the HTTP door's tools work with, as the caller of one request sees it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from datetime import date
from typing import cast

from fastapi import Request

from actors.coordinator.staffing import staff
from bus.tasklog import TaskLog
from schemas.agent import AgentStatus
from schemas.costs import CostKey, Costs
from schemas.event import TaskEvent
from schemas.service import ServiceStatus
from schemas.task import Input, Task, TaskList, TaskRequest
from serve import costs, health, tasks
from serve.caller import caller
from serve.mcp.tools import no_files


class Inside:
    """
    Args:
        request: the HTTP request that brought the call.
        leaving: set once the application is being shut down.
    """

    def __init__(self, request: Request, leaving: asyncio.Event) -> None:
        self._request, self._leaving = request, leaving
        self._who = caller(request)

    @property
    def leaving(self) -> bool:
        return self._leaving.is_set()

    @property
    def _log(self) -> TaskLog:
        log: TaskLog = self._request.app.state.tasks
        return log

    def read(self, paths: Sequence[str]) -> tuple[Input, ...]:
        raise no_files()

    async def submit(self, request: TaskRequest) -> str:
        staff(request, (), self._request.app.state.catalogue)
        who = self._who
        accepted, _ = await self._log.accept(request, who.tenant, api_key=who.key, key_budget=who.budget)
        return accepted.task_id

    async def task(self, task_id: str) -> Task:
        return await tasks.task(task_id, self._request)

    async def tasks(self, limit: int) -> TaskList:
        return await tasks.tasks(self._request, limit)

    async def follow(self, task_id: str) -> AsyncGenerator[TaskEvent, None]:
        followed = cast("AsyncGenerator[TaskEvent, None]", self._log.follow(self._who.tenant, task_id))
        async with contextlib.aclosing(followed) as events:
            async for event in events:
                yield event

    async def history(self, task_id: str) -> tuple[TaskEvent, ...]:
        return tuple(entry.event for entry in await self._log.read(self._who.tenant, task_id))

    async def cancel(self, task_id: str) -> None:
        await tasks.cancel(task_id, self._request)

    async def agents(self) -> tuple[AgentStatus, ...]:
        return (await health.agents(self._request)).agents

    async def services(self) -> tuple[ServiceStatus, ...]:
        return (await health.services(self._request)).services

    async def costs(self, by: CostKey, since: date | None, until: date | None) -> Costs:
        return await costs.costs(self._request, by, since, until)

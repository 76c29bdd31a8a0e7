"""What the tools need of a platform, whether they run inside it or beside it."""

from collections.abc import AsyncGenerator, Sequence
from datetime import date
from typing import Protocol

from schemas.agent import AgentStatus
from schemas.costs import CostKey, Costs
from schemas.event import TaskEvent
from schemas.service import ServiceStatus
from schemas.task import Input, Task, TaskList, TaskRequest


class Platform(Protocol):
    """A platform, as one caller sees it. Its verbs raise a `DevSkyyError` where they cannot."""

    @property
    def leaving(self) -> bool:
        """Whether this server is being shut down. What it waits for is then cut off without anybody's wish."""
        ...

    def read(self, paths: Sequence[str]) -> tuple[Input, ...]:
        """Files of the caller's machine as inputs."""
        ...

    async def submit(self, request: TaskRequest) -> str:
        """Hand in a task and return its id: it is on disk then."""
        ...

    async def task(self, task_id: str) -> Task: ...

    async def tasks(self, limit: int) -> TaskList:
        """The newest ones."""
        ...

    def follow(self, task_id: str) -> AsyncGenerator[TaskEvent, None]:
        """The task's events from the first on, as they happen, until it has ended. Those of kinds that this version
        does not know are left out."""
        ...

    async def history(self, task_id: str) -> tuple[TaskEvent, ...]:
        """The events so far."""
        ...

    async def cancel(self, task_id: str) -> None:
        """Ask for the task's end. One that has ended stays as it is."""
        ...

    async def agents(self) -> tuple[AgentStatus, ...]: ...

    async def services(self) -> tuple[ServiceStatus, ...]: ...

    async def costs(self, by: CostKey, since: date | None, until: date | None) -> Costs: ...

"""The Python SDK: one client for ordinary code, one for `async` code, with the same verbs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from datetime import date, datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from devskyy import wire
from devskyy.errors import StillRunning
from devskyy.sse import Following, Story, of_task, so_far
from devskyy.webhook_client import AsyncWebhooks, Webhooks
from devskyy.wire import KeyChanges, KeyOptions, Patience, Retries, TaskOptions, Verb
from devskyy.workflow_client import AsyncWorkflows, Event, Workflows
from schemas.agent import AgentStatus
from schemas.audit import AuditList, Outcome
from schemas.budget import BudgetLeft
from schemas.costs import CostKey, Costs
from schemas.erasure import Erased
from schemas.health import Health
from schemas.key import ApiKey, CreatedKey
from schemas.quality import QualityBy, QualityList
from schemas.recording import Uploaded
from schemas.selection import Explanation
from schemas.service import ServiceStatus
from schemas.task import Status, Task, TaskAccepted, TaskList
from schemas.token import CreatedToken, Role

__all__ = ["AsyncClient", "Client"]

T = TypeVar("T")


class _Base:
    """What both clients know, and neither does."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 4,
        outage_s: float = 60.0,
    ) -> None:
        """
        Args:
            base_url: left out: `DEVSKYY_URL`, or the platform of `DEVSKYY_HOME`, or where `DEVSKYY_HTTP_HOST` and
                `DEVSKYY_HTTP_PORT` say (http://127.0.0.1:8000).
            api_key: sent as a bearer token. Left out: `DEVSKYY_API_KEY`, or for the platform of this home the
                operator's, which it finds there.
            timeout_s: the longest silence of the platform within one request.
            retries: how often a request is repeated when the connection fails or the platform says "not now". A task
                or workflow is never started twice: each carries an idempotency key.
            outage_s: how long a platform that has gone may take to come back while events are followed.

        Raises:
            ConfigError: the address or the environment cannot be used.
        """
        self.base_url = wire.platform_url(base_url)
        self._patience = Patience(timeout_s, retries, outage_s)
        self._open(wire.connection_options(self.base_url, api_key, timeout_s))

    def _open(self, options: dict[str, Any]) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def _following(self, story: Story, after: int, timeout_s: float | None) -> Following:
        return Following(story, after, timeout_s, self._patience, url=self.base_url)


class Client(Workflows, Webhooks, _Base):
    """A platform to ordinary code. Verbs raise the errors of `devskyy.errors`."""

    _http: httpx.Client

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.Client(**options)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # Tasks

    def submit(
        self, prompt: str, *, idempotency_key: str | None = None, **options: Unpack[TaskOptions]
    ) -> TaskAccepted:
        """Hand in a task: it is on the platform's disk when this returns.

        Args:
            idempotency_key: a key of your own makes a repeat of this call return the first task, in any process.
        """
        return wire.accepted(self._send(wire.submit(prompt, options, idempotency_key)))

    def wait(self, task_id: str, timeout_s: float | None = None) -> Task:
        """The task once it has ended, however it did.

        Raises:
            StillRunning: it has not within `timeout_s`, and goes on.
        """
        try:
            with contextlib.closing(self.events(task_id, timeout_s=timeout_s)) as events:
                for event in events:
                    if task := wire.ended_task(event):
                        return task
        except StillRunning:
            if not (task := self.task(task_id)).ended:
                raise
            return task
        return self.task(task_id)

    def run(
        self,
        prompt: str,
        *,
        check: bool = True,
        patience_s: float | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> Task:
        """Hand in a task and wait for its end.

        Args:
            check: false returns a failed or cancelled task instead of raising it.
            patience_s: how long to wait; left out, until a minute after the task's own deadline.

        Raises:
            TaskFailed, TaskCancelled: it ended without an answer; the error carries the task.
            StillRunning: it has not ended within `patience_s`, and goes on.
        """
        waiting = wire.Waiting(options, patience_s)
        reply = self._send(wire.submit(prompt, options, idempotency_key, waiting.hold_s))
        task = reply if isinstance(reply, Task) else self.wait(reply.task_id, waiting.remaining_s)
        return wire.checked(task) if check else task

    def task(self, task_id: str) -> Task:
        """The task as it stands."""
        return self._send(wire.task(task_id))

    def tasks(self, limit: int | None = None, cursor: str | None = None, status: Status | None = None) -> TaskList:
        """One page of tasks, newest first; its `next` is the cursor of the page after it."""
        return self._send(wire.tasks(limit, cursor, status))

    def events(self, task_id: str, after: int = 0, *, timeout_s: float | None = None) -> Generator[Event]:
        """The task's events with a number above `after`, each once, as they happen; the last one ends the iteration.

        A connection that drops is taken up again where it was.

        Raises:
            StillRunning: the task has not ended within `timeout_s`.
        """
        yield from self._follow(of_task(task_id), after, timeout_s, lambda: self.task(task_id).ended)

    def history(self, task_id: str, after: int = 0) -> tuple[Event, ...]:
        """The task's events that there are by now, those with a number above `after`; nothing is waited for."""
        return self._send(so_far(of_task(task_id), after))

    def cancel(self, task_id: str) -> Task:
        """Ask for the task's end; it has ended when `wait` returns. A task that has ended already stays as it is."""
        return self._send(wire.cancel(task_id))

    def delete_task(self, task_id: str, *, with_costs: bool = False) -> Erased:
        """Erase a task that has ended, everywhere it is kept, and say what was removed from where.

        Args:
            with_costs: whether what it cost is erased too; else that stays in the sums, without a name.

        Raises:
            Conflict: it has not ended.
        """
        return self._send(wire.delete_task(task_id, with_costs))

    def erase_tenant(self, tenant: str) -> Erased:
        """Erase everything of a tenant, what it cost and its keys included. Only who runs the platform may.

        Raises:
            Conflict: something of it has not ended.
        """
        return self._send(wire.erase_tenant(tenant))

    # Recordings

    def recording(self, task_id: str) -> str:
        """The recording of a task that has ended, as JSON lines: its events, and what its model calls answered.

        Raises:
            ApiError: it has not ended, or it is too old (409).
        """
        return self._send(wire.recording(task_id))

    def upload_recording(self, text: str) -> Uploaded:
        """Hand in a recording. A task with its name as `replay` is then answered from it; nothing is called or spent.

        Raises:
            InvalidTask: it is none, or was cut off or changed since; `problem.errors` names the line.
        """
        return self._send(wire.upload_recording(text))

    # The platform

    def agents(self) -> tuple[AgentStatus, ...]:
        return self._send(wire.agents())

    def services(self) -> tuple[ServiceStatus, ...]:
        return self._send(wire.services())

    def explain_services(self, prompt: str, **options: Unpack[TaskOptions]) -> Explanation:
        """Which service would serve a task, what is foreseen of each that may, and why. Starts nothing."""
        return self._send(wire.explain_services(prompt, options))

    def costs(self, *, by: CostKey = "day", since: date | None = None, until: date | None = None) -> Costs:
        """What the tasks cost that ended on these days (UTC, both included), with one row per day, agent, …"""
        return self._send(wire.costs(by, since, until))

    def quality(self, *, by: QualityBy | None = None, since: date | None = None) -> QualityList:
        """How good the answers were that were measured since a day (UTC): of each agent and kind of work, or of one."""
        return self._send(wire.quality(by, since))

    def budgets(self) -> tuple[BudgetLeft, ...]:
        """The budgets of today (UTC): what is reserved and spent of each, and what is left."""
        return self._send(wire.budgets())

    # Keys

    def create_key(self, name: str, **options: Unpack[KeyOptions]) -> CreatedKey:
        """Make an API key. Its `secret` is told this once; the first key shuts the platform to whoever has none."""
        return self._send(wire.create_key(name, options))

    def keys(self) -> tuple[ApiKey, ...]:
        """API keys, newest first, also those that have ended."""
        return self._send(wire.keys())

    def update_key(self, key_id: str, **changes: Unpack[KeyChanges]) -> ApiKey:
        """Change what an API key may spend, how often it may come and when it ends. What is left out stays."""
        return self._send(wire.update_key(key_id, changes))

    def create_token(
        self, subject: str, expires_at: datetime, *, role: Role = "operator", tenant: str | None = None
    ) -> CreatedToken:
        """Make a JSON Web Token, which holds until its end. Only who runs the platform may; it needs JWT_SECRET_KEY."""
        return self._send(wire.create_token(subject, role, tenant, expires_at))

    def audit(
        self,
        *,
        limit: int = 100,
        cursor: str | None = None,
        since: datetime | None = None,
        outcome: Outcome | None = None,
    ) -> AuditList:
        """Who changed something, or was refused, newest first; `next` of the list is the cursor of the one after it."""
        return self._send(wire.audit(limit, cursor, since, outcome))

    def revoke_key(self, key_id: str) -> ApiKey:
        """Revoke an API key, for good; within five seconds it opens nothing."""
        return self._send(wire.revoke_key(key_id))

    def health(self) -> Health:
        """Whether the platform can work, part by part."""
        return self._send(wire.health())

    def _follow(self, story: Story, after: int, timeout_s: float | None, look: Callable[[], bool]) -> Generator[Event]:
        """The events of a story; `look` asks whether it has ended."""
        following = self._following(story, after, timeout_s)
        while not following.ended:
            try:
                with self._http.stream(**following.arguments()) as reply:
                    if reply.status_code != 200:
                        reply.read()
                        delay_s = following.refused(reply)
                    else:
                        for chunk in reply.iter_bytes():
                            yield from following.take(chunk)
                            if following.ended or following.in_a_hurry:
                                break
                        delay_s = following.closed()
                        if following.brought_nothing:
                            following.found(look())
            except httpx.TransportError as error:
                delay_s = following.broke(error)
            if not following.ended:
                time.sleep(delay_s)

    def _send(self, verb: Verb[T]) -> T:
        retries = Retries(self._patience.retries)
        while True:
            outcome = self._try(verb)
            if (delay_s := retries.delay_s(outcome, verb)) is None:
                return verb.result(outcome, self.base_url)
            time.sleep(delay_s)

    def _try(self, verb: Verb[Any]) -> httpx.Response | httpx.TransportError:
        try:
            return self._http.request(**verb.arguments(self._patience.timeout_s))
        except httpx.TransportError as error:
            return error


class AsyncClient(AsyncWorkflows, AsyncWebhooks, _Base):
    """A platform to `async` code: `Client`'s verbs, to await."""

    _http: httpx.AsyncClient

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.AsyncClient(**options)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    # Tasks

    async def submit(
        self, prompt: str, *, idempotency_key: str | None = None, **options: Unpack[TaskOptions]
    ) -> TaskAccepted:
        """As `Client.submit`."""
        return wire.accepted(await self._send(wire.submit(prompt, options, idempotency_key)))

    async def wait(self, task_id: str, timeout_s: float | None = None) -> Task:
        """As `Client.wait`."""
        try:
            async with contextlib.aclosing(self.events(task_id, timeout_s=timeout_s)) as events:
                async for event in events:
                    if task := wire.ended_task(event):
                        return task
        except StillRunning:
            if not (task := await self.task(task_id)).ended:
                raise
            return task
        return await self.task(task_id)

    async def run(
        self,
        prompt: str,
        *,
        check: bool = True,
        patience_s: float | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> Task:
        """As `Client.run`. Cancelling this call leaves the task running."""
        waiting = wire.Waiting(options, patience_s)
        reply = await self._send(wire.submit(prompt, options, idempotency_key, waiting.hold_s))
        task = reply if isinstance(reply, Task) else await self.wait(reply.task_id, waiting.remaining_s)
        return wire.checked(task) if check else task

    async def task(self, task_id: str) -> Task:
        """As `Client.task`."""
        return await self._send(wire.task(task_id))

    async def tasks(
        self, limit: int | None = None, cursor: str | None = None, status: Status | None = None
    ) -> TaskList:
        """As `Client.tasks`."""
        return await self._send(wire.tasks(limit, cursor, status))

    async def events(self, task_id: str, after: int = 0, *, timeout_s: float | None = None) -> AsyncGenerator[Event]:
        """As `Client.events`."""

        async def look() -> bool:
            return (await self.task(task_id)).ended

        async with contextlib.aclosing(self._follow(of_task(task_id), after, timeout_s, look)) as events:
            async for event in events:
                yield event

    async def history(self, task_id: str, after: int = 0) -> tuple[Event, ...]:
        """As `Client.history`."""
        return await self._send(so_far(of_task(task_id), after))

    async def cancel(self, task_id: str) -> Task:
        """As `Client.cancel`."""
        return await self._send(wire.cancel(task_id))

    async def delete_task(self, task_id: str, *, with_costs: bool = False) -> Erased:
        """As `Client.delete_task`."""
        return await self._send(wire.delete_task(task_id, with_costs))

    async def erase_tenant(self, tenant: str) -> Erased:
        """As `Client.erase_tenant`."""
        return await self._send(wire.erase_tenant(tenant))

    # Recordings

    async def recording(self, task_id: str) -> str:
        """As `Client.recording`."""
        return await self._send(wire.recording(task_id))

    async def upload_recording(self, text: str) -> Uploaded:
        """As `Client.upload_recording`."""
        return await self._send(wire.upload_recording(text))

    # The platform

    async def agents(self) -> tuple[AgentStatus, ...]:
        return await self._send(wire.agents())

    async def services(self) -> tuple[ServiceStatus, ...]:
        return await self._send(wire.services())

    async def explain_services(self, prompt: str, **options: Unpack[TaskOptions]) -> Explanation:
        """As `Client.explain_services`."""
        return await self._send(wire.explain_services(prompt, options))

    async def costs(self, *, by: CostKey = "day", since: date | None = None, until: date | None = None) -> Costs:
        """As `Client.costs`."""
        return await self._send(wire.costs(by, since, until))

    async def quality(self, *, by: QualityBy | None = None, since: date | None = None) -> QualityList:
        """As `Client.quality`."""
        return await self._send(wire.quality(by, since))

    async def budgets(self) -> tuple[BudgetLeft, ...]:
        """As `Client.budgets`."""
        return await self._send(wire.budgets())

    # Keys

    async def create_key(self, name: str, **options: Unpack[KeyOptions]) -> CreatedKey:
        """As `Client.create_key`."""
        return await self._send(wire.create_key(name, options))

    async def keys(self) -> tuple[ApiKey, ...]:
        """As `Client.keys`."""
        return await self._send(wire.keys())

    async def update_key(self, key_id: str, **changes: Unpack[KeyChanges]) -> ApiKey:
        """As `Client.update_key`."""
        return await self._send(wire.update_key(key_id, changes))

    async def create_token(
        self, subject: str, expires_at: datetime, *, role: Role = "operator", tenant: str | None = None
    ) -> CreatedToken:
        """As `Client.create_token`."""
        return await self._send(wire.create_token(subject, role, tenant, expires_at))

    async def audit(
        self,
        *,
        limit: int = 100,
        cursor: str | None = None,
        since: datetime | None = None,
        outcome: Outcome | None = None,
    ) -> AuditList:
        """As `Client.audit`."""
        return await self._send(wire.audit(limit, cursor, since, outcome))

    async def revoke_key(self, key_id: str) -> ApiKey:
        """As `Client.revoke_key`."""
        return await self._send(wire.revoke_key(key_id))

    async def health(self) -> Health:
        """As `Client.health`."""
        return await self._send(wire.health())

    async def _follow(
        self, story: Story, after: int, timeout_s: float | None, look: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[Event]:
        """As `Client._follow`."""
        following = self._following(story, after, timeout_s)
        while not following.ended:
            try:
                async with self._http.stream(**following.arguments()) as reply:
                    if reply.status_code != 200:
                        await reply.aread()
                        delay_s = following.refused(reply)
                    else:
                        async for chunk in reply.aiter_bytes():
                            for event in following.take(chunk):
                                yield event
                            if following.ended or following.in_a_hurry:
                                break
                        delay_s = following.closed()
                        if following.brought_nothing:
                            following.found(await look())
            except httpx.TransportError as error:
                delay_s = following.broke(error)
            if not following.ended:
                await asyncio.sleep(delay_s)

    async def _send(self, verb: Verb[T]) -> T:
        retries = Retries(self._patience.retries)
        while True:
            outcome = await self._try(verb)
            if (delay_s := retries.delay_s(outcome, verb)) is None:
                return verb.result(outcome, self.base_url)
            await asyncio.sleep(delay_s)

    async def _try(self, verb: Verb[Any]) -> httpx.Response | httpx.TransportError:
        try:
            return await self._http.request(**verb.arguments(self._patience.timeout_s))
        except httpx.TransportError as error:
            return error

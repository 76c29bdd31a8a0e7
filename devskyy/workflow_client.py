"""The clients' verbs of workflows: `Client` and `AsyncClient` have them beside those of tasks."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from time import monotonic
from typing import Any, TypeVar, Unpack

from devskyy import workflow_wire as wire
from devskyy.errors import StillRunning
from devskyy.sse import Story, so_far
from devskyy.wire import WAIT_S, Verb
from devskyy.workflow_wire import WorkflowOptions, WorkflowSource
from schemas.erasure import Erased
from schemas.workflow import (
    TemplateSummary,
    Workflow,
    WorkflowAccepted,
    WorkflowDefinition,
    WorkflowList,
    WorkflowStatus,
)
from schemas.workflow_doors import CheckedWorkflow

T = TypeVar("T")
Event = dict[str, Any]


class Workflows:
    """What `Client` can do with workflows."""

    def _send(self, verb: Verb[T]) -> T:
        raise NotImplementedError

    def _follow(self, story: Story, after: int, timeout_s: float | None, look: Callable[[], bool]) -> Generator[Event]:
        raise NotImplementedError

    # To have one

    def create_workflow(
        self,
        source: WorkflowSource,
        inputs: Mapping[str, Any] | None = None,
        *,
        start: bool = True,
        idempotency_key: str | None = None,
        **options: Unpack[WorkflowOptions],
    ) -> WorkflowAccepted:
        """Hand in a workflow: it is on the platform's disk when this returns.

        Args:
            source: a template's name, a path to a YAML file, a definition, or a builder of one.
            start: left false, it waits for `start_workflow`.
            idempotency_key: a key of your own makes a repeat of this call return the first workflow, in any process.

        Raises:
            InvalidTask: all that is wrong with it, each with its place.
        """
        request = wire.workflow_request(source, inputs, options, start=start)
        return wire.accepted(self._send(wire.create(request, idempotency_key)))

    def run_workflow(
        self,
        source: WorkflowSource,
        inputs: Mapping[str, Any] | None = None,
        *,
        check: bool = True,
        patience_s: float | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[WorkflowOptions],
    ) -> Workflow:
        """Hand in a workflow and wait for its end.

        Args:
            check: false returns a failed or cancelled workflow instead of raising it.
            patience_s: how long to wait; left out, as long as it takes.

        Raises:
            WorkflowFailed, WorkflowCancelled: it ended so; the error carries the workflow.
            StillRunning: it has not ended within `patience_s`, and goes on.
        """
        waiting = _Waiting(patience_s)
        request = wire.workflow_request(source, inputs, options)
        reply = self._send(wire.create(request, idempotency_key, waiting.hold_s))
        if not isinstance(reply, Workflow):
            reply = self.wait_workflow(reply.workflow_id, waiting.left_s)
        return wire.checked(reply) if check else reply

    def validate_workflow(
        self, source: WorkflowSource, inputs: Mapping[str, Any] | None = None, **options: Unpack[WorkflowOptions]
    ) -> CheckedWorkflow:
        """Whether a workflow could run, and in what order its tasks would. Starts nothing.

        Raises:
            InvalidTask: all that is wrong with it, each with its place.
        """
        return self._send(wire.validate(wire.workflow_request(source, inputs, options)))

    def workflow_templates(self) -> tuple[TemplateSummary, ...]:
        """The workflows that come with the platform."""
        return self._send(wire.templates())

    def workflow_template(self, name: str) -> WorkflowDefinition:
        """A template as a definition, to be read or changed."""
        return self._send(wire.template(name))

    # To see how it is

    def workflow(self, workflow_id: str) -> Workflow:
        """The workflow as it stands."""
        return self._send(wire.workflow(workflow_id))

    def workflows(
        self,
        limit: int | None = None,
        cursor: str | None = None,
        status: WorkflowStatus | None = None,
        *,
        name: str | None = None,
        children: bool = False,
    ) -> WorkflowList:
        """One page of workflows, newest first; its `next` is the cursor of the page after it.

        Args:
            children: with those that are tasks of others.
        """
        return self._send(wire.workflows(limit, cursor, status, name, children))

    def wait_workflow(self, workflow_id: str, timeout_s: float | None = None) -> Workflow:
        """The workflow once it has ended, however it did.

        Raises:
            StillRunning: it has not within `timeout_s`, and goes on.
        """
        waiting = _Waiting(timeout_s)
        while not (found := self.workflow(workflow_id)).ended:
            try:
                with contextlib.closing(
                    self.workflow_events(workflow_id, found.seq, timeout_s=waiting.left_s)
                ) as events:
                    for _ in events:
                        pass
            except StillRunning:
                if not (found := self.workflow(workflow_id)).ended:
                    raise StillRunning(workflow_id, timeout_s or 0.0, "workflow") from None
        return found

    def workflow_events(self, workflow_id: str, after: int = 0, *, timeout_s: float | None = None) -> Generator[Event]:
        """The workflow's events with a number above `after`, each once, as they happen; its end ends the iteration.

        A connection that drops is taken up again where it was.

        Raises:
            StillRunning: it has not ended within `timeout_s`.
        """
        yield from self._follow(wire.story(workflow_id), after, timeout_s, lambda: self.workflow(workflow_id).ended)

    def workflow_history(self, workflow_id: str, after: int = 0) -> tuple[Event, ...]:
        """The workflow's events that there are by now, those with a number above `after`; nothing is waited for."""
        return self._send(so_far(wire.story(workflow_id), after))

    def workflow_output(self, workflow_id: str, task: str | None = None, item: int | None = None) -> Any:
        """What a workflow or a task of it gave, whole, however large.

        Args:
            task: left out, what the workflow gives back.
            item: of a mapped task, the item's number, from 0; left out, the list of all.
        """
        return self._send(wire.output(workflow_id, task, item))

    # To have a say in it. Each returns the workflow as it stands then; with `wait_s`, as it stands once that is done.

    def start_workflow(self, workflow_id: str, *, wait_s: float = 0.0, idempotency_key: str | None = None) -> Workflow:
        """Start one that was created with `start=False`.

        Raises:
            Conflict: it was started already, by somebody else.
        """
        return self._send(wire.command(workflow_id, "start", idempotency_key, wait_s))

    def signal_workflow(
        self,
        workflow_id: str,
        name: str,
        payload: Any = None,
        *,
        wait_s: float = 0.0,
        idempotency_key: str | None = None,
    ) -> Workflow:
        """Send what a task waits for, now or later: an approval `{"approved": true}` or false, others anything.

        Raises:
            InvalidTask: no task waits for a signal of this name, or not for such a payload.
            Conflict: the workflow has ended.
        """
        return self._send(wire.signal(workflow_id, name, payload, idempotency_key, wait_s))

    def pause_workflow(self, workflow_id: str, *, wait_s: float = 0.0, idempotency_key: str | None = None) -> Workflow:
        """Have nothing new begin; what runs comes to its end."""
        return self._send(wire.command(workflow_id, "pause", idempotency_key, wait_s))

    def resume_workflow(self, workflow_id: str, *, wait_s: float = 0.0, idempotency_key: str | None = None) -> Workflow:
        """Have one that is paused go on."""
        return self._send(wire.command(workflow_id, "resume", idempotency_key, wait_s))

    def cancel_workflow(
        self,
        workflow_id: str,
        reason: str | None = None,
        *,
        compensate: bool = True,
        wait_s: float = 0.0,
        idempotency_key: str | None = None,
    ) -> Workflow:
        """Ask for the workflow's end; it has ended when `wait_workflow` returns.

        Args:
            compensate: whether what was done is undone first.
        """
        return self._send(wire.cancel(workflow_id, reason, compensate, idempotency_key, wait_s))

    def delete_workflow(self, workflow_id: str, *, with_costs: bool = False) -> Erased:
        """Erase a workflow that has ended, with its tasks, everywhere they are kept: see `Client.delete_task`.

        Raises:
            Conflict: it has not ended, or is a task of another.
        """
        return self._send(wire.delete_workflow(workflow_id, with_costs))

    def retry_workflow(
        self, workflow_id: str, task: str | None = None, *, wait_s: float = 0.0, idempotency_key: str | None = None
    ) -> Workflow:
        """Have one that failed or was cancelled go on.

        Args:
            task: from this one on, all that follows it included; left out: what failed, was cancelled or undone.
        """
        return self._send(wire.retry(workflow_id, task, idempotency_key, wait_s))

    def fork_workflow(
        self,
        workflow_id: str,
        after: int,
        inputs: Mapping[str, Any] | None = None,
        *,
        start: bool = True,
        idempotency_key: str | None = None,
    ) -> WorkflowAccepted:
        """Have another workflow that begins as this one stood after one of its events.

        Args:
            after: the event's number.
            inputs: in place of those of the same names.
        """
        return wire.accepted(self._send(wire.fork(workflow_id, after, inputs, start, idempotency_key)))


class AsyncWorkflows:
    """What `AsyncClient` can do with workflows."""

    async def _send(self, verb: Verb[T]) -> T:
        raise NotImplementedError

    def _follow(
        self, story: Story, after: int, timeout_s: float | None, look: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[Event]:
        raise NotImplementedError

    async def create_workflow(
        self,
        source: WorkflowSource,
        inputs: Mapping[str, Any] | None = None,
        *,
        start: bool = True,
        idempotency_key: str | None = None,
        **options: Unpack[WorkflowOptions],
    ) -> WorkflowAccepted:
        """As `Client.create_workflow`."""
        request = wire.workflow_request(source, inputs, options, start=start)
        return wire.accepted(await self._send(wire.create(request, idempotency_key)))

    async def run_workflow(
        self,
        source: WorkflowSource,
        inputs: Mapping[str, Any] | None = None,
        *,
        check: bool = True,
        patience_s: float | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[WorkflowOptions],
    ) -> Workflow:
        """As `Client.run_workflow`."""
        waiting = _Waiting(patience_s)
        request = wire.workflow_request(source, inputs, options)
        reply = await self._send(wire.create(request, idempotency_key, waiting.hold_s))
        if not isinstance(reply, Workflow):
            reply = await self.wait_workflow(reply.workflow_id, waiting.left_s)
        return wire.checked(reply) if check else reply

    async def validate_workflow(
        self, source: WorkflowSource, inputs: Mapping[str, Any] | None = None, **options: Unpack[WorkflowOptions]
    ) -> CheckedWorkflow:
        """As `Client.validate_workflow`."""
        return await self._send(wire.validate(wire.workflow_request(source, inputs, options)))

    async def workflow_templates(self) -> tuple[TemplateSummary, ...]:
        """As `Client.workflow_templates`."""
        return await self._send(wire.templates())

    async def workflow_template(self, name: str) -> WorkflowDefinition:
        """As `Client.workflow_template`."""
        return await self._send(wire.template(name))

    async def workflow(self, workflow_id: str) -> Workflow:
        """As `Client.workflow`."""
        return await self._send(wire.workflow(workflow_id))

    async def workflows(
        self,
        limit: int | None = None,
        cursor: str | None = None,
        status: WorkflowStatus | None = None,
        *,
        name: str | None = None,
        children: bool = False,
    ) -> WorkflowList:
        """As `Client.workflows`."""
        return await self._send(wire.workflows(limit, cursor, status, name, children))

    async def wait_workflow(self, workflow_id: str, timeout_s: float | None = None) -> Workflow:
        """As `Client.wait_workflow`."""
        waiting = _Waiting(timeout_s)
        while not (found := await self.workflow(workflow_id)).ended:
            try:
                async with contextlib.aclosing(
                    self.workflow_events(workflow_id, found.seq, timeout_s=waiting.left_s)
                ) as events:
                    async for _ in events:
                        pass
            except StillRunning:
                if not (found := await self.workflow(workflow_id)).ended:
                    raise StillRunning(workflow_id, timeout_s or 0.0, "workflow") from None
        return found

    async def workflow_events(
        self, workflow_id: str, after: int = 0, *, timeout_s: float | None = None
    ) -> AsyncGenerator[Event]:
        """As `Client.workflow_events`."""

        async def look() -> bool:
            return (await self.workflow(workflow_id)).ended

        async with contextlib.aclosing(self._follow(wire.story(workflow_id), after, timeout_s, look)) as events:
            async for event in events:
                yield event

    async def workflow_history(self, workflow_id: str, after: int = 0) -> tuple[Event, ...]:
        """As `Client.workflow_history`."""
        return await self._send(so_far(wire.story(workflow_id), after))

    async def workflow_output(self, workflow_id: str, task: str | None = None, item: int | None = None) -> Any:
        """As `Client.workflow_output`."""
        return await self._send(wire.output(workflow_id, task, item))

    async def start_workflow(
        self, workflow_id: str, *, wait_s: float = 0.0, idempotency_key: str | None = None
    ) -> Workflow:
        """As `Client.start_workflow`."""
        return await self._send(wire.command(workflow_id, "start", idempotency_key, wait_s))

    async def signal_workflow(
        self,
        workflow_id: str,
        name: str,
        payload: Any = None,
        *,
        wait_s: float = 0.0,
        idempotency_key: str | None = None,
    ) -> Workflow:
        """As `Client.signal_workflow`."""
        return await self._send(wire.signal(workflow_id, name, payload, idempotency_key, wait_s))

    async def pause_workflow(
        self, workflow_id: str, *, wait_s: float = 0.0, idempotency_key: str | None = None
    ) -> Workflow:
        """As `Client.pause_workflow`."""
        return await self._send(wire.command(workflow_id, "pause", idempotency_key, wait_s))

    async def resume_workflow(
        self, workflow_id: str, *, wait_s: float = 0.0, idempotency_key: str | None = None
    ) -> Workflow:
        """As `Client.resume_workflow`."""
        return await self._send(wire.command(workflow_id, "resume", idempotency_key, wait_s))

    async def cancel_workflow(
        self,
        workflow_id: str,
        reason: str | None = None,
        *,
        compensate: bool = True,
        wait_s: float = 0.0,
        idempotency_key: str | None = None,
    ) -> Workflow:
        """As `Client.cancel_workflow`."""
        return await self._send(wire.cancel(workflow_id, reason, compensate, idempotency_key, wait_s))

    async def delete_workflow(self, workflow_id: str, *, with_costs: bool = False) -> Erased:
        """As `Client.delete_workflow`."""
        return await self._send(wire.delete_workflow(workflow_id, with_costs))

    async def retry_workflow(
        self, workflow_id: str, task: str | None = None, *, wait_s: float = 0.0, idempotency_key: str | None = None
    ) -> Workflow:
        """As `Client.retry_workflow`."""
        return await self._send(wire.retry(workflow_id, task, idempotency_key, wait_s))

    async def fork_workflow(
        self,
        workflow_id: str,
        after: int,
        inputs: Mapping[str, Any] | None = None,
        *,
        start: bool = True,
        idempotency_key: str | None = None,
    ) -> WorkflowAccepted:
        """As `Client.fork_workflow`."""
        return wire.accepted(await self._send(wire.fork(workflow_id, after, inputs, start, idempotency_key)))


class _Waiting:
    """How long an end is waited for; the time runs from here."""

    def __init__(self, patience_s: float | None) -> None:
        self._until = None if patience_s is None else monotonic() + patience_s
        self.hold_s = max(1, int(min(WAIT_S, WAIT_S if patience_s is None else patience_s)))
        """Whole seconds that the platform is asked to hold its answer."""

    @property
    def left_s(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - monotonic())

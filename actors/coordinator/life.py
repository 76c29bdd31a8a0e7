"""The life of a task in its owner's hands: claim it, run its shape, end it exactly once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog

from actors.catalogue import Catalogue, cost_usd, price_of
from actors.coordinator.classifier import Classification, choose, classify
from actors.coordinator.direct import Asks, Completes, Work, direct
from actors.coordinator.staffing import pick_agent
from bus.tasklog import Logged, OwnedTask, TaskLog, WrongLastSequence
from schemas.agent import Answer
from schemas.errors import (
    BadInput,
    Cancelled,
    DeadlineExceeded,
    DevSkyyError,
    Fenced,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from schemas.event import TERMINAL, Accepted, CancelledEvent, Claimed, Command, Completed, Failed, TaskEvent
from schemas.message import now
from schemas.problem import Problem
from schemas.projection import project
from schemas.quality import Quality, unmeasured
from schemas.receipt import Call, Receipt
from schemas.task import BUILT_TIERS, SHAPE_OF, TaskRequest

log = structlog.get_logger()

NOBODY = "none"
"""Stands for the agent where a service answers as it is."""
SETTLE_S = 3.0
"""How long a stopped task waits for its calls to say what they spent."""


class Calls(Protocol):
    async def calls_of(self, tenant: str, task_id: str) -> tuple[Call, ...]: ...


@dataclass
class _Running:
    """A task in this owner's hands."""

    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""

    def cancel(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.cancelled.set()


class Lives:
    """The tasks of one coordinator. `run` carries one; `command` reaches those under way."""

    def __init__(
        self,
        owner: str,
        tasks: TaskLog,
        catalogue: Catalogue,
        ask: Asks,
        abort: Callable[[str], Awaitable[None]],
        journal: Calls,
        complete: Completes,
    ) -> None:
        self._owner, self._tasks, self._catalogue = owner, tasks, catalogue
        self._ask, self._abort, self._journal, self._complete = ask, abort, journal, complete
        self._running: dict[tuple[str, str], _Running] = {}

    async def command(self, tenant: str, task_id: str, command: Command) -> None:
        """Obey, if the task is ours. One that nobody has claimed yet is ended here and now."""
        running = self._running.get((tenant, task_id))
        if running is not None:
            running.cancel(command.reason)
            return
        try:
            history = await self._tasks.read(tenant, task_id)
        except NotFound:
            return
        if len(history) == 1:
            owned = OwnedTask(self._tasks, history)
            try:
                await self._end(owned, 0, Cancelled("the task", command.reason), (), None)
            except (Fenced, WrongLastSequence):
                log.info("claimed meanwhile; its owner obeys", task_id=task_id)

    async def run(self, accepted: Accepted, stream_seq: int, delivery: int) -> None:
        """Carry a task to its end.

        Raises:
            Fenced: a newer owner has it.
            DevSkyyError: it could not be carried now; deliver it again.
        """
        tenant, task_id = accepted.tenant, accepted.task_id
        history = [Logged(stream_seq, accepted)] if delivery == 1 else await self._tasks.read(tenant, task_id)
        owned = OwnedTask(self._tasks, history)
        if owned.ended:
            return
        # Known as running before the commands are read: one that comes later finds it here.
        running = self._running[tenant, task_id] = _Running()
        try:
            if (command := await self._tasks.pending_command(tenant, task_id)) is not None:
                running.cancel(command.reason)
            await self._carry(owned, running, delivery)
        finally:
            if self._running.get((tenant, task_id)) is running:
                del self._running[tenant, task_id]

    async def give_up(self, accepted: Accepted, deliveries: int) -> None:
        """End a task that no coordinator could carry."""
        owned = OwnedTask(self._tasks, await self._tasks.read(accepted.tenant, accepted.task_id))
        if not owned.ended:
            error = DevSkyyError(f"given up: {deliveries} coordinators in a row could not carry it")
            await self._end(owned, deliveries, error, await self._spent(owned), None)

    async def _carry(self, owned: OwnedTask, running: _Running, delivery: int) -> None:
        request = owned.accepted.request
        try:
            claimed = self._plan(owned, request, delivery)
        except BadInput as refused:
            await self._end(owned, delivery, refused, await self._spent(owned), None)
            return
        await owned.append(claimed)
        work = Work(owned.accepted, request, claimed.agents)
        outcome: Answer | DevSkyyError = Cancelled("the task", running.reason)
        if not running.cancelled.is_set():  # cancelled before it was claimed: nobody is asked any more
            shape = direct(work, self._ask, self._complete)
            outcome = await self._within(owned.accepted.deadline_at, running, shape, request.timeout_s)
        if isinstance(outcome, Answer) and outcome.problem is None:
            await self._end(owned, delivery, None, outcome.calls, outcome)
            return
        error: DevSkyyError
        if isinstance(outcome, DevSkyyError):
            await self._abort(owned.accepted.task_id)
            error = outcome
        else:
            assert outcome.problem is not None
            error = outcome.problem.error()
        if running.cancelled.is_set():
            error = Cancelled("the task", running.reason)
        elif error.code == Cancelled.code:
            raise Unavailable(f"the work was stopped though nobody cancelled the task: {error}")
        await self._end(owned, delivery, error, await self._spent(owned), None)

    def _plan(self, owned: OwnedTask, request: TaskRequest, delivery: int) -> Claimed:
        seen = classify(request)
        tier, why = choose(seen, request.tier, BUILT_TIERS)
        agent, because = self._staff(request, seen)
        return Claimed(
            **owned.next_fields,
            epoch=delivery,
            owner=self._owner,
            tier=tier,
            shape=SHAPE_OF[tier],
            agents=(agent,),
            reasons=(*why, *because),
            features={"difficulty": seen.difficulty, "domains": list(seen.domains), **seen.features},
        )

    def _staff(self, request: TaskRequest, seen: Classification) -> tuple[str, tuple[str, ...]]:
        """Who does it, and why."""
        if request.service is not None:
            if request.service not in self._catalogue.services:
                raise InvalidRequest("service", f"there is no service {request.service!r}")
            if not self._catalogue.order_for((request.service,)):
                raise InvalidRequest("service", f"routing.services does not let {request.service!r} serve")
            return NOBODY, (f"its caller named the service {request.service!r}",)
        if request.agent is not None:
            if request.agent not in self._catalogue.agents:
                raise InvalidRequest("agent", f"there is no agent {request.agent!r}")
            return request.agent, ("its caller named the agent",)
        return pick_agent(seen.domains, request.capabilities, self._catalogue.agents)

    async def _within(
        self, deadline: datetime, running: _Running, shape: Awaitable[Answer], timeout_s: float
    ) -> Answer | DevSkyyError:
        """Run the shape until it answers, the deadline passes, or the task is cancelled.

        A stopped shape is told through the agents, and then has a moment to come back with what it spent.
        """
        work: asyncio.Future[Answer] = asyncio.ensure_future(shape)
        stop = asyncio.create_task(running.cancelled.wait())
        try:
            left_s = max(0.0, (deadline - now()).total_seconds())
            waited: set[asyncio.Future[Any]] = {work, stop}
            await asyncio.wait(waited, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                try:
                    return work.result()
                except DevSkyyError as error:
                    return error
            if running.cancelled.is_set():
                return Cancelled("the task", running.reason)
            return DeadlineExceeded("the task", timeout_s)
        finally:
            stop.cancel()
            if not work.done():
                work.cancel()  # aborts the request on the other side, and that one's requests in turn

    async def _spent(self, owned: OwnedTask) -> tuple[Call, ...]:
        """What the journal says was spent, once nothing of it is open any more or patience is over."""
        tenant, task_id = owned.accepted.tenant, owned.accepted.task_id
        give_up = asyncio.get_running_loop().time() + SETTLE_S
        while True:
            calls = await self._journal.calls_of(tenant, task_id)
            settled = not any(c.in_doubt for c in calls)
            if settled or asyncio.get_running_loop().time() > give_up:
                return calls
            await asyncio.sleep(0.1)

    async def _end(
        self, owned: OwnedTask, epoch: int, error: DevSkyyError | None, calls: tuple[Call, ...], answer: Answer | None
    ) -> None:
        fields: dict[str, Any] = owned.next_fields
        before = project(owned.events)
        wall_ms = round((fields["at"] - before.created_at).total_seconds() * 1000, 3)
        status = "completed" if error is None else "cancelled" if error.code == Cancelled.code else "failed"
        task = before.model_copy(
            update={
                "status": status,
                "answer": answer.text if answer else None,
                "finish_reason": answer.finish_reason if answer else None,
                "finished_at": fields["at"],
                "quality": self._quality(owned.accepted) if error is None else None,
                "receipt": self._receipt(calls, wall_ms),
                "error": Problem.of(error) if error is not None else None,
            }
        )
        event: TaskEvent
        match status:
            case "completed":
                event = Completed(**fields, epoch=epoch, task=task)
            case "cancelled":
                event = CancelledEvent(**fields, epoch=epoch, task=task)
            case _:
                event = Failed(**fields, epoch=epoch, task=task)
        assert event.event in TERMINAL
        await owned.append(event)
        log.info("task ended", task_id=task.task_id, status=status, wall_ms=wall_ms)

    @staticmethod
    def _quality(accepted: Accepted) -> Quality:
        asked = accepted.request.min_quality is not None
        reason = "this version does not measure quality yet"
        quality = unmeasured(reason)
        return quality.model_copy(update={"reasons": quality.reasons | ({"met": reason} if asked else {})})

    def _receipt(self, calls: tuple[Call, ...], wall_ms: float) -> Receipt:
        name = self._catalogue.routing.premium_service
        cost, unknown = self._premium(name, calls)
        return Receipt.of(calls, wall_ms, name, cost, unknown)

    def _premium(self, name: str, calls: tuple[Call, ...]) -> tuple[float | None, str | None]:
        """What one call of the premium service would have cost, at the tokens that the serving call counted."""
        price, unknown = price_of(name, self._catalogue.services[name])
        if price is None:
            return None, unknown
        served = next((c for c in reversed(calls) if c.outcome == "answered"), None)
        if served is None:
            return None, "there is no answer to compare"
        if served.prompt_tokens is None or served.completion_tokens is None:
            return None, f"{served.service} reported no usage"
        return cost_usd(price, served.prompt_tokens, served.completion_tokens), None

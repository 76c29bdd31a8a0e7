"""The life of a task in its owner's hands: claim it, run its shape, end it exactly once."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from actors.catalogue import Catalogue, cost_usd, price_of
from actors.coordinator.classifier import choose, classify
from actors.coordinator.direct import Asks, Completes, Work, direct
from actors.coordinator.staffing import staff
from actors.selection import Selector
from bus.journal import Spending
from bus.tasklog import Logged, OwnedTask, TaskLog
from schemas.agent import Answer
from schemas.errors import (
    BadInput,
    Cancelled,
    DeadlineExceeded,
    DevSkyyError,
    Fenced,
    NotFound,
    Unavailable,
)
from schemas.event import TERMINAL, Accepted, CancelledEvent, Claimed, Command, Completed, Failed, TaskEvent
from schemas.message import now
from schemas.problem import Problem
from schemas.projection import project
from schemas.quality import Quality, unmeasured
from schemas.receipt import Call, Receipt
from schemas.task import BUILT_TIERS, SHAPE_OF, TaskRequest, Tier

log = structlog.get_logger()

UNHEEDED = 10_000
"""Tasks remembered for which a command came too early, at most."""
CLOCKS_DIFFER = timedelta(seconds=5)
"""How far the clocks of two machines may lie apart."""
APPEAR_S = 0.3
"""How long a call that was asked for just before its task was stopped may take to enter the journal."""
SETTLE_S = 3.0
"""How long a stopped task waits for its calls to say what they spent."""


class Calls(Protocol):
    async def spending_of(self, tenant: str, task_id: str) -> Spending: ...


@dataclass
class _Running:
    """A task in this owner's hands."""

    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    work: asyncio.Future[Any] | None = None
    """What a cancel stops."""

    def cancel(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.cancelled.set()
        if self.work is not None:
            self.work.cancel()


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
        limit: int = 256,
        hears_since: Callable[[], datetime] = now,
        selector: Selector | None = None,
    ) -> None:
        """
        Args:
            limit: how many tasks are carried at a time; those beyond wait, and end in time all the same.
            hears_since: the moment since which `command` has been told of every command. For a task that was accepted
                after it, the stream of commands need not be asked.
            selector: left out: services are tried in the order that is stated.
        """
        self._hears_since, self._selector = hears_since, selector
        self._owner, self._tasks, self._catalogue = owner, tasks, catalogue
        self._ask, self._abort, self._journal, self._complete = ask, abort, journal, complete
        self._running: dict[tuple[str, str], _Running] = {}
        self._unheeded: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Tasks that a command came for before it could be obeyed."""
        self._room = asyncio.Semaphore(limit)

    async def command(self, tenant: str, task_id: str, command: Command) -> None:
        """Obey, if the task is ours. One that nobody has claimed yet is ended here and now.

        What cannot be obeyed yet is remembered, so that `run` looks for it.

        Raises:
            DevSkyyError: the bus failed.
        """
        key = (tenant, task_id)
        if (running := self._running.get(key)) is not None:
            running.cancel(command.reason)
            return
        try:
            history = await self._tasks.read(tenant, task_id)
        except DevSkyyError as error:
            self._remember(key)
            if (running := self._running.get(key)) is not None:
                running.cancel(command.reason)
            elif not isinstance(error, NotFound):
                raise
            return  # not accepted yet, as it seems
        if (running := self._running.get(key)) is not None:
            running.cancel(command.reason)  # it came while its history was read
        elif len(history) == 1:
            owned = OwnedTask(self._tasks, history)
            try:
                await self._end(owned, 0, Cancelled("the task", command.reason), (), None)
            except Fenced:
                # Claimed meanwhile. An owner elsewhere heard the command too; one here may have looked before it came.
                if (running := self._running.get(key)) is not None:
                    running.cancel(command.reason)
            except DevSkyyError:
                self._remember(key)
                raise

    def _remember(self, key: tuple[str, str]) -> None:
        self._unheeded[key] = None
        while len(self._unheeded) > UNHEEDED:
            self._unheeded.popitem(last=False)

    async def look_again(self) -> None:
        """Obey what was asked of running tasks while this coordinator could not hear it; call it after a reconnect.

        Raises:
            BusUnavailable: the commands were not read; call it again.
        """
        for (tenant, task_id), running in list(self._running.items()):
            if (command := await self._tasks.pending_command(tenant, task_id)) is not None:
                running.cancel(command.reason)

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
            early = (tenant, task_id) in self._unheeded
            if early or delivery > 1 or accepted.at <= self._hears_since() + CLOCKS_DIFFER:
                command = await self._tasks.pending_command(tenant, task_id)
                if command is not None:
                    running.cancel(command.reason)
                self._unheeded.pop((tenant, task_id), None)
            async with self._place(accepted.deadline_at, running):
                await self._carry(owned, running, delivery)
        finally:
            if self._running.get((tenant, task_id)) is running:
                del self._running[tenant, task_id]

    @contextlib.asynccontextmanager
    async def _place(self, deadline: datetime, running: _Running) -> AsyncIterator[None]:
        """A place among those that are carried; a task that is cancelled or late needs none to end."""
        if not self._room.locked():
            async with self._room:
                yield
            return
        taking = asyncio.ensure_future(self._room.acquire())
        stop = asyncio.create_task(running.cancelled.wait())
        try:
            waited: set[asyncio.Future[Any]] = {taking, stop}
            left_s = max(0.0, (deadline - now()).total_seconds())
            await asyncio.wait(waited, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            stop.cancel()
            if taking.done() and not taking.cancelled():
                self._room.release()
            taking.cancel()

    async def give_up(self, accepted: Accepted, deliveries: int) -> None:
        """End a task that no coordinator could carry."""
        owned = OwnedTask(self._tasks, await self._tasks.read(accepted.tenant, accepted.task_id))
        if not owned.ended:
            error = DevSkyyError(f"given up: {deliveries} coordinators in a row could not carry it")
            await self._end(owned, deliveries, error, await self._spent(owned), None)

    async def _carry(self, owned: OwnedTask, running: _Running, delivery: int) -> None:
        request = owned.accepted.request
        try:
            claimed, services = self._plan(owned, request, delivery)
        except BadInput as refused:
            await self._end(owned, delivery, refused, await self._spent(owned), None)
            return
        await owned.append(claimed)
        work = Work(owned.accepted, request, claimed.agents, services)
        outcome: Answer | DevSkyyError = Cancelled("the task", running.reason)
        asked = not running.cancelled.is_set()
        if asked:  # cancelled before it was claimed: nobody is asked any more
            shape = direct(work, self._ask, self._complete)
            outcome = await self._within(owned.accepted.deadline_at, running, shape, request.timeout_s)
        if isinstance(outcome, Answer) and outcome.problem is None:
            # An earlier owner may have asked otherwise, before a change of the configuration: the journal knows all.
            calls = outcome.calls if delivery == 1 else await self._spent(owned)
            await self._end(owned, delivery, None, calls, outcome)
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
        await self._end(
            owned, delivery, error, await self._spent(owned, asked and isinstance(outcome, DevSkyyError)), None
        )

    def _plan(self, owned: OwnedTask, request: TaskRequest, delivery: int) -> tuple[Claimed, tuple[str, ...]]:
        """The plan as an event, and the order in which services may serve; empty: as it is stated."""
        if request.service is not None:
            # Nothing is left to choose, so nobody need look at the prompt: a tenth of what a task costs here.
            agent, because = staff(request, (), self._catalogue)
            return self._claimed(owned, delivery, request.tier or "simple", (agent,), because, {}), ()
        seen = classify(request)
        tier, why = choose(seen, request.tier, BUILT_TIERS)
        agent, because = staff(request, seen.domains, self._catalogue)
        features: dict[str, Any] = {
            "difficulty": seen.difficulty,
            "confidence": seen.confidence,
            "domains": list(seen.domains),
            **seen.features,
        }
        choice = self._selector.choose(request, seen.difficulty, seen.domains, agent) if self._selector else None
        if choice is not None:
            because, features["selection"] = (*because, *choice.reasons), choice.compact()
        claimed = self._claimed(owned, delivery, tier, (agent,), (*why, *because), features)
        return claimed, choice.order if choice is not None else ()

    def _claimed(
        self,
        owned: OwnedTask,
        epoch: int,
        tier: Tier,
        agents: tuple[str, ...],
        reasons: tuple[str, ...],
        features: dict[str, Any],
    ) -> Claimed:
        return Claimed(
            **owned.next_fields,
            epoch=epoch,
            owner=self._owner,
            tier=tier,
            shape=SHAPE_OF[tier],
            agents=agents,
            reasons=reasons,
            features=features,
        )

    async def _within(
        self, deadline: datetime, running: _Running, shape: Awaitable[Answer], timeout_s: float
    ) -> Answer | DevSkyyError:
        """Run the shape until it answers, the deadline passes, or the task is cancelled.

        A stopped shape is told through the agents, and then has a moment to come back with what it spent.
        """
        work: asyncio.Future[Answer] = asyncio.ensure_future(shape)
        running.work = work
        try:
            await asyncio.wait([work], timeout=max(0.0, (deadline - now()).total_seconds()))
            if work.done() and not work.cancelled():
                try:
                    return work.result()
                except DevSkyyError as error:
                    return error
            if running.cancelled.is_set():
                return Cancelled("the task", running.reason)
            return DeadlineExceeded("the task", timeout_s)
        finally:
            running.work = None
            if not work.done():
                work.cancel()  # aborts the request on the other side, and that one's requests in turn

    async def _spent(self, owned: OwnedTask, begun: bool = False) -> tuple[Call, ...]:
        """What the journal says was spent, once nothing of it is under way any more or patience is over.

        Args:
            begun: somebody was asked; a call of theirs may be about to enter the journal.
        """
        tenant, task_id = owned.accepted.tenant, owned.accepted.task_id
        clock = asyncio.get_running_loop().time
        began = clock()
        while True:
            spending = await self._journal.spending_of(tenant, task_id)
            patience_s = SETTLE_S if spending.under_way else APPEAR_S if begun and not spending.known else 0.0
            if clock() - began >= patience_s:
                return spending.calls
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
                "receipt": self._receipt(owned.accepted.request, calls, wall_ms),
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
        log.debug("task ended", task_id=task.task_id, status=status, wall_ms=wall_ms)

    @staticmethod
    def _quality(accepted: Accepted) -> Quality:
        asked = accepted.request.min_quality is not None
        reason = "this version does not measure quality yet"
        quality = unmeasured(reason)
        return quality.model_copy(update={"reasons": quality.reasons | ({"met": reason} if asked else {})})

    def _receipt(self, request: TaskRequest, calls: tuple[Call, ...], wall_ms: float) -> Receipt:
        name = self._catalogue.routing.premium_service
        cost, unknown = self._premium(name, request, calls)
        return Receipt.of(calls, wall_ms, name, cost, unknown)

    def _premium(self, name: str, request: TaskRequest, calls: tuple[Call, ...]) -> tuple[float | None, str | None]:
        """What one call of the premium service with the task's own words would have cost.

        At the tokens that the serving call counted; of its prompt the task's share by length, the agent's left out.
        """
        price, unknown = price_of(name, self._catalogue.services[name])
        if price is None:
            return None, unknown
        served = next((c for c in reversed(calls) if c.outcome == "answered"), None)
        if served is None:
            return None, "there is no answer to compare"
        if served.prompt_tokens is None or served.completion_tokens is None:
            return None, f"{served.service} reported no usage"
        agent = self._catalogue.agents.get(served.agent)
        ours = len(agent.prompt) if agent else 0
        theirs = len(request.prompt) + sum(len(turn.content) for turn in request.history)
        theirs += sum(len(item.text_content()) for item in request.inputs if item.kind != "image")
        tokens = round(served.prompt_tokens * theirs / (theirs + ours))
        return cost_usd(price, tokens, served.completion_tokens), None

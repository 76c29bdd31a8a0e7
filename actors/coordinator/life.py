"""The life of a task in its owner's hands: claim it, run its shape, end it exactly once."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import structlog

from actors.catalogue import Catalogue
from actors.coordinator.assessor import Assessor
from actors.coordinator.bounds import Bounds, most_calls
from actors.coordinator.conduct import Result, conduct
from actors.coordinator.direct import Asks, Completes, Work, direct
from actors.coordinator.ending import Answered, ending
from actors.coordinator.judgement import Bench, Judges, nobody
from actors.coordinator.plan import Plan, Planner
from actors.coordinator.run import Hosts, Run
from actors.coordinator.story import Story
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
from schemas.event import (
    Accepted,
    Claimed,
    Command,
    Dispatched,
)
from schemas.message import now
from schemas.quality import Quality, unmeasured
from schemas.receipt import Call
from schemas.task import SHAPE_OF, TaskRequest

log = structlog.get_logger()

UNHEEDED = 10_000
"""Tasks remembered for which a command came too early, at most."""
CLOCKS_DIFFER = timedelta(seconds=5)
"""How far the clocks of two machines may lie apart."""
APPEAR_S = 0.3
"""How long a call that was asked for just before its task was stopped may take to enter the journal."""
SETTLE_S = 3.0
"""How long a stopped task waits for its calls to say what they spent."""
STOP_S = 2.0
"""How long work that was stopped may take to let go."""

R = TypeVar("R")


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


Recorded = Callable[[str, str], Awaitable[Claimed | None]]


async def nothing(_tenant: str, _recording: str) -> Claimed | None:
    """No recorded run is known."""
    return None


async def unhosted(seats: int) -> None:
    """Specialists are there already, or nobody knows."""


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
        assessor: Assessor | None = None,
        hosts: Hosts = unhosted,
        judges: Judges = nobody,
        recorded: Recorded = nothing,
    ) -> None:
        """
        Args:
            limit: how many tasks are carried at a time; those beyond wait, and end in time all the same.
            hears_since: the moment since which `command` has been told of every command. For a task that was accepted
                after it, the stream of commands need not be asked.
            selector: left out: services are tried in the order that is stated.
            hosts: sees that specialists can be asked.
            judges: who may judge answers for which a bar was set.
            recorded: how a recorded run was planned, by tenant and recording.
        """
        self._hears_since, self._hosts, self._judges, self._recorded = hears_since, hosts, judges, recorded
        self._planner, self._assessor = Planner(catalogue, selector), assessor or Assessor()
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
            plan = await self._plan(owned, request)
        except BadInput as refused:
            await self._end(owned, delivery, refused, await self._spent(owned), None)
            return
        await owned.append(self._claimed(owned, delivery, plan))
        if not plan.alone or (request.min_quality is not None and request.service is None):
            await self._carry_team(owned, running, delivery, plan)
            return
        services = plan.services.get(plan.agents[0], ())
        work = Work(owned.accepted, request, plan.agents, services)
        outcome: Answer | DevSkyyError = Cancelled("the task", running.reason)
        asked = not running.cancelled.is_set()
        if asked:  # cancelled before it was claimed: nobody is asked any more
            shape = direct(work, self._ask, self._complete)
            outcome = await self._within(owned.accepted.deadline_at, running, shape, request.timeout_s)
        if isinstance(outcome, Answer) and outcome.problem is None:
            # An earlier owner may have asked otherwise, before a change of the configuration: the journal knows all.
            calls = outcome.calls if delivery == 1 else await self._spent(owned)
            quality = await self._quality(request, outcome)
            wished = outcome.tool_calls
            answered = Answered(outcome.text, outcome.finish_reason, quality, plan.tier, tool_calls=wished)
            await self._end(owned, delivery, None, calls, answered)
            return
        if not isinstance(outcome, DevSkyyError):
            assert outcome.problem is not None
            await self._fail(owned, running, delivery, outcome.problem.error(), asked=False)
            return
        await self._abort(owned.accepted.task_id)
        await self._fail(owned, running, delivery, outcome, asked=asked)

    async def _carry_team(self, owned: OwnedTask, running: _Running, delivery: int, plan: Plan) -> None:
        accepted, request = owned.accepted, owned.accepted.request
        team, whole = self._planner.team(plan, alone=request.agent is not None), self._planner.whole(plan, request)
        story = Story(owned, delivery)
        run = Run(
            accepted,
            story,
            self._catalogue,
            self._ask,
            self._assessor,
            # What a dearer shape may take counts from the start: it may be stepped up to.
            Bounds(most_calls(plan.tier if plan.fixed else "mega", plan.size)),
            self._hosts,
            plan.services,
        )
        outcome: Result | DevSkyyError = Cancelled("the task", running.reason)
        asked = not running.cancelled.is_set()
        if asked:
            bench = Bench(self._judges, self._complete)
            shape = conduct(run, whole, team, plan.tier, bench, fixed=plan.fixed)
            try:
                outcome = await self._within(accepted.deadline_at, running, shape, request.timeout_s)
            finally:
                await story.close()
        if isinstance(outcome, Fenced | Unavailable):
            raise outcome  # the story could not be written: a newer owner, or a later delivery, goes on from there
        if isinstance(outcome, DevSkyyError):
            await self._abort(accepted.task_id)
            await self._fail(owned, running, delivery, outcome, asked=asked)
            return
        found = outcome.outcome
        answered = Answered(found.text, found.finish_reason, outcome.quality, outcome.tier, story)
        await self._end(owned, delivery, None, await self._spent(owned), answered)

    async def _fail(
        self, owned: OwnedTask, running: _Running, delivery: int, error: DevSkyyError, *, asked: bool
    ) -> None:
        if running.cancelled.is_set():
            error = Cancelled("the task", running.reason)
        elif error.code == Cancelled.code:
            raise Unavailable(f"the work was stopped though nobody cancelled the task: {error}")
        await self._end(owned, delivery, error, await self._spent(owned, asked), None)

    async def _plan(self, owned: OwnedTask, request: TaskRequest) -> Plan:
        """The plan; of a task whose team has begun, or that is replayed, as it was written down."""
        before = None
        if any(isinstance(event, Dispatched) for event in owned.events):
            before = next((event for event in owned.events if isinstance(event, Claimed)), None)
        elif request.replay is not None:
            before = await self._recorded(owned.accepted.tenant, request.replay)
        return self._planner.plan(request) if before is None else self._planner.resumed(before, request)

    def _claimed(self, owned: OwnedTask, epoch: int, plan: Plan) -> Claimed:
        return Claimed(
            **owned.next_fields,
            epoch=epoch,
            owner=self._owner,
            tier=plan.tier,
            shape=SHAPE_OF[plan.tier],
            agents=plan.agents,
            reasons=plan.reasons,
            features=plan.features,
        )

    async def _within(
        self, deadline: datetime, running: _Running, shape: Awaitable[R], timeout_s: float
    ) -> R | DevSkyyError:
        """Run the shape until it answers, the deadline passes, or the task is cancelled.

        A stopped shape is told through the agents, and then has a moment to come back with what it spent.
        """
        work: asyncio.Future[R] = asyncio.ensure_future(shape)
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
                await asyncio.wait([work], timeout=STOP_S)

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
        self,
        owned: OwnedTask,
        epoch: int,
        error: DevSkyyError | None,
        calls: tuple[Call, ...],
        answered: Answered | None,
    ) -> None:
        event = ending(self._catalogue, owned.events, owned.next_fields, epoch, error, calls, answered)
        await owned.append(event)
        task = event.task
        log.debug("task ended", task_id=task.task_id, status=task.status, error=error and error.code)

    async def _quality(self, request: TaskRequest, answer: Answer) -> Quality:
        """How good one agent's answer is. A service that was named is passed through, and not judged."""
        if request.service is not None:
            return unmeasured("its caller named the service, whose answer is passed on as it is")
        if answer.tool_calls:
            return unmeasured("the model wishes for tools; what it says beside that is no answer yet")
        texts = [part.text_content() for part in request.inputs if part.kind != "image"]
        return await self._assessor.measure(request.prompt, texts, answer.text, request.json_schema)

"""Carries one workflow: turn by turn, each written down before what it begins is begun."""

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import structlog

from actors.workflow.expressions import ExpressionError
from actors.workflow.state import State, label
from actors.workflow.turn import Turn, next_due
from actors.workflow.work import Assignment, Outcome, problem, under_way
from schemas.errors import BusUnavailable, DevSkyyError, StorageFull, TooLarge
from schemas.message import now
from schemas.problem import Problem
from schemas.workflow import RETRY_WITHIN_S
from schemas.workflow_event import Advanced, Claimed, Completed, WorkflowCommand, WorkflowEvent

IDLE_S = 5.0
"""A workflow in which nothing happens for longer is let go; a timer in the stream brings it back."""
SNAPSHOT_EVENTS = 250
"""At least so many events lie between two snapshots, and more in a workflow that has done much: so neither recovery nor
what is written grows faster than the work."""
SNAPSHOT_SHARE = 16
AGAIN_S = 0.5
"""Between two tries of what the bus had to do with, while that is away."""
KEEP_S = 5.0
"""For a snapshot under way when the workflow is let go."""

log = structlog.get_logger()


class Book(Protocol):
    """Where a workflow is written down."""

    async def append(self, event: WorkflowEvent, expected: int) -> int: ...

    def keep(self, state: State) -> Coroutine[None, None, None]:
        """Takes the state as it is when this is called."""
        ...

    async def wake_at(self, state: State, at: datetime) -> None: ...

    async def load(self, name: str) -> Any: ...

    async def store(self, state: State, output: Any) -> dict[str, Any]:
        """`output`, or where it lies: `blob` and `bytes`."""
        ...


class Hands(Protocol):
    """Who does the work."""

    async def carry_out(self, state: State, work: Assignment, blobs: Mapping[str, Any]) -> Outcome | None:
        """None: it goes on without anybody here, and a wake will tell of its end."""
        ...

    def needs(self, state: State, work: Assignment) -> set[str]:
        """Large outputs that must be at hand for it."""
        ...

    async def stop(self, state: State, work: Assignment) -> None: ...


class Released(DevSkyyError):
    """The runner takes nothing more."""

    code = "released"
    retryable = True


class Runner:
    """One workflow in the hands of its present owner, which alone writes its events."""

    def __init__(
        self,
        state: State,
        book: Book,
        hands: Hands,
        owner: str,
        clock: Callable[[], datetime] = now,
        draw: Callable[[], float] = random.random,
        retry_within_s: float = RETRY_WITHIN_S,
    ) -> None:
        self.state = state
        self._book, self._hands, self._owner, self._clock, self._draw = book, hands, owner, clock, draw
        self._retry_within_s = retry_within_s
        self._commands: deque[tuple[WorkflowCommand, asyncio.Future[None]]] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._at_work: dict[Assignment, asyncio.Task[None]] = {}
        self._stopped: set[Assignment] = set()
        self._ends: set[asyncio.Task[None]] = set()
        self._blobs: dict[str, Any] = {}
        self._news = asyncio.Event()
        self._released = self._stopping = False
        self.leased = False
        """Whether a wake is held for it, which comes to another engine should this one die."""
        self.finished = asyncio.Event()
        """Set once it has let go."""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: datetime | None = None
        self._since_snapshot = state.replayed
        self._keeping: asyncio.Task[None] | None = None

    def submit(self, command: WorkflowCommand) -> asyncio.Future[None]:
        """Hand in a command; the future is done once it is written, or known to have no effect.

        Raises:
            Released: this runner takes nothing more; ask for another.
        """
        if self._released:
            raise Released(self.state.created.workflow_id)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commands.append((command, done))
        self._news.set()
        return done

    def stop(self) -> None:
        """Let go at once; `run` raises `Released`, so that another goes on."""
        self._stopping = self._released = True
        self._news.set()

    async def run(self) -> None:
        """Go on until the workflow has ended, or only waits.

        Raises:
            Released: `stop` was called.
            Fenced: another engine owns it.
            BusUnavailable, StorageFull: it is not known whether the last event was written; read it again.
        """
        state = self.state
        try:
            if state.ended is None and state.started_at is not None and state.owner != self._owner:
                await self._claim()
            self._begin(under_way(state))
            if state.problem is not None:
                self._stop_what_runs()
            while not self._released:
                await self._turn()
            if self._stopping:
                raise Released(state.created.workflow_id)
            if state.ended is None and (due := next_due(state)) is not None:
                await self._book.wake_at(state, due)
        except BaseException as error:
            self._give_back(error)
            raise
        finally:
            self._released = True
            await self._let_go()
            self.finished.set()

    async def _claim(self) -> None:
        state = self.state
        event = Claimed(
            event_id=secrets.token_hex(8),
            workflow_id=state.created.workflow_id,
            tenant=state.created.tenant,
            seq=state.seq + 1,
            at=self._clock(),
            status=state.status,
            percentage=state.percentage,
            owner=self._owner,
        )
        state.take(event, state.stream_seq)
        await self._write(event)

    async def _turn(self) -> None:
        state = self.state
        self._news.clear()
        outcomes = list(self._outcomes)
        self._outcomes.clear()
        command, done = self._commands.popleft() if self._commands else (None, None)
        at, event_id = self._clock(), secrets.token_hex(8)
        turn = Turn(state, at, self._draw, self._blobs, self._owner, event_id, self._retry_within_s)
        try:
            event = turn.take(outcomes, command)
            if event is not None:
                await self._write(event)
        except BaseException as error:
            if done is not None and not done.done():
                done.set_exception(error if isinstance(error, Exception) else Released(state.created.workflow_id))
            raise
        if done is not None and not done.done():
            done.set_result(None)
        self._begin(turn.begun)
        if command is not None and command.kind == "wake":
            self._look_again()
        if event is not None and state.problem is not None:
            self._stop_what_runs()
        if turn.missing:
            await self._fetch(turn.missing)
        elif (event is None or self._says_all(event)) and not self._commands:
            await self._rest()

    def _says_all(self, event: WorkflowEvent) -> bool:
        """Whether nothing more follows from what is known; where it may, another turn finds out."""
        return isinstance(event, Advanced) and self.state.problem is None and not self.state.broken

    async def _rest(self) -> None:
        """Wait for news, or for the moment at which something is due; with neither near, let go."""
        due = next_due(self.state)
        left_s = None if due is None else (due - self._clock()).total_seconds()
        if self._outcomes:
            return
        if self.state.ended is not None or (not self._at_work and (left_s is None or left_s > IDLE_S)):
            self._released = not self._commands
            return
        self._call_at(due, left_s)
        await self._news.wait()

    def _call_at(self, due: datetime | None, left_s: float | None) -> None:
        """Have it go on at that moment; the same timer serves until another is the next."""
        if due == self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        loop = asyncio.get_running_loop()
        self._alarm = None if left_s is None else loop.call_later(max(0.0, left_s), self._ring)

    def _ring(self) -> None:
        self._alarm_at = None
        self._news.set()

    async def _write(self, event: WorkflowEvent) -> None:
        state = self.state
        if isinstance(event, Completed):
            said = await self._stored(event.output)
            event = event.model_copy(update=said)
            state.output, state.blob, state.bytes = said["output"], said.get("blob"), said.get("bytes")
        state.stream_seq = await self._book.append(event, state.stream_seq)
        self._since_snapshot += 1
        if self._since_snapshot >= max(SNAPSHOT_EVENTS, state.order // SNAPSHOT_SHARE) and self._keeping is None:
            self._since_snapshot = 0
            self._keeping = asyncio.create_task(self._book.keep(state))
            self._keeping.add_done_callback(self._kept)

    async def _stored(self, output: Any) -> dict[str, Any]:
        try:
            return await self._book.store(self.state, output)
        except (TooLarge, ValueError) as error:  # each task's own output is there
            log.warning("outputs together are too large", workflow=self.state.created.workflow_id, error=str(error))
            return {"output": None}

    def _kept(self, task: asyncio.Task[None]) -> None:
        self._keeping = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a snapshot was not kept", workflow=self.state.created.workflow_id, error=repr(error))

    # -- work --------------------------------------------------------------------------------------------------

    def _begin(self, works: Iterable[Assignment]) -> None:
        for work in works:
            if work not in self._at_work:
                task = asyncio.create_task(self._work(work), name=f"workflow {label(work.place)}")
                self._at_work[work] = task

    def _look_again(self) -> None:
        """What goes on without anybody here may have ended."""
        self._begin(under_way(self.state))

    def _stop_what_runs(self) -> None:
        for work in under_way(self.state):
            if not work.undoes and work not in self._stopped:
                self._stopped.add(work)
                stopping = asyncio.create_task(self._hands.stop(self.state, work))
                self._ends.add(stopping)
                stopping.add_done_callback(self._told_to_stop)

    def _told_to_stop(self, task: asyncio.Task[None]) -> None:
        self._ends.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # It ends by itself then, later.
            log.warning("a task was not asked to stop", workflow=self.state.created.workflow_id, error=repr(error))

    async def _work(self, work: Assignment) -> None:
        outcome = await self._outcome(work)
        self._at_work.pop(work, None)
        if outcome is not None:
            self._outcomes.append(outcome)
        self._news.set()

    async def _outcome(self, work: Assignment) -> Outcome | None:
        """What comes of it. While the bus is away nobody knows what has, so it is asked for again, under its key."""
        while True:
            try:
                return await self._carried_out(work)
            except (BusUnavailable, StorageFull) as error:
                log.info("a task goes on later", task=label(work.place), error=str(error))
                await asyncio.sleep(AGAIN_S)

    async def _carried_out(self, work: Assignment) -> Outcome | None:
        try:
            if needed := self._hands.needs(self.state, work) - self._blobs.keys():
                await self._fetch(needed)
            return await self._hands.carry_out(self.state, work, self._blobs)
        except (BusUnavailable, StorageFull):
            raise
        except (ExpressionError, ValueError) as error:
            detail = f"{label(work.place)}: {error}"
            return Outcome(work, problem=problem("unresolved", "A value could not be found", detail, status=422))
        except DevSkyyError as error:
            return Outcome(work, problem=Problem.of(error))
        except Exception as error:
            log.exception("a task's work failed", workflow=self.state.created.workflow_id, task=label(work.place))
            unknown = problem("internal", "Something went wrong inside", repr(error))
            return Outcome(work, problem=unknown, unsure=True)

    async def _fetch(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._blobs:
                self._blobs[name] = await self._book.load(name)

    def _give_back(self, error: BaseException) -> None:
        while self._commands:
            _, done = self._commands.popleft()
            if not done.done():
                done.set_exception(error if isinstance(error, Exception) else Released(self.state.created.workflow_id))
                done.exception()  # whoever waits is told; nobody needs to

    async def _let_go(self) -> None:
        """What is at work elsewhere goes on; what is at work here is done again by the next owner."""
        self._give_back(Released(self.state.created.workflow_id))
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._at_work.values():
            task.cancel()
        if self._keeping is not None:
            await asyncio.wait([self._keeping], timeout=KEEP_S)

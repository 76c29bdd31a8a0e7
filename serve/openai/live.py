"""A task that is followed while it is at work: its text as it is written, what its team does, its end."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import cast

import structlog

from bus.client import Bus
from bus.tasklog import TaskLog, task_id_of
from bus.tokens import listening
from schemas.completion import Delta
from schemas.errors import DevSkyyError
from schemas.event import CancelledEvent, Claimed, Command, Completed, Decided, Dispatched, Failed, TaskEvent
from schemas.task import Task, TaskRequest
from serve.caller import Caller
from serve.openai.wished import Wish, Wished
from serve.openai.written import Written

GRACE_S = 10.0
"""How much longer than the task's own time its end is waited for."""
DIRECT = "direct"
"""The step whose text is the answer, where one answers alone."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Text:
    """A further piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A line about what a team does."""

    line: str


@dataclass(frozen=True, slots=True)
class End:
    """The task as it ended."""

    task: Task
    rest: str | None
    """What of the answer's text was not told yet; None: what was told is not how the answer begins."""
    wishes: tuple[Wish, ...] = ()
    """What of its wishes for tools was not."""


Moment = Text | Wish | Thought | End


class Overdue(DevSkyyError):
    """A task did not end although its time is over. It may still."""

    code = "overdue"


class Live:
    """One task, from before it is accepted until it has ended. Whoever stops reading does not stop the task."""

    def __init__(
        self, bus: Bus, tasks: TaskLog, wanted: TaskRequest, who: Caller, key: str | None, *, cancels: bool
    ) -> None:
        """
        Args:
            key: an idempotency key.
            cancels: whether the task is cancelled when it is left before it has ended.
        """
        self._bus, self._tasks, self._wanted, self._who, self._key = bus, tasks, wanted, who, key
        self._cancels = cancels
        self.task_id = task_id_of(who.tenant, key) if key else secrets.token_hex(16)
        self._heard: asyncio.Queue[Delta | TaskEvent | Exception] = asyncio.Queue()
        self._written = Written(trimmed=wanted.service is None)
        self._wished = Wished()
        self._open = contextlib.AsyncExitStack()
        self._ahead: Moment | None = None
        self._ended = False
        self._until = 0.0
        self.accepted: Task | None = None

    async def begin(self) -> Task:
        """Accept the task and follow it.

        Raises:
            DevSkyyError: see `TaskLog.accept`; nothing is followed.
        """
        who = self._who
        try:
            if self._wanted.stream:
                # Before it is accepted, so that its first word is heard.
                await self._open.enter_async_context(
                    listening(self._bus, who.tenant, self.task_id, self._heard.put_nowait)
                )
            accepted = self._tasks.accept(self._wanted, who.tenant, self._key, self.task_id, who.key, who.budget)
            self.accepted, _ = await accepted
        except BaseException:
            await self._open.aclose()
            raise
        self._until = asyncio.get_running_loop().time() + self._wanted.timeout_s + GRACE_S
        following = asyncio.create_task(self._follow())
        self._open.callback(following.cancel)
        return self.accepted

    async def _follow(self) -> None:
        """In a task of its own, so that whoever reads may stop at any moment."""
        followed = self._tasks.follow(self._who.tenant, self.task_id)
        try:
            async with contextlib.aclosing(cast("AsyncGenerator[TaskEvent, None]", followed)) as events:
                async for event in events:
                    self._heard.put_nowait(event)
        except Exception as error:
            self._heard.put_nowait(error)

    async def peek(self, patience_s: float) -> Moment | None:
        """What `next` will give, if it comes in time."""
        if self._ahead is None:
            self._ahead = await self.next(patience_s)
        return self._ahead

    async def next(self, patience_s: float) -> Moment | None:
        """What happens next; None: nothing has in so many seconds. Nothing follows an `End`.

        Raises:
            Overdue: the task should have ended.
            DevSkyyError: it cannot be followed any more.
        """
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        clock = asyncio.get_running_loop().time
        until = clock() + patience_s
        while True:
            try:
                heard = await asyncio.wait_for(self._heard.get(), max(0.0, min(until, self._until) - clock()))
            except TimeoutError:
                if clock() >= self._until:
                    raise Overdue(f"task {self.task_id} has not ended although its time is over") from None
                return None
            if (moment := self._moment(heard)) is not None:
                return moment

    def _moment(self, heard: Delta | TaskEvent | Exception) -> Moment | None:
        match heard:
            case Exception():
                raise heard
            case Delta() if heard.step != DIRECT:
                return None
            case Delta(tool_call=None):
                text = self._written.take(heard)
                return Text(text) if text else None
            case Delta():
                return self._wished.take(heard)
            case Completed() | Failed() | CancelledEvent():
                self._ended = True
                return self._end(heard.task)
            case Claimed() if heard.shape != "direct":
                return Thought(f"{heard.tier}, {heard.shape}: {', '.join(heard.agents)}")
            case Dispatched():
                agents = ", ".join(dict.fromkeys(step.agent for step in heard.steps))
                return Thought(f"{heard.phase}: {agents}")
            case Decided():
                return Thought("\n".join(decision.reasons[0] for decision in heard.decisions))
        return None

    def _end(self, task: Task) -> End:
        rest, wishes = self._written.rest(task.answer or ""), self._wished.rest(task.tool_calls)
        return End(task, None) if wishes is None else End(task, rest, wishes)

    async def close(self) -> None:
        """Stop following."""
        await self._open.aclose()
        if self._cancels and not self._ended:
            self._cancels = False
            self._bus.keep(asyncio.create_task(self._cancel()))

    async def _cancel(self) -> None:
        try:
            await self._tasks.command(self._who.tenant, self.task_id, Command(reason="its caller hung up"))
        except DevSkyyError as error:
            log.warning("a task whose caller hung up was not cancelled", task_id=self.task_id, error=str(error))

"""Agents that follow a script, a journal that says what it is told to, and a task's story."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from actors.catalogue import load
from actors.coordinator.life import Lives
from bus.journal import Spending
from bus.tasklog import Logged, TaskLog
from schemas.agent import Answer, Ask
from schemas.completion import Complete, Completion
from schemas.errors import DevSkyyError
from schemas.event import TERMINAL, Accepted, TaskEvent
from schemas.message import now
from schemas.receipt import Call
from schemas.task import Task, TaskRequest

TENANT = "default"
LONG_S = 30.0
CATALOGUE = load()


def call(outcome: str = "answered", cost_usd: float | None = 0.25, **fields: Any) -> Call:
    named = {"step": "direct", "agent": "writing", "service": "one", "model": "m", **fields}
    return Call(outcome=outcome, cost_usd=cost_usd, **named)


@dataclass
class Agents:
    """Agents that give one answer; without one they work until they are told to go on."""

    answer: Answer | DevSkyyError | None = None
    asked: list[tuple[str, Ask]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, ask: Ask, agent: str) -> Answer:
        self.asked.append((agent, ask))
        self.started.set()
        if self.answer is None:
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if isinstance(self.answer, DevSkyyError):
            raise self.answer
        return self.answer or Answer(agent=agent, step=ask.step, text="Hello.", calls=(call(),))


@dataclass
class Gateway:
    """Answers at once."""

    asked: list[Complete] = field(default_factory=list)

    async def __call__(self, ask: Complete) -> Completion:
        self.asked.append(ask)
        return Completion(text="From the service.", finish_reason="length", calls=(call(service=ask.services[0]),))


@dataclass
class Spent:
    """What the journal says of every task."""

    calls: tuple[Call, ...] = ()
    under_way: int | None = None
    """How many of them are not over; None: those in doubt."""

    async def spending_of(self, tenant: str, task_id: str) -> Spending:
        doubtful = sum(call.in_doubt for call in self.calls)
        return Spending(self.calls, known=True, under_way=doubtful if self.under_way is None else self.under_way)


@dataclass
class Coordinator:
    lives: Lives
    agents: Agents
    spent: Spent
    gateway: Gateway
    aborted: list[str]


def coordinator_of(
    tasks: TaskLog,
    owner: str,
    answer: Answer | DevSkyyError | None,
    calls: tuple[Call, ...],
    hears_since: Callable[[], datetime] = now,
) -> Coordinator:
    agents, spent, gateway, aborted = Agents(answer), Spent(calls), Gateway(), list[str]()

    async def abort(work: str) -> None:
        aborted.append(work)

    lives = Lives(owner, tasks, CATALOGUE, agents, abort, spent, gateway, hears_since=hears_since)
    return Coordinator(lives, agents, spent, gateway, aborted)


def answered(text: str = "Hello.") -> Answer:
    return Answer(agent="writing", step="direct", text=text, calls=(call(prompt_tokens=10, completion_tokens=5),))


async def accept(tasks: TaskLog, **fields: Any) -> Logged:
    """An accepted task as its owner gets it."""
    task, _ = await tasks.accept(TaskRequest.model_validate({"prompt": "Say hello.", **fields}), TENANT)
    return (await tasks.read(TENANT, task.task_id))[0]


def run(coordinator: Coordinator, work: Logged, delivery: int = 1) -> "asyncio.Task[None]":
    assert isinstance(work.event, Accepted)
    return asyncio.create_task(coordinator.lives.run(work.event, work.stream_seq, delivery))


async def story(tasks: TaskLog, work: Logged) -> tuple[list[TaskEvent], Task]:
    """The task's events, numbered without gap, and the task as they tell it."""
    events = [entry.event for entry in await tasks.read(TENANT, work.event.task_id)]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert sum(event.event in TERMINAL for event in events) <= 1
    return events, await tasks.task(TENANT, work.event.task_id)


def names(events: list[TaskEvent]) -> list[str]:
    return [event.event for event in events]


async def waiting_agents(coordinator: Coordinator) -> None:
    await asyncio.wait_for(coordinator.agents.started.wait(), LONG_S)

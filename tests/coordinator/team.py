"""A team that follows a script, before a journal that lets nobody be paid twice for one step."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from actors.coordinator.assessor import Assessor
from actors.coordinator.life import Lives
from bus.journal import Spending
from bus.tasklog import TaskLog
from schemas.agent import Answer, Ask
from schemas.errors import BudgetExceeded, DeadlineExceeded, DevSkyyError
from schemas.event import Answered, Decided, TaskEvent
from schemas.message import now
from schemas.problem import Problem
from schemas.receipt import Call
from schemas.team import Contribution, Decision
from tests.coordinator.doubles import CATALOGUE, Gateway

Script = Callable[[Ask, str], str | DevSkyyError | Awaitable[str]]
"""What an agent says when it is asked; an error is a problem in its answer."""


@dataclass
class Journal:
    """What was paid for, by step and question, in all owners' hands."""

    answers: dict[tuple[str, str, str], Answer] = field(default_factory=dict)
    paid: list[str] = field(default_factory=list)
    """Steps that a provider was called for."""

    async def spending_of(self, tenant: str, task_id: str) -> Spending:
        return Spending(tuple(c for answer in self.answers.values() for c in answer.calls), known=True)


@dataclass
class ScriptedTeam:
    script: Script
    journal: Journal = field(default_factory=Journal)
    asked: list[Ask] = field(default_factory=list)
    cost_usd: float = 0.001
    purse_usd: float | None = None
    """What may be spent in all; the call that does not fit is refused, as the gateway does it."""

    async def __call__(self, ask: Ask, agent: str) -> Answer:
        self.asked.append(ask)
        seat = ask.seat or agent
        key = (ask.step, seat, ask.prompt)
        if key in self.journal.answers:
            return self.journal.answers[key]
        spent = sum(c.cost_usd or 0 for answer in self.journal.answers.values() for c in answer.calls)
        if self.purse_usd is not None and spent + self.cost_usd > self.purse_usd + 1e-12:
            problem = Problem.of(BudgetExceeded(f"${self.purse_usd - spent:.6f} are left"))
            return Answer(agent=seat, step=ask.step, problem=problem)
        said = self.script(ask, agent)
        if isinstance(said, DevSkyyError):
            return Answer(agent=seat, step=ask.step, problem=Problem.of(said))
        if isinstance(said, str):
            text = said
        else:
            try:
                async with asyncio.timeout((ask.deadline_at - now()).total_seconds()):
                    text = await said
            except TimeoutError:
                raise DeadlineExceeded(f"a request to {agent}", 0.0) from None
        self.journal.paid.append(ask.step)
        paid = Call(
            step=ask.step,
            agent=seat,
            service="scripted",
            model="script",
            prompt_tokens=len(ask.prompt) // 4,
            completion_tokens=max(1, len(text) // 4),
            cost_usd=self.cost_usd,
        )
        answer = Answer(agent=seat, step=ask.step, text=text, finish_reason="stop", calls=(paid,))
        self.journal.answers[key] = answer
        return answer

    def steps(self, begins: str = "") -> list[str]:
        return [ask.step for ask in self.asked if ask.step.startswith(begins)]


_ASSESSOR = Assessor()


def team_of(tasks: TaskLog, script: Script, owner: str = "coordinator-a", **fields: Any) -> tuple[Lives, ScriptedTeam]:
    """A coordinator whose agents follow a script."""
    team = ScriptedTeam(script, **fields)

    async def abort(work: str) -> None:
        pass

    lives = Lives(owner, tasks, CATALOGUE, team, abort, team.journal, Gateway(), assessor=_ASSESSOR)
    return lives, team


def review(best: str | None = None, *remarks: dict[str, str]) -> str:
    return json.dumps({"remarks": list(remarks), "best": best})


def contributions(events: list[TaskEvent]) -> Iterator[Contribution]:
    for event in events:
        if isinstance(event, Answered):
            yield from event.contributions


def decisions(events: list[TaskEvent]) -> dict[str, Decision]:
    return {each.name: each for event in events if isinstance(event, Decided) for each in event.decisions}


async def never() -> str:
    await asyncio.Event().wait()
    return ""

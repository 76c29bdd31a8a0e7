"""The direct shape: one agent, one step."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from schemas.agent import Answer, Ask
from schemas.event import Accepted
from schemas.task import TaskRequest

STEP = "direct"


@dataclass(frozen=True)
class Work:
    """A task and its team."""

    accepted: Accepted
    request: TaskRequest
    team: tuple[str, ...]


async def direct(work: Work, ask: Callable[[Ask, str], Awaitable[Answer]]) -> Answer:
    """Ask the one agent. The step's name never changes, so a second owner gets the first one's answer.

    Raises:
        DevSkyyError: the agent could not be asked in time.
    """
    question = Ask(
        tenant=work.accepted.tenant,
        task_id=work.accepted.task_id,
        step=STEP,
        prompt=work.request.prompt,
        inputs=work.request.inputs,
        max_cost_usd=work.request.max_cost_usd,
        deadline_at=work.accepted.deadline_at,
    )
    return await ask(question, work.team[0])

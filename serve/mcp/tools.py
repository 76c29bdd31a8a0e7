"""The tools: what each does with a platform. No protocol is known here."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import anyio
from pydantic import ValidationError

from schemas.errors import DevSkyyError, InvalidRequest
from schemas.event import Ended, TaskEvent
from schemas.message import Strict
from schemas.problem import Problem, field_errors
from schemas.progress import TeamView, TeamWatch
from schemas.task import Task
from serve.mcp.asked import Await, Delegate, Look, Named, Spent
from serve.mcp.platform import Platform
from serve.mcp.told import Answer, Spending, Standing, There, Who

CANCEL_S = 5.0
"""How long a task's end is waited for once it was asked for."""

A = TypeVar("A", bound=Strict)
Report = Callable[[int, str], Awaitable[None]]
"""Tells the caller what happened: a number that grows, and a line."""


class Told(Protocol):
    """What a tool gives back."""

    @property
    def words(self) -> str: ...

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Tool(Generic[A]):
    name: str
    title: str
    description: str
    takes: type[A]
    gives: type[Answer | Standing | There | Spending]
    call: Callable[[Platform, A, Report], Awaitable[Told]]
    looks_only: bool = True
    """Whether it changes nothing."""


async def delegate(platform: Platform, asked: Delegate, report: Report) -> Answer:
    request = asked.request(platform.read(asked.files) if asked.files else ())
    with anyio.CancelScope(shield=True):  # a task whose id nobody knows could not be cancelled
        task_id = await platform.submit(request)
    try:
        return Answer.of(await _awaited(platform, task_id, asked.wait_s, report))
    except asyncio.CancelledError:
        if not platform.leaving:
            await _withdraw(platform, task_id)
        raise


async def status(platform: Platform, asked: Named, _: Report) -> Standing:
    return Standing.of(await platform.task(asked.task_id))


async def result(platform: Platform, asked: Await, report: Report) -> Answer:
    return Answer.of(await _ended(platform, asked.task_id, asked.wait_s, report))


async def cancel(platform: Platform, asked: Named, report: Report) -> Answer:
    await platform.cancel(asked.task_id)
    return Answer.of(await _ended(platform, asked.task_id, CANCEL_S, report))


async def list_(platform: Platform, asked: Look, _: Report) -> There:
    agents, services = await asyncio.gather(platform.agents(), platform.services())
    people = [
        Who(name=agent.name, state=agent.state, why=agent.reason, capabilities=agent.capabilities) for agent in agents
    ]
    models = [Who(name=service.name, state=service.state, why=service.reason) for service in services]
    if asked.unavailable:
        return There(agents=tuple(people), services=tuple(models), agents_left_out=0, services_left_out=0)
    there = tuple(who for who in people if who.state in ("up", "standby"))
    able = tuple(who for who in models if who.state == "available")
    left = {"agents_left_out": len(people) - len(there), "services_left_out": len(models) - len(able)}
    return There(agents=there, services=able, **left)


async def costs(platform: Platform, asked: Spent, _: Report) -> Spending:
    return Spending.of(await platform.costs(asked.by, asked.since, asked.until))


async def _ended(platform: Platform, task_id: str, wait_s: float, report: Report) -> Task:
    """As `_awaited`, also of a task so old that its events are gone."""
    task = await platform.task(task_id)
    return task if task.ended else await _awaited(platform, task_id, wait_s, report)


async def _awaited(platform: Platform, task_id: str, wait_s: float, report: Report) -> Task:
    """The task once it has ended, or as it is after `wait_s`."""
    watch = TeamWatch()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s), contextlib.aclosing(platform.follow(task_id)) as events:
            async for event in events:
                watch.take(event)
                await report(event.seq, _line(event, watch.view))
                if isinstance(event, Ended):
                    return event.task
    return await platform.task(task_id)


def _line(event: TaskEvent, view: TeamView) -> str:
    """What an event came to, for somebody who waits."""
    match event.event:
        case "accepted":
            return f"task {event.task_id} accepted"
        case "claimed":
            return f"{event.tier}, {event.shape}: {', '.join(event.agents)}"
        case "dispatched" | "answered":
            counts = view.counts
            failed = f", {counts.failed:,} of them failed" if counts.failed else ""
            return f"{view.phase}: {counts.asked - counts.pending:,} of {counts.asked:,} steps ended{failed}"
        case "decided":
            return "; ".join(decision.reasons[0] for decision in event.decisions)
        case ended:
            return ended


async def _withdraw(platform: Platform, task_id: str) -> None:
    """Cancel a task whose caller does not want its answer any more, though the caller's own call is cancelled."""
    with anyio.move_on_after(CANCEL_S, shield=True):
        try:
            await platform.cancel(task_id)
        except DevSkyyError as error:
            import structlog  # 0.1 s

            log = structlog.get_logger()
            log.warning("a task whose caller took it back was not cancelled", task_id=task_id, error=str(error))


def arguments(tool: Tool[A], given: dict[str, Any]) -> A:
    """What a tool was given, checked.

    Raises:
        ValidationError: a field breaks a rule.
    """
    return tool.takes.model_validate(given)


def problem_of(error: DevSkyyError | ValidationError) -> Problem:
    """What went wrong in a tool, as doors tell it."""
    if isinstance(error, ValidationError):
        return Problem.of_validation(field_errors(error))
    told = getattr(error, "problem", None)  # of the SDK's errors: as the platform said it
    return told if isinstance(told, Problem) else Problem.of(error)


def no_files() -> InvalidRequest:
    """Why a door that is not on the caller's machine reads none of its files."""
    return InvalidRequest("files", "are read by `devskyy mcp` alone, which runs beside you; send their text as inputs")


TOOLS: dict[str, Tool[Any]] = {
    tool.name: tool
    for tool in (
        Tool(
            "delegate",
            "Delegate a task",
            "Hand self-contained work to DevSkyy's cheaper agents instead of doing it with your own tokens: drafts, "
            "summaries, translations, documentation, tests or code from a clear description, reviews of a file, "
            "questions about a long text. Give `files` rather than reading them yourself. Returns the answer with its "
            "receipt and what was saved; if it takes longer than wait_s, the task_id with status running, and the "
            "task goes on. Cancelling this call cancels the task. Do not delegate what needs your conversation or "
            "your tools.",
            Delegate,
            Answer,
            delegate,
            looks_only=False,
        ),
        Tool(
            "status",
            "How far a task is",
            "How far a delegated task is, without its answer: status, and of a team its phase and steps. "
            "To wait for the answer use `result`.",
            Named,
            Standing,
            status,
        ),
        Tool(
            "result",
            "The answer of a task",
            "The answer of a delegated task with its receipt, or its status if it has not ended after wait_s. "
            "Waiting here is cheaper than asking `status` again and again.",
            Await,
            Answer,
            result,
        ),
        Tool(
            "cancel",
            "Cancel a task",
            "Stop a delegated task that is not needed any more. Returns what it had cost. One that has ended stays.",
            Named,
            Answer,
            cancel,
            looks_only=False,
        ),
        Tool(
            "list",
            "Who is there",
            "The agents with their capabilities, and the model services, that can take work now. Rarely needed: "
            "`delegate` chooses by itself.",
            Look,
            There,
            list_,
        ),
        Tool(
            "costs",
            "What was spent and saved",
            "What delegated work has cost, what one premium model would have cost for it, and what was saved.",
            Spent,
            Spending,
            costs,
        ),
    )
}

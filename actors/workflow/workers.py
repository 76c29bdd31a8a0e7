"""Who does the tasks of workflows: agents through the coordinator, endpoints of actors, functions of this process, and
other workflows."""

import asyncio
import contextlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from actors.workflow import outputs
from actors.workflow.children import Children, budget_of
from actors.workflow.expressions import resolve
from actors.workflow.seen import Blobs, blobs_of, context, needed_for, output_of
from actors.workflow.state import State, label
from actors.workflow.work import Assignment, Outcome, key_of, problem, ref_of
from bus.client import Bus
from bus.subjects import ActorJob
from bus.tasklog import TaskLog
from bus.workflowlog import WorkflowLog, owner_of
from schemas.errors import Cancelled, DeadlineExceeded, DevSkyyError, NobodyListens, RemoteError, ResponderLost
from schemas.event import Command
from schemas.message import check_plain, now
from schemas.problem import Problem
from schemas.task import DEFAULT_TIMEOUT_S, Task, TaskRequest
from schemas.workflow import AgentWork, Done, Job, Work

Function = Callable[[dict[str, Any]], Any]
"""Takes a task's inputs, gives its output; a coroutine function is awaited, another runs in a thread."""

ABSENT_S = 3.0
"""An actor that nobody has heard of for so long is not there; one that Ray starts anew answers sooner."""
WAIT_S = 3600.0
"""Between two looks at an agent task that takes long."""


class Workers:
    """Carries assignments out. Each under its key, so that whoever takes a workflow over finds what is under way."""

    def __init__(self, bus: Bus, tasks: TaskLog, workflows: WorkflowLog, functions: Mapping[str, Function]) -> None:
        self._bus, self._tasks, self._workflows = bus, tasks, workflows
        self._functions = {name: (function, _is_async(function)) for name, function in functions.items()}
        self._children = Children(workflows)

    def needs(self, state: State, work: Assignment) -> set[str]:
        return blobs_of(state, needed_for(state, work.place[0], work.undoes))

    async def carry_out(self, state: State, work: Assignment, blobs: Blobs) -> Outcome | None:
        """
        Raises:
            ExpressionError, ValueError: a value that it refers to cannot be found.
            DevSkyyError: it could not be done.
        """
        definition, known = _work_of(state, work), self._known(state, work, blobs)
        if definition is None:
            return await self._children.carry_out(state, work, known)
        if definition.prompt is not None:
            return await self._agent(state, work, definition, known, definition.timeout_s)
        inputs = resolve(definition.inputs, known)
        if definition.function is not None:
            return await self._function(
                state, work, definition.function, inputs, definition.timeout_s or DEFAULT_TIMEOUT_S
            )
        return await self._actor(state, work, definition, inputs, known)

    async def stop(self, state: State, work: Assignment) -> None:
        """Bring work to an early end that would otherwise go on for long; its outcome still comes.

        Raises:
            BusUnavailable: it was not told.
        """
        definition, ref = _work_of(state, work), state.unit(*work.place).ref
        if definition is None:
            await self._children.stop(state, work)
        elif definition.prompt is not None and ref is not None:
            await self._tasks.command(state.created.tenant, ref, Command(reason="its workflow goes no further"))
        elif definition.actor is not None:
            await self._bus.abort(ref_of(state.created.workflow_id, work))

    # -- what a task sees --------------------------------------------------------------------------------------

    def _known(self, state: State, work: Assignment, blobs: Blobs) -> dict[str, Any]:
        known = context(state, needed_for(state, work.place[0], work.undoes), blobs, work.place)
        if work.undoes:
            done = output_of(state, work.place[0], blobs)
            known["output"] = done if work.place[1] is None else done[work.place[1]]
        return known

    # -- agents ------------------------------------------------------------------------------------------------

    async def _agent(
        self, state: State, work: Assignment, asked: AgentWork, known: dict[str, Any], limit_s: float | None
    ) -> Outcome:
        created, given = (
            state.created,
            asked.model_dump(include=set(_TASK_FIELDS), exclude_none=True, exclude_defaults=True),
        )
        if limit_s is not None:
            given["timeout_s"] = min(limit_s, 7 * 86400)
        metadata = {"workflow_id": created.workflow_id, "task": label(work.place)}
        request = TaskRequest(**given, prompt=resolve(asked.prompt, known), metadata=metadata)
        task_id = ref_of(created.workflow_id, work)
        await self._tasks.accept(
            request,
            created.tenant,
            task_id=task_id,
            api_key=created.key,
            key_budget=created.key_budget,
            workflow=created.root or created.workflow_id,
            workflow_budget=created.root_budget or budget_of(state.definition),
        )
        while not (task := await self._tasks.wait(created.tenant, task_id, WAIT_S)).ended:
            pass
        return _outcome_of(work, task)

    # -- actors ------------------------------------------------------------------------------------------------

    async def _actor(
        self, state: State, work: Assignment, definition: Work, inputs: dict[str, Any], known: dict[str, Any]
    ) -> Outcome:
        assert definition.actor is not None
        created, limit_s = state.created, definition.timeout_s or DEFAULT_TIMEOUT_S
        job = Job(
            tenant=created.tenant,
            workflow_id=created.workflow_id,
            task=work.place[0],
            item=work.place[1],
            attempt=work.attempt,
            key=key_of(created.workflow_id, work),
            inputs=inputs,
            undoes=work.undoes,
            deadline_at=now() + timedelta(seconds=limit_s),
        )
        name, _, verb = definition.actor.partition(".")
        try:
            done = await self._ask(ActorJob(name, verb), job, limit_s, ref_of(created.workflow_id, work))
        except NobodyListens:
            if definition.otherwise is None:
                detail = f"no actor answers for {definition.actor!r}; the task names none that does it otherwise"
                return Outcome(
                    work, problem=problem("no_actor", "Nobody does this", detail, status=503, retryable=True)
                )
            told = await self._agent(state, work, definition.otherwise, known, definition.timeout_s)
            output = {**told.output, "in_place_of": definition.actor} if isinstance(told.output, dict) else told.output
            return replace(told, output=output, served_by=f"agent, because no actor answers for {definition.actor}")
        except (DeadlineExceeded, ResponderLost) as error:
            return Outcome(work, problem=retryable(error), unsure=True, served_by=definition.actor)
        except RemoteError as error:
            stopped = error.code == Cancelled.code
            return Outcome(
                work, problem=Problem.of(error), unsure=stopped, cancelled=stopped, served_by=definition.actor
            )
        return Outcome(
            work,
            **await self._kept(state, done.output),
            cost_usd=done.cost_usd,
            served_by=definition.actor,
            once=done.once,
        )

    async def _ask(self, subject: ActorJob, job: Job, limit_s: float, ref: str) -> Done:
        """The actor's answer. One that dies meanwhile is asked again, under the same key.

        Raises:
            NobodyListens: there is no such actor.
            DeadlineExceeded, RemoteError: see `Bus.request`.
        """
        loop = asyncio.get_running_loop()
        asked, absent_until = False, loop.time() + ABSENT_S
        while (left_s := (job.deadline_at - now()).total_seconds()) > 0:
            try:
                return await self._bus.request(subject, job, Done, timeout_s=left_s, work=ref)
            except NobodyListens:
                if not asked and loop.time() > absent_until:
                    raise
            except ResponderLost:
                asked = True
            await asyncio.sleep(0.2)
        raise DeadlineExceeded(f"a request to {subject}", limit_s)

    # -- functions ---------------------------------------------------------------------------------------------

    async def _function(
        self, state: State, work: Assignment, name: str, inputs: dict[str, Any], limit_s: float
    ) -> Outcome:
        if name not in self._functions:
            detail = f"this engine knows no function {name!r}; it knows {', '.join(sorted(self._functions)) or 'none'}"
            return Outcome(work, problem=problem("no_function", "Nobody does this", detail, status=422))
        function, waits = self._functions[name]
        try:
            async with asyncio.timeout(limit_s):
                if waits:
                    output = await function(inputs)
                else:
                    output = await asyncio.to_thread(function, inputs)
        except TimeoutError:
            return Outcome(work, problem=retryable(DeadlineExceeded(f"function {name}", limit_s)), unsure=True)
        except DevSkyyError as error:
            return Outcome(work, problem=Problem.of(error), served_by="function")
        except Exception as error:
            failed = problem("function_failed", "The function failed", f"{name}: {error!r}", retryable=True)
            return Outcome(work, problem=failed, served_by="function")
        return Outcome(work, **await self._kept(state, output), served_by="function", once=False)

    async def _kept(self, state: State, output: Any) -> dict[str, Any]:
        until, created = state.deadline_at or now(), state.created
        owner = owner_of(created.tenant, created.workflow_id)
        return await outputs.kept(lambda data: self._workflows.store(data, until, owner), output)


def retryable(error: DevSkyyError) -> Problem:
    """Of what ran out of time nobody knows whether it would not work the next time."""
    return Problem.of(error).model_copy(update={"retryable": True})


_TASK_FIELDS = frozenset(AgentWork.model_fields) & frozenset(TaskRequest.model_fields) - {"prompt"}


def _work_of(state: State, work: Assignment) -> Work | None:
    """What is to be done; None: a workflow is, or it is to be undone."""
    task = state.task(work.place[0])
    if work.undoes:
        return task.compensation
    return None if task.kind == "workflow" else task


def _outcome_of(work: Assignment, task: Task) -> Outcome:
    """What an agent task that has ended comes to."""
    cost = task.receipt.cost_usd if task.receipt is not None else None
    said: dict[str, Any] = {"cost_usd": cost, "unpriced": cost is None, "served_by": "agent", "once": True}
    if task.status != "completed":
        cause = task.error or problem("failed", "It failed", f"task {task.task_id} was {task.status}")
        return Outcome(work, problem=cause, cancelled=task.status == "cancelled", **said)
    output: dict[str, Any] = {"answer": task.answer, "task_id": task.task_id}
    if task.quality is not None:
        output |= {"quality": task.quality.overall, "met": task.quality.met}
    with contextlib.suppress(ValueError):
        output["json"] = check_plain(json.loads(task.answer or ""))
    return Outcome(work, output=output, **said)


def _is_async(function: Function) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004

"""What happens to a task, as a stream of JSON-RPC answers in server-sent events."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from bus.tasklog import TaskLog
from schemas.errors import DevSkyyError
from schemas.event import CancelledEvent, Claimed, Completed, Decided, Dispatched, Failed, TaskEvent
from schemas.task import Task
from serve import sse
from serve.a2a import rpc
from serve.a2a.told import artifact_update, status_update, task_of
from serve.openai.chunks import event
from serve.openai.live import End, Live, Text, Thought


async def told_live(live: Live, accepted: Task, id_: str | int) -> AsyncGenerator[bytes, None]:
    """A task from its beginning, its text as it is written."""
    running = accepted.model_copy(update={"status": "running"})
    begun, working = False, False
    try:
        yield _event(id_, task_of(accepted))
        while True:
            moment = await live.next(sse.HEARTBEAT_S)
            if isinstance(moment, Text | Thought) and not working:
                working = True
                yield _event(id_, status_update(running))
            match moment:
                case None:
                    yield sse.HEARTBEAT
                case Text(text):
                    yield _event(id_, artifact_update(running, text, append=begun, last=False))
                    begun = True
                case Thought(line):
                    yield _event(id_, status_update(running, line))
                case End(task, rest):
                    if task.status == "completed" and task.answer is not None:
                        # What was told and is not how the answer begins is replaced.
                        goes_on = begun and rest is not None
                        text = rest if goes_on and rest is not None else task.answer
                        yield _event(id_, artifact_update(task, text, append=goes_on, last=True))
                    yield _event(id_, status_update(task))
                    return
    except DevSkyyError as error:
        yield event(rpc.failure(id_, rpc.refused(error)))


async def told_again(tasks: TaskLog, tenant: str, task: Task, seen: int, id_: str | int) -> AsyncGenerator[bytes, None]:
    """A task that goes on already: how it stands, and what happens to it from here on. Its text comes at its end.

    Args:
        seen: the number of the last event that `task` tells.
    """
    try:
        yield _event(id_, task_of(task))
        if task.ended:
            yield _event(id_, status_update(task))
            return
        async with contextlib.aclosing(sse.with_pauses(tasks.follow(tenant, task.task_id, seen))) as events:
            async for each in events:
                if each is None:
                    yield sse.HEARTBEAT
                    continue
                for said in _said(each, task):
                    yield _event(id_, said)
    except DevSkyyError as error:
        yield event(rpc.failure(id_, rpc.refused(error)))


def _said(each: TaskEvent, task: Task) -> list[dict[str, Any]]:
    running = task.model_copy(update={"status": "running"})
    match each:
        case Completed() | Failed() | CancelledEvent():
            answer = each.task.answer if each.task.status == "completed" else None
            told = [] if answer is None else [artifact_update(each.task, answer, append=False, last=True)]
            return [*told, status_update(each.task)]
        case Claimed():
            return [status_update(running)]
        case Dispatched():
            return [status_update(running, each.phase)]
        case Decided():
            return [status_update(running, "\n".join(decision.reasons[0] for decision in each.decisions))]
    return []


def _event(id_: str | int, said: dict[str, Any]) -> bytes:
    return event(rpc.result(id_, said))

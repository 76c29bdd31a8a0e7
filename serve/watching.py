"""Waiting for what becomes of a workflow."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import cast

from actors.workflow.state import State
from bus.workflowlog import WorkflowLog
from schemas.workflow_event import WorkflowEvent


async def watch(log: WorkflowLog, state: State, until: Callable[[], bool], timeout_s: float) -> None:
    """Go on with a state as its workflow does, until something is true of it or the time is over.

    Raises:
        BusUnavailable: the stream did not answer.
    """
    created = state.created
    if until():
        return
    followed = log.follow(created.tenant, created.workflow_id, state.seq, state.stream_seq)
    async with contextlib.aclosing(cast("AsyncGenerator[WorkflowEvent, None]", followed)) as events:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                async for event in events:
                    state.take(event)
                    if until():
                        return

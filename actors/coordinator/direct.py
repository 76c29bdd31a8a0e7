"""The direct shape: one agent, or one service as it is; one step."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from actors.agents.agent import conversation, question
from actors.coordinator.terms import terms_of
from schemas.agent import Answer, Ask
from schemas.completion import DEFAULT_MAX_TOKENS, Complete, Completion
from schemas.event import Accepted
from schemas.task import TaskRequest

STEP = "direct"

Asks = Callable[[Ask, str], Awaitable[Answer]]
"""Ask the agent of that name."""
Completes = Callable[[Complete], Awaitable[Completion]]
"""Ask the gateway."""


@dataclass(frozen=True)
class Work:
    """A task and its team."""

    accepted: Accepted
    request: TaskRequest
    team: tuple[str, ...]
    services: tuple[str, ...] = ()
    """The order in which services may serve; empty: the agent's own."""


async def direct(work: Work, ask: Asks, complete: Completes) -> Answer:
    """Ask the one agent, or the one service that the caller named.

    The step's name never changes, so a second owner gets the first one's answer.

    Raises:
        DevSkyyError: nobody could be asked in time.
    """
    request = work.request
    if request.service is not None:
        return await _service(work, request.service, complete)
    step = Ask(
        **terms_of(work.accepted),
        step=STEP,
        prompt=request.prompt,
        services=work.services,
        inputs=request.inputs,
        history=request.history,
        later=request.later,
        temperature=request.temperature,
        max_tokens=request.max_tokens,
        json_schema=request.json_schema,
        sampling=request.sampling,
        tools=request.tools,
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls,
        stream=request.stream,
        deadline_at=work.accepted.deadline_at,
    )
    return await ask(step, work.team[0])


async def _service(work: Work, service: str, complete: Completes) -> Answer:
    request = work.request
    asked = question(request.prompt, request.inputs)
    completion = await complete(
        Complete(
            **terms_of(work.accepted),
            step=STEP,
            agent=work.team[0],
            services=(service,),
            messages=(*conversation(request.history), asked, *conversation(request.later)),
            temperature=request.temperature,
            max_tokens=request.max_tokens or DEFAULT_MAX_TOKENS,
            json_schema=request.json_schema,
            sampling=request.sampling,
            tools=request.tools,
            tool_choice=request.tool_choice,
            parallel_tool_calls=request.parallel_tool_calls,
            stream=request.stream,
            deadline_at=work.accepted.deadline_at,
        )
    )
    return Answer(
        agent=work.team[0],
        step=STEP,
        text=completion.text,
        tool_calls=completion.tool_calls,
        finish_reason=completion.finish_reason,
        calls=completion.calls,
        problem=completion.problem,
    )

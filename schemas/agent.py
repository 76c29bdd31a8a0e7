"""Agents: who they are, what they are asked, how they answer."""

from typing import Any, Literal

from pydantic import Field

from schemas.budget import Budget
from schemas.completion import Sampling, ToolCall
from schemas.message import Message, Moment, Strict
from schemas.problem import Problem
from schemas.receipt import Call
from schemas.task import Input, Turn

AgentKind = Literal["agent", "specialist"]
"""An agent carries tasks and parts of them, and has an actor of its own. A specialist improves what concerns its trade;
many share an actor, which is started when the first is needed."""


class AgentSpec(Strict):
    """An agent as data: one entry of `agents.yaml` or of the overlay."""

    role: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    services: tuple[str, ...] = Field(min_length=1)
    """The order in which services may serve this agent."""
    temperature: float = Field(default=0.4, ge=0, le=2)
    max_tokens: int = Field(default=1024, ge=1)
    capabilities: tuple[str, ...] = ()
    kind: AgentKind = "agent"


class Ask(Message):
    """Ask an agent to do one step of a task."""

    kind: Literal["agent.ask"] = "agent.ask"
    version: Literal[1] = 1
    tenant: str
    task_id: str
    step: str
    """Stays the same across retries: the journal answers a repeated step without a second call."""
    seat: str | None = None
    """The name that the answer goes under, where the agent sits in several seats of one team; left out: its own."""
    prompt: str
    inputs: tuple[Input, ...] = ()
    history: tuple[Turn, ...] = ()
    later: tuple[Turn, ...] = ()
    """Turns after the prompt."""
    temperature: float | None = None
    """In place of the agent's own."""
    max_tokens: int | None = None
    """In place of the agent's own."""
    json_schema: dict[str, Any] | None = None
    sampling: Sampling | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    services: tuple[str, ...] = ()
    """The order in which services may serve, in place of the agent's own."""
    stream: bool = False
    root: str | None = None
    key: str | None = None
    key_budget: Budget | None = None
    workflow: str | None = None
    workflow_budget: Budget | None = None
    max_cost_usd: float | None = None
    max_total_tokens: int | None = None
    cache_s: float | None = None
    replay: str | None = None
    deadline_at: Moment


class Answer(Message):
    """What an agent came to. With `problem` set there is no text, and `calls` still says what was spent."""

    kind: Literal["agent.answer"] = "agent.answer"
    version: Literal[1] = 1
    agent: str
    step: str
    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    """Tools that its asker is to call. The text may be empty beside them."""
    finish_reason: str | None = None
    calls: tuple[Call, ...] = ()
    problem: Problem | None = None


State = Literal["up", "down", "degraded", "standby"]
"""Standby: it is started when it is needed."""


class AgentQuality(Message):
    """How good an agent's answers were, over all kinds of work."""

    overall: float
    """The mean, a fraction."""
    n: int
    """Answers that were measured."""


class AgentStatus(Message):
    """One row of `devskyy agents`: who is there, in what state, and why not."""

    name: str
    role: str
    kind: AgentKind = "agent"
    state: State
    reason: str | None = None
    services: tuple[str, ...] = ()
    serves_now: str | None = None
    """The first service of the order that is available."""
    capabilities: tuple[str, ...] = ()
    requests: int | None = None
    errors: int | None = None
    in_flight: int | None = None
    quality: AgentQuality | None = None
    """`null`: none of its answers was measured, or the history cannot be read at the moment."""

"""A task: what is asked, and all that is known of it at a moment."""

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from schemas.completion import Sampling, ToolCall
from schemas.message import Message, Moment, PlainMap, Strict, Text, check_text
from schemas.problem import Problem
from schemas.quality import Quality
from schemas.receipt import Receipt
from schemas.team import Progress

Tier = Literal["simple", "moderate", "complex", "mega"]
Shape = Literal["direct", "parallel", "coordinated", "hierarchical"]
Status = Literal["accepted", "running", "completed", "failed", "cancelled"]

SHAPE_OF: dict[Tier, Shape] = {
    "simple": "direct",
    "moderate": "parallel",
    "complex": "coordinated",
    "mega": "hierarchical",
}
TIERS: tuple[Tier, ...] = ("simple", "moderate", "complex", "mega")
"""From the smallest team to the largest."""
TEAM_SIZES: dict[Tier, tuple[int, int]] = {
    "simple": (1, 1),
    "moderate": (2, 64),
    "complex": (2, 12),
    "mega": (6, 10_000),
}
"""The fewest and the most agents that a team of each tier may have. In a coordinated one everybody reads everybody."""

MAX_PROMPT_BYTES = 256 * 1024
MAX_INPUT_BYTES = 20 * 1000 * 1000
MAX_MAP_BYTES = 64 * 1024
MAX_TOOLS_BYTES = 256 * 1024
MAX_TOOLS = 128
DEFAULT_TIMEOUT_S = 600.0


class Input(Strict):
    """Something to work on beside the prompt: exactly one of `text` and `base64`."""

    kind: Literal["text", "code", "image", "data"]
    name: Text = Field(min_length=1, max_length=255)
    media_type: str = Field(default="text/plain", max_length=127, pattern=r"^[\w.+-]+/[\w.+-]+$")
    text: Text | None = None
    base64: str | None = None

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.text is None) == (self.base64 is None):
            raise ValueError("give exactly one of text and base64")
        if self.base64 is not None:
            try:
                base64.b64decode(self.base64, validate=True)
            except binascii.Error as error:
                raise ValueError(f"base64 cannot be decoded: {error}") from None
            if self.kind != "image":
                try:
                    self.text_content()
                except UnicodeDecodeError:
                    raise ValueError(f"a {self.kind} input must be UTF-8 text") from None
        elif self.kind == "image":
            raise ValueError("an image is given as base64")
        return self

    @property
    def size(self) -> int:
        """Bytes of content, decoded."""
        if self.text is not None:
            return len(self.text.encode())
        return len(base64.b64decode(self.base64 or ""))

    def text_content(self) -> str:
        """The content as text.

        Raises:
            ValueError: it is no UTF-8.
        """
        if self.text is not None:
            return self.text
        return base64.b64decode(self.base64 or "").decode()


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; say what is to be done")
    return text


def _small(value: dict[str, Any]) -> dict[str, Any]:
    """It travels in every event of the task, so it is bounded."""
    size = len(json.dumps(value))
    if size > MAX_MAP_BYTES:
        raise ValueError(f"has {size:,} bytes as JSON; the limit is {MAX_MAP_BYTES:,}")
    return value


class Turn(Strict):
    """One message of the conversation that the prompt is part of."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Text
    images: tuple[Input, ...] = Field(default=(), max_length=100)
    """What a user showed in this turn."""
    tool_calls: tuple[ToolCall, ...] = Field(default=(), max_length=MAX_TOOLS)
    """What the assistant wished for in this turn."""
    tool_call_id: Annotated[Text, Field(min_length=1, max_length=256)] | None = None
    """Which wish a `tool` turn answers."""

    @field_validator("images")
    @classmethod
    def _only_images(cls, images: tuple[Input, ...], info: ValidationInfo) -> tuple[Input, ...]:
        if images and info.data.get("role") != "user":
            raise ValueError("only a user shows images")
        if any(each.kind != "image" for each in images):
            raise ValueError("holds another kind of input; those go beside the prompt")
        return images

    @field_validator("tool_calls")
    @classmethod
    def _of_an_assistant(cls, calls: tuple[ToolCall, ...], info: ValidationInfo) -> tuple[ToolCall, ...]:
        if calls and info.data.get("role") != "assistant":
            raise ValueError("only an assistant wishes for tools")
        for call in calls:
            for text in (call.id, call.name, call.arguments):
                check_text(text)
        return calls

    @field_validator("tool_call_id")
    @classmethod
    def _of_a_tool(cls, wish: str | None, info: ValidationInfo) -> str | None:
        if wish is not None and info.data.get("role") != "tool":
            raise ValueError("only a tool answers a wish")
        return wish

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("a tool's turn says in tool_call_id which wish it answers")
        return self

    @property
    def of_tools(self) -> bool:
        """Whether a model without tools could make nothing of it."""
        return self.role == "tool" or bool(self.tool_calls)

    @property
    def size(self) -> int:
        """Bytes of what it holds, images decoded."""
        size = len(self.content.encode()) + sum(each.size for each in self.images)
        return size + sum(len(call.name.encode()) + len(call.arguments.encode()) for call in self.tool_calls)


class Door(Strict):
    """What a door that shows tasks in a shape of its own has to say again of one."""

    model: str = Field(min_length=1, max_length=256)
    """The model, as its caller named it."""
    previous: str | None = Field(default=None, max_length=128)
    """The task that this one goes on from."""
    instructed: bool = False
    """Whether the first turn is the caller's instructions, which hold for this task alone."""


def _function_tools(tools: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    for number, tool in enumerate(tools):
        match tool:
            case {"type": "function", "function": {"name": str(name)}} if name:
                pass
            case _:
                raise ValueError(f"number {number} is no function with a name; other tools are not taken")
    size = len(json.dumps(tools))
    if size > MAX_TOOLS_BYTES:
        raise ValueError(f"have {size:,} bytes as JSON; the limit is {MAX_TOOLS_BYTES:,}")
    return tools


def _choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    match choice:
        case None | "none" | "auto" | "required":
            return choice
        case {"type": "function", "function": {"name": str()}}:
            return choice
    raise ValueError("is none, auto, required, or a function by its name")


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class TaskRequest(Strict):
    """What a caller sends. Everything but the prompt may be left to the coordinator."""

    prompt: Annotated[Text, AfterValidator(_not_blank)]
    tier: Tier | None = None
    """Fixes the shape; left out, the coordinator chooses."""
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    min_quality: float | None = Field(default=None, ge=0, le=1)
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, gt=0, le=7 * 86400, allow_inf_nan=False)
    """Seconds from acceptance until the task fails with `deadline_exceeded`."""
    agents: int | None = Field(default=None, ge=1, le=10_000)
    """The team's size within its shape."""
    capabilities: tuple[Annotated[Text, Field(min_length=1, max_length=64)], ...] = Field(default=(), max_length=32)
    inputs: tuple[Input, ...] = Field(default=(), max_length=100)
    agent: Name | None = None
    """The agent that is to do it; left out, the coordinator picks one."""
    service: Name | None = None
    """The one service that is to answer, as it is: no agent's prompt before it, no other service in its place."""
    history: tuple[Turn, ...] = Field(default=(), max_length=1000)
    """Earlier turns, oldest first; the prompt comes after them."""
    later: tuple[Turn, ...] = Field(default=(), max_length=1000)
    """Turns after the prompt: an assistant's wishes for tools and what these gave, from which the answer goes on."""
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    json_schema: Annotated[PlainMap, AfterValidator(_small)] | None = None
    """The answer is to be JSON of this schema."""
    sampling: Sampling | None = None
    """Like tools, it is for one model: with either, one agent or service answers once, and nothing is refined."""
    tools: Annotated[tuple[PlainMap, ...], AfterValidator(_function_tools)] = Field(default=(), max_length=MAX_TOOLS)
    """Functions that the caller runs itself when the model wishes so, in OpenAI's shape; passed on as they are."""
    tool_choice: Annotated[str | PlainMap | None, AfterValidator(_choice)] = None
    parallel_tool_calls: bool | None = None
    """Whether the model may wish for several at once; left out, as its provider has it."""
    max_total_tokens: int | None = Field(default=None, ge=1, le=1_000_000_000_000)
    """What the task and all that it sets off may take of tokens, questions and answers together."""
    stream: bool = False
    """Whether the text is published as it is written, on the task's tokens subject."""
    cache_s: float | None = Field(default=None, gt=0, le=30 * 86400, allow_inf_nan=False)
    """Seconds that the answer to an equal question may be old; left out, every question is asked anew."""
    replay: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The recording that answers in place of every service."""
    metadata: Annotated[PlainMap, AfterValidator(_small)] = Field(default={}, max_length=64)
    door: Door | None = None

    @property
    def for_one(self) -> bool:
        """Whether it holds what is for one model, and means nothing to a team."""
        tools = self.tools or any(turn.of_tools for turn in (*self.history, *self.later))
        return bool(tools) or self.sampling is not None or bool(self.later)

    @field_validator("later", "sampling", "tools")
    @classmethod
    def _for_one(cls, value: Any, info: ValidationInfo) -> Any:
        tier, agents, bar = (info.data.get(name) for name in ("tier", "agents", "min_quality"))
        if value and (tier not in (None, "simple") or agents not in (None, 1) or bar is not None):
            raise ValueError("is for one model that answers once; leave out tier (or say simple), agents, min_quality")
        return value

    @field_validator("history")
    @classmethod
    def _without_tools(cls, history: tuple[Turn, ...], info: ValidationInfo) -> tuple[Turn, ...]:
        if any(turn.of_tools for turn in history):
            cls._for_one(history, info)
        return history

    @field_validator("tool_choice")
    @classmethod
    def _of_tools(cls, choice: Any, info: ValidationInfo) -> Any:
        if choice not in (None, "none", "auto") and not info.data.get("tools"):
            raise ValueError("there are no tools to choose from")
        return choice

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.agent is not None and self.service is not None:
            raise ValueError("give agent or service, not both")
        return self

    @field_validator("agents")
    @classmethod
    def _possible_size(cls, agents: int | None, info: ValidationInfo) -> int | None:
        tier: Tier | None = info.data.get("tier")
        if agents is not None and tier is not None:
            fewest, most = TEAM_SIZES[tier]
            if not fewest <= agents <= most:
                size = "1 agent" if most == 1 else f"{fewest} to {most:,} agents"
                raise ValueError(f"a team of tier {tier!r} has {size}")
        return agents

    @field_validator("agent", "service")
    @classmethod
    def _answers_alone(cls, name: str | None, info: ValidationInfo) -> str | None:
        team = info.data.get("tier") not in (None, "simple") or info.data.get("agents") not in (None, 1)
        if name is not None and team:
            raise ValueError("whoever is named answers alone; leave out tier and agents, or the name")
        return name


class Links(Message):
    self: str
    events: str


class TaskAccepted(Message):
    task_id: str
    status: Status
    links: Links


class Task(Message):
    """A task as everybody outside sees it: a projection of its events."""

    task_id: str
    status: Status
    tier: Tier | None = None
    shape: Shape | None = None
    prompt: str
    answer: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    """Tools that its caller is to call before there is an answer, where it brought any."""
    finish_reason: str | None = None
    """Why the model stopped, in its provider's words: `stop`, `length` …"""
    created_at: Moment
    started_at: Moment | None = None
    finished_at: Moment | None = None
    deadline_at: Moment | None = None
    quality: Quality | None = None
    receipt: Receipt | None = None
    error: Problem | None = None
    reasons: tuple[str, ...] = ()
    """Why this tier and this agent."""
    metadata: dict[str, Any] = {}
    key: str | None = None
    """The API key that asked for it, by its id; null: none did."""
    profile: str | None = None
    """The kind of work it was taken for; null: it was not looked at."""
    progress: Progress | None = None
    """How far its team is, while one works."""

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")


class TaskSummary(Message):
    """One line of a list of tasks."""

    task_id: str
    status: Status
    tier: Tier | None = None
    prompt: str
    """The first 200 characters."""
    created_at: datetime
    finished_at: datetime | None = None
    cost_usd: float | None = None
    replayed: bool = False
    """A recording answered: `cost_usd` is what it cost when it was recorded, and nothing was spent."""


class TaskList(Message):
    tasks: tuple[TaskSummary, ...]
    next: str | None = None
    """Cursor for the page after this one; absent on the last."""

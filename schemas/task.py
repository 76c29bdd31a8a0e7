"""A task: what is asked, and all that is known of it at a moment."""

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from schemas.message import Message, Moment, PlainMap, Strict, Text
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
    """One earlier message of the conversation that the prompt goes on with."""

    role: Literal["system", "user", "assistant"]
    content: Text


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
    """Earlier turns, oldest first; the prompt is the last."""
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    json_schema: Annotated[PlainMap, AfterValidator(_small)] | None = None
    """The answer is to be JSON of this schema."""
    max_total_tokens: int | None = Field(default=None, ge=1, le=1_000_000_000_000)
    """What the task and all that it sets off may take of tokens, questions and answers together."""
    stream: bool = False
    """Whether the text is published as it is written, on the task's tokens subject."""
    cache_s: float | None = Field(default=None, gt=0, le=30 * 86400, allow_inf_nan=False)
    """Seconds that the answer to an equal question may be old; left out, every question is asked anew."""
    replay: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The recording that answers in place of every service."""
    metadata: Annotated[PlainMap, AfterValidator(_small)] = Field(default={}, max_length=64)

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

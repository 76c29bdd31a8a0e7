"""What is asked of the gateway, and what it answers."""

import secrets
import struct
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from schemas.budget import Budget
from schemas.message import Message, Moment, Strict, Text, now
from schemas.problem import Problem
from schemas.receipt import Call
from schemas.service import LOCAL_EMBEDDINGS
from schemas.settings import DEFAULT_TENANT

DEFAULT_MAX_TOKENS = 1024
"""How long an answer may be where neither its caller nor an agent says so."""
NO_TASK = "embeddings"
"""In place of a task's id where a call for vectors belongs to none. No task has it."""
MAX_TEXTS = 2048
"""Texts in one call for vectors."""


class ImagePart(Message):
    media_type: str
    base64: str


class ToolCall(Message):
    """A model's wish that its caller runs a tool."""

    id: str
    name: str
    arguments: str
    """JSON, as the model wrote it; it may be invalid."""


class Sampling(Strict):
    """How a model picks its words, beside its temperature. What is left out is as the model's provider has it."""

    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: tuple[Annotated[Text, Field(min_length=1, max_length=256)], ...] = Field(default=(), max_length=4)
    """Where it ends; the words themselves are left out of the answer."""

    @property
    def chosen(self) -> dict[str, Any]:
        """What is not left out, as providers take it."""
        return self.model_dump(mode="json", exclude_defaults=True)


class ChatMessage(Message):
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    images: tuple[ImagePart, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    """What the assistant wished for in this turn."""
    tool_call_id: str | None = None
    """Which wish a `tool` message answers."""


class Complete(Message):
    """Ask the gateway for a completion. `(task_id, step, hash of the request)` names the call in the journal."""

    kind: Literal["models.complete"] = "models.complete"
    version: Literal[1] = 1
    tenant: str
    task_id: str
    step: str
    agent: str
    services: tuple[str, ...] = Field(min_length=1)
    """The order in which services may serve."""
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int = Field(default=DEFAULT_MAX_TOKENS, ge=1)
    json_schema: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    """Tools that the model may wish for, in OpenAI's shape; passed on as they are."""
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    """Whether the model may wish for several at once; left out, as its provider has it."""
    sampling: Sampling | None = None
    stream: bool = False
    """Whether the text is published as it arrives, on the task's tokens subject."""
    root: str | None = None
    """The task whose purse pays, where it is another: the root of the tree that `task_id` belongs to."""
    key: str | None = None
    """The API key that asked, where there was one; its budget pays too."""
    key_budget: Budget | None = None
    """What that key may spend in a day by itself; the stricter of this and the overlay's holds."""
    workflow: str | None = None
    """The workflow that the task belongs to, where it does; its budget pays too."""
    workflow_budget: Budget | None = None
    """What all tasks of that may spend together."""
    max_cost_usd: float | None = Field(default=None, ge=0)
    """What the whole tree of tasks may cost at most; a service whose price is unknown is then passed over."""
    max_total_tokens: int | None = Field(default=None, ge=1)
    """Tokens that the whole tree of tasks may take at most, questions and answers together."""
    cache_s: float | None = Field(default=None, gt=0)
    """Seconds that the answer to an equal question may be old; left out: as the service says, by default not at all."""
    replay: str | None = None
    """The recording that answers in place of every service."""
    deadline_at: Moment


class Completion(Message):
    """The gateway's answer. With `problem` set there is no text, and `calls` still says what was spent."""

    kind: Literal["models.completion"] = "models.completion"
    version: Literal[1] = 1
    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    calls: tuple[Call, ...] = ()
    """Every attempt that was or may have been charged; the one that served is last."""
    problem: Problem | None = None


class ToolCallPiece(Message):
    """A piece of a tool call that is being written."""

    place: int = Field(ge=0)
    """Which of the answer's calls it is of; the first is 0."""
    id: str
    name: str
    offset: int = Field(ge=0)
    """Characters of its arguments before this piece."""
    arguments: str
    """Empty where only the beginning is known."""


class Delta(Message):
    """A piece of an answer that is being written: of its text, or of a tool call. Lost ones are made good by the whole
    answer at the end."""

    kind: Literal["models.delta"] = "models.delta"
    version: Literal[1] = 1
    step: str
    attempt: int
    """Counts the step's attempts from 1; a new one begins the text anew."""
    offset: int
    """Characters of the attempt's text before this piece."""
    text: str
    """Empty in a piece of a tool call."""
    tool_call: ToolCallPiece | None = None


class Embed(Message):
    """Ask the gateway for vectors; what is not said here is as in `Complete`."""

    kind: Literal["models.embed"] = "models.embed"
    version: Literal[1] = 1
    tenant: str = DEFAULT_TENANT
    task_id: str = NO_TASK
    step: str = Field(default_factory=lambda: secrets.token_hex(16))
    """Left out, this is asked for the first time; sent again, it stays the same."""
    agent: str = "embeddings"
    service: str = LOCAL_EMBEDDINGS
    root: str | None = None
    key: str | None = None
    key_budget: Budget | None = None
    max_cost_usd: float | None = Field(default=None, ge=0)
    max_total_tokens: int | None = Field(default=None, ge=1)
    texts: tuple[str, ...] = Field(min_length=1, max_length=MAX_TEXTS)
    deadline_at: Moment = Field(default_factory=lambda: now() + timedelta(seconds=30))


class Embeddings(Message):
    """Vectors, one for each text. With `problem` set there are none, and `calls` still says what was spent."""

    kind: Literal["models.embeddings"] = "models.embeddings"
    version: Literal[1] = 1
    model: str = ""
    dimensions: int = 0
    """Floats of each vector."""
    packed: bytes = b""
    """The vectors one after another, 64-bit floats, lowest byte first: as lists of numbers they took ten times longer
    to send and to read."""
    blob: str | None = None
    """Where `packed` lies in the object store, of an answer that is recorded."""
    prompt_tokens: int | None = None
    calls: tuple[Call, ...] = ()
    """Every attempt that was or may have been charged; the one that served is last."""
    problem: Problem | None = None

    @classmethod
    def of(cls, vectors: Sequence[Sequence[float]], **fields: Any) -> Self:
        """An answer with these vectors, one at least and all of one length."""
        packed = b"".join(struct.pack(f"<{len(vector)}d", *vector) for vector in vectors)
        return cls(dimensions=len(vectors[0]), packed=packed, **fields)

    @property
    def vectors(self) -> tuple[tuple[float, ...], ...]:
        """Unpacked anew at each look."""
        return tuple(struct.iter_unpack(f"<{self.dimensions}d", self.packed)) if self.dimensions else ()


class Generate(Message):
    """Ask an embedded model for text."""

    kind: Literal["embedded.generate"] = "embedded.generate"
    version: Literal[1] = 1
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    temperature: float | None = None
    max_tokens: int = Field(ge=1)
    json_schema: dict[str, Any] | None = None
    sampling: Sampling | None = None
    timeout_s: float = Field(gt=0)


class Generated(Message):
    kind: Literal["embedded.generated"] = "embedded.generated"
    version: Literal[1] = 1
    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

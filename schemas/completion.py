"""What is asked of the gateway, and what it answers."""

from typing import Any, Literal

from pydantic import Field

from schemas.message import Message, Moment
from schemas.problem import Problem
from schemas.receipt import Call


class ImagePart(Message):
    media_type: str
    base64: str


class ChatMessage(Message):
    role: Literal["system", "user", "assistant"]
    content: str
    images: tuple[ImagePart, ...] = ()


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
    max_tokens: int = Field(default=1024, ge=1)
    json_schema: dict[str, Any] | None = None
    max_cost_usd: float | None = Field(default=None, ge=0)
    """What this call may cost at most; a service whose price is unknown is then passed over."""
    deadline_at: Moment


class Completion(Message):
    """The gateway's answer. With `problem` set there is no text, and `calls` still says what was spent."""

    kind: Literal["models.completion"] = "models.completion"
    version: Literal[1] = 1
    text: str | None = None
    finish_reason: str | None = None
    calls: tuple[Call, ...] = ()
    """Every attempt that was or may have been charged; the one that served is last."""
    problem: Problem | None = None


class Embed(Message):
    kind: Literal["models.embed"] = "models.embed"
    version: Literal[1] = 1
    texts: tuple[str, ...] = Field(min_length=1, max_length=2048)


class Embeddings(Message):
    """Vectors of unit length, one for each text, all of `dimensions` floats."""

    kind: Literal["models.embeddings"] = "models.embeddings"
    version: Literal[1] = 1
    model: str
    dimensions: int
    vectors: tuple[tuple[float, ...], ...]


class Generate(Message):
    """Ask an embedded model for text."""

    kind: Literal["embedded.generate"] = "embedded.generate"
    version: Literal[1] = 1
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    temperature: float | None = None
    max_tokens: int = Field(ge=1)
    json_schema: dict[str, Any] | None = None
    timeout_s: float = Field(gt=0)


class Generated(Message):
    kind: Literal["embedded.generated"] = "embedded.generated"
    version: Literal[1] = 1
    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

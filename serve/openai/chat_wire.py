"""OpenAI's chat completion request, as it comes in."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from schemas.message import Message
from schemas.task import MAX_TOOLS
from serve.openai.models import AUTO


class Part(Message):
    """A piece of a message: text, or an image as a `data:` URL."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None
    image_url: dict[str, Any] | None = None


class CalledFunction(Message):
    model_config = ConfigDict(extra="allow")

    name: str
    arguments: str
    """JSON, as the model wrote it."""


class ChatToolCall(Message):
    """What an assistant wished for, as a client hands it back."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: Literal["function"]
    function: CalledFunction


class ChatTurn(Message):
    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[Part, ...] | None = None
    tool_calls: tuple[ChatToolCall, ...] | None = None
    tool_call_id: str | None = None


class StreamOptions(Message):
    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None
    """Whether a last chunk without a choice says what it took."""


class ChatRequest(Message):
    """OpenAI's chat completion request. What would change the answer and cannot be kept is refused by name; so are
    fields that this door does not know."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {"model": AUTO, "messages": [{"role": "user", "content": "Name a use of a tote bag"}]}
        },
    )

    model: str = Field(min_length=1, max_length=256)
    messages: tuple[ChatTurn, ...] = Field(min_length=1, max_length=1001)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | tuple[str, ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = Field(default=None, max_length=MAX_TOOLS)
    """Functions that the caller runs itself; for a model that answers alone."""
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: dict[str, Any] | None = None
    """Kept with the task."""
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Ours: seconds until the task fails; left out, 580."""
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Ours: what it may cost."""

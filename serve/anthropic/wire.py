"""Anthropic's messages request, as it comes in.

Source: Anthropic, API reference, "Create a message".
"""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from schemas.message import Message
from schemas.task import MAX_TOOLS
from serve.openai.models import AUTO


class Source(Message):
    """Where an image or a document comes from."""

    type: str
    media_type: str | None = None
    data: str | None = None


class Shown(Message):
    """A piece of what a tool gave."""

    type: str
    text: str | None = None
    source: Source | None = None


class Block(Shown):
    """A piece of a message. Which fields it has follows from its type."""

    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | tuple[Shown, ...] | None = None
    is_error: bool | None = None


class Said(Message):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: str | tuple[Block, ...]


class Tool(Message):
    """A function that the caller runs itself."""

    model_config = ConfigDict(extra="allow")

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(Message):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


_EXAMPLE: dict[str, Any] = {
    "model": AUTO,
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Name a use of a tote bag"}],
}


class CountRequest(Message):
    """What tokens are counted of."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"example": {k: v for k, v in _EXAMPLE.items() if k != "max_tokens"}}
    )

    model: str = Field(min_length=1, max_length=256)
    messages: tuple[Said, ...] = Field(min_length=1, max_length=1001)
    system: str | tuple[Block, ...] | None = None
    tools: tuple[Tool, ...] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None


class MessagesRequest(CountRequest):
    """Anthropic's messages request. What would change the answer and cannot be kept is refused by name; so are fields
    that this door does not know."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": _EXAMPLE})

    max_tokens: int = Field(ge=1)
    temperature: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    stop_sequences: tuple[str, ...] | None = None
    output_config: dict[str, Any] | None = None
    stream: bool | None = None
    metadata: dict[str, Any] | None = None
    """Kept with the task."""
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Ours: seconds until the task fails; left out, 580."""
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Ours: what it may cost."""

"""OpenAI's request for a response, as it comes in."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from schemas.message import Message
from schemas.task import MAX_TOOLS
from serve.openai.models import AUTO


class ItemPart(Message):
    """A piece of a message: text, or an image as a `data:` URL."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None
    image_url: str | None = None


class Item(Message):
    """A message, a call of a function, or what one gave."""

    model_config = ConfigDict(extra="allow")

    type: str | None = None
    """`message` where it is left out."""
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | tuple[ItemPart, ...] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | tuple[ItemPart, ...] | None = None


class TextOptions(Message):
    model_config = ConfigDict(extra="allow")

    format: dict[str, Any] | None = None


class ResponsesRequest(Message):
    """OpenAI's request for a response. What would change the answer and cannot be kept is refused by name; so are
    fields that this door does not know."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"example": {"model": AUTO, "input": "Name a use of a tote bag"}}
    )

    model: str = Field(min_length=1, max_length=256)
    input: str | tuple[Item, ...]
    instructions: str | None = None
    """For this response alone: the next one that goes on from it does not have them."""
    previous_response_id: str | None = Field(default=None, max_length=256)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    max_output_tokens: int | None = Field(default=None, ge=1)
    text: TextOptions | None = None
    tools: tuple[dict[str, Any], ...] | None = Field(default=None, max_length=MAX_TOOLS)
    """Functions that the caller runs itself; for a model that answers alone."""
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    """Answered at once, before there is an answer; ask for it by its id."""
    metadata: dict[str, Any] | None = None
    """Kept with the task."""
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Ours: seconds until the task fails; left out, 580."""
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Ours: what it may cost."""

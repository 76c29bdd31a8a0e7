"""What A2A's clients send.

Source: Agent2Agent Protocol 0.3.0, sections 6 and 7.
"""

from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from schemas.message import Message, Text

MAX_PARTS = 100


class _Said(Message):
    model_config = ConfigDict(alias_generator=to_camel)


class Content(_Said):
    """A file: `bytes` in base64, or a `uri`, which this door does not fetch."""

    bytes: str | None = None
    uri: str | None = None
    mime_type: str | None = None
    name: str | None = None


class Part(_Said):
    kind: Literal["text", "file", "data"]
    text: Text | None = None
    file: Content | None = None
    data: dict[str, Any] | None = None


class AgentMessage(_Said):
    """A2A's `Message`."""

    role: Literal["user", "agent"]
    parts: tuple[Part, ...] = Field(min_length=1, max_length=MAX_PARTS)
    message_id: Text = Field(min_length=1, max_length=256)
    """Sent again, it finds the task that it made."""
    context_id: Text | None = Field(default=None, min_length=1, max_length=256)
    task_id: str | None = None
    reference_task_ids: tuple[str, ...] | None = Field(default=None, max_length=100)


class Configuration(_Said):
    accepted_output_modes: tuple[str, ...] | None = None
    blocking: bool | None = None
    """Left out: the answer is waited for."""
    history_length: int | None = Field(default=None, ge=0)
    push_notification_config: Any = None


class Send(_Said):
    """Of `message/send` and `message/stream`."""

    message: AgentMessage
    configuration: Configuration | None = None
    metadata: dict[str, Any] | None = None
    """Under `devskyy`: terms of a task request, as `tier` or `max_cost_usd`."""


class Which(_Said):
    """Of the methods that name a task."""

    id: str
    history_length: int | None = Field(default=None, ge=0)

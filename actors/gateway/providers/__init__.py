"""Providers: one interface, and who stands behind it."""

from actors.gateway.providers.embedded import EmbeddedProvider
from actors.gateway.providers.litellm import LitellmProvider
from actors.gateway.providers.openai import OpenAIProvider
from actors.gateway.providers.provider import Attempt, EmbedAttempt, Embedded, Heard, Provider, Served
from actors.gateway.providers.wire import retry_after_s, wire_messages

__all__ = [
    "Attempt",
    "EmbedAttempt",
    "Embedded",
    "EmbeddedProvider",
    "Heard",
    "LitellmProvider",
    "OpenAIProvider",
    "Provider",
    "Served",
    "retry_after_s",
    "wire_messages",
]

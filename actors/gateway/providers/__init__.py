"""Providers: one interface, and who stands behind it."""

from actors.gateway.providers.embedded import EmbeddedProvider
from actors.gateway.providers.litellm import LitellmProvider
from actors.gateway.providers.openai import OpenAIProvider
from actors.gateway.providers.provider import Attempt, EmbedAttempt, Embedded, Heard, Provider, Served

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
]

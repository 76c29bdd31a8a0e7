"""The three wire formats behind one face: a simulated provider, and ours that speaks to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from actors.gateway.providers import Attempt, EmbedAttempt, LitellmProvider, OpenAIProvider, Provider
from schemas.completion import ChatMessage
from schemas.service import ServiceSpec
from tests.gateway.doubles import LONG_S
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.base import Simulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator

WIRES = ("openai", "anthropic", "gemini")
KEY = "the-key-that-nobody-may-see"
HELLO = (ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Say hello."))
LOOK = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look at a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


@dataclass
class Wire:
    name: str
    sim: Simulator
    provider: Provider
    model: str
    """litellm's model string; the simulators take any."""
    base: str

    def attempt(self, **changed: Any) -> Attempt:
        fields: dict[str, Any] = {
            "service": "simulated",
            "spec": ServiceSpec(model=self.model, api_base=self.base),
            "api_key": KEY,
            "messages": HELLO,
            "temperature": 0.5,
            "max_tokens": 100,
            "json_schema": None,
            "timeout_s": LONG_S,
            "request_id": "request-1",
            **changed,
        }
        return Attempt(**fields)

    def embed_attempt(self, *texts: str, **changed: Any) -> EmbedAttempt:
        fields: dict[str, Any] = {
            "service": "simulated",
            "spec": ServiceSpec(model=self.model, api_base=self.base, kind="embeddings"),
            "api_key": KEY,
            "texts": texts,
            "timeout_s": LONG_S,
            "request_id": "request-1",
            **changed,
        }
        return EmbedAttempt(**fields)


@asynccontextmanager
async def wire_of(name: str) -> AsyncIterator[Wire]:
    """A wire that is up: its simulator serves on a port of its own."""
    match name:
        case "openai":
            openai = OpenAIProvider()
            with OpenAISimulator() as sim:
                yield Wire(name, sim, openai, "openai/sim-small", sim.url)
            await openai.close()
        case "anthropic":
            with AnthropicSimulator() as anthropic:
                yield Wire(name, anthropic, LitellmProvider(), "anthropic/claude-sonnet-5-5", anthropic.url)
        case _:
            with GeminiSimulator() as gemini:
                yield Wire(name, gemini, LitellmProvider(), "gemini/gemini-3.8-flash", f"{gemini.url}/v1beta")

"""The gateway actor: the only one that spends."""

import asyncio
import os
import secrets

import nats.errors

from actors.base import Actor
from actors.catalogue import load
from actors.gateway.gateway import Gateway
from actors.gateway.providers import Attempt, LitellmProvider, OpenAIProvider, Provider, Served
from bus.client import Bus, Endpoint
from bus.journal import Journal
from bus.subjects import EmbeddedModel, GatewayAlive, ModelsComplete, ModelsEmbed
from schemas.completion import Complete, Embed, Embeddings, Generate, Generated
from schemas.errors import DeadlineExceeded, RemoteError, ResponderLost, Unavailable, UpstreamError
from schemas.message import Message
from schemas.service import LOCAL_EMBEDDINGS, ServiceSpec

ALIVE_PATIENCE_S = 3.0
"""A gateway that cannot be found for this long is dead, not merely reconnecting after the broker was restarted."""


class Alive(Message):
    """Asks a gateway whether it works on a journalled call; answers with `working` set."""

    key: str
    working: bool = False


class EmbeddedProvider:
    """The embedded models, asked over the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def complete(self, attempt: Attempt) -> Served:
        model = attempt.spec.model.split("/", 1)[1]
        ask = Generate(
            messages=attempt.messages,
            temperature=attempt.temperature,
            max_tokens=attempt.max_tokens,
            json_schema=attempt.json_schema,
            timeout_s=attempt.timeout_s,
        )
        try:
            answer = await self._bus.request(
                EmbeddedModel(model, "complete"), ask, Generated, timeout_s=attempt.timeout_s
            )
        except ResponderLost:
            raise UpstreamError(attempt.service, "its actor is starting anew", again=True) from None
        except DeadlineExceeded as error:
            raise UpstreamError(attempt.service, str(error)) from None
        except (RemoteError, Unavailable) as error:
            raise UpstreamError(attempt.service, str(error), again=error.retryable) from None
        if not answer.text.strip():
            raise UpstreamError(attempt.service, "an empty answer", again=True)
        return Served(answer.text, model, answer.finish_reason, answer.prompt_tokens, answer.completion_tokens)


class GatewayActor(Actor):
    """Calls models, journals every call, and says what it cost."""

    kind = "gateway"

    async def begin(self) -> list[Endpoint]:
        self.instance = f"{self.name}-{secrets.token_hex(6)}"
        openai, litellm, embedded = OpenAIProvider(), LitellmProvider(), EmbeddedProvider(self.bus)
        self._openai = openai

        def provider_of(spec: ServiceSpec) -> Provider:
            match spec.model.split("/", 1)[0]:
                case "embedded":
                    return embedded
                case "openai":
                    return openai
                case _:
                    return litellm

        catalogue = load(self.settings.config)
        self._embeddings = catalogue.services[LOCAL_EMBEDDINGS].model
        self._gateway = Gateway(self.instance, catalogue, os.environ, Journal(self.bus), provider_of, self._works)
        return [
            Endpoint("complete", ModelsComplete.pattern(), Complete, self._gateway.complete, concurrency=4096),
            Endpoint("embed", ModelsEmbed.pattern(), Embed, self._embed, concurrency=256),
            Endpoint("alive", str(GatewayAlive(self.instance)), Alive, self._alive, concurrency=1024),
        ]

    async def release(self) -> None:
        await self._openai.close()

    async def _alive(self, asked: Alive) -> Alive:
        return Alive(key=asked.key, working=self._gateway.works_on(asked.key))

    async def _works(self, instance: str, key: str) -> bool:
        """Whether the gateway of that name lives and works on that call."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + ALIVE_PATIENCE_S
        while loop.time() < give_up:
            try:
                answer = await self.bus.request(GatewayAlive(instance), Alive(key=key), Alive, timeout_s=1)
                return answer.working
            except (ResponderLost, DeadlineExceeded, nats.errors.Error):
                await asyncio.sleep(0.25)
        return False

    async def _embed(self, ask: Embed) -> Embeddings:
        model = self._embeddings.split("/", 1)[1]
        return await self.bus.request(EmbeddedModel(model, "embed"), ask, Embeddings, timeout_s=30)

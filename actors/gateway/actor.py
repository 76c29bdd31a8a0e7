"""The gateway actor: the only one that spends."""

import asyncio
import contextlib
import os
import secrets

import nats.errors
import structlog

from actors.base import Actor
from actors.catalogue import endpoint_of, load
from actors.gateway.breaker import Change
from actors.gateway.embedding import Embedding
from actors.gateway.gateway import Gateway
from actors.gateway.providers import EmbeddedProvider, LitellmProvider, OpenAIProvider, Provider
from actors.gateway.purse import Purse
from actors.gateway.steadiness import Steadiness
from actors.gateway.surroundings import Surroundings
from bus import pieces
from bus.cache import Cache
from bus.desk import Endpoint
from bus.journal import Journal
from bus.purse import PurseStream
from bus.recordings import Recordings
from bus.subjects import GatewayAlive, GatewayFigures, ModelsComplete, ModelsEmbed, TaskTokens
from bus.vectors import Vectors
from schemas.completion import Complete, Delta, Embed
from schemas.errors import BusUnavailable, DeadlineExceeded, DevSkyyError, RemoteError, ResponderLost
from schemas.message import Message
from schemas.service import ServiceSpec

FIGURES_S = 1.0
"""Between two words of how the services are doing."""
SWEEP_S = 5.0
"""Between two looks at what gateways that died have reserved."""
TOKENS_WAITING = 10_000
"""Pieces of text that may wait to be published; those beyond are left out."""
ALIVE_PATIENCE_S = 3.0
"""A gateway that cannot be found for this long is dead, not merely reconnecting after the broker was restarted."""


log = structlog.get_logger()


class Alive(Message):
    """Asks a gateway whether it works on a journalled call; answers with `working` set."""

    key: str
    working: bool = False


class GatewayActor(Actor):
    """Calls models, journals every call, and says what it cost."""

    kind = "gateway"

    async def begin(self) -> list[Endpoint]:
        self.instance = f"{self.name}-{secrets.token_hex(6)}"
        openai, litellm, embedded = OpenAIProvider(), LitellmProvider(), EmbeddedProvider(self.bus)
        self._openai = openai

        def provider_of(spec: ServiceSpec) -> Provider:
            if spec.model.startswith("embedded/"):
                return embedded
            return litellm if endpoint_of(spec) is None else openai

        catalogue = load(self.settings.config)
        self._journal = Journal(self.bus)
        self._purse = Purse(self.instance, catalogue.budgets, PurseStream(self.bus))
        self._steadiness = Steadiness(self.name, self.settings.gateways, self._breaker_changed)
        self._tokens: asyncio.Queue[tuple[TaskTokens, Delta]] = asyncio.Queue(TOKENS_WAITING)
        surroundings = Surroundings(
            catalogue=catalogue,
            environ=os.environ,
            journal=self._journal,
            provider_of=provider_of,
            works=self._works,
            purse=self._purse,
            steadiness=self._steadiness,
            cache=Cache(self.bus),
            recordings=Recordings(self.bus),
            vectors=Vectors(self.bus),
            told=self._told,
            keep=self.bus.keep,
        )
        self._gateway = Gateway(self.instance, surroundings)
        self._embedding = Embedding(self.instance, surroundings)
        self.spawn(self._publish_tokens())
        self.spawn(self._publish_figures())
        self.spawn(self._sweep())
        return [
            Endpoint("complete", ModelsComplete.pattern(), Complete, self._gateway.complete, concurrency=4096),
            Endpoint("embed", ModelsEmbed.pattern(), Embed, self._embedding.embed, concurrency=256),
            Endpoint("alive", str(GatewayAlive(self.instance)), Alive, self._alive, concurrency=1024),
            *pieces.endpoints(lambda: self.bus.blobs),
        ]

    async def end(self, grace_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._purse.drain(), grace_s)

    async def release(self) -> None:
        await self._openai.close()

    def _breaker_changed(self, service: str, model: str, change: Change) -> None:
        opened = change.after == "open"
        if not opened and change.after != "closed":
            return  # that somebody tries it again is no news yet
        title = f"{service} is left alone" if opened else f"{service} answers again"
        alert = self.bus.alert(2 if opened else 1, title, f"{model}: {change.reason}" if opened else model)
        self.bus.keep(asyncio.get_running_loop().create_task(alert))

    # -- what everybody may hear -------------------------------------------------------------------------------

    def _told(self, ask: Complete, delta: Delta) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # the whole text comes with the answer
            self._tokens.put_nowait((TaskTokens(ask.tenant, ask.root or ask.task_id), delta))

    async def _publish_tokens(self) -> None:
        while True:
            subject, delta = await self._tokens.get()
            with contextlib.suppress(BusUnavailable):
                await self.bus.publish(subject, delta)

    async def _publish_figures(self) -> None:
        while True:
            await asyncio.sleep(FIGURES_S)
            with contextlib.suppress(BusUnavailable):
                await self.bus.publish(GatewayFigures(self.name), self._steadiness.figures())

    # -- gateways that died ------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Settle what a gateway that died had reserved, soon after it did."""
        while True:
            try:
                await self._purse.sweep(self._lives, self._gateway.outcome_of)
            except DevSkyyError as error:
                log.info("reservations are looked at again later", error=str(error))
            await asyncio.sleep(SWEEP_S)

    async def _lives(self, instance: str) -> bool:
        return await self._asked_alive(instance, "") is not None

    async def _alive(self, asked: Alive) -> Alive:
        working = self._gateway.works_on(asked.key) or self._embedding.works_on(asked.key)
        return Alive(key=asked.key, working=working)

    async def _works(self, instance: str, key: str) -> bool:
        """Whether the gateway of that name lives and works on that call."""
        answer = await self._asked_alive(instance, key)
        return answer is not None and answer.working

    async def _asked_alive(self, instance: str, key: str) -> Alive | None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + ALIVE_PATIENCE_S
        while loop.time() < give_up:
            try:
                return await self.bus.request(GatewayAlive(instance), Alive(key=key), Alive, timeout_s=1)
            except RemoteError:
                return Alive(key=key, working=True)  # it answers, though not this: what it works on is unknown
            except (ResponderLost, DeadlineExceeded, BusUnavailable, nats.errors.Error):
                await asyncio.sleep(0.25)
        return None

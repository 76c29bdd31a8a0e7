"""A real gateway and a real projector beside the application: on the test's connection, without Ray."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest

from actors.gateway.actor import GatewayActor
from actors.models.embedded import EmbeddedEmbeddings
from actors.projector.actor import ProjectorActor
from bus.client import Bus
from bus.desk import Endpoint
from bus.streams import LEDGER, Consumer
from bus.subjects import EmbeddedModel
from schemas.completion import Embed, Embeddings
from schemas.settings import Settings

LONG_S = 30.0


class Gateway(GatewayActor):
    """The actor on a connection that is there already."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus, self.settings, self.name = bus, settings, "gateway-1"
        self.background: set[asyncio.Task[Any]] = set()


class Projector(ProjectorActor):
    """So is this one."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus, self.settings = bus, settings
        self.background: set[asyncio.Task[Any]] = set()


@cache
def _model() -> EmbeddedEmbeddings:
    """Loaded once for all tests."""
    return EmbeddedEmbeddings()


@asynccontextmanager
async def gateway(bus: Bus, settings: Settings) -> AsyncIterator[Gateway]:
    """Answers as the platform's does, with the embedded embeddings behind it."""
    made, model = Gateway(bus, settings), await asyncio.to_thread(_model)

    async def embed(ask: Embed) -> Embeddings:
        return await model.embed(ask.texts)

    await bus.serve(made.name, await made.begin(), "", {})
    subject = str(EmbeddedModel(model.MODEL, "embed"))
    await bus.serve("models", [Endpoint("embed", subject, Embed, embed)], "", {})
    yield made
    await made.end(grace_s=1)
    await _stop(made.background)
    await made.release()


@asynccontextmanager
async def projector(bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Projector]:
    monkeypatch.setattr(os, "nice", lambda _: 0)  # the test itself keeps its place
    made = Projector(bus, settings)
    await made.begin()
    yield made
    await made.end(grace_s=1)
    await _stop(made.background)


async def _stop(background: set[asyncio.Task[Any]]) -> None:
    for task in (stopped := list(background)):
        task.cancel()
    await asyncio.gather(*stopped, return_exceptions=True)


async def ledger_is_up_to_date(bus: Bus) -> None:
    """Return once every call of no task that the journal has is in the ledger."""
    await taken(bus, LEDGER)


async def taken(bus: Bus, consumer: Consumer) -> None:
    """Return once a consumer has taken something, and nothing is left to take."""
    async with asyncio.timeout(LONG_S):
        while True:
            info = await bus.js.consumer_info(consumer.stream, consumer.name)
            if info.delivered.consumer_seq and not info.num_pending and not info.num_ack_pending:
                return

"""A client from outside the platform, with no part of it but NATS."""

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client as NatsClient

from bus.client import Bus
from tests.broker import Broker

ANSWER_S = 30.0


class Outside:
    """A client with the outside user's credentials; `refused` holds what the server refused it."""

    def __init__(self, client: NatsClient, refused: "asyncio.Queue[str]") -> None:
        self.client, self.refused = client, refused

    async def refusal(self) -> str:
        return await asyncio.wait_for(self.refused.get(), ANSWER_S)


@pytest.fixture
async def outside(broker: Broker, bus: Bus) -> AsyncIterator[Outside]:
    refused: asyncio.Queue[str] = asyncio.Queue()

    async def on_error(error: Exception) -> None:
        refused.put_nowait(str(error))

    client = await nats.connect(broker.outside_url, error_cb=on_error)
    yield Outside(client, refused)
    await client.close()

"""A platform for each test, and clients that waste no time."""

from collections.abc import AsyncIterator, Iterator

import pytest

from devskyy import AsyncClient, Client
from tests.simulators.platform import PlatformSimulator


@pytest.fixture
def platform() -> Iterator[PlatformSimulator]:
    with PlatformSimulator() as platform:
        yield platform


@pytest.fixture
def client(platform: PlatformSimulator) -> Iterator[Client]:
    with Client(platform.url, timeout_s=5, outage_s=5) as client:
        yield client


@pytest.fixture
async def async_client(platform: PlatformSimulator) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.url, timeout_s=5, outage_s=5) as client:
        yield client

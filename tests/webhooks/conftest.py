from collections.abc import AsyncIterator

import pytest

from tests.broker import broker, bus, tasks
from tests.storage.postgres import database, database_url, postgres
from tests.webhooks.receiver import Receiver
from tests.workflow.engines import engines

__all__ = ["broker", "bus", "database", "database_url", "engines", "postgres", "tasks"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver

"""A gateway on a bench, and a real broker where it is asked for."""

from pathlib import Path

import pytest

from tests.broker import broker, bus
from tests.bus.conftest import _plain_logs
from tests.gateway.doubles import Bench, catalogue_of
from tests.gateway.servers import server

__all__ = ["_plain_logs", "broker", "bus", "server"]


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return Bench(catalogue_of(tmp_path))

"""Fixtures of the bus tests: a real server each."""

from collections.abc import Iterator

import pytest
import structlog

from tests.broker import broker, bus, tasks
from tests.bus.outside import outside

__all__ = ["broker", "bus", "outside", "tasks"]


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """structlog's own console draws every frame of a traceback with its variables, which takes seconds."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=repr),
        ]
    )
    yield
    structlog.reset_defaults()

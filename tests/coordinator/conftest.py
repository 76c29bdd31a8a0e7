"""A real broker where it is asked for."""

from tests.broker import broker, bus, tasks
from tests.bus.conftest import _plain_logs

__all__ = ["_plain_logs", "broker", "bus", "tasks"]

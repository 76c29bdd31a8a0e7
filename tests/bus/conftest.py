"""Fixtures of the bus tests: a real server each."""

from tests.broker import broker, bus, tasks

__all__ = ["broker", "bus", "tasks"]

"""Fixtures of the intake tests: a real server each."""

from tests.broker import broker, bus

__all__ = ["broker", "bus"]

from tests.broker import broker, bus

__all__ = ["broker", "bus"]

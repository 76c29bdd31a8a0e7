from tests.broker import broker, bus, made_streams, tasks
from tests.workflow.engines import engines

__all__ = ["broker", "bus", "engines", "made_streams", "tasks"]

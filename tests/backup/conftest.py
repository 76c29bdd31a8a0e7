from tests.broker import broker, bus, tasks
from tests.storage.postgres import database, database_url, postgres
from tests.workflow.engines import engines

__all__ = ["broker", "bus", "database", "database_url", "engines", "postgres", "tasks"]

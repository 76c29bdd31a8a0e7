from tests.broker import broker, bus
from tests.storage.postgres import database, database_url, postgres

__all__ = ["broker", "bus", "database", "database_url", "postgres"]

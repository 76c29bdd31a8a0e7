"""The tables as they are now. How a database gets there is written in `storage/migrations`."""

from datetime import UTC, datetime

from sqlalchemy import JSON, BigInteger, Column, DateTime, Dialect, Double, Index, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator


class Utc(TypeDecorator[datetime]):
    """A moment, aware and in UTC on the way in and out; SQLite itself knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return None if value is None else value.astimezone(UTC)


METADATA = MetaData()

TASKS = Table(
    "tasks",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("task_id", String(128), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("tier", String(16)),
    Column("shape", String(16)),
    Column("prompt_head", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("started_at", Utc),
    Column("finished_at", Utc),
    Column("cost_usd", Double),
    Column("tokens", BigInteger),
    Column("seq", BigInteger, nullable=False),
    Column("task", JSON(none_as_null=True)),
    # Both engines read an index backwards as fast as forwards, so these serve "newest first".
    Index("tasks_by_age", "tenant", "created_at", "task_id"),
    Index("tasks_by_status_and_age", "tenant", "status", "created_at", "task_id"),
)
"""One row per task. `seq` is the last event that the row knows; `task` is the whole task, once it has ended."""

"""The tables as they are now. How a database gets there is written in `storage/migrations`."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    true,
)
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
    Column("premium_cost_usd", Double),
    Column("finished_day", Date),
    Column("replayed", Boolean, nullable=False, server_default=false()),
    # Both engines read an index backwards as fast as forwards, so these serve "newest first".
    Index("tasks_by_age", "tenant", "created_at", "task_id"),
    Index("tasks_by_status_and_age", "tenant", "status", "created_at", "task_id"),
    Index("tasks_by_day", "tenant", "finished_day"),
)
# Of those alone that are kept whole, for the sweep of old ones.
Index(
    "tasks_kept_by_end",
    TASKS.c.finished_at,
    sqlite_where=TASKS.c.task.is_not(None),
    postgresql_where=TASKS.c.task.is_not(None),
)
"""One row per task. `seq` is the last event that the row knows; `task` is the whole task, once it has ended.

`finished_day` is in UTC. `cost_usd` is what the receipt says: of a task that was `replayed`, what it cost when it was
recorded.
"""

CALLS = Table(
    "calls",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("task_id", String(128), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Utc, nullable=False),
    Column("day", Date, nullable=False),
    Column("step", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("region", Text),
    Column("outcome", Text, nullable=False),
    Column("in_doubt", Boolean, nullable=False),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("cost_usd", Double),
    Column("cost_estimated", Boolean, nullable=False),
    Column("cost_unknown_reason", Text),
    Column("latency_ms", Double),
    Column("reason", Text),
    Column("cached", Boolean, nullable=False, server_default=false()),
    Column("replayed", Boolean, nullable=False, server_default=false()),
    Column("hedged", Boolean, nullable=False, server_default=false()),
    Column("overrun", Boolean, nullable=False, server_default=false()),
    Column("key", Text),
    Index("calls_by_day", "tenant", "day"),
    Index("calls_by_service", "tenant", "service"),
)
"""One row per call of a task that ended: `number` is its place in the receipt, `at` and `day` (UTC) the task's end.

A call that belongs to no task has `embeddings.` and a hash of its journal key for a `task_id`, its place in the journal
entry for a `number`, and its own moment.

Tokens and cost are the receipt's: of a call that was `cached` or `replayed` they are not what was spent now. `key` is
the API key that asked, where there was one.
"""

API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc),
    Column("revoked_at", Utc),
    Column("last_used_at", Utc),
    Column("usd_per_day", Double),
    Column("tokens_per_day", BigInteger),
    Column("rpm", Integer),
    Column("changes", Integer, nullable=False, server_default="0"),
)
"""One row per key, for ever. `digest` is the secret's SHA-256; `scopes` are words with a space between; `changes`
counts how often what it may spend was changed."""

AUDIT = Table(
    "audit",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("at", Utc, nullable=False),
    Column("tenant", String(128)),
    Column("key", String(128)),
    Column("method", String(16), nullable=False),
    Column("route", Text),
    Column("target", String(128)),
    Column("status", Integer, nullable=False),
    Column("address", String(64)),
    Column("reason", Text),
    Column("count", BigInteger, nullable=False),
    Index("audit_by_age", "at", "id"),
    Index("audit_by_tenant_and_age", "tenant", "at", "id"),
)
"""One row per change that was asked for over HTTP, and one or two for refusals that were alike within a minute."""

QUALITIES = Table(
    "qualities",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("task_id", String(128), primary_key=True),
    Column("step", Text, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("profile", Text),
    Column("tier", String(16)),
    Column("overall", Double, nullable=False),
    Column("at", Utc, nullable=False),
    # All that figures are made of: over 500,000 rows 0.2 s, and 2.2 s without it (SQLite).
    Index("qualities_by_agent", "tenant", "agent", "profile", "overall", "at"),
)
"""One row per answer that was measured, of tasks that have ended. `profile` is the kind of work."""

WORKFLOWS = Table(
    "workflows",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("workflow_id", String(128), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("template", String(128)),
    Column("status", String(16), nullable=False),
    Column("percentage", Double, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("started_at", Utc),
    Column("finished_at", Utc),
    Column("cost_usd", Double),
    Column("seq", BigInteger, nullable=False),
    Column("parent_id", String(128)),
    Column("workflow", JSON(none_as_null=True)),
    Column("has_events", Boolean, nullable=False, server_default=true()),
    # A list leaves out workflows that are tasks of others, of which there may be many more.
    Index("workflows_by_age", "tenant", "parent_id", "created_at", "workflow_id"),
    Index("workflows_by_status_and_age", "tenant", "parent_id", "status", "created_at", "workflow_id"),
    Index("workflows_by_name_and_age", "tenant", "parent_id", "name", "created_at", "workflow_id"),
    Index("workflows_of_all_kinds_by_age", "tenant", "created_at", "workflow_id"),
    Index("workflows_by_end", "has_events", "finished_at"),
)
"""One row per workflow. `seq` is the last event that the row knows.

`workflow` is the whole of it, and `cost_usd` known, while it has ended; one that goes on loses both until it ends anew.
`parent_id` is the workflow that it is a task of.
"""

WEBHOOKS = Table(
    "webhooks",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("url", Text, nullable=False),
    Column("events", Text),
    Column("description", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("private", Boolean, nullable=False),
    Column("secret", Text, nullable=False),
    Column("old_secret", Text),
    Column("old_secret_until", Utc),
    Column("created_at", Utc, nullable=False),
    Column("failing_since", Utc),
    Column("disabled_because", Text),
    Index("webhooks_by_tenant", "tenant", "created_at", "id"),
)
"""One row per webhook. `events` are words with a space between, none for all; secrets are kept as they are, for whoever
signs needs them."""

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("webhook_id", String(64), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("event", String(64), nullable=False),
    Column("target", String(128)),
    Column("place", BigInteger),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    Column("created_at", Utc, nullable=False),
    Column("attempted_at", Utc),
    Column("due_at", Utc),
    Index("deliveries_due", "webhook_id", "due_at"),
    Index("deliveries_by_webhook_and_age", "webhook_id", "created_at", "id"),
    Index("deliveries_by_target", "tenant", "target"),
    Index("deliveries_by_age", "created_at"),
)
"""One row per webhook and event that it is told of, and the queue of those that are to be sent: `due_at` is the next
attempt, none once there is none to come. `place` is where the event lies in its stream; what it says is not here."""

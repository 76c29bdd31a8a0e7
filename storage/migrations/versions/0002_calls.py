"""Calls: the ledger, filled from the tasks that have ended."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

PAGE = 500


def upgrade() -> None:
    op.add_column("tasks", sa.Column("premium_cost_usd", sa.Double))
    op.add_column("tasks", sa.Column("finished_day", sa.Date))
    op.create_index("tasks_by_day", "tasks", ["tenant", "finished_day"])
    calls = op.create_table(
        "calls",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("task_id", sa.String(128), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("region", sa.Text),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("in_doubt", sa.Boolean, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger),
        sa.Column("completion_tokens", sa.BigInteger),
        sa.Column("cost_usd", sa.Double),
        sa.Column("cost_estimated", sa.Boolean, nullable=False),
        sa.Column("cost_unknown_reason", sa.Text),
        sa.Column("latency_ms", sa.Double),
    )
    op.create_index("calls_by_day", "calls", ["tenant", "day"])
    op.create_index("calls_by_service", "calls", ["tenant", "service"])
    _fill(op.get_bind(), calls)


def _fill(connection: sa.Connection, calls: sa.Table) -> None:
    """Enter what ended before there was a ledger; each task's receipt lies in its row."""
    tasks = sa.table(
        "tasks",
        sa.column("tenant", sa.String),
        sa.column("task_id", sa.String),
        sa.column("created_at", sa.DateTime(timezone=True)),
        sa.column("finished_at", sa.DateTime(timezone=True)),
        sa.column("task", sa.JSON),
        sa.column("premium_cost_usd", sa.Double),
        sa.column("finished_day", sa.Date),
    )
    place = sa.tuple_(tasks.c.tenant, tasks.c.task_id)
    query = sa.select(tasks).where(tasks.c.task.is_not(sa.null())).order_by(tasks.c.tenant, tasks.c.task_id).limit(PAGE)
    this = sa.and_(tasks.c.tenant == sa.bindparam("its_tenant"), tasks.c.task_id == sa.bindparam("its_id"))
    move = (
        sa.update(tasks)
        .where(this)
        .values(premium_cost_usd=sa.bindparam("premium"), finished_day=sa.bindparam("its_day"))
    )
    last = ("", "")
    while page := connection.execute(query.where(place > sa.tuple_(sa.literal(last[0]), sa.literal(last[1])))).all():
        moved, entered = [], []
        for row in page:
            at = row.finished_at or row.created_at
            day = _utc(at).date()
            receipt = row.task.get("receipt") or {}
            premium = receipt.get("premium_cost_usd")
            moved.append({"its_tenant": row.tenant, "its_id": row.task_id, "premium": premium, "its_day": day})
            fixed = {"tenant": row.tenant, "task_id": row.task_id, "at": at, "day": day}
            calls_made = enumerate(receipt.get("calls") or ())
            entered += [{**fixed, "number": number, **_columns(call)} for number, call in calls_made]
        connection.execute(move, moved)
        if entered:
            connection.execute(sa.insert(calls), entered)
        last = (page[-1].tenant, page[-1].task_id)


def _columns(call: dict[str, Any]) -> dict[str, Any]:
    names = ("step", "agent", "service", "model", "region", "cost_unknown_reason")
    numbers = ("prompt_tokens", "completion_tokens", "cost_usd", "latency_ms")
    return {
        **{name: _without_nul(call.get(name)) for name in names},
        **{name: call.get(name) for name in numbers},
        "outcome": _without_nul(call.get("outcome", "answered")),
        "in_doubt": call.get("in_doubt", False),
        "cost_estimated": call.get("cost_estimated", False),
    }


def _without_nul(text: str | None) -> str | None:
    """PostgreSQL's text cannot hold NUL."""
    return None if text is None else text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _utc(moment: datetime) -> datetime:
    """SQLite gives UTC without saying so."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

"""Tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "tasks",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("task_id", sa.String(128), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("tier", sa.String(16)),
        sa.Column("shape", sa.String(16)),
        sa.Column("prompt_head", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("cost_usd", sa.Double),
        sa.Column("tokens", sa.BigInteger),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("task", sa.JSON),
    )
    op.create_index("tasks_by_age", "tasks", ["tenant", "created_at", "task_id"])
    op.create_index("tasks_by_status_and_age", "tasks", ["tenant", "status", "created_at", "task_id"])

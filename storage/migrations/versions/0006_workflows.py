"""Workflows."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "workflows",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("workflow_id", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("template", sa.String(128)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("percentage", sa.Double, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("cost_usd", sa.Double),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("parent_id", sa.String(128)),
        sa.Column("workflow", sa.JSON),
        sa.Column("has_events", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    by_age = ["created_at", "workflow_id"]
    op.create_index("workflows_by_age", "workflows", ["tenant", "parent_id", *by_age])
    op.create_index("workflows_by_status_and_age", "workflows", ["tenant", "parent_id", "status", *by_age])
    op.create_index("workflows_by_name_and_age", "workflows", ["tenant", "parent_id", "name", *by_age])
    op.create_index("workflows_of_all_kinds_by_age", "workflows", ["tenant", *by_age])
    op.create_index("workflows_by_end", "workflows", ["has_events", "finished_at"])

"""The audit log, and how often each key was changed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant", sa.String(128)),
        sa.Column("key", sa.String(128)),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("route", sa.Text),
        sa.Column("target", sa.String(128)),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("reason", sa.Text),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.create_index("audit_by_age", "audit", ["at", "id"])
    op.create_index("audit_by_tenant_and_age", "audit", ["tenant", "at", "id"])
    op.add_column("api_keys", sa.Column("changes", sa.Integer, nullable=False, server_default="0"))

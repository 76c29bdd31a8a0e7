"""How good agents' answers were."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "qualities",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("task_id", sa.String(128), primary_key=True),
        sa.Column("step", sa.Text, primary_key=True),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("profile", sa.Text),
        sa.Column("tier", sa.String(16)),
        sa.Column("overall", sa.Double, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("qualities_by_agent", "qualities", ["tenant", "agent", "profile", "overall", "at"])

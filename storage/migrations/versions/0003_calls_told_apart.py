"""Calls told apart: cached, replayed, hedged, over their limit, why they failed, and whose key asked."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """What ended before was none of these: no version could cache, replay or hedge."""
    op.add_column("tasks", _flag("replayed"))
    op.add_column("calls", sa.Column("reason", sa.Text))
    for name in ("cached", "replayed", "hedged", "overrun"):
        op.add_column("calls", _flag(name))
    op.add_column("calls", sa.Column("key", sa.Text))


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())

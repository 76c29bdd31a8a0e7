"""An index of tasks that are kept whole by when they ended, for the sweep of old ones."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    whole = sa.text("task IS NOT NULL")
    op.create_index("tasks_kept_by_end", "tasks", ["finished_at"], sqlite_where=whole, postgresql_where=whole)

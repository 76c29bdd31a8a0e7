"""Run by Alembic, on the connection that `Database.migrate` hands over, inside its transaction."""

from alembic import context

from storage.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()

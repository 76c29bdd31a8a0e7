"""How a database gets to today's tables: one file per change under `versions`, run by `Database.migrate`.

`alembic -c storage/migrations/alembic.ini revision -m "what changes"` makes the next one. Change `storage/tables.py`
with it: a test compares the two, on SQLite and PostgreSQL. A migration that has shipped is never edited.
"""

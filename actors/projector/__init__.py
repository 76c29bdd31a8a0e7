"""Keeps tasks in SQL: hears every event of every task, moves that task's row on, and keeps the ledger of calls."""

from actors.projector.projection import TaskProjection

__all__ = ["TaskProjection"]

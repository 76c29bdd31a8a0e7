"""Keeps tasks in SQL: hears every event of every task and moves that task's row on."""

from actors.projector.projection import TaskProjection

__all__ = ["TaskProjection"]

"""Keeps tasks and workflows in SQL: hears all their events, moves their rows on, and keeps the ledger of calls."""

from actors.projector.projection import TaskProjection
from actors.projector.workflows import WorkflowProjection

__all__ = ["TaskProjection", "WorkflowProjection"]

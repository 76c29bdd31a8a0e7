"""The event that ends a task, with the whole task as it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.catalogue import Catalogue
from actors.coordinator.receipts import receipt, team_receipt
from actors.coordinator.story import Story
from schemas.completion import ToolCall
from schemas.errors import Cancelled, DevSkyyError
from schemas.event import Accepted, CancelledEvent, Completed, Ended, Failed, TaskEvent
from schemas.problem import Problem
from schemas.projection import project
from schemas.quality import Quality
from schemas.receipt import Call
from schemas.task import SHAPE_OF, Tier


@dataclass(frozen=True)
class Answered:
    """What a task's work came to."""

    text: str | None
    finish_reason: str | None
    quality: Quality
    tier: Tier
    story: Story | None = None
    """Of a team."""
    tool_calls: tuple[ToolCall, ...] = ()
    """With these, an empty text is none yet."""


def ending(
    catalogue: Catalogue,
    events: Sequence[TaskEvent],
    fields: dict[str, Any],
    epoch: int,
    error: DevSkyyError | None,
    calls: tuple[Call, ...],
    answered: Answered | None,
) -> Ended:
    """`completed`, `cancelled` or `failed`, as `error` says.

    Args:
        events: the task's so far, from `accepted` on.
        fields: what its next event starts with.
        calls: every one that was or may have been charged.
        answered: absent where there is no answer.
    """
    before, accepted = project(events), events[0]
    assert isinstance(accepted, Accepted)
    wall_ms = round((fields["at"] - before.created_at).total_seconds() * 1000, 3)
    if answered is not None and answered.story is not None:
        told = answered.story.contributions.values()
        paid = team_receipt(catalogue, accepted.request, calls, wall_ms, answered.text or "", told)
    else:
        paid = receipt(catalogue, accepted.request, calls, wall_ms, answered=answered is not None)
    update: dict[str, Any] = {
        "finished_at": fields["at"],
        "receipt": paid,
        "error": Problem.of(error) if error is not None else None,
    }
    if answered is not None:
        update |= {
            "answer": answered.text or (None if answered.tool_calls else answered.text),
            "tool_calls": answered.tool_calls,
            "finish_reason": answered.finish_reason,
            "quality": answered.quality,
            "tier": answered.tier,
            "shape": SHAPE_OF[answered.tier],
        }
    if error is None:
        return Completed(**fields, epoch=epoch, task=before.model_copy(update={**update, "status": "completed"}))
    if error.code == Cancelled.code:
        return CancelledEvent(**fields, epoch=epoch, task=before.model_copy(update={**update, "status": "cancelled"}))
    return Failed(**fields, epoch=epoch, task=before.model_copy(update={**update, "status": "failed"}))

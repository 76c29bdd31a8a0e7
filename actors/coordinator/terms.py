"""What every question of a task carries, whoever asks it of whom: whose it is, who pays, and within which limits."""

from typing import Any

from schemas.event import Accepted


def terms_of(accepted: Accepted) -> dict[str, Any]:
    """Fields that `Ask`, `Complete` and a judge's circumstances share; stated once, so that no limit is forgotten."""
    request = accepted.request
    return {
        "tenant": accepted.tenant,
        "task_id": accepted.task_id,
        "key": accepted.key,
        "key_budget": accepted.key_budget,
        "workflow": accepted.workflow,
        "workflow_budget": accepted.workflow_budget,
        "max_cost_usd": request.max_cost_usd,
        "max_total_tokens": request.max_total_tokens,
        "cache_s": request.cache_s,
        "replay": request.replay,
    }

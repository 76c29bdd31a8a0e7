"""The question that most tests ask."""

from datetime import timedelta
from typing import Any

from schemas.completion import ChatMessage, Complete
from schemas.message import now


def ask(*services: str, timeout_s: float = 600.0, **changed: Any) -> Complete:
    fields: dict[str, Any] = {
        "tenant": "default",
        "task_id": "t1",
        "step": "direct",
        "agent": "writing",
        "services": services or ("cheap",),
        "messages": (ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Say hello.")),
        "max_tokens": 100,
        "deadline_at": now() + timedelta(seconds=timeout_s),
        **changed,
    }
    return Complete(**fields)

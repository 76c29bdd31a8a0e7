"""Of which events a tenant's webhooks are to be told."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from schemas.webhook import Webhook
from storage.deliveries import Happened


@dataclass(frozen=True, slots=True)
class Ending:
    """A task or workflow has ended."""

    kind: Literal["task", "workflow"]
    tenant: str
    target: str
    """Its id."""
    event: str
    place: int
    """In its stream."""
    at: datetime

    @property
    def name(self) -> str:
        """As webhooks know it."""
        return f"{self.kind}.{self.event}"


def to_be_told(endings: Iterable[Ending], webhooks: Iterable[Webhook]) -> list[Happened]:
    """Each ending once for each webhook of its tenant that wants it. What was over before there was a webhook is not
    told."""
    webhooks = list(webhooks)
    return [
        Happened(webhook.id, ending.tenant, ending.name, ending.target, ending.place)
        for ending in endings
        for webhook in webhooks
        if webhook.tenant == ending.tenant
        and (webhook.events is None or ending.name in webhook.events)
        and webhook.created_at <= ending.at
    ]

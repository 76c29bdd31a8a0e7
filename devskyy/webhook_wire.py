"""What the SDK asks of webhooks, and how it reads the replies; `devskyy.wire` has the rest."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from devskyy.errors import InvalidTask
from devskyy.wire import Verb, reader
from schemas.errors import InvalidRequest
from schemas.message import Strict
from schemas.problem import Problem, field_errors
from schemas.webhook import (
    CreatedWebhook,
    Delivery,
    DeliveryList,
    NewWebhook,
    Webhook,
    WebhookChange,
    WebhookEvent,
    WebhookList,
)

S = TypeVar("S", bound=Strict)

WEBHOOKS = "/api/v1/webhooks"


class WebhookOptions(TypedDict, total=False):
    """All that may be said of a webhook beside its address."""

    events: Sequence[WebhookEvent] | None
    """What it is told of; left out, or None: everything."""
    description: str
    enabled: bool


class WebhookChanges(WebhookOptions, total=False):
    """What is to be other about a webhook. What is left out stays."""

    url: str


def create(url: str, options: WebhookOptions) -> Verb[CreatedWebhook]:
    """Make a webhook. Sent twice it would make two, so it is not sent again when the answer got lost.

    Raises:
        InvalidTask: a field breaks a rule; nothing was sent.
    """
    body = _body(NewWebhook, {"url": url, **options})
    return Verb("POST", WEBHOOKS, {201: reader(CreatedWebhook)}, body=body, repeatable=False)


def webhooks() -> Verb[tuple[Webhook, ...]]:
    return Verb("GET", WEBHOOKS, {200: lambda reply: reader(WebhookList)(reply).webhooks})


def webhook(webhook_id: str) -> Verb[Webhook]:
    return Verb("GET", _path(webhook_id), {200: reader(Webhook)})


def update(webhook_id: str, changes: WebhookChanges) -> Verb[Webhook]:
    """
    Raises:
        InvalidTask: a field breaks a rule; nothing was sent.
    """
    return Verb("PATCH", _path(webhook_id), {200: reader(Webhook)}, body=_body(WebhookChange, changes))


def delete(webhook_id: str) -> Verb[Webhook]:
    return Verb("DELETE", _path(webhook_id), {200: reader(Webhook)})


def test(webhook_id: str) -> Verb[Delivery]:
    return Verb("POST", f"{_path(webhook_id)}/test", {202: reader(Delivery)})


def rotate(webhook_id: str) -> Verb[CreatedWebhook]:
    """Give it another secret. Sent twice it would have another one still, which nobody was told."""
    return Verb("POST", f"{_path(webhook_id)}/rotate", {200: reader(CreatedWebhook)}, repeatable=False)


def deliveries(webhook_id: str, limit: int | None, cursor: str | None) -> Verb[DeliveryList]:
    params = {name: str(value) for name, value in {"limit": limit, "cursor": cursor}.items() if value is not None}
    return Verb("GET", f"{_path(webhook_id)}/deliveries", {200: reader(DeliveryList)}, params=params)


def _path(webhook_id: str) -> str:
    if not webhook_id:
        raise InvalidRequest("webhook_id", "is empty")
    return f"{WEBHOOKS}/{quote(webhook_id, safe='')}"


def _body(model: type[S], said: Mapping[str, Any]) -> bytes:
    try:
        return model.model_validate(dict(said)).model_dump_json(exclude_unset=True).encode()
    except ValidationError as error:
        raise InvalidTask(Problem.of_validation(field_errors(error))) from None

"""The webhooks door: where a tenant wants to be told how its tasks and workflows ended."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Path, Query, Request, Response

from actors.webhooks import addresses
from schemas.message import Storable
from schemas.settings import Settings
from schemas.webhook import (
    EVENTS,
    TEST,
    CreatedWebhook,
    Delivery,
    DeliveryList,
    NewWebhook,
    Webhook,
    WebhookBody,
    WebhookChange,
    WebhookList,
)
from serve.caller import caller, concerns
from serve.problems import documented
from storage import DeliveryRepository, WebhookRepository

NOT_FOUND = {404: "No such webhook"}
TOO_MANY = {409: "The tenant has as many as it may have"}
DISABLED = {409: "It is disabled"}

router = APIRouter(
    prefix="/api/v1/webhooks", tags=["webhooks"], responses=documented({503: "Not now; see Retry-After"})
)

WebhookId = Annotated[Storable, Path(description="The webhook's id", max_length=128)]

told = APIRouter(tags=["webhooks"])
"""What the platform sends, for the application's description: doors of those who are told."""

log = structlog.get_logger()


def _webhooks(request: Request) -> WebhookRepository:
    webhooks: WebhookRepository = request.app.state.webhooks
    return webhooks


def _deliveries(request: Request) -> DeliveryRepository:
    deliveries: DeliveryRepository = request.app.state.deliveries
    return deliveries


def _may_be_private(request: Request, url: str) -> bool:
    """Whether private addresses may be told by this caller's word.

    Raises:
        InvalidRequest: the address could never be told.
    """
    settings: Settings = request.app.state.settings
    private = caller(request).everywhere
    addresses.check(url, private if settings.webhook_private is None else settings.webhook_private)
    return private


@router.post("", status_code=201, responses=documented(TOO_MANY))
async def create(new: NewWebhook, request: Request, response: Response) -> CreatedWebhook:
    """Make a webhook. Its secret is told in this answer and never again.

    From now on, whatever ends is told there, signed, and tried again until it is taken.
    """
    who = caller(request)
    made = await _webhooks(request).add(new, who.tenant, _may_be_private(request, new.url))
    log.info("a webhook was made", webhook=made.webhook.id, tenant=who.tenant, by=who.key)
    response.headers["Cache-Control"] = "no-store"
    concerns(request, made.webhook.id)
    return made


@router.get("")
async def webhooks(request: Request) -> WebhookList:
    """The webhooks of the caller's tenant, newest first."""
    return WebhookList(webhooks=await _webhooks(request).list(caller(request).tenant))


@router.get("/{webhook_id}", responses=documented(NOT_FOUND))
async def webhook(webhook_id: WebhookId, request: Request) -> Webhook:
    """A webhook, without its secret."""
    return await _webhooks(request).get(caller(request).tenant, webhook_id)


@router.patch("/{webhook_id}", responses=documented(NOT_FOUND))
async def change(webhook_id: WebhookId, change: WebhookChange, request: Request) -> Webhook:
    """Change where a webhook leads, what it is told of, or whether it is told at all. What is left out stays.

    One that the platform disabled is enabled so again. What waits for it then goes on.
    """
    who, private = caller(request), False
    if "url" in change.model_fields_set:
        private = _may_be_private(request, change.url)
    changed = await _webhooks(request).change(who.tenant, webhook_id, change, private)
    log.info("a webhook was changed", webhook=webhook_id, fields=sorted(change.model_fields_set), by=who.key)
    return changed


@router.delete("/{webhook_id}", responses=documented(NOT_FOUND))
async def delete(webhook_id: WebhookId, request: Request) -> Webhook:
    """Delete a webhook with all that was and is to be told there, and answer how it was."""
    who = caller(request)
    deleted = await _webhooks(request).delete(who.tenant, webhook_id)
    log.info("a webhook was deleted", webhook=webhook_id, by=who.key)
    return deleted


@router.post("/{webhook_id}/test", status_code=202, responses=documented(NOT_FOUND | DISABLED))
async def test(webhook_id: WebhookId, request: Request) -> Delivery:
    """Have a `webhook.test` sent, tried again like all else. Its deliveries tell what came of it."""
    return await _deliveries(request).test(await _webhooks(request).get(caller(request).tenant, webhook_id))


@router.post("/{webhook_id}/rotate", responses=documented(NOT_FOUND))
async def rotate(webhook_id: WebhookId, request: Request, response: Response) -> CreatedWebhook:
    """Give a webhook another secret, which is told in this answer and never again. The one it has signs too for a day.

    One that was replaced before signs no more from now on.
    """
    who = caller(request)
    rotated = await _webhooks(request).rotate(who.tenant, webhook_id)
    log.info("a webhook was given another secret", webhook=webhook_id, by=who.key)
    response.headers["Cache-Control"] = "no-store"
    return rotated


@router.get("/{webhook_id}/deliveries", responses=documented(NOT_FOUND))
async def deliveries(
    webhook_id: WebhookId,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> DeliveryList:
    """What was and is to be told there, newest first: how often it was tried, and what came of the last attempt. They
    are kept for 30 days."""
    found = await _webhooks(request).get(caller(request).tenant, webhook_id)
    return await _deliveries(request).list(found.id, limit, cursor)


def receive(
    body: WebhookBody,
    webhook_id: Annotated[str, Header(description="The same for every attempt to tell this")],
    webhook_timestamp: Annotated[int, Header(description="The moment of this attempt, in seconds since 1970")],
    webhook_signature: Annotated[
        str,
        Header(description="`v1,` and the Base64 of the HMAC-SHA256 of id.timestamp.body; of each secret that signs"),
    ],
) -> None:
    """Sent by the platform to a webhook. Any answer but 2xx is a failure, and the same is sent again later."""


for _event in (*EVENTS, TEST):
    told.post(_event, status_code=204, name=_event, operation_id=f"told_{_event.replace('.', '_')}")(receive)

"""The clients' verbs of webhooks: `Client` and `AsyncClient` have them beside those of tasks."""

from typing import TypeVar, Unpack

from devskyy import webhook_wire as wire
from devskyy.webhook_wire import WebhookChanges, WebhookOptions
from devskyy.wire import Verb
from schemas.webhook import CreatedWebhook, Delivery, DeliveryList, Webhook

T = TypeVar("T")


class Webhooks:
    """What `Client` can do with webhooks."""

    def _send(self, verb: Verb[T]) -> T:
        raise NotImplementedError

    def create_webhook(self, url: str, **options: Unpack[WebhookOptions]) -> CreatedWebhook:
        """Make a webhook: what ends from now on is told there. Its `secret` is told this once.

        Raises:
            InvalidTask: an address that may not be told, or an event that there is none of.
            Conflict: there are as many as a tenant may have.
        """
        return self._send(wire.create(url, options))

    def webhooks(self) -> tuple[Webhook, ...]:
        """Webhooks, newest first."""
        return self._send(wire.webhooks())

    def webhook(self, webhook_id: str) -> Webhook:
        return self._send(wire.webhook(webhook_id))

    def update_webhook(self, webhook_id: str, **changes: Unpack[WebhookChanges]) -> Webhook:
        """Change where a webhook leads, what it is told of, or whether it is. What is left out stays."""
        return self._send(wire.update(webhook_id, changes))

    def delete_webhook(self, webhook_id: str) -> Webhook:
        """Delete a webhook with all that was and is to be told there."""
        return self._send(wire.delete(webhook_id))

    def test_webhook(self, webhook_id: str) -> Delivery:
        """Have a `webhook.test` sent; `webhook_deliveries` tells what came of it.

        Raises:
            Conflict: it is disabled.
        """
        return self._send(wire.test(webhook_id))

    def rotate_webhook(self, webhook_id: str) -> CreatedWebhook:
        """Give a webhook another secret, told this once. The one that it has signs too for a day."""
        return self._send(wire.rotate(webhook_id))

    def webhook_deliveries(self, webhook_id: str, limit: int | None = None, cursor: str | None = None) -> DeliveryList:
        """One page of what was and is to be told there, newest first; its `next` is the cursor of the page after it."""
        return self._send(wire.deliveries(webhook_id, limit, cursor))


class AsyncWebhooks:
    """What `AsyncClient` can do with webhooks."""

    async def _send(self, verb: Verb[T]) -> T:
        raise NotImplementedError

    async def create_webhook(self, url: str, **options: Unpack[WebhookOptions]) -> CreatedWebhook:
        """As `Client.create_webhook`."""
        return await self._send(wire.create(url, options))

    async def webhooks(self) -> tuple[Webhook, ...]:
        """As `Client.webhooks`."""
        return await self._send(wire.webhooks())

    async def webhook(self, webhook_id: str) -> Webhook:
        return await self._send(wire.webhook(webhook_id))

    async def update_webhook(self, webhook_id: str, **changes: Unpack[WebhookChanges]) -> Webhook:
        """As `Client.update_webhook`."""
        return await self._send(wire.update(webhook_id, changes))

    async def delete_webhook(self, webhook_id: str) -> Webhook:
        """As `Client.delete_webhook`."""
        return await self._send(wire.delete(webhook_id))

    async def test_webhook(self, webhook_id: str) -> Delivery:
        """As `Client.test_webhook`."""
        return await self._send(wire.test(webhook_id))

    async def rotate_webhook(self, webhook_id: str) -> CreatedWebhook:
        """As `Client.rotate_webhook`."""
        return await self._send(wire.rotate(webhook_id))

    async def webhook_deliveries(
        self, webhook_id: str, limit: int | None = None, cursor: str | None = None
    ) -> DeliveryList:
        """As `Client.webhook_deliveries`."""
        return await self._send(wire.deliveries(webhook_id, limit, cursor))

"""Webhooks in the SDK, against the platform's own doors, with a receiver that is told for real."""

from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook

from devskyy import AsyncClient, Client, Conflict, InvalidTask, NoSuchTask
from devskyy.errors import DevSkyyError
from tests.served import LONG_S, Served, served, serving
from tests.webhooks.threaded import ThreadedReceiver, told_by_thread

__all__ = ["served", "serving"]

SAYS = {"name": "says", "tasks": {"a": {"function": "say", "inputs": {"text": "hello"}}}, "output": "${tasks.a.output}"}


@pytest.fixture
def receiver() -> Iterator[ThreadedReceiver]:
    with told_by_thread() as receiver:
        yield receiver


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url, timeout_s=10) as client:
        yield client
        for webhook in client.webhooks():
            client.delete_webhook(webhook.id)


def test_a_webhook_is_told_how_a_workflow_ended(client: Client, receiver: ThreadedReceiver) -> None:
    # Given a webhook for workflows
    made = client.create_webhook(receiver.url, events=["workflow.completed"], description="here")
    assert client.webhooks() == (made.webhook,) == (client.webhook(made.webhook.id),)
    # When one ends
    workflow = client.run_workflow(SAYS)
    # Then it is told, and that it was is known
    headers, body = receiver.told.get(timeout=LONG_S)
    said = Webhook(made.secret).verify(body, headers)
    assert (said["type"], said["data"]["workflow_id"]) == ("workflow.completed", workflow.workflow_id)
    assert said["data"]["output"] == "hello"
    (delivery,) = client.webhook_deliveries(made.webhook.id, limit=1).deliveries
    assert (delivery.id, delivery.target) == (headers["webhook-id"], workflow.workflow_id)


def test_a_webhook_is_changed_and_its_secret_replaced(client: Client, receiver: ThreadedReceiver) -> None:
    made = client.create_webhook(receiver.url, enabled=False)
    with pytest.raises(Conflict, match="disabled"):
        client.test_webhook(made.webhook.id)
    assert client.update_webhook(made.webhook.id, enabled=True, events=None).enabled
    rotated = client.rotate_webhook(made.webhook.id)
    sent = client.test_webhook(made.webhook.id)
    headers, body = receiver.told.get(timeout=LONG_S)
    assert headers["webhook-id"] == sent.id
    for secret in (made.secret, rotated.secret):
        assert Webhook(secret).verify(body, headers)["type"] == "webhook.test"
    assert client.delete_webhook(made.webhook.id).id == made.webhook.id
    with pytest.raises(NoSuchTask):
        client.webhook(made.webhook.id)


def test_what_cannot_be_is_refused_before_it_is_sent(client: Client, served: Served) -> None:
    before = len(served.seen)
    with pytest.raises(InvalidTask, match=r"did you mean 'task\.failed'"):
        client.create_webhook("https://a.example", events=["task.fail"])  # type: ignore[list-item]
    with pytest.raises(InvalidTask, match="changes nothing"):
        client.update_webhook("wh_1")
    with pytest.raises(DevSkyyError, match="empty"):
        client.webhook("")
    assert len(served.seen) == before


async def test_the_async_client_has_the_same_verbs(served: Served, receiver: ThreadedReceiver) -> None:
    async with AsyncClient(served.url, timeout_s=10) as client:
        made = await client.create_webhook(receiver.url)
        name = made.webhook.id
        assert await client.webhooks() == (await client.webhook(name),)
        assert (await client.update_webhook(name, description="x")).description == "x"
        assert (await client.rotate_webhook(name)).secret != made.secret
        sent = await client.test_webhook(name)
        assert [each.id for each in (await client.webhook_deliveries(name)).deliveries] == [sent.id]
        assert (await client.delete_webhook(name)).id == name

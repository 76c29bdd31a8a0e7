"""Webhooks: where a tenant wants to be told how tasks and workflows ended, what it is told, and what came of that.

Source: Standard Webhooks 1.0.0, https://www.standardwebhooks.com.
"""

import base64
import difflib
import hashlib
import secrets
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.message import Message, Moment, Storable, Strict, Text
from schemas.problem import Problem
from schemas.task import Links, Shape, Status, Tier
from schemas.workflow import Parent, WorkflowLinks, WorkflowStatus

WebhookEvent = Literal[
    "task.completed",
    "task.failed",
    "task.cancelled",
    "workflow.completed",
    "workflow.failed",
    "workflow.cancelled",
]
EVENTS: tuple[WebhookEvent, ...] = get_args(WebhookEvent)
TEST = "webhook.test"
"""Sent when somebody asks for it, whatever the webhook's events are."""

MAX_WEBHOOKS = 20
"""Of one tenant."""
MAX_URL = 2048
MAX_TOLD_BYTES = 16 * 1024
"""An answer or output of more is not sent along; its link has it."""
OLD_SECRET_S = 86_400.0
"""For so long the secret before the present one signs too."""
SECRET_BYTES = 32
_PREFIX = "whsec_"


def new_id() -> str:
    """A name for a webhook, fit for paths and tables."""
    return f"wh_{secrets.token_hex(8)}"


def new_secret() -> str:
    """What its holder recognises us by."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that a secret stands for."""
    return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)


def delivery_id(webhook_id: str, *what: object) -> str:
    """The `webhook-id` of telling one webhook of one thing: however often that is tried, it is the same."""
    told = "\0".join((webhook_id, *map(str, what)))
    return f"msg_{hashlib.sha256(told.encode()).hexdigest()[:32]}"


def _checked_url(url: str) -> str:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("holds a character that no URL has; write it percent-encoded, and a host by its punycode name")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise ValueError("is no address of a web server; write https://its.host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password, which every list would show; the signature says who sends")
    if parts.fragment:
        raise ValueError("holds a fragment, which is never sent")
    return url


def _known_event(event: Any) -> Any:
    if event in EVENTS:
        return event
    near = difflib.get_close_matches(str(event)[:128], EVENTS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(EVENTS)}"
    raise ValueError(f"unknown event {str(event)[:128]!r}; {hint}")


def _in_order(events: tuple[WebhookEvent, ...]) -> tuple[WebhookEvent, ...]:
    return tuple(event for event in EVENTS if event in events)


Url = Annotated[Text, Field(min_length=1, max_length=MAX_URL), AfterValidator(_checked_url)]
Events = Annotated[
    tuple[Annotated[WebhookEvent, BeforeValidator(_known_event)], ...],
    Field(min_length=1, max_length=100),
    AfterValidator(_in_order),
]
Description = Annotated[Storable, Field(max_length=500)]


class NewWebhook(Strict):
    """A webhook to be made."""

    url: Url
    """Where to: `https`. `http` is for addresses that are private, where these may be told at all."""
    events: Events | None = None
    """What of; null or left out: of everything, also what a later version adds."""
    description: Description = ""
    enabled: bool = True


class WebhookChange(Strict):
    """What is to be other about a webhook, as a merge patch (RFC 7396): what is left out stays."""

    url: Url = ""
    events: Events | None = None
    """Null: of everything."""
    description: Description = ""
    enabled: bool = True

    @model_validator(mode="after")
    def _changes_something(self) -> "WebhookChange":
        if not self.model_fields_set:
            raise ValueError("changes nothing; give url, events, description or enabled")
        return self


class Webhook(Message):
    """A webhook without its secret, which nobody can read again."""

    id: str
    tenant: str
    url: str
    events: tuple[WebhookEvent, ...] | None = None
    """What it is told of; null: of everything."""
    description: str = ""
    enabled: bool
    """Whether anything is sent. What ends while it is not is never told."""
    private: bool
    """Whether private addresses may be told: of whoever runs the platform they may, unless a setting says otherwise."""
    created_at: Moment
    failing_since: Moment | None = None
    """The first failure since the last success."""
    disabled_because: str | None = None
    """Why the platform disabled it, where it did."""
    old_secret_until: Moment | None = None
    """How long the secret before the present one signs too."""


class CreatedWebhook(Message):
    """A webhook that was just made or given another secret. This is the only time that the secret is told."""

    webhook: Webhook
    secret: str = Field(repr=False)


class WebhookList(Message):
    webhooks: tuple[Webhook, ...]


DeliveryState = Literal["pending", "delivered", "given_up"]


class Delivery(Message):
    """Telling one webhook of one thing, and what has come of that so far."""

    id: str
    """The header `webhook-id` of every attempt."""
    event: str
    target: str | None = None
    """The task or workflow; of a test null."""
    state: DeliveryState
    attempts: int
    status: int | None = None
    """The HTTP status of the last answer; null: there was none."""
    error: str | None = None
    """Why the last attempt failed."""
    created_at: Moment
    attempted_at: Moment | None = None
    next_attempt_at: Moment | None = None
    """Null once there is none to come."""


class DeliveryList(Message):
    deliveries: tuple[Delivery, ...]
    next: str | None = None
    """Cursor for the page after this one; absent on the last."""


# -- what is sent ----------------------------------------------------------------------------------------------------


class TaskData(Message):
    task_id: str
    status: Status
    tenant: str
    tier: Tier | None
    shape: Shape | None
    answer: str | None
    answer_bytes: int | None
    """Of an answer that is too large to be sent along; the task has it."""
    quality: float | None
    """Overall, a fraction; null: it was not measured."""
    quality_met: bool | None
    """Whether it reached the `min_quality` asked for; null: nothing was asked, or nothing is known."""
    cost_usd: float | None
    """Null: unknown; the task's receipt says why."""
    error: Problem | None
    metadata: dict[str, Any]
    """As it was handed in."""
    created_at: Moment
    finished_at: Moment | None
    links: Links
    """Paths at the platform's address."""


class WorkflowData(Message):
    workflow_id: str
    name: str
    template: str | None
    status: WorkflowStatus
    tenant: str
    output: Any
    output_bytes: int | None
    """Of an output that is too large to be sent along; `…/output` has it."""
    cost_usd: float | None
    error: Problem | None
    metadata: dict[str, Any]
    parent: Parent | None
    """The task of another workflow that it did."""
    created_at: Moment
    finished_at: Moment
    links: WorkflowLinks


class PingData(Message):
    webhook_id: str
    tenant: str


class WebhookBody(Message):
    """The body of a delivery."""

    type: str
    timestamp: Moment
    """When it happened."""
    data: TaskData | WorkflowData | PingData

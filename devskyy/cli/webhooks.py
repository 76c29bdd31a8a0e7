"""`devskyy webhooks`: where to be told how tasks and workflows ended."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from devskyy.cli.keys import AsJson
from schemas.errors import InvalidRequest

if TYPE_CHECKING:
    from datetime import datetime

    from devskyy.webhook_wire import WebhookChanges, WebhookOptions
    from schemas.webhook import CreatedWebhook, Webhook, WebhookEvent

ALL = "all"

app = typer.Typer(help="Be told over HTTP how tasks and workflows ended.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, as `devskyy webhooks list` shows it.")]
Event = Annotated[
    list[str] | None,
    typer.Option(metavar="EVENT|all", help="What of, task.failed for one; may be given several times."),
]


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="Where to: https://its.host/path.")],
    event: Event = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Make it, and send nothing yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a webhook: what ends from now on is told there. Its secret is printed this once."""
    from devskyy.client import Client

    options: WebhookOptions = {}
    if event:
        options["events"] = _events(event)
    if description is not None:
        options["description"] = description
    if disabled:
        options["enabled"] = False
    with Client() as client:
        made = client.create_webhook(url, **options)
    _tell_secret(made, as_json)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every webhook, newest first."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        found = client.webhooks()
    if as_json:
        render.document({"webhooks": [each.model_dump(mode="json") for each in found]})
        return
    rows = [(each.id, each.url, _told_of(each), each.description, _state(each)) for each in found]
    render.table(("Id", "Leads to", "Told of", "For", "State"), rows, "there is no webhook")


@app.command()
def show(webhook_id: Id, as_json: AsJson = False) -> None:
    """A webhook, without its secret."""
    from devskyy.client import Client

    with Client() as client:
        _tell(client.webhook(webhook_id), as_json)


@app.command()
def update(
    webhook_id: Id,
    url: Annotated[str | None, typer.Option(help="Where to.")] = None,
    event: Event = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether anything is sent. What waits goes on then.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change where a webhook leads, what it is told of, or whether it is. What is not said stays."""
    from devskyy.client import Client

    changes: WebhookChanges = {}
    if url is not None:
        changes["url"] = url
    if event:
        changes["events"] = _events(event)
    if description is not None:
        changes["description"] = description
    if enabled is not None:
        changes["enabled"] = enabled
    if not changes:
        raise InvalidRequest(
            "options", "nothing is to be changed; say --url, --event, --description, --enable or --disable"
        )
    with Client() as client:
        _tell(client.update_webhook(webhook_id, **changes), as_json)


@app.command()
def delete(webhook_id: Id, as_json: AsJson = False) -> None:
    """Delete a webhook with all that was and is to be told there."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        gone = client.delete_webhook(webhook_id)
    if as_json:
        render.document(gone)
    else:
        render.say(f"webhook {gone.id} is deleted; {gone.url} is told nothing more")


@app.command()
def test(webhook_id: Id, as_json: AsJson = False) -> None:
    """Have a `webhook.test` sent."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        sent = client.test_webhook(webhook_id)
    if as_json:
        render.document(sent)
    else:
        render.say(f"{sent.id} is on its way; `devskyy webhooks deliveries {webhook_id}` tells what came of it")


@app.command()
def rotate(webhook_id: Id, as_json: AsJson = False) -> None:
    """Give a webhook another secret, printed this once. The one that it has signs too for a day."""
    from devskyy.client import Client

    with Client() as client:
        _tell_secret(client.rotate_webhook(webhook_id), as_json)


@app.command()
def deliveries(
    webhook_id: Id,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page ended.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was and is to be told there, newest first, and what came of it."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        page = client.webhook_deliveries(webhook_id, limit, cursor)
    if as_json:
        render.document(page)
        return
    rows = [
        (
            each.id,
            each.event,
            each.target,
            each.state.replace("_", " "),
            f"{each.attempts:,}",
            "" if each.status is None else str(each.status),
            _moment(each.attempted_at),
            _moment(each.next_attempt_at),
            each.error,
        )
        for each in page.deliveries
    ]
    columns = ("Id", "Event", "Of", "State", "Attempts", "Status", "Last", "Next", "Error")
    render.table(columns, rows, "nothing was to be told there yet")
    if page.next is not None:
        render.err().print(f"more: --cursor {page.next}")


def _events(said: list[str]) -> "list[WebhookEvent] | None":
    """What is no event is refused as such, by name, before it is sent."""
    return None if ALL in said else cast("list[WebhookEvent]", said)


def _tell_secret(made: "CreatedWebhook", as_json: bool) -> None:
    from devskyy.cli import render

    if as_json:
        render.document(made)
        return
    render.say(made.secret)
    told = f"webhook {made.webhook.id}: {made.webhook.url} is told of {_told_of(made.webhook)}"
    until = made.webhook.old_secret_until
    both = "" if until is None else f" Until {_moment(until)} the one before it signs too."
    render.err().print(f"{told}. The secret is shown this once: keep it now.{both}")


def _tell(webhook: "Webhook", as_json: bool) -> None:
    from devskyy.cli import render

    if as_json:
        render.document(webhook)
        return
    render.say(
        f"webhook {webhook.id}: {_state(webhook)}",
        f"leads to {webhook.url}",
        f"told of {_told_of(webhook)}",
        f"made {_moment(webhook.created_at)}",
    )
    if webhook.description:
        render.say(f"for {webhook.description}")


def _told_of(webhook: "Webhook") -> str:
    return "everything" if webhook.events is None else ", ".join(webhook.events)


def _state(webhook: "Webhook") -> str:
    if not webhook.enabled:
        return f"disabled: {webhook.disabled_because}" if webhook.disabled_because else "disabled"
    return "enabled" if webhook.failing_since is None else f"failing since {_moment(webhook.failing_since)}"


def _moment(at: "datetime | None") -> str:
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"

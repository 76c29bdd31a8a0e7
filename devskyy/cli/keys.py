"""`devskyy keys`: who may call the platform, what they may do and spend."""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer

from schemas.errors import InvalidRequest
from schemas.message import now

if TYPE_CHECKING:
    from devskyy.wire import KeyChanges, KeyOptions
    from schemas.budget import Budget
    from schemas.key import ApiKey, KeyScope

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LENGTH = re.compile(r"([0-9]{1,6})([smhdw])")


class ScopeName(StrEnum):
    """`KeyScope`, as the command line wants it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    VIEWER = "viewer"
    OPERATOR = "operator"


app = typer.Typer(help="Make, list, change and revoke API keys.", no_args_is_help=True)
NO_LIMIT = "none"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(
            help="What it may do; each includes those before it. Left out: write. viewer is read, operator write."
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose tasks it sees. Left out: yours.")] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="30d|DATE", help="When it ends: after 12h, 30d, 8w; or at a date or time.")
    ] = None,
    usd_per_day: Annotated[float | None, typer.Option(min=0, help="What it may spend in a day (UTC).")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(min=0, help="Tokens that it may take in a day (UTC).")] = None,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests that it may make in a minute.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its secret is printed this once; the first key shuts the platform to whoever has none."""
    from devskyy.cli import render
    from devskyy.client import Client
    from schemas.key import ROLES

    scopes = [cast("KeyScope", ROLES.get(each.value, each.value)) for each in scope or ()]
    options: KeyOptions = {"scopes": scopes or None, "tenant": tenant, "rpm": rpm}
    if expires is not None:
        options["expires_at"] = moment(expires, now())
    if usd_per_day is not None or tokens_per_day is not None:
        options["budget"] = {"usd": usd_per_day, "tokens": tokens_per_day}
    with Client() as client:
        made = client.create_key(name, **options)
    if as_json:
        render.document(made)
        return
    render.say(made.secret)
    render.err().print(
        f"key {made.key.id}: {_may(made.key)}. It is shown this once: keep it now.\n"
        "From now on the platform asks for a key; on this machine, `devskyy` and the SDK use yours by themselves."
    )


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every key, newest first; those that have ended too."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        found = client.keys()
    if as_json:
        render.document({"keys": [key.model_dump(mode="json") for key in found]})
        return
    at = now()
    rows = [
        (
            key.id,
            key.name,
            key.tenant,
            ", ".join(key.scopes),
            _budget(key.budget),
            "" if key.rpm is None else f"{key.rpm:,}",
            _day(key.created_at),
            "never" if key.last_used_at is None else _day(key.last_used_at),
            _state(key, at),
        )
        for key in found
    ]
    columns = ("Id", "Name", "Tenant", "May", "A day", "A minute", "Made", "Last used", "State")
    render.table(columns, rows, "no key was ever made: whoever reaches the platform may use it")


@app.command()
def update(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `devskyy keys list` shows it.")],
    usd_per_day: Annotated[
        str | None, typer.Option(metavar="USD|none", help="What it may spend in a day (UTC).")
    ] = None,
    tokens_per_day: Annotated[
        str | None, typer.Option(metavar="N|none", help="Tokens that it may take in a day (UTC).")
    ] = None,
    rpm: Annotated[str | None, typer.Option(metavar="N|none", help="Requests that it may make in a minute.")] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="30d|DATE|never", help="When it ends: after 12h, 30d, 8w; or at a date or time."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what a key may spend, how often it may come and when it ends. What is not said stays; `none` takes a limit
    away. It holds within five seconds."""
    from devskyy.cli import render
    from devskyy.client import Client

    changes: KeyChanges = {}
    budget = {
        unit: None if said == NO_LIMIT else _number(said, option)
        for unit, said, option in (
            ("usd", usd_per_day, "--usd-per-day"),
            ("tokens", tokens_per_day, "--tokens-per-day"),
        )
        if said is not None
    }
    if budget:
        changes["budget"] = budget
    if rpm is not None:
        # What is no whole number is refused as such, by name, before it is sent.
        changes["rpm"] = None if rpm == NO_LIMIT else cast("int", _number(rpm, "--rpm"))
    if expires is not None:
        changes["expires_at"] = None if expires in (NO_LIMIT, "never") else moment(expires, now())
    if not changes:
        raise InvalidRequest(
            "options", "nothing is to be changed; say --usd-per-day, --tokens-per-day, --rpm or --expires"
        )
    with Client() as client:
        key = client.update_key(key_id, **changes)
    if as_json:
        render.document(key)
    else:
        render.say(f"key {key.id}: {_may(key)}")


def _number(text: str, option: str) -> float | int:
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        raise InvalidRequest(option, f"{text!r} is no number; {NO_LIMIT!r} takes the limit away") from None


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `devskyy keys list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """End a key, for good."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        key = client.revoke_key(key_id)
    if as_json:
        render.document(key)
    else:
        render.say(f"key {key.id} is revoked; within five seconds it opens nothing")


def moment(text: str, at: datetime, option: str = "--expires", *, back: bool = False) -> datetime:
    """A moment as people write it: a length of time from `at` on, or back, or a date or time, by this machine's clock.

    Raises:
        InvalidRequest: it is neither.
    """
    try:
        if found := _LENGTH.fullmatch(text.strip()):
            length = timedelta(**{UNITS[found[2]]: int(found[1])})
            return at - length if back else at + length
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise InvalidRequest(option, f"{text!r} is neither a length such as 12h, 30d, 8w nor a date") from None


def _may(key: "ApiKey") -> str:
    parts = [f"may {', '.join(key.scopes)} in tenant {key.tenant}"]
    if budget := _budget(key.budget):
        parts.append(f"spend {budget} a day")
    if key.rpm is not None:
        parts.append(f"call {key.rpm:,} times a minute")
    if key.expires_at is not None:
        parts.append(f"until {_day(key.expires_at)}")
    return ", ".join(parts)


def _budget(budget: "Budget | None") -> str:
    from devskyy.cli import render

    if budget is None:
        return ""
    usd = [] if budget.usd is None else [render.cost(budget.usd)]
    return ", ".join(usd + ([] if budget.tokens is None else [f"{budget.tokens:,} tokens"]))


def _state(key: "ApiKey", at: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked {_day(key.revoked_at)}"
    if key.expires_at is None:
        return "valid"
    return f"{'expired' if key.expired(at) else 'valid until'} {_day(key.expires_at)}"


def _day(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M}"

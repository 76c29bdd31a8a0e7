"""`devskyy nats-users`: who may come in over NATS from outside. They are in the home, and so whoever may write it may
change them, whether the platform runs or not."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.settings import DEFAULT_TENANT

if TYPE_CHECKING:
    from schemas.nats_user import NatsScope, NatsUser
    from schemas.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ScopeName(StrEnum):
    """`NatsScope`, as the command line wants it."""

    READ = "read"
    WRITE = "write"


app = typer.Typer(help="Make, list and revoke NATS users for clients from outside.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: letters, digits, '_' and '-'.")],
    tenant: Annotated[str, typer.Option(help="Whose tasks and workflows it sees.")] = DEFAULT_TENANT,
    scope: Annotated[
        ScopeName, typer.Option(help="read follows; write also submits, commands and wakes.")
    ] = ScopeName.WRITE,
    as_json: AsJson = False,
) -> None:
    """Make a user. Its password is shown this once; a platform that runs lets it in at once."""
    from bus.accounts import ways
    from bus.nats_users import NatsUsers
    from devskyy.cli import render
    from schemas.settings import Settings

    settings = Settings.from_environment()
    kind: NatsScope = scope.value
    user, password = NatsUsers(settings.home).create(name, tenant, kind)
    known, url = _in_force(settings), _url(settings, user.user, password)
    if as_json:
        said = {**_document(user), "password": password, "url": url, "in_force": known}
        render.document({**said, **ways(tenant, kind)})
        return
    render.say(url or f"user {user.user}, password {password}")
    render.err().print(
        f"{user.user} may {_MAY[kind]} in tenant {tenant}. Its password is shown this once: keep it now.\n"
        + _when(settings, known, "It is let in")
    )


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every user, those that were revoked too; but for the first one, whose URL `devskyy nats-url` prints."""
    from bus.nats_users import NatsUsers
    from devskyy.cli import render
    from schemas.settings import Settings

    users = NatsUsers(Settings.from_environment().home).all()
    if as_json:
        render.document({"users": [_document(user) for user in users]})
        return
    rows = [
        (
            user.name,
            user.tenant,
            user.scope,
            f"{user.created_at.astimezone():%Y-%m-%d %H:%M}",
            "valid" if user.revoked_at is None else f"revoked {user.revoked_at.astimezone():%Y-%m-%d %H:%M}",
        )
        for user in users
    ]
    render.table(("Name", "Tenant", "Scope", "Made", "State"), rows, "no NATS users but the first")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="As `devskyy nats-users list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """End a user, for good. Its connections are closed at once."""
    from bus.nats_users import NatsUsers
    from devskyy.cli import render
    from schemas.settings import Settings

    settings = Settings.from_environment()
    user = NatsUsers(settings.home).revoke(name)
    known = _in_force(settings)
    if as_json:
        render.document({**_document(user), "in_force": known})
    else:
        render.say(f"{user.user} is revoked")
        render.err().print(_when(settings, known, "It is shut out"))


_MAY = {"read": "follow tasks and workflows", "write": "follow, submit, command and wake"}


def _document(user: "NatsUser") -> dict[str, Any]:
    shown = user.model_dump(mode="json", exclude={"bcrypt"})
    return {"user": user.user, **shown}


def _in_force(settings: "Settings") -> bool:
    """Whether the broker that runs goes by what was changed.

    Raises:
        Unavailable: one runs, and does not.
    """
    from devskyy.supervisor.nats_users import in_force
    from schemas.errors import Unavailable

    known = in_force(settings.home)
    if known is False:
        raise Unavailable("it is written down, and NATS has not taken it up; `devskyy status` says what is wrong")
    return bool(known)


def _when(settings: "Settings", known: bool, what: str) -> str:
    if known:
        return f"{what} from now on."
    if settings.embeds_nats:
        return f"{what} once the platform of this home runs."
    return f"{what} once your broker has been given what `devskyy nats-config` prints."


def _url(settings: "Settings", user: str, password: str) -> str | None:
    """What it connects with, where the address is known."""
    from bus import urls
    from devskyy.supervisor.state import read_state

    state = read_state(settings.home)
    if state is None or not state.alive or state.outside_nats_url is None:
        return None
    return urls.logged_in(state.outside_nats_url, user, password)

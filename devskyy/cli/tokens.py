"""`devskyy token`: JSON Web Tokens, for callers whom no key is kept of."""

from enum import StrEnum
from typing import Annotated

import typer

from devskyy.cli.keys import AsJson, moment
from schemas.message import now


class RoleName(StrEnum):
    """`Role`, as the command line wants it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


app = typer.Typer(help="Make JSON Web Tokens.", no_args_is_help=True)


@app.callback()
def _tokens() -> None:
    """Make JSON Web Tokens, signed with the platform's JWT_SECRET_KEY. Only who runs the platform may."""


@app.command()
def create(
    sub: Annotated[str, typer.Option("--sub", help="Whose it is.")],
    role: Annotated[
        RoleName, typer.Option(help="viewer looks, operator also starts and stops tasks, admin also makes keys.")
    ] = RoleName.OPERATOR,
    tenant: Annotated[str | None, typer.Option(help="Whose tasks it sees. Left out: the platform's own.")] = None,
    expires: Annotated[
        str, typer.Option(metavar="1h|DATE", help="When it ends: after 15m, 12h, 30d; or at a date or time.")
    ] = "1h",
    as_json: AsJson = False,
) -> None:
    """Make a token. It is kept nowhere and cannot be revoked: it holds until its end."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        made = client.create_token(sub, moment(expires, now()), role=role.value, tenant=tenant)
    if as_json:
        render.document(made)
        return
    render.say(made.token)
    render.err().print(
        f"token of {made.key}: may {', '.join(made.scopes)} in tenant {made.tenant} until "
        f"{made.expires_at.astimezone():%Y-%m-%d %H:%M}. It cannot be revoked; another JWT_SECRET_KEY ends all at once."
    )

"""`devskyy audit`: who changed something, or was refused."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from devskyy.cli.keys import AsJson, moment
from schemas.message import now

if TYPE_CHECKING:
    from schemas.audit import AuditEntry


def audit(
    since: Annotated[
        str | None, typer.Option(metavar="12h|DATE", help="How far back: 15m, 12h, 30d; or a date or time.")
    ] = None,
    outcome: Annotated[Literal["done", "refused", "failed"] | None, typer.Option(help="Only what ended so.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Who changed something, or was refused, newest first."""
    from devskyy.cli import render
    from devskyy.client import Client

    start = None if since is None else moment(since, now(), "--since", back=True)
    found: list[AuditEntry] = []
    cursor = None
    with Client() as client:
        while len(found) < limit:
            page = client.audit(limit=min(limit - len(found), 1000), cursor=cursor, since=start, outcome=outcome)
            found += page.entries
            if (cursor := page.next) is None:
                break
    if as_json:
        render.document({"entries": [entry.model_dump(mode="json") for entry in found], "next": cursor})
        return
    columns = ("At", "Who", "Tenant", "Did", "To", "Outcome", "From", "Times")
    render.table(columns, [_row(entry) for entry in found], "nothing was changed or refused")


def _row(entry: "AuditEntry") -> tuple[str | None, ...]:
    return (
        f"{entry.at.astimezone():%Y-%m-%d %H:%M:%S}",
        entry.key or ("anybody" if entry.tenant else "unknown"),
        entry.tenant,
        f"{entry.method} {entry.route or 'no such door'}",
        entry.target,
        f"{entry.outcome} ({entry.status})",
        entry.address,
        f"{entry.count:,}",
    )

"""`devskyy quality`: how good the answers were so far, by agent and kind of work."""

from datetime import datetime
from typing import Annotated, Literal

import typer

ByName = Literal["agent", "kind"]


def quality(
    by: Annotated[ByName | None, typer.Option(help="What each row is of; left out: agent and kind of work.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The first day, in UTC.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How good the answers were that were measured, of tasks that have ended."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        found = client.quality(by=by, since=since and since.date())
    if as_json:
        render.document(found)
        return
    names = {"agent": ["Agent"], "kind": ["Kind of work"], None: ["Agent", "Kind of work"]}[by]
    rows = []
    for row in found.rows:
        who = {"agent": [row.agent], "kind": [row.kind], None: [row.agent, row.kind]}[by]
        last = f"{row.last_at:%Y-%m-%d %H:%M}"
        rows.append((*(name or "unknown" for name in who), f"{row.n:,}", f"{row.mean:.2f}", last))
    render.table([*names, "Answers", "Quality", "Last (UTC)"], rows, "no answer was measured yet")

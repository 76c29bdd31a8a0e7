"""`devskyy budgets`: what of today's budgets is left."""

from typing import Annotated

import typer


def budgets(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """What is reserved and spent of today's budgets, and what is left. Budgets stand in the overlay."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        found = client.budgets()
    if as_json:
        render.document({"budgets": [each.model_dump(mode="json") for each in found]})
        return

    def said(unit: str, amount: float) -> str:
        return render.cost(amount) if unit == "usd" else f"{amount:,.0f} tokens"

    rows = [
        (each.scope, each.name, *(said(each.unit, amount) for amount in (each.used, each.left, each.limit)))
        for each in found
    ]
    render.table(["Of", "Name", "Used", "Left", "Limit"], rows, "no budget is set; see docs/budgets.md")

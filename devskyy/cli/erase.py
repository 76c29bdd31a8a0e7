"""`devskyy erase`, and what `tasks delete` and `workflows delete` have in common with it."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import InvalidRequest

if TYPE_CHECKING:
    from schemas.erasure import Erased

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Their ids.")]
WithCosts = Annotated[
    bool, typer.Option("--with-costs", help="What it cost too, which else stays in the sums without a name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def erase(
    tenant: Annotated[str, typer.Option(help="The tenant of which everything is erased.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the tenant's name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase everything of a tenant, what it cost and its keys included. Only who runs the platform may."""
    from devskyy.client import Client

    if not yes and _typed(tenant) != tenant:
        raise InvalidRequest("tenant", f"what was typed is not {tenant!r}; nothing was erased")
    with Client() as client:
        erased = client.erase_tenant(tenant)
    tell(erased, as_json)


def each(ids: Sequence[str], delete: "Callable[[str], Erased]", as_json: bool) -> None:
    """Delete one after the other. The first that cannot be deleted ends it; those before it are gone."""
    erased = delete(ids[0])
    for one in ids[1:]:
        erased += delete(one)
    tell(erased, as_json)


def tell(erased: "Erased", as_json: bool) -> None:
    """What was removed from where."""
    from devskyy.cli import render

    if as_json:
        render.document(erased)
        return
    rows = [(place, f"{count:,}") for place, count in sorted(erased.removed.items())]
    render.table(("Where", "Removed"), rows, "nothing was there")
    kept = "; what they cost stays in the sums, without a name" if erased.costs_kept else ""
    render.say(f"erased {erased.tasks:,} tasks and {erased.workflows:,} workflows{kept}")


def _typed(tenant: str) -> str:
    """What somebody at a terminal types to confirm it."""
    if not sys.stdin.isatty():
        raise InvalidRequest("--yes", "is needed where nobody can be asked")
    typed: str = typer.prompt(f"Everything of {tenant} will be gone for good. Type its name to go on", err=True)
    return typed.strip()

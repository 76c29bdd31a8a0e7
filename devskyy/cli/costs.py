"""`devskyy costs`: what was spent, and what one premium model would have cost."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from schemas.costs import CostRow, Costs

KeyName = Literal["day", "agent", "service", "task", "key"]


def costs(
    by: Annotated[KeyName, typer.Option(help="What each row is of.")] = "day",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The first day, in UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The last day, in UTC.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What was spent, what one premium model would have cost, and what nobody knows."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        found = client.costs(by=by, since=since and since.date(), until=until and until.date())
    if as_json:
        render.document(found)
        return
    columns = [by.capitalize(), "Calls", "Tokens in / out", "Spent"]
    if with_tasks := by in ("day", "task"):
        columns += ["Premium", "Saved"]
    rows = [_row(row.key or "none", row, with_tasks) for row in found.rows]
    if rows:
        rows.append(_row("total", found, with_tasks))
    render.table(columns, rows, "nothing was spent")
    if rows:
        render.say("", *_notes(found))


def _row(name: str, sums: "CostRow | Costs", with_tasks: bool) -> tuple[str, ...]:
    from devskyy.cli import render

    spent = [render.cost(sums.spent_usd)]
    if sums.estimated_usd:
        spent.append(f"{render.cost(sums.estimated_usd)} of it estimated")
    if sums.unknown_calls:
        spent.append(_of_unknown_cost(sums.unknown_calls))
    cells = (name, f"{sums.calls:,}", f"{sums.prompt_tokens:,} / {sums.completion_tokens:,}", ", ".join(spent))
    if not with_tasks:
        return cells
    sides = (sums.premium_cost_usd, sums.saved_usd)
    return cells + tuple("unknown" if usd is None else render.cost(usd) for usd in sides)


def _notes(found: "Costs") -> Iterator[str]:
    """What the sums leave out."""
    from devskyy.cli import render

    if found.unknown_calls:
        yield f"spent leaves out {_of_unknown_cost(found.unknown_calls)}"
    if found.calls_without_tokens:
        yield f"tokens leave out what {_count(found.calls_without_tokens, 'call')} did not report"
    if found.cached_calls:
        yield f"{_count(found.cached_calls, 'call')} answered from the cache, at no cost"
    if found.replayed_calls:
        yield f"{_count(found.replayed_calls, 'call')} answered from a recording, which is in no other sum"
    if found.tasks_without_premium:
        yield f"premium leaves out {_count(found.tasks_without_premium, 'task')} whose premium cost is unknown"
    if found.saved_usd is None:
        yield "saved is unknown: there is no task whose both costs are known"
    else:
        yield f"saved {render.cost(found.saved_usd)} over the tasks whose both costs are known"
    if found.rows_left_out:
        yield f"{_count(found.rows_left_out, 'more row')} not shown; the total holds them"


def _of_unknown_cost(calls: int) -> str:
    return f"{_count(calls, 'call')} of unknown cost"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

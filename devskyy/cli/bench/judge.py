"""`devskyy bench judge`: how often the better of two answers gets the better score.

Needs a running platform only for a judge model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from actors.quality import Preference

Row = dict[str, str]
ANSWER_S = 300.0
"""How long one answer of a judge may take."""
_MOST_FIELD_BYTES = 64 * 1024 * 1024
_COLUMNS = ("prompt", "a", "b", "label")


def judge(
    pairs: Annotated[
        Path,
        typer.Option(
            metavar="FILE.csv",
            help="Columns `prompt`, `a`, `b`, `label` (`a` or `b`: the better one) and, if you like, `group`.",
        ),
    ],
    service: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="SERVICE",
            help="Ask this service of the running platform as well, twice a pair: once in each order. Costs what it "
            "costs.",
        ),
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, max=256, help="With --judge: questions under way at once.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How often the score agrees with the label, by group. A tie counts as half.

    Without --judge no model is asked, and no platform needs to run.
    """
    from actors.quality import compare, wordllama_embed
    from devskyy.cli import render

    table = read_pairs(pairs)
    embed = wordllama_embed()
    better = [compare(row["prompt"], row["a"], row["b"], embed=embed).better for row in table]
    found = tally(table, better)
    judged = asked(table, service, at_once) if service is not None else None
    if as_json:
        render.document(found | ({} if judged is None else {"with_judge": judged}))
        return
    names = [*found["groups"], "all"]
    ours, theirs = _column(found), None if judged is None else _column(judged)
    sizes = [*(group["n"] for group in found["groups"].values()), len(table)]
    headings = ["Group", "Accuracy", *([] if theirs is None else [f"With {service}"]), "Pairs"]
    columns = [names, ours, *([] if theirs is None else [theirs]), [f"{size:,}" for size in sizes]]
    render.table(headings, list(zip(*columns, strict=True)), "no pairs")
    if judged is not None:
        cost = "unknown" if judged["cost_usd"] is None else f"${judged['cost_usd']:.4f}"
        render.say(
            f"{judged['undecided']:,} pairs undecided, {judged['unjudged']:,} without a judgement; it cost {cost}"
        )


def tally(table: Sequence[Row], better: Sequence[str | None]) -> dict[str, Any]:
    """How often the better answers are the labelled ones: by group, and over all."""
    agreed: dict[str, list[float]] = {}
    for row, one in zip(table, better, strict=True):
        agreed.setdefault(row["group"], []).append(0.5 if one is None else float(one == row["label"]))
    groups = {name: {"accuracy": sum(one) / len(one), "n": len(one)} for name, one in sorted(agreed.items())}
    return {"groups": groups, "overall": sum(sum(one) for one in agreed.values()) / len(table)}


def asked(table: Sequence[Row], service: str, at_once: int) -> dict[str, Any]:
    """The same by what a service of the running platform prefers, asked in both orders.

    `undecided` counts the pairs that it judged without preferring one, `unjudged` those that have no judgement; either
    is a tie.

    Raises:
        PlatformNotRunning: nobody answers.
        ApiError: there is no such service.
        RemoteError: it judged nothing.
    """
    import asyncio
    from itertools import chain

    from schemas.errors import RemoteError

    preferences, costs = asyncio.run(_preferences(table, service, at_once))
    if not any(one.judged for one in preferences):
        reason = next(chain.from_iterable(one.reasons for one in preferences), "no reason was given")
        said = f"{service!r} judged none of the pairs: {reason}"
        raise RemoteError("no_judgement", "No judgement", 502, said, again=False)
    return {
        "judge": service,
        **tally(table, [one.better for one in preferences]),
        "undecided": sum(one.judged and one.better is None for one in preferences),
        "unjudged": sum(not one.judged for one in preferences),
        "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
    }


async def _preferences(
    table: Sequence[Row], service: str, at_once: int
) -> tuple[list["Preference"], Sequence[float | None]]:
    import asyncio
    from datetime import UTC, datetime, timedelta

    from actors.quality import Circumstances, ModelJudge
    from devskyy.cli.bench.door import Door
    from schemas.settings import DEFAULT_TENANT

    async with Door(at_once, ANSWER_S) as door:

        async def prefer(number: int, row: Row) -> "Preference":
            asked = Circumstances(
                tenant=DEFAULT_TENANT,
                task_id="bench-judge",
                step=f"pair-{number}",
                services=(service,),
                deadline_at=datetime.now(UTC) + timedelta(seconds=ANSWER_S),
            )
            return await ModelJudge(door.complete, asked).prefer(row["prompt"], row["a"], row["b"])

        try:
            async with asyncio.TaskGroup() as group:
                under_way = [group.create_task(prefer(number, row)) for number, row in enumerate(table, 1)]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [one.result() for one in under_way], door.costs


def _column(found: dict[str, Any]) -> list[str]:
    return [f"{share:.3f}" for share in (*(group["accuracy"] for group in found["groups"].values()), found["overall"])]


def read_pairs(path: Path) -> list[dict[str, str]]:
    """Pairs of answers, each with its group; without one the group is `all`.

    Raises:
        InvalidRequest: no such table, or a label that names neither answer.
    """
    import csv

    from schemas.errors import InvalidRequest

    def wrong(rule: str) -> InvalidRequest:
        return InvalidRequest("--pairs", f"{path}: {rule}")

    csv.field_size_limit(_MOST_FIELD_BYTES)
    table: list[dict[str, str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                columns = ", ".join(repr(name) for name in rows.fieldnames or ()) or "none"
                raise wrong(f"has no column {' and no column '.join(map(repr, missing))}; its columns are: {columns}")
            for row in rows:
                label = (row["label"] or "").strip().lower()
                if label not in ("a", "b"):
                    raise wrong(f"line {rows.line_num}: the label {row['label']!r} is neither 'a' nor 'b'")
                texts = {name: row[name] or "" for name in ("prompt", "a", "b")}
                table.append({**texts, "label": label, "group": row.get("group") or "all"})
    except OSError as error:
        raise wrong(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise wrong("is no UTF-8 text") from None
    except csv.Error as error:
        raise wrong(f"is no CSV: {error}") from None
    if not table:
        raise wrong("has no rows")
    return table

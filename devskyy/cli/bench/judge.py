"""`devskyy bench judge`: how often the better of two answers gets the better score. Needs no running platform."""

from pathlib import Path
from typing import Annotated

import typer

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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How often the score agrees with the label, by group; no judge model is asked. A tie counts as half."""
    from actors.quality import compare, wordllama_embed
    from devskyy.cli import render

    table = read_pairs(pairs)
    embed = wordllama_embed()
    agreed: dict[str, list[float]] = {}
    for row in table:
        better = compare(row["prompt"], row["a"], row["b"], embed=embed).better
        agreed.setdefault(row["group"], []).append(0.5 if better is None else float(better == row["label"]))
    every = [one for found in agreed.values() for one in found]
    overall = sum(every) / len(every)
    if as_json:
        groups = {name: {"accuracy": sum(one) / len(one), "n": len(one)} for name, one in sorted(agreed.items())}
        render.document({"groups": groups, "overall": overall})
        return
    rows = [(name, f"{sum(one) / len(one):.3f}", f"{len(one):,}") for name, one in sorted(agreed.items())]
    render.table(["Group", "Accuracy", "Pairs"], [*rows, ("all", f"{overall:.3f}", f"{len(every):,}")], "no pairs")


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

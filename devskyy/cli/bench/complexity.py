"""`devskyy bench complexity`: how well the difficulty foreseen agrees with labels. Needs no running platform."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

_MOST_FIELD_BYTES = 64 * 1024 * 1024


def complexity(
    labels: Annotated[
        Path,
        typer.Option(metavar="FILE.csv", help="Columns `prompt` and `difficulty` (a number); others are ignored."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Spearman's correlation of the difficulty foreseen with the difficulty labelled."""
    from actors.coordinator.classifier import classify_text
    from devskyy.cli import render

    table = read_labels(labels)
    foreseen = [classify_text(prompt).difficulty for prompt, _ in table]
    found = spearman(foreseen, [difficulty for _, difficulty in table])
    if as_json:
        render.document({"spearman": found, "n": len(table)})
        return
    said = "unknown: all prompts seem equally difficult" if found is None else f"{found:.3f}"
    render.say(f"Spearman's correlation over {len(table):,} prompts: {said}")


def read_labels(path: Path) -> list[tuple[str, float]]:
    """Prompts and their difficulty.

    Raises:
        InvalidRequest: no such table, or nothing in it that could be correlated.
    """
    import csv
    import math

    from schemas.errors import InvalidRequest

    def wrong(rule: str) -> InvalidRequest:
        return InvalidRequest("--labels", f"{path}: {rule}")

    csv.field_size_limit(_MOST_FIELD_BYTES)
    table: list[tuple[str, float]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in ("prompt", "difficulty") if name not in (rows.fieldnames or ())]
            if missing:
                columns = ", ".join(repr(name) for name in rows.fieldnames or ()) or "none"
                raise wrong(f"has no column {' and no column '.join(map(repr, missing))}; its columns are: {columns}")
            for row in rows:
                prompt, label = row["prompt"], row["difficulty"]
                try:
                    difficulty = float(label)
                except (TypeError, ValueError):
                    difficulty = math.nan
                if not math.isfinite(difficulty):
                    raise wrong(f"line {rows.line_num}: the difficulty {label!r} is no number")
                table.append((prompt or "", difficulty))
    except OSError as error:
        raise wrong(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise wrong("is no UTF-8 text") from None
    except csv.Error as error:
        raise wrong(f"is no CSV: {error}") from None
    if not table:
        raise wrong("has no rows")
    if len({difficulty for _, difficulty in table}) < 2:
        raise wrong("needs at least two different difficulties, or there is no order to agree with")
    return table


def spearman(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Spearman's rank correlation; equal values share the mean of their ranks. None where one side has no order."""
    from statistics import StatisticsError, correlation

    try:
        return correlation(_ranks(ours), _ranks(theirs))
    except StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    from itertools import groupby

    ranks, before = [0.0] * len(values), 0
    for _, places in groupby(sorted(range(len(values)), key=values.__getitem__), key=values.__getitem__):
        equal = list(places)
        for place in equal:
            ranks[place] = before + (len(equal) - 1) / 2
        before += len(equal)
    return ranks

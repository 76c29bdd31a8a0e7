"""How anything is said to people and programs: figures, tables, problems. JSON is one document on stdout."""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.errors import BadInput, DevSkyyError
from schemas.problem import Problem, urn

PLAIN_WIDTH = 140
"""Columns where there is no terminal to ask: enough that names and reasons stay whole."""

MOST_IN_A_LINE = 400

_CONTROL = {code: "�" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}
"""What a model says may hold escape sequences; on a terminal they would be obeyed."""


def safe(text: str) -> str:
    return text.replace("\r\n", "\n").translate(_CONTROL)


def line(text: str, most: int = MOST_IN_A_LINE) -> str:
    """The text on one line, shortened where it is longer than so many characters."""
    told = safe(" ".join(text.split()))
    return told if len(told) <= most else f"{told[: most - 1].rstrip()}…"


def out() -> Console:
    return _console(sys.stdout)


def err() -> Console:
    return _console(sys.stderr)


def _console(file: Any) -> Console:
    return Console(file=file, width=None if file.isatty() else PLAIN_WIDTH, highlight=False, markup=False, emoji=False)


def say(*lines: RenderableType) -> None:
    """On stdout, for people."""
    console = out()
    for line in lines:
        console.print(Text(safe(line)) if isinstance(line, str) else line, soft_wrap=isinstance(line, str))


def document(value: BaseModel | Mapping[str, Any]) -> None:
    """One JSON document on stdout: on one line for programs, laid out where a person looks."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    print(json.dumps(plain, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None), flush=True)


# Figures


def cost(usd: float | None, reason: str | None = None, estimated: bool = False) -> str:
    """US dollars with three significant digits, or that it is unknown, and why."""
    if usd is None:
        return f"unknown ({reason or 'no reason was given'})"
    places = 2 if usd == 0 else max(2, 2 - math.floor(math.log10(abs(usd))))
    sign = "-" if usd < 0 else ""
    return f"{sign}${abs(usd):.{min(places, 12)}f}{' (estimated)' if estimated else ''}"


def tokens(prompt: int | None, completion: int | None) -> str:
    return f"{count(prompt)} in, {count(completion)} out"


def count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def seconds(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


# Tables


def table(columns: Sequence[str], rows: Iterable[Sequence[str | None]], nothing: str) -> None:
    """On stdout; `nothing` is said when there are no rows."""
    made = columns_of(columns, whole=columns[:1])
    for row in rows:
        made.add_row(*(Text(safe(cell or "")) for cell in row))
    say(made if made.row_count else nothing)


def columns_of(columns: Sequence[str], whole: Sequence[str]) -> Table:
    """On a narrow terminal cells go on in the next line, those of the columns `whole` last of all."""
    made = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column, name in zip(made.columns, columns, strict=True):
        column.overflow, column.no_wrap = "fold", name in whole
    return made


# Errors


def failure(error: DevSkyyError, as_json: bool) -> None:
    """An error: as JSON its problem on stdout, else its words on stderr."""
    found = getattr(error, "problem", None)
    said = found if isinstance(found, Problem) else Problem.of(error)
    if as_json:
        document(said)
    else:
        problem(said)


def problem(said: Problem) -> None:
    """A problem on stderr, each field that is wrong on a line of its own."""
    console = err()
    title = Text(f"{safe(said.title)}: ", style="bold red")
    if said.errors:
        console.print(title, soft_wrap=True)
        for field in said.errors:
            console.print(Text(f"  {safe(field.field)}: {safe(field.message)}"), soft_wrap=True)
    else:
        console.print(title.append(safe(said.detail), style="not bold default"), soft_wrap=True)


def usage_problem(message: str) -> None:
    document(Problem(type=urn("usage"), title=BadInput.title, status=BadInput.http_status, detail=message))

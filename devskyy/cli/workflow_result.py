"""A workflow as it ended, or stands: its output, what failed, what was undone, what still stands, what it cost."""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from devskyy.cli import render
from devskyy.cli import workflow_words as words
from schemas.message import now
from schemas.workflow import Workflow

WIDTH = 100
"""Columns of an output's longer texts."""


def workflow(found: Workflow, as_json: bool) -> None:
    """The whole workflow as JSON; or its output and what it came to, and on stderr why it was not completed."""
    if as_json:
        render.document(found)
        return
    if found.status == "completed" and found.output_bytes is None:
        render.say(value(found.output), "")
    if found.status in ("failed", "cancelled") and found.error is not None:
        render.problem(found.error)
    render.say(summary(found))


def value(output: Any) -> str:
    """A text as it is; anything else laid out for people."""
    if isinstance(output, str):
        return output
    told: str = yaml.dump(
        output, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=False
    )
    return told.removesuffix("\n").removesuffix("\n...")


def summary(found: Workflow) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, told in _facts(found):
        facts.add_row(name, Text(render.safe(told)))
    return facts


def _facts(found: Workflow) -> Iterator[tuple[str, str]]:
    progress = found.progress
    yield "workflow", f"{found.workflow_id} ({found.name}) {words.stands(found)}"
    others = ((progress.skipped, "skipped"), (progress.failed, "failed"))
    told = [f"{progress.completed:,} of {progress.total:,} completed", *(f"{n:,} {what}" for n, what in others if n)]
    yield "tasks", ", ".join(told)
    yield from (("failed", told) for told in _failures(found))
    yield from _listed("undone", found.compensated)
    yield from _listed("not undone", found.undone, ": what they did still stands")
    if found.output_bytes is not None:
        size = f"{found.output_bytes:,} bytes"
        yield "output", f"{size}, too large to be shown here: devskyy workflows output {found.workflow_id}"
    yield "cost", render.cost(found.cost_usd, "that of one of its tasks is unknown")
    if found.started_at is not None:
        yield "time", words.span(((found.finished_at or now()) - found.started_at).total_seconds())
    if (command := _next(found)) is not None:
        yield "next", f"devskyy workflows {command} {found.workflow_id}"


def _next(found: Workflow) -> str | None:
    """The command that has it go on."""
    if found.status in ("failed", "cancelled"):
        return None if found.started_at is None else "retry"
    if found.status == "pending":
        return "start"
    return "resume" if found.paused else None


def _failures(found: Workflow) -> Iterable[str]:
    """Each task that failed, and each item, with why."""
    for name, task in found.tasks.items():
        items = [(f"{name}[{number}]", item) for number, item in enumerate(task.items)]
        for label, unit in [*items, *([(name, task)] if not any(i.status == "failed" for _, i in items) else [])]:
            if unit.problem is not None and unit.status in ("failed", "undo_failed"):
                attempts = f" (attempt {unit.attempt})" if unit.attempt > 1 else ""
                yield f"{label}{attempts}: {unit.problem.detail}"


def _listed(name: str, units: tuple[str, ...], more: str = "") -> Iterator[tuple[str, str]]:
    if units:
        yield name, words.some(units, 12) + more


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stay such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)

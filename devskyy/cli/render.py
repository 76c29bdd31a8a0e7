"""What people and programs see: answers, receipts, tables, progress, and errors. JSON is one document on stdout."""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel
from rich.console import Console, Group, RenderableType
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from schemas.errors import BadInput, DevSkyyError
from schemas.problem import Problem, urn
from schemas.receipt import Call, Receipt
from schemas.task import Task

PLAIN_WIDTH = 140
"""Columns where there is no terminal to ask: enough that names and reasons stay whole."""

_CONTROL = {code: "�" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}
"""What a model says may hold escape sequences; on a terminal they would be obeyed."""


def safe(text: str) -> str:
    return text.replace("\r\n", "\n").translate(_CONTROL)


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


# Tasks


def task(task: Task, as_json: bool, *, min_quality: float | None = None) -> None:
    """The whole task as JSON; or its answer and its receipt, and on stderr why there is no answer."""
    if as_json:
        document(task)
        return
    if task.answer is not None:
        say(task.answer, "")
    match task.status:
        case "completed":
            pass
        case "failed" | "cancelled" if task.error is not None:
            problem(task.error)
        case status:
            err().print(Text(f"task {task.task_id} is {status}"))
    if task.receipt is not None:
        say(receipt(task, task.receipt, min_quality))


def receipt(task: Task, paid: Receipt, min_quality: float | None = None) -> RenderableType:
    """Who served, what it cost, what was passed over, what one premium model would have cost."""
    columns = ("Step", "Agent", "Service", "Model", "Tokens", "Cost", "Time")
    calls = _table(columns, whole=("Step", "Service", "Model", "Cost"))
    for call in paid.calls:
        calls.add_row(*map(safe, _call_row(call)))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(task, paid, min_quality):
        facts.add_row(name, Text(safe(value)))
    return Group(calls, "", facts) if paid.calls else facts


def _call_row(call: Call) -> tuple[str, ...]:
    marks = [mark for mark in ("cached", "replayed", "in_doubt", "hedged", "overrun") if getattr(call, mark)]
    if call.outcome not in ("answered", *marks):
        marks.append(call.outcome)
    service = f"{call.service} ({', '.join(marks).replace('_', ' ')})" if marks else call.service
    return (
        call.step,
        call.agent,
        service,
        f"{call.model} ({call.region})" if call.region else call.model,
        f"{_count(call.prompt_tokens)} / {_count(call.completion_tokens)}",
        # The sum below says why, for each service.
        "unknown" if call.cost_usd is None else cost(call.cost_usd, None, call.cost_estimated),
        "unknown" if call.latency_ms is None else seconds(call.latency_ms),
    )


def _facts(task: Task, paid: Receipt, min_quality: float | None) -> Iterable[tuple[str, str]]:
    yield "task", task.task_id
    if task.tier is not None:
        yield "shape", f"{task.tier}, {task.shape}; {paid.agents} agent{'s' if paid.agents != 1 else ''}"
    passed = dict.fromkeys(reason for call in paid.calls for reason in call.fallback_from)
    yield from (("passed over", reason) for reason in passed)
    yield from (("tried again", f"{call.service}: {reason}") for call in paid.calls for reason in call.retries)
    yield from (("failed", f"{call.service}: {call.reason}") for call in paid.calls if call.reason is not None)
    if quality := _quality(task, min_quality):
        yield "quality", quality
    if any(call.replayed for call in paid.calls):
        yield "replayed", "tokens and cost are those of the recorded run; nothing was spent now"
    yield "tokens", tokens(paid.prompt_tokens, paid.completion_tokens)
    yield "cost", cost(paid.cost_usd, paid.cost_unknown_reason, paid.cost_estimated)
    premium = paid.premium_service or "the premium service"
    yield "premium", f"{cost(paid.premium_cost_usd, paid.premium_unknown_reason)} for one call of {premium}"
    saved_unknown = paid.cost_unknown_reason if paid.cost_usd is None else paid.premium_unknown_reason
    yield "saved", cost(paid.saved_usd, saved_unknown)
    yield "time", seconds(paid.wall_ms)


def _quality(task: Task, min_quality: float | None) -> str | None:
    found = task.quality
    if found is None:
        return None if min_quality is None else f"unknown; {min_quality:g} was asked for"
    reason = found.reasons.get("overall")
    said = f"unknown ({reason or 'no reason was given'})" if found.overall is None else f"{found.overall:.2f}"
    if min_quality is None:
        return said
    verdict = {True: "met", False: "not met", None: "not known to be met"}[found.met]
    return f"{said}; {min_quality:g} was asked for: {verdict}"


def cost(usd: float | None, reason: str | None = None, estimated: bool = False) -> str:
    """US dollars with three significant digits, or that it is unknown, and why."""
    if usd is None:
        return f"unknown ({reason or 'no reason was given'})"
    places = 2 if usd == 0 else max(2, 2 - math.floor(math.log10(abs(usd))))
    sign = "-" if usd < 0 else ""
    return f"{sign}${abs(usd):.{min(places, 12)}f}{' (estimated)' if estimated else ''}"


def tokens(prompt: int | None, completion: int | None) -> str:
    return f"{_count(prompt)} in, {_count(completion)} out"


def _count(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"


def seconds(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


# Tables


def table(columns: Sequence[str], rows: Iterable[Sequence[str | None]], nothing: str) -> None:
    """On stdout; `nothing` is said when there are no rows."""
    made = _table(columns, whole=columns[:1])
    for row in rows:
        made.add_row(*(Text(safe(cell or "")) for cell in row))
    say(made if made.row_count else nothing)


def _table(columns: Sequence[str], whole: Sequence[str]) -> Table:
    """On a narrow terminal cells go on in the next line, those of the columns `whole` last of all."""
    made = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column, name in zip(made.columns, columns, strict=True):
        column.overflow, column.no_wrap = "fold", name in whole
    return made


# Progress


class Progress:
    """What is going on, on stderr: a status line with the time gone by on a terminal, else a line for each news."""

    def __init__(self) -> None:
        self._console = err()
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._bar.add_task("sending", total=None)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=safe(text).replace("\n", " "))
        else:
            self._console.print(Text(safe(text)), soft_wrap=True)

    def event(self, event: Mapping[str, Any]) -> None:
        self.say(event_line(event))


def event_line(event: Mapping[str, Any]) -> str:
    """One event in words. Those of a later version say what they can."""
    match event.get("event"):
        case "accepted":
            return f"accepted as {event.get('task_id')}; waiting for a coordinator"
        case "claimed":
            team = ", ".join(map(str, event.get("agents") or ())) or "nobody yet"
            return f"running: {event.get('tier')}, {event.get('shape')}: {team}"
        case "completed" | "failed" | "cancelled" as name:
            return str(name)
        case name:
            told = [str(event[key]) for key in ("step", "agent", "service") if event.get(key)]
            return f"{name}: {', '.join(told)}" if told else str(name)


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

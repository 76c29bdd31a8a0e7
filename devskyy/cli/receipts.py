"""A task as it stands or ended: its answer, who served and what it cost, how good it is."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from devskyy.cli import render
from devskyy.cli.quality import metrics, overall
from devskyy.cli.render import cost, count, safe, seconds, tokens
from devskyy.cli.words import plural
from schemas.receipt import Call, Receipt
from schemas.task import Task

Row = tuple[str, str, str, str, str, str, str]
"""Step, agent, service, model, tokens, cost and time of a call."""
MOST_CALLS = 24
"""Calls told one by one; of more than these, those of one service and model share a line."""


def task(task: Task, as_json: bool, *, min_quality: float | None = None, full: bool = False) -> None:
    """The whole task as JSON; or its answer and its receipt, and on stderr why there is no answer."""
    if as_json:
        render.document(task)
        return
    if task.answer is not None:
        render.say(task.answer, "")
    match task.status:
        case "completed":
            pass
        case "failed" | "cancelled" if task.error is not None:
            render.problem(task.error)
        case status:
            render.err().print(Text(f"task {task.task_id} is {status}"))
    if task.receipt is not None:
        render.say(receipt(task, task.receipt, min_quality, full))


def receipt(task: Task, paid: Receipt, min_quality: float | None = None, full: bool = False) -> RenderableType:
    """Who served, what it cost, what was passed over, what one premium model would have cost.

    Args:
        full: each call on a line of its own, however many they are.
    """
    rows = list(map(_row, paid.calls) if full or len(paid.calls) <= MOST_CALLS else _grouped(paid.calls))
    calls = _calls(rows, render.out().width)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(task, paid, min_quality):
        facts.add_row(name, Text(safe(value)))
    return Group(calls, "", facts) if paid.calls else facts


def _calls(rows: Sequence[Row], width: int) -> RenderableType:
    """A line for each call; two where the terminal is too narrow for all that there is to say."""
    names = ("Step", "Agent", "Service", "Model", "Tokens", "Cost", "Time")
    widest = [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]
    if sum(widest) + 2 * len(widest) <= width:
        calls = render.columns_of(names, whole=names)
        for row in rows:
            calls.add_row(*map(safe, row))
        return calls
    pairs = ("Step, agent", "Service, model", "Tokens, time", "Cost")
    calls = render.columns_of(pairs, whole=pairs[1:])
    for step, agent, service, model, spoken, paid, took in rows:
        calls.add_row(*map(safe, (f"{step}\n{agent}", f"{service}\n{model}", f"{spoken}\n{took}", paid)))
    return calls


def _row(call: Call) -> Row:
    return (
        call.step.removesuffix(f"-{call.agent}"),
        call.agent,
        _service(call),
        _model(call),
        f"{count(call.prompt_tokens)} / {count(call.completion_tokens)}",
        # The sum below says why, for each service.
        "unknown" if call.cost_usd is None else cost(call.cost_usd, None, call.cost_estimated),
        "unknown" if call.latency_ms is None else seconds(call.latency_ms),
    )


def _grouped(calls: Sequence[Call]) -> Iterable[Row]:
    """A row for each service and model; the time is what its calls took one after another."""
    groups: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        groups.setdefault((_service(call), _model(call)), []).append(call)
    for (service, model), group in groups.items():
        sums = Receipt.of(tuple(group), 0.0)
        took = [call.latency_ms for call in group]
        yield (
            plural(len(group), "call"),
            plural(len({call.agent for call in group}), "agent"),
            service,
            model,
            f"{count(sums.prompt_tokens)} / {count(sums.completion_tokens)}",
            "unknown" if sums.cost_usd is None else cost(sums.cost_usd, None, sums.cost_estimated),
            "unknown" if None in took else seconds(sum(ms or 0.0 for ms in took)),
        )


def _service(call: Call) -> str:
    marks = [mark for mark in ("cached", "replayed", "in_doubt", "hedged", "overrun") if getattr(call, mark)]
    if call.outcome not in ("answered", *marks):
        marks.append(call.outcome)
    return f"{call.service} ({', '.join(marks).replace('_', ' ')})" if marks else call.service


def _model(call: Call) -> str:
    return f"{call.model} ({call.region})" if call.region not in (None, call.service) else call.model


def _facts(task: Task, paid: Receipt, min_quality: float | None) -> Iterable[tuple[str, str]]:
    yield "task", task.task_id
    if task.tier is not None:
        yield "shape", f"{task.tier}, {task.shape}; {plural(paid.agents, 'agent')}"
    for name, reasons in (
        ("passed over", (reason for reason in _passed_over(paid.calls))),
        ("tried again", (f"{call.service}: {reason}" for call in paid.calls for reason in call.retries)),
        ("failed", (f"{call.service}: {call.reason}" for call in paid.calls if call.reason is not None)),
    ):
        yield from ((name, reason) for reason in _counted(reasons))
    if quality := overall(task.quality, min_quality):
        yield "quality", quality
    if measured := metrics(task.quality):
        yield "metrics", measured
    if any(call.replayed for call in paid.calls):
        yield "replayed", "tokens and cost are those of the recorded run; nothing was spent now"
    yield "tokens", tokens(paid.prompt_tokens, paid.completion_tokens)
    yield "cost", cost(paid.cost_usd, paid.cost_unknown_reason, paid.cost_estimated)
    premium = paid.premium_service or "the premium service"
    yield "premium", f"{cost(paid.premium_cost_usd, paid.premium_unknown_reason)} for one call of {premium}"
    saved_unknown = paid.cost_unknown_reason if paid.cost_usd is None else paid.premium_unknown_reason
    yield "saved", cost(paid.saved_usd, saved_unknown)
    yield "time", seconds(paid.wall_ms)


def _passed_over(calls: Iterable[Call]) -> Iterable[str]:
    return dict.fromkeys(reason for call in calls for reason in call.fallback_from)


def _counted(reasons: Iterable[str]) -> Iterable[str]:
    """Each once, with how often it was given."""
    for reason, times in Counter(reasons).items():
        yield reason if times == 1 else f"{reason} ({times:,} times)"

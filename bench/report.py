"""What a side-by-side run found out, as tables."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from bench.results import Results, Round, Target, middle
from bench.sampling import Samples

TOP = 30
NOISE_CORES = 0.3
"""CPU that others may take before figures mean little; a platform that idles takes up to 0.2 here."""
LATER_MS = 0.3
"""CPU after the last answer that is worth a line; below that it is what the processes take when idle."""


def show(results: Results, targets: list[Target]) -> None:
    console = _console()
    for table in _tables(results):
        if table.row_count:
            console.print(table)
    if results.rounds:
        idle, others = (max(getattr(each, name) for each in results.rounds) for name in ("idle_cores", "others_cores"))
        noisy = "; [yellow]too much: measure again[/]" if max(idle, others) > NOISE_CORES else ""
        console.print(
            f"CPU taken meanwhile, in cores: at most {idle:.2f} by sides that idled, "
            f"at most {others:.2f} by others on this machine{noisy}"
        )
    console.print(f"answered by us: {results.answered_by_us:,}; tasks in our ledger: {results.recorded:,}")
    for what, count in results.problems.items():
        console.print(f"[red]PROBLEM  {what}: {count}")
    for each in targets:
        console.print(_line(each))


def _line(target: Target) -> str:
    bound = f"{'at least' if target.at_least else 'at most'} {target.bound:g}"
    if target.found is None:
        return f"[dim]not measured  {target.what}: {bound}"
    mark = "[green]reached" if target.reached else "[red]missed "
    return f"{mark}[/]  {target.what}: {target.found:.2f}, wanted {bound}"


def _tables(results: Results) -> Iterable[Table]:
    peer = f"LiteLLM {results.litellm}" if results.litellm else "ours alone"
    kept = {(each.side, each.load.connections): None for each in results.rounds}
    cells = sorted(kept, key=lambda cell: (results.sides.index(cell[0]), cell[1]))
    yield _speed(f"chat completions; {peer}; {results.cores} cores, shared with client and provider", results, cells)
    yield _cpu(results, cells)
    yield _at_once(results)
    yield _memory(results)


def _speed(title: str, results: Results, cells: list[tuple[str, int]]) -> Table:
    table = _table(
        title, "side", "connections", "requests/s", "of rounds", "median, ms", "p99, ms", "answers", "upstream"
    )
    for side, connections in cells:
        found = results.of(side, connections)
        table.add_row(
            side,
            str(connections),
            _number(results.requests_per_s(side, connections)),
            _span(each.load.requests_per_s for each in found),
            _number(results.median_ms(side, connections), 2),
            _number(middle(each.load.p99_ms for each in found), 1),
            f"{sum(each.load.answered for each in found):,}",
            f"{sum(each.upstream_calls for each in found):,}",
        )
    return table


def _cpu(results: Results, cells: list[tuple[str, int]]) -> Table:
    table = _table("CPU milliseconds for each answer", "process", *(f"{side}\n{n} at a time" for side, n in cells))
    columns = [_cpu_of(results.of(side, connections)) for side, connections in cells]
    for role in sorted(
        {role for column in columns for role in column}, key=lambda r: -max(c.get(r, 0) for c in columns)
    ):
        table.add_row(role, *(f"{column[role]:.2f}" if role in column else "" for column in columns))
    table.add_section()
    table.add_row("all of it", *(f"{sum(column.values()):.2f}" for column in columns))
    return table


def _cpu_of(rounds: list[Round]) -> dict[str, float]:
    """By process while they were asked, and for what did not keep up with the answers by process afterwards."""
    found = {role: middle(each.cpu_ms.get(role) for each in rounds) for role in _roles(each.cpu_ms for each in rounds)}
    for role in _roles(each.later_cpu_ms for each in rounds):
        later = middle(each.later_cpu_ms.get(role) for each in rounds)
        if later is not None and later > LATER_MS:
            found[f"{role}, afterwards"] = later
    return {role: value for role, value in found.items() if value is not None}


def _roles(by_role: Iterable[dict[str, float]]) -> list[str]:
    return list({role: None for each in by_role for role in each})


def _at_once(results: Results) -> Table:
    table = _table("calls of one second, all at once", "side", "seconds", "of rounds", "answered", "problems")
    for side in dict.fromkeys(each.side for each in results.at_once):
        found = [each for each in results.at_once if each.side == side]
        table.add_row(
            side,
            _number(results.at_once_s(side), 2),
            _span((each.load.seconds for each in found), 2),
            ", ".join(str(each.load.answered) for each in found),
            ", ".join(f"{what}: {count}" for each in found for what, count in each.problems.items()) or "none",
        )
    return table


def _memory(results: Results) -> Table:
    marks = sorted({mark for by_mark in results.memory.values() for mark in by_mark})
    title = "memory after so many requests, MiB (PSS / RSS)"
    table = _table(title, "process", *(f"{mark:,}" for mark in marks), "growth, %")
    for side, by_mark in results.memory.items():
        last = by_mark[max(by_mark)]
        for role in sorted(last, key=lambda role: -last[role].pss):
            held = [by_mark[mark].get(role) if mark in by_mark else None for mark in marks]
            growth = results.growth(side, role)
            table.add_row(
                role,
                *(f"{each.pss:.1f} / {each.rss:.1f}" if each else "" for each in held),
                "" if growth is None else f"{growth:+.1f}",
            )
        table.add_section()
    return table


def show_samples(samples: Samples, part: str) -> None:
    busy = f"{samples.own.total() / samples.looks:.0%} of the time in Python"
    for title, counts in (("at work itself", samples.own), ("at work, or above what was", samples.inclusive)):
        table = _table(f"{part}, {busy}: {title}", "function", "% of the time")
        for frame, count in counts.most_common(TOP):
            table.add_row(frame, f"{count / samples.looks:.1%}")
        _console().print(table)


def _console() -> Console:
    """As wide as the terminal; wide enough for the tables where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    return table


def _number(value: float | None, places: int = 0) -> str:
    return "none" if value is None else f"{value:,.{places}f}"


def _span(values: Iterable[float], places: int = 0) -> str:
    return ", ".join(f"{value:,.{places}f}" for value in values)

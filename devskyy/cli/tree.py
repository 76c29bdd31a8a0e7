"""A team as a tree for a terminal: parts and phases as branches, agents as leaves, decisions with their reasons.

What does not fit is folded into counts, the quietest first; so a thousand agents take a few lines.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, RenderableType
from rich.text import Text
from rich.tree import Tree

from devskyy.cli import words
from devskyy.cli.render import line, seconds
from schemas.progress import Part, Phase, Seat, State, TeamView
from schemas.team import Decision

_STYLES: dict[State, str] = {"asked": "yellow", "answered": "green", "failed": "red", "left out": "dim"}


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is shown."""

    seats: int
    """A phase of more than so many is counted."""
    settled: bool = True
    """Whether agents are listed of phases in which nobody works or has failed."""
    decisions: bool = True
    """Whether decisions are shown that changed no plan."""
    parts: bool = True
    """Whether parts are opened in which nobody works."""


DETAILS = (
    Detail(12),
    Detail(12, settled=False),
    Detail(6, settled=False, decisions=False),
    Detail(0, settled=False, decisions=False, parts=False),
)
"""From the most to the least."""


def fitted(view: TeamView, clock: datetime, console: Console, lines: int, label: RenderableType | None = None) -> Tree:
    """The team in as much detail as fits into so many lines; the least there is may take more.

    Args:
        label: in place of the line of totals.
    """
    for detail in DETAILS:
        drawn = tree(view, clock, detail, label)
        if len(console.render_lines(drawn, pad=False)) <= lines:
            break
    return drawn


def tree(view: TeamView, clock: datetime, detail: Detail = DETAILS[0], label: RenderableType | None = None) -> Tree:
    """
    Args:
        clock: the present moment, up to which the time of those runs who have not answered.
    """
    drawn = Tree(label or Text(totals(view, clock), style="bold"), guide_style="dim")
    _grow(drawn, view.whole, clock, detail)
    if view.waiting:
        drawn.add(Text(line(f"waiting: {words.named(view.waiting)}"), style="dim"))
    return drawn


def totals(view: TeamView, clock: datetime) -> str:
    """What the team is, and what it has come to so far."""
    told = [f"{view.tier}, {view.shape}: {words.plural(view.agents, 'agent')}"]
    told.append(words.counts(view.counts, "steps ") if view.counts.asked else "nobody asked yet")
    so_far = "" if view.task is not None else " so far"
    told.append(f"{words.plural(view.spent.calls, 'call')}, {words.spent(view.spent)}{so_far}")
    if view.spent.replayed:
        told.append("replayed")
    told.append(seconds(view.seconds(clock) * 1000))
    if view.epoch > 1:
        told.append(f"carried on by coordinator {view.epoch}")
    if view.task is not None:
        told.append(view.status)
    return ", ".join(told)


def _grow(branch: Tree, part: Part, clock: datetime, detail: Detail) -> None:
    for item in part.items:
        match item:
            case Phase():
                _phase(branch, item, clock, detail)
            case Part():
                under = branch.add(Text(line(part_line(item))))
                if detail.parts or item.counts.pending:
                    _grow(under, item, clock, detail)
            case _ if detail.decisions or item.change is not None:
                branch.add(decided(item))


def part_line(part: Part) -> str:
    told = f"{part.name}: {part.title}" if part.title else part.name
    if part.counts.asked:
        return f"{told}: {words.counts(part.counts)}"
    after = f", after {', '.join(part.after)}" if part.after else ""
    return f"{told}: waiting{after}"


def decided(decision: Decision) -> Text:
    """A change of the plan stands out."""
    told = Text(line(words.decision(decision)), style="dim" if decision.change is None else "")
    if decision.change is not None:
        told.stylize("bold magenta", 0, len(words.change(decision)))
    return told


def _phase(branch: Tree, phase: Phase, clock: datetime, detail: Detail) -> None:
    counts = phase.counts
    busy = bool(counts.pending or counts.failed)
    listed = len(phase.seats) <= detail.seats and (detail.settled or busy)
    if listed and len(phase.seats) == 1:
        branch.add(Text.assemble(f"{line(phase.name)}: ", seat(phase.seats[0], clock)))
        return
    under = branch.add(Text(line(f"{phase.name}: {words.counts(counts)}, {_took(phase.seats, clock)}")))
    if listed:
        width = max(len(each.step.agent) for each in phase.seats)
        for each in phase.seats:
            under.add(seat(each, clock, width))
    elif len(phase.seats) > detail.seats:
        for reason in words.reasons(phase.seats):
            under.add(Text(line(reason), style="red" if reason.startswith("failed") else "dim"))


def seat(seat: Seat, clock: datetime, width: int = 0, most: int = words.MOST_REASON) -> Text:
    """Who, in what state, how good, served by whom, at what cost, in what time.

    Args:
        most: characters of the reason why there is no answer.
    """
    told = [] if seat.said is None else words.facts(seat.said)
    told += [line(seat.why, most)] if seat.why else []
    if seat.said is not None and seat.state == "answered":
        told.append(words.paid(seat.said.calls))
    told.append(seconds(seat.seconds(clock) * 1000))
    told += [] if seat.said is None else words.marks(seat.said)
    name, state = line(seat.step.agent).ljust(width), (seat.state, _STYLES[seat.state])
    leaf = Text.assemble(name, "  ", state, line(f", {', '.join(told)}", 2000))
    if seat.said is not None and seat.said.marks:
        leaf.highlight_words(["suspicious"], "bold red")
    return leaf


def _took(seats: Iterable[Seat], clock: datetime) -> str:
    """From the first question to the last answer."""
    told = list(seats)
    began = min(each.asked_at for each in told)
    ended = max(each.ended_at or clock for each in told)
    return seconds(max(0.0, (ended - began).total_seconds()) * 1000)

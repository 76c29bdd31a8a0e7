"""The story of a task as a page: what was asked, what each agent said, what was decided, how it ended."""

from collections.abc import Iterator

from schemas.event import TaskEvent
from schemas.progress import Part, Phase, Seat, TeamView, team_view
from schemas.task import Task
from schemas.team import Decision
from serve.mcp.told import Answer, Standing

MOST_SEATS = 50
"""Of a phase, told one by one."""


def story(task: Task, events: tuple[TaskEvent, ...]) -> str:
    """As Markdown.

    Args:
        events: those that there are still; of an old task none.
    """
    told = [f"# Task {task.task_id}", Standing.of(task).words, "## Asked", task.prompt]
    if task.reasons:
        told += ["## Why so", *(f"- {reason}" for reason in task.reasons)]
    view = team_view(events)
    if view.is_team:
        told += ["## Team", *_part(view.whole, view)]
    if task.ended:
        told += ["## Answer", Answer.of(task).words]
    return "\n\n".join(told)


def _part(part: Part, view: TeamView) -> Iterator[str]:
    for item in part.items:
        match item:
            case Phase():
                yield from _phase(item)
            case Part():
                yield f"### Part {item.name}{f': {item.title}' if item.title else ''}"
                yield from _part(item, view)
            case Decision():
                yield f"*{(item.change or 'decided').replace('_', ' ')}*: {'; '.join(item.reasons)}"


def _phase(phase: Phase) -> Iterator[str]:
    counts = phase.counts
    yield f"### {phase.name}: {counts.answered:,} of {counts.asked:,} answered"
    for seat in phase.seats[:MOST_SEATS]:
        yield from _seat(seat)
    if len(phase.seats) > MOST_SEATS:
        yield f"and {len(phase.seats) - MOST_SEATS:,} more"


def _seat(seat: Seat) -> Iterator[str]:
    said = seat.said
    measured = f", quality {said.quality:.2f}" if said is not None and said.quality is not None else ""
    yield f"**{seat.step.agent}** ({seat.step.kind}{measured}): {seat.why or seat.state}"
    if said is None:
        return
    if said.remarks:
        yield "\n".join(
            f"- {remark.severity}: {f'at {remark.place!r}: ' if remark.place else ''}{remark.problem}"
            f"{f' -> {remark.proposal}' if remark.proposal else ''}"
            for remark in said.remarks
        )
    elif said.text:
        yield said.text
